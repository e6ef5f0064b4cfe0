import random

import pytest

from pipeline.shards.outcomes import ConfigError, Outcome
from pipeline.text import extract as room
from pipeline.text.decode import decode
from pipeline.text.extract import ENGINES, Extraction, extract, title_of

SENTENCES = [
    "The old lighthouse stood on the cliff for more than two hundred years.",
    "Every evening its keeper climbed one hundred and twelve steps with a can of oil.",
    "Ships far out at sea knew the rhythm of its light by heart.",
    "When the lamp became electric, nobody climbed the stairs at dusk any more.",
]
CP1252 = "“It’s a café in Genève,” said Zoë — £5 or €6."


def article(paragraphs, charset="utf-8", title="The Lighthouse"):
    body = "".join(f"<p>{paragraph}</p>" for paragraph in paragraphs)
    return (
        f'<!DOCTYPE html><html><head><meta charset="{charset}"><title>{title}</title></head><body>'
        '<nav><ul><li><a href="/">Home</a></li><li><a href="/shop">Shop our oil lamps</a></li></ul></nav>'
        f"<main><article><h1>The Lighthouse</h1>{body}</article></main>"
        "<footer><p>Copyright 2019. All rights reserved. <a href='/terms'>Terms of use</a></p></footer></body></html>"
    )


def html_of(text, codec, charset=None):
    return article([*SENTENCES, text], charset or codec).encode(codec)


@pytest.mark.parametrize("engine", list(ENGINES))
def test_every_engine_finds_the_article_and_leaves_the_menu(engine):
    if engine == "newspaper":
        pytest.importorskip("newspaper")
    found = extract(article(SENTENCES).encode(), "text/html", "https://example.org/a", engine)
    assert found.outcome is Outcome.KEPT
    assert all(sentence in found.text for sentence in SENTENCES)
    assert "Shop our oil lamps" not in found.text
    assert found.title == "The Lighthouse"
    assert found.engine == ("blocks" if engine == "cascade" else engine)


def test_the_cascade_takes_the_second_reading_only_where_there_are_no_blocks_to_judge_or_too_many(monkeypatch):
    monkeypatch.setattr(room, "by_resiliparse", lambda page, url: ("other", "resiliparse"))
    assert room.cascade("<p>One block.", "") == ("One block.", "blocks")
    assert room.cascade("<script>x</script>", "") == ("other", "resiliparse")
    monkeypatch.setattr(room, "MOST_BLOCKS", 2)
    assert room.cascade("<p>a<p>b", "")[1] == "blocks"
    assert room.cascade("<p>a<p>b<p>c", "") == ("other", "resiliparse")


def test_the_cascade_reads_the_posts_that_discourse_keeps_in_noscript():
    posts = "".join(f"<div class='topic-body crawler-post'><p>{sentence}</p></div>" for sentence in SENTENCES)
    page = article([]).replace("<main>", f"<noscript data-path=/t/1>{posts}</noscript><main>")
    assert all(sentence in extract(page.encode(), "text/html", "", "cascade").text for sentence in SENTENCES)


@pytest.mark.failure("an engine is unknown", "exit 2, with the known ones", "correct the name")
def test_an_unknown_engine_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"unknown engine 'boilerpipe'; known: cascade, trafilatura"):
        extract(b"", "", "", "boilerpipe")


def test_a_missing_newspaper_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(room.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'webtext\[newspaper\]'"):
        extract(b"", "", "", "newspaper")


def test_an_engine_that_raises_loses_the_page_by_name(monkeypatch):
    def broken(page, url):
        raise RecursionError("too deep")

    monkeypatch.setitem(ENGINES, "trafilatura", broken)
    assert extract(b"<p>text</p>", "", "", "trafilatura") == Extraction(Outcome.EXTRACT_CRASHED, engine="trafilatura")


def test_shortage_of_memory_is_not_hidden(monkeypatch):
    def hungry(page, url):
        raise MemoryError

    monkeypatch.setitem(ENGINES, "trafilatura", hungry)
    with pytest.raises(MemoryError):
        extract(b"<p>text</p>", "", "", "trafilatura")


@pytest.mark.parametrize("body", [b"", b"   ", b"<html><body></body></html>", b"<script>var a = 1</script>"])
@pytest.mark.parametrize("engine", ["cascade", "trafilatura", "resiliparse"])
def test_a_page_without_text_is_no_text(body, engine):
    assert extract(body, "text/html", "", engine).outcome is Outcome.NO_TEXT


def test_plain_text_passes_through_decoded_and_clean():
    found = extract(CP1252.encode("cp1252") + b"\r\n\r\n\r\n<p> 1 < 2", "Text/Plain; charset=iso-8859-1", "", "cascade")
    assert found == Extraction(Outcome.KEPT, CP1252 + "\n\n<p> 1 < 2", "", "plain")


@pytest.mark.parametrize(
    ("codec", "header", "meta"),
    [
        ("utf-8", "", "utf-8"),
        ("utf-8", "text/html; charset=ISO-8859-1", "iso-8859-1"),
        ("utf-8", "text/html; charset=shift_jis", "gbk"),
        ("cp1252", "", "windows-1252"),
        ("cp1252", "text/html; charset=iso-8859-1", "iso-8859-1"),
        ("cp1252", "text/html; charset=utf-8", "utf-8"),
        ("cp1252", "", "no-such-charset"),
        ("cp1252", "text/html; charset=hex", "base64"),
        ("utf-8-sig", "text/html; charset=iso-8859-1", "iso-8859-1"),
        ("utf-16", "text/html; charset=utf-8", "utf-8"),
        ("utf-16-le", "text/html", "utf-16"),
        ("utf-16-be", "text/html; charset=utf-8", "utf-8"),
        ("utf-32", "", "utf-8"),
    ],
)
def test_a_wrong_declaration_still_gives_the_right_text(codec, header, meta):
    assert CP1252 in decode(html_of(CP1252, codec, meta), header)
    assert CP1252 in extract(html_of(CP1252, codec, meta), header, "", "cascade").text


@pytest.mark.parametrize(
    ("codec", "label", "text"),
    [
        ("cp1251", "windows-1251", "Все люди рождаются свободными и равными в своем достоинстве и правах."),
        ("koi8-r", "koi8-r", "Все люди рождаются свободными и равными в своем достоинстве и правах."),
        ("cp1253", "windows-1253", "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια."),
        ("cp932", "Shift_JIS", "すべての人間は、生まれながらにして自由であり、①かつ、尊厳と権利とについて平等である。"),
        ("euc-jp", "EUC-JP", "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。"),
        ("gb18030", "gb2312", "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心,并应以兄弟关系的精神相对待。"),
        ("big5", "big5", "人人生而自由,在尊嚴和權利上一律平等。他們賦有理性和良心,並應以兄弟關係的精神相對待。"),
    ],
)
def test_other_scripts_are_read_whether_declared_undeclared_or_called_latin(codec, label, text):
    page = f"<html><body><p>{text}</p><p>{text}</p></body></html>".encode(codec)
    for header in (f"text/html; charset={label}", "text/html", "text/html; charset=iso-8859-1"):
        assert text in decode(page, header), header


def test_the_meta_element_is_heard_against_a_latin_1_header():
    text = "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności."
    assert text in decode(html_of(text, "iso8859-2"), "text/html; charset=ISO-8859-1")


def test_seven_bit_japanese_is_not_taken_for_ascii():
    text = "すべての人間は自由である"
    assert text in decode(f"<p>{text}</p>".encode("iso2022_jp"), "text/html")


def test_a_few_faults_do_not_turn_utf_8_into_something_else():
    text = "Größe, Übermut, Äpfel, naïve Cafés – “so” — ” – ‘ ’ é è ü ö ä ß"
    assert decode(text.encode() + b"\xe2\x80", "") == text + "\ufffd"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "header", ["", "text/html; charset=utf-8", "text/html; charset=gbk", "text/plain; charset=latin1"]
)
def test_bytes_that_are_no_text_are_undecodable(seed, header):
    noise = random.Random(seed).randbytes(5_000)
    assert extract(noise, header, "", "cascade") == Extraction(Outcome.UNDECODABLE)


@pytest.mark.parametrize(
    "beginning", [b"%PDF-1.4\n", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"PK\x03\x04", b"\xff\xd8\xff\xe0"]
)
def test_known_binary_files_are_undecodable_whatever_follows(beginning):
    assert extract(beginning + b"words " * 100, "text/html", "", "cascade").outcome is Outcome.UNDECODABLE


def test_nothing_is_cut_at_a_nul_or_at_half_a_character():
    page = article([*SENTENCES[:2], "Here\0is a zero, &#0; and &#xD800; and \ufffe too.", *SENTENCES[2:]])
    for body in (page.encode(), page.encode("utf-16"), page.encode().replace(b"zero", b"zero \xed\xa0\x80")):
        for engine in ("cascade", "trafilatura", "resiliparse"):
            found = extract(body, "text/html", "", engine)
            assert SENTENCES[-1] in found.text
            assert found.text.encode().decode() == found.text
            assert "\0" not in found.text


@pytest.mark.parametrize(
    ("head", "title"),
    [
        ("<title>One</title>", "One"),
        ("<title lang=en>\n  One &amp;\n two </title>", "One & two"),
        ('<title>Site</title><meta property="og:title" content="One &quot;two&quot;">', 'One "two"'),
        ("<title>Site</title><meta content='One' property=og:title>", "One"),
        ('<title>Site</title><meta property="og:title" content="">', "Site"),
        ('<meta property="og:title:alt" content="One">', ""),
        ("<title></title>", ""),
        ("<TITLE>One</TITLE>", "One"),
        ("", ""),
        ("<title>" + "word " * 100, "word " * 59 + "word"),
        ("<title>&#xD800;it&#146;s</title>", "\ufffdit’s"),
        (" " * 200_000 + "<title>Late</title>", ""),
    ],
)
def test_the_title_is_one_short_clean_line(head, title):
    assert title_of(f"<html><head>{head}</head><body>") == title
