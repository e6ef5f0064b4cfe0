import random

import pytest

from pipeline.text.decode import decode

TEXTS = {  # codec of Python, label, text: Universal Declaration of Human Rights, article 1
    "gb18030": ("gb2312", "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心,并应以兄弟关系的精神相对待。"),
    "big5": ("big5", "人人生而自由,在尊嚴和權利上一律平等。他們賦有理性和良心,並應以兄弟關係的精神相對待。"),
    "cp949": (
        "ks_c_5601-1987",
        "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 똠방각하도 그렇다.",
    ),
    "cp932": ("Shift_JIS", "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。"),
    "euc-jp": ("EUC-JP", "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。"),
    "cp1250": (
        "windows-1250",
        "Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv. Jsou nadáni rozumem.",
    ),
    "cp1251": (
        "windows-1251",
        "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом.",
    ),
    "koi8-u": ("koi8-u", "Всі люди народжуються вільними і рівними у своїй гідності та правах. Ґрунт їхній - розум."),
    "cp1253": ("windows-1253", "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα."),
    "cp1255": ("windows-1255", "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם. כולם חוננו בתבונה ובמצפון."),
    "cp1256": ("windows-1256", "يولد جميع الناس أحراراً متساوين في الكرامة والحقوق. وقد وهبوا عقلاً وضميراً."),
    "cp874": ("tis-620", "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ ต่างมีเหตุผลและมโนธรรม"),
}
STRAY = {"gb18030": b"\xff", "cp1253": b"\xff", "cp1255": b"\xff", "cp874": b"\xff"}  # a byte that the encoding lacks
ENGLISH = "The council voted on Tuesday to close the old ferry slip at the foot of the street. " * 20


def page(codec, extra=b"", times=6):
    return b"<html><body>" + f"<p>{TEXTS[codec][1]}</p>\n".encode(codec) * times + extra + b"</body></html>"


@pytest.mark.parametrize("codec", TEXTS)
def test_one_bad_byte_costs_one_character_and_not_the_page(codec):
    label, text = TEXTS[codec]
    stray = STRAY.get(codec, b"\x98" if codec.startswith("cp125") else b"\xff")
    body = page(codec, b"<p>x" + stray + b" y</p>")
    found = decode(body, f"text/html; charset={label}")
    assert found.count(text) == 6
    assert found.count("\ufffd") <= 1  # some bytes of one-byte encodings are controls
    assert found.endswith("y</p></body></html>")


@pytest.mark.parametrize("codec", [codec for codec in TEXTS if codec not in ("cp1250", "koi8-u")])
@pytest.mark.parametrize("header", ["text/html", "text/html; charset=iso-8859-1", "text/html; charset=utf-8"])
def test_nor_where_nobody_or_somebody_wrong_declared_the_encoding(codec, header):
    body = page(codec, b"<p>x\xff y</p>")
    assert decode(body, header).count(TEXTS[codec][1]) == 6


def test_a_declaration_that_leads_to_many_faults_is_not_believed():
    for codec, wrong in (("cp1251", "gbk"), ("cp1256", "euc-kr"), ("cp932", "euc-jp")):
        assert TEXTS[codec][1] in decode(page(codec), f"text/html; charset={wrong}")


def test_a_page_in_english_with_a_line_of_another_script_is_read_as_declared():
    for codec, (label, text) in TEXTS.items():
        body = f"<p>{ENGLISH}</p><footer>{text}</footer>".encode(codec)
        assert decode(body, f"text/html; charset={label}") == body.decode(codec)


def test_quotation_marks_and_pound_signs_are_no_central_european():
    for text in ("It costs £3, or £30 a year.", "“So” it was — ‘almost’.", "© 2009 Zoë’s café, £5"):
        body = f"<p>{ENGLISH}</p><p>{text}</p>".encode("cp1252")
        assert text in decode(body, "text/html")


def test_one_odd_line_does_not_outvote_a_page():
    french = "Tous les êtres humains naissent libres et égaux en dignité et en droits; ils sont doués de raison."
    body = f"<p>{french}</p>\n".encode("cp1252") * 60 + TEXTS["cp1251"][1].encode("cp1251")
    for header in ("text/html", "text/html; charset=iso-8859-1"):
        assert decode(body, header).count(french) == 60


@pytest.mark.parametrize("label", ["utf-16", "utf-16be", "utf-8", "unicode"])
def test_a_declared_unicode_is_believed_for_its_bytes_alone(label):
    text = "It’s a café; it costs £5."
    assert decode(text.encode("cp1252") * 2, f"text/html; charset={label}") == text * 2


@pytest.mark.parametrize("header", ["text/html", "text/html; charset=windows-1250"])
def test_a_latin_script_with_many_letters_of_its_own_is_detected_where_nothing_is_declared(header):
    assert TEXTS["cp1250"][1] in decode(page("cp1250"), header)


@pytest.mark.parametrize(
    ("label", "codec", "added", "characters"),
    [
        ("euc-jp", "euc-jp", b"\xad\xa1\xad\xd1\x8e\xb1", "①㎝ｱ"),  # row 13 of JIS X 0208, half-width katakana
        ("shift_jis", "cp932", b"\x87\x40\xb1\xfa\x40", "①ｱⅰ"),
        ("iso-2022-jp", "iso2022_jp", b"\x1b$B-!-Q\x1b(I12\x1b(B", "①㎝ｱｲ"),
        ("gb2312", "gb18030", b"\x80\xa2\xe3", "€€"),
        ("big5", "big5", b"\x87\x40\xa3\xe1", "䏰€"),
        ("koi8-u", "koi8-u", b"\xae\xbe", "ўЎ"),
    ],
)
def test_encodings_hold_what_browsers_make_of_them(label, codec, added, characters):
    text = TEXTS["euc-jp"][1] if codec == "iso2022_jp" else TEXTS[codec][1]
    body = text.encode(codec) * 3 + b"<b>" + added + b"</b>"
    assert decode(body, f"text/html; charset={label}").endswith(f"<b>{characters}</b>")


def test_seven_bit_katakana_is_not_taken_for_ascii():
    assert decode(b"<p>\x1b(I12345\x1b(B</p>", "text/html") == "<p>ｱｲｳｴｵ</p>"


def test_a_replacement_character_that_the_author_wrote_is_no_fault():
    text = "The master said “close it” and the clerk\ufffds note says “not yet”; the café stays open."
    assert decode(text.encode(), "text/html; charset=utf-8") == text


def test_encodings_that_hide_markup_are_replaced_and_their_names_on_plain_text_are_not():
    hidden = b"<p>~{VPND~} and more</p>"
    assert decode(hidden, "text/html; charset=hz-gb-2312") is None
    assert decode(b"<meta charset=iso-2022-kr>\x1b$)C\x0e0!\x0f", "text/html") is None
    assert decode(hidden, "text/html") == hidden.decode()
    assert decode(b"<p>plain</p>", "text/html; charset=iso-2022-kr") == "<p>plain</p>"


def test_user_defined_bytes_stay_apart_from_every_letter_when_the_server_says_so():
    body = b"<meta charset=x-user-defined>" + b"caf\xe9 " * 9
    assert "caf\uf7e9" in decode(body, "text/html; charset=x-user-defined")
    assert "café" in decode(body, "text/html")


@pytest.mark.parametrize("label", ["gbk", "big5", "euc-kr", "shift_jis", "euc-jp", "windows-1251", "koi8-r", "x-gbk"])
def test_noise_is_no_text_whatever_is_declared(label):
    assert decode(random.Random(7).randbytes(5_000), f"text/html; charset={label}") is None


@pytest.mark.parametrize(
    "piece",
    [b"<script>", b"</style>", b"<", b"a", b"a ", b"\xe9 ", b"\xe9\xe9\xe9\xe9\n", b"<a", b"\x1b$B", b"\x1b(I1"],
)
def test_no_body_is_slow_to_decode(piece):
    body = b"\xe9t\xe9 " + piece * (600_000 // len(piece))  # a search that goes back at every byte would take hours
    assert len(decode(body, "text/html") or "") > len(body) // 3


def test_a_page_with_many_replacement_characters_of_its_own_is_text():
    text = "a\ufffdb " * 50
    assert decode(text.encode(), "text/html") == text
