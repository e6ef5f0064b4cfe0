import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.text.blocks import read, write
from pipeline.text.normalize import clean


def shown(page):
    blocks = read(page)
    return clean(write(blocks, range(len(blocks.texts))))


def formula(inner, attributes=""):
    return shown(f"<p>a <math{attributes}>{inner}</math> b</p>").removeprefix("a ").removesuffix(" b")


@pytest.mark.parametrize(
    ("mathml", "text"),
    [
        ("<mfrac><mn>3</mn><mn>100</mn></mfrac>", "3/100"),
        ("<mfrac>\n <mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow>\n <mi>c</mi>\n</mfrac>", "(a+b)/c"),
        ("<mo>(</mo><mfrac linethickness=0><mi>n</mi><mi>k</mi></mfrac><mo>)</mo>", "(n¦k)"),
        ("<msup><mn>10</mn><mn>2</mn></msup>", "10^2"),
        ("<msup><mi>f</mi><mo>′</mo></msup><mo>=</mo><msup><mn>90</mn><mo>∘</mo></msup>", "f′=90∘"),
        ("<msub><mi>x</mi><mrow><mi>i</mi><mo>+</mo><mn>1</mn></mrow></msub>", "x_(i+1)"),
        ("<msubsup><mi>x</mi><mn>1</mn><mn>2</mn></msubsup>", "x_1^2"),
        (
            "<munderover><mo>∑</mo><mrow><mi>i</mi><mo>=</mo><mn>1</mn></mrow><mi>n</mi></munderover><mi>i</mi>",
            "∑_(i=1)^ni",
        ),
        ("<mover accent=true><mi>x</mi><mo>¯</mo></mover>", "x¯"),
        ("<msqrt><mi>a</mi><mo>+</mo><mi>b</mi></msqrt>", "√(a+b)"),
        ("<mroot><mi>x</mi><mn>3</mn></mroot>", "x^(1/3)"),
        ("<mfenced><mi>a</mi><mi>b</mi></mfenced>", "(a, b)"),
        ("<mn>2</mn><mi>sin</mi><mo>\u2061</mo><mi>x</mi>", "2 sin x"),
        ("<mn>3</mn><mn>100</mn>", "3 100"),
        ("<mtext>if&nbsp;</mtext><mi>x</mi><mo>&gt;</mo><mn>0</mn>", "if x>0"),
        ("<mtable><mtr><mtd>1</mtd><mtd>2</mtd></mtr><mtr><mtd>3</mtd><mtd>4</mtd></mtr></mtable>", "1, 2; 3, 4"),
        ("<mmultiscripts><mi>R</mi><mn>1</mn><mn>2</mn><mprescripts/><none/><mn>3</mn></mmultiscripts>", "R_(1 2 3)"),
        ("<mi>E</mi><mphantom><mi>z</mi></mphantom><mspace/><mo>=</mo><ms>s</ms>", 'E ="s"'),
        ("E = mc", "E = mc"),
    ],
)
def test_a_layout_is_written_in_signs_that_people_type(mathml, text):
    assert formula(mathml) == text


def test_the_annotation_does_not_stand_beside_what_it_annotates():
    tex = "<annotation encoding='application/x-tex'>\\frac{3}{100}</annotation>"
    content = "<annotation-xml encoding='MathML-Content'><apply><divide/><cn>3</cn></apply></annotation-xml>"
    inner = f"<semantics><mfrac><mn>3</mn><mn>100</mn></mfrac>{tex}{content}</semantics>"
    assert formula(inner, " alttext='\\frac{3}{100}'") == "3/100"
    assert formula(f"<semantics>{tex}</semantics>") == "\\frac{3}{100}"
    assert formula("", " alttext='x^2'") == "x^2"


def test_a_formula_leaves_its_sentence_whole_and_a_displayed_one_has_a_line():
    inline = "<p>It is <b><math><mi>x</mi></math></b>, as <a href=y>was</a> said.<p>Next"
    assert shown(inline) == "It is x, as was said.\n\nNext"
    assert shown("<p>so that<math display=block><mi>x</mi></math>holds.") == "so that\nx\nholds."


@pytest.mark.parametrize(
    "picture",
    [
        "<span class='katex-html' aria-hidden=true><span class=base><span>3</span>100</span></span>",
        "<nobr aria-hidden=true><span class=math>3<span>100</span></span></nobr>",
        "<span class='mjx-chtml'><span class='mjx-math' aria-hidden=true>3100</span></span>",
    ],
)
def test_the_same_formula_laid_out_for_the_eye_is_not_read_again(picture):
    mathml = "<math><mfrac><mn>3</mn><mn>100</mn></mfrac></math>"
    assert shown(f"<p>a {mathml}{picture} b") == "a 3/100 b"
    assert shown(f"<p>a {picture}{mathml} b") == "a 3/100 b"


def test_xhtml_may_give_its_elements_a_prefix_and_html_any_case():
    assert shown("<p>a <m:math><m:mfrac><m:mn>3</m:mn><m:mn>9</m:mn></m:mfrac></m:math> b<x:y> c</x:y>") == "a 3/9 b c"
    assert shown("<p>a <MATH><MFRAC><MN>3</MN><MN>9</MN></MFRAC></MATH> b") == "a 3/9 b"


def test_a_formula_that_is_never_closed_ends_where_a_block_begins():
    assert shown("<p>a <math><mfrac><mn>3</mn><mn>1</mn></mfrac><p>b</p><p>c</p>") == "a 3/1\n\nb\n\nc"
    assert shown("<p>a <math><mi>x") == "a x"


def test_a_thousand_fractions_within_one_another_cost_the_formula_and_not_the_page():
    assert shown("<p>a <math>" + "<mfrac>" * 20_000 + "</math> b<p>c").endswith("c")


MATHML = st.recursive(
    st.sampled_from(["<mi>x</mi>", "<mn>7</mn>", "<mo>+</mo>", "<mtext>so</mtext>", "x", ""]),
    lambda inner: st.builds(
        lambda tag, parts: f"<{tag}>{''.join(parts)}</{tag}>",
        st.sampled_from(["mfrac", "msup", "msubsup", "mover", "mrow", "msqrt", "mroot", "mtable", "mmultiscripts"]),
        st.lists(inner, max_size=4),
    ),
    max_leaves=20,
)


@given(MATHML)
def test_any_layout_is_one_line_and_two_numbers_never_become_one(mathml):
    text = formula(mathml)
    assert "\n" not in text
    assert "77" not in text
