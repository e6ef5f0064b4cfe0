import pytest

from pipeline.text.charset import codec_of, declared_early, declared_late
from pipeline.text.decode import decode

LABELS = """
    unicode-1-1-utf-8 unicode11utf8 x-unicode20utf8 utf8 866 csibm866 csisolatin2 iso-ir-101 iso_8859-2:1987 l2 latin4
    csisolatincyrillic asmo-708 csiso88596e ecma-118 elot_928 sun_eu_greek visual csiso88598i logical l6 iso-8859-13
    iso-8859-14 l9 iso-8859-16 koi koi8_r koi8-ru csmacintosh x-mac-roman dos-874 iso-8859-11 tis-620 x-cp1250 cp1251
    ansi_x3.4-1968 us-ascii cp819 iso_8859-1:1987 latin1 windows-1253 iso-8859-9 latin5 windows-1255 windows-1256
    windows-1257 windows-1258 x-mac-cyrillic x-mac-ukrainian chinese csiso58gb231280 gb2312 gb_2312-80 x-gbk gb18030
    big5-hkscs cn-big5 x-x-big5 cseucpkdfmtjapanese x-euc-jp csiso2022jp csshiftjis ms932 ms_kanji sjis windows-31j
    x-sjis cseuckr iso-ir-149 korean ks_c_5601-1987 ks_c_5601-1989 ksc5601 windows-949 hz-gb-2312 iso-2022-kr
    replacement unicodefffe csunicode iso-10646-ucs-2 utf-16le x-user-defined
"""
POLISH = "Zażółć gęślą jaźń: wszyscy ludzie rodzą się wolni i równi pod względem swej godności i praw."


def means(codec, label):
    probe = bytes(range(0x80, 0x100))
    return probe.decode(codec, "replace") == probe.decode(f"whatwg-{label}", "replace")


@pytest.mark.parametrize("label", LABELS.split())
def test_every_kind_of_label_of_the_standard_is_known_in_any_case_and_with_blanks_around_it(label):
    assert codec_of(f" {label.upper()}\n") == codec_of(label) is not None


@pytest.mark.parametrize("label", ["", "hex", "utf-7", "base64", "idna", "no such", "é", "a\0b", "utf-8" * 20])
def test_what_is_no_label_of_the_standard_is_none(label):
    assert codec_of(label) is None


@pytest.mark.parametrize(
    ("label", "same"),
    [
        ("ks_c_5601-1987", "euc-kr"),
        ("gb_2312-80", "gbk"),
        ("iso_8859-2:1987", "iso-8859-2"),
        ("latin1", "windows-1252"),
    ],
)
def test_a_label_means_what_the_standard_says(label, same):
    assert means(codec_of(label), same)


@pytest.mark.parametrize(
    "head",
    [
        b"<meta charset=gbk>",
        b"<META/CHARSET = 'GBK' />",
        b'<meta http-equiv=Content-Type content="text/html; charset=gbk">',
        b"<meta content=\"text/html; charset='gbk'; x\" http-equiv='content-type'/>",
        b'<meta http-equiv=content-type content="charset; charset = gbk">',
        b"<!-- <meta charset=big5> --><meta charset=gbk>",
        b"<!--><meta charset=gbk><!-- -->",
        b"<!-- > <meta charset=big5> --><meta charset=gbk>",
        b'<meta name=keywords content="text/html; charset=big5"><meta charset=gbk>',
        b'<meta content="text/html; charset=big5"><meta charset=gbk>',
        b"<meta charset=no-such-charset><meta charset=gbk>",
        b'<p title="<meta charset=big5>"><meta charset=gbk>',
        b"<metadata charset=big5><meta charset=gbk>",
        b"<meta charset=gbk charset=big5>",
        b'<!DOCTYPE html "<meta charset=big5"><?php <meta charset=big5 ?></meta charset=big5><meta charset=gbk>',
    ],
)
def test_the_element_that_declares_is_told_from_what_only_looks_like_one(head):
    for codec in (*declared_early(head), *declared_late(head)):
        assert means(codec, "gbk")
    assert len(declared_early(head)) == len(declared_late(head)) == 1


@pytest.mark.parametrize(
    "head",
    [
        b"", b"<meta charset=>", b'<meta charset="gbk', b"<!-- <meta charset=gbk>", b"<meta name=charset content=gbk>",
        b'<meta name=description content="charset=gbk">', b"charset=gbk", b"<link charset=gbk>",
    ],
)  # fmt: skip
def test_nothing_is_declared_where_nothing_is(head):
    assert declared_early(head) == declared_late(head) == []


def test_markup_cannot_declare_what_it_could_not_have_been_read_in():
    assert means(declared_early(b"<meta charset=utf-16>")[0], "utf-8")
    assert means(declared_early(b"<meta charset=x-user-defined>")[0], "windows-1252")


def test_the_prescan_reads_1024_bytes_and_a_parser_the_rest_but_not_within_scripts():
    late = b"<style>" + b".a{color:red}" * 400 + b"</style><meta charset=windows-1250>"
    assert declared_early(late) == []
    assert means(declared_late(late)[0], "windows-1250")
    hidden = b"<script>document.write('<meta charset=big5>')</SCRIPT ><meta charset=windows-1250>"
    assert means(declared_early(hidden)[0], "big5")  # as browsers' prescan does
    assert means(declared_late(hidden)[0], "windows-1250")
    assert declared_late(b"<title><meta charset=big5>") == []


def test_an_xml_declaration_counts_after_the_meta_element():
    xhtml = b"<?xml version='1.0' encoding='iso-8859-2'?><html><head>"
    assert means(declared_early(xhtml)[0], "iso-8859-2")
    assert means(declared_early(xhtml + b"<meta charset=gbk>")[0], "gbk")


@pytest.mark.parametrize(
    "head",
    [
        "<style>" + ".menu{margin:0}" * 1_000 + "</style><meta charset=windows-1250>",
        "<!-- <meta charset=iso-8859-5> --><meta charset=windows-1250>",
        '<meta name=keywords content="charset=iso-8859-5, fonts"><meta charset=windows-1250>',
        "<script>var a = '<meta charset=iso-8859-5>'</script>" * 30 + "<meta charset=windows-1250>",
    ],
)
def test_a_page_is_read_in_what_its_own_element_declares(head):
    body = f"<html><head>{head}</head><body><p>{POLISH}</p></body></html>".encode("cp1250")
    early = head.startswith("<script>")  # there the prescan hears the script, as it does in browsers
    assert (POLISH in decode(body, "text/html")) is not early
    assert POLISH in decode(body, "text/html; charset=windows-1250")


def test_plain_text_declares_nothing_in_its_text():
    body = b"\xe9t\xe9: write <meta charset=windows-1251> at the top"
    assert decode(body, "text/plain").startswith("été")
    assert decode(body, "text/html").startswith("йtй")


@pytest.mark.parametrize(
    "piece", [b"<", b"<a ", b'<a b="', b"<a b='", b"<!--", b"<a b= ", b"<script>", b"a=", b"<meta "]
)
def test_no_head_is_slow_to_read(piece):
    assert (
        declared_late(piece * (900_000 // len(piece))) == []
    )  # a search that goes back at every byte would take hours
