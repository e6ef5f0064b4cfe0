import gzip
import zlib

import brotli
import pytest
import zstandard

from pipeline.config import PagesSettings
from pipeline.fetch.heads import Head
from pipeline.fetch.media_types import content_type_of, sniffed
from pipeline.fetch.opt_outs import opt_outs_of
from pipeline.fetch.response import Refused, beginning, decode, judge, outcome_of_status
from pipeline.shards.outcomes import Outcome

TEXT = b"plain words, " * 50
LIMIT = 1_000


@pytest.mark.parametrize(
    ("status", "content_type", "length", "outcome"),
    [
        (200, "text/html", 9, "kept"),
        (203, "application/xhtml+xml", 9, "kept"),
        (200, "text/plain", 9, "kept"),
        (200, "image/png", 9, "not_html"),
        (200, "image/png", 0, "not_html"),
        (200, "", 9, "not_html"),
        (200, "text/html", 0, "empty_body"),
        (301, "text/html", 9, "bad_redirect"),
        (304, "text/html", 9, "bad_status"),
        (404, "text/html", 9, "not_found"),
        (410, "", 0, "not_found"),
        (403, "text/html", 9, "client_error"),
        (429, "text/html", 9, "client_error"),
        (500, "text/html", 9, "server_error"),
        (599, "image/png", 9, "server_error"),
        (999, "text/html", 9, "bad_status"),
        (101, "text/html", 9, "bad_status"),
    ],
)
def test_status_and_type_decide_the_outcome(status, content_type, length, outcome):
    assert outcome_of_status(status, content_type, length) is Outcome(outcome)


def raw_deflate(body):
    return zlib.compress(body)[2:-4]


@pytest.mark.parametrize(
    ("encodings", "body"),
    [
        ("", TEXT),
        ("identity", TEXT),
        ("gzip", gzip.compress(TEXT)),
        ("x-gzip", gzip.compress(TEXT)),
        ("GZIP", gzip.compress(TEXT[:9]) + gzip.compress(TEXT[9:])),
        ("gzip", gzip.compress(TEXT) + b"\0\0padding"),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", raw_deflate(TEXT)),
        ("br", brotli.compress(TEXT)),
        ("zstd", zstandard.compress(TEXT)),
        ("deflate, gzip", gzip.compress(zlib.compress(TEXT))),
    ],
)
def test_a_content_coding_is_undone(encodings, body):
    assert decode(body, (("Content-Encoding", encodings),), LIMIT) == TEXT


@pytest.mark.failure(
    "a body is a compression bomb", "outcome `too_large` or `bad_encoding`; memory stays bounded", "nothing"
)
@pytest.mark.parametrize(
    ("encodings", "body", "outcome"),
    [
        ("gzip", b"\x01rubbish", "bad_encoding"),
        ("deflate", b"\x07rubbish", "bad_encoding"),
        ("br", b"\x00rubbish", "bad_encoding"),
        ("zstd", b"\x28\xb5\x2f\xfdrubbish", "bad_encoding"),
        ("gzip", gzip.compress(TEXT)[:30], "bad_encoding"),
        ("gzip", gzip.compress(TEXT)[:-1], "bad_encoding"),
        ("deflate", zlib.compress(TEXT)[:-5], "bad_encoding"),
        ("br", brotli.compress(TEXT)[:-1], "bad_encoding"),
        ("zstd", zstandard.compress(TEXT)[:-1], "bad_encoding"),
        ("compress", b"\x1f\x9d\x90" + TEXT, "bad_encoding"),
        ("gzip, gzip, gzip, gzip", TEXT, "bad_encoding"),
        ("", bytes(LIMIT + 1), "too_large"),
        ("gzip", gzip.compress(bytes(LIMIT + 1)), "too_large"),
        ("deflate", raw_deflate(bytes(50_000_000)), "too_large"),
        ("br", brotli.compress(bytes(LIMIT + 1)), "too_large"),
        ("zstd", zstandard.compress(bytes(LIMIT + 1)), "too_large"),
        ("gzip, gzip", gzip.compress(gzip.compress(bytes(LIMIT + 1))), "too_large"),
    ],
)
def test_a_coding_that_is_broken_or_too_large_is_refused(encodings, body, outcome):
    with pytest.raises(Refused) as raised:
        decode(body, (("Content-Encoding", encodings),), LIMIT)
    assert raised.value.outcome is Outcome(outcome)


PROSE = [
    b"<html><p>not compressed",
    b'<?xml version="1.0"?>\n<html xmlns="http://www.w3.org/1999/xhtml"><p>x',
    b'<meta charset="utf-8"><p>x',
    b"Some words of text, and some more of them.\n",
    b"; a semicolon is all that brotli needs",
    b"Kept, since a fixed code of deflate may begin so." * 9,
    "Ein Satz über Bäume.".encode("latin-1"),
    "\ufeffText".encode("utf-16-le"),
    "\ufeffwords".encode(),
    b"x^",
]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "x-gzip, br"])
@pytest.mark.parametrize("body", PROSE)
def test_a_body_that_is_not_in_its_coding_is_what_it_is(coding, body):
    assert decode(body, (("Content-Encoding", coding),), LIMIT) == body


@pytest.mark.parametrize("name", ["none", "utf-8", "UTF-8, none", "identity", "binary", "8bit", "text/html", "", ","])
def test_a_content_encoding_that_names_no_coding_is_passed_over(name):
    for body in PROSE:
        assert decode(body, (("Content-Encoding", name),), LIMIT) == body
    assert decode(gzip.compress(TEXT), (("Content-Encoding", name), ("content-encoding", "gzip")), LIMIT) == TEXT


@pytest.mark.parametrize("name", ["deflate", "br", "none"])
def test_what_gzip_made_is_known_whatever_it_is_said_to_be(name):
    assert decode(gzip.compress(TEXT), (("Content-Encoding", name),), LIMIT) == TEXT


def test_transfer_codings_are_undone_before_content_codings():
    headers = (("Content-Encoding", "deflate"), ("Transfer-Encoding", "gzip, chunked"))
    assert decode(gzip.compress(zlib.compress(TEXT)), headers, LIMIT) == TEXT


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
def test_the_beginning_of_a_text_is_had_from_a_cut_a_large_and_a_mislabelled_body(coding):
    text = b"".join(b"Disallow: /%d\n" % (n * n * 7919) for n in range(9_000))
    packed = {"gzip": gzip.compress, "deflate": zlib.compress, "br": lambda one: brotli.compress(one, quality=1)}
    headers = (("Content-Encoding", coding),)
    body = packed[coding](text)
    assert beginning(body, headers, 1_000) == text[:1_000]
    assert beginning(body, headers, 10**6) == text
    assert beginning(body[: len(body) // 2], headers, 1_000) == text[:1_000]
    assert beginning(text, headers, 1_000) == text[:1_000]
    assert beginning(gzip.compress(text), (), 1_000) == text[:1_000]
    with pytest.raises(Refused):
        beginning(b"\x01\x02\x03", headers, 1_000)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (["text/html"], "text/html"),
        (["Text/HTML;charset=x"], "text/html"),
        (["text/html ; charset=utf-8"], "text/html"),
        (["text/html;;; charset"], "text/html"),
        (["text/html, text/html"], "text/html"),
        (["image/png", "text/html"], "text/html"),
        (["text/html, nonsense"], "text/html"),
        (['text/html;x="a,image/png", nonsense'], "text/html"),
        (['text/html;x="never closed, image/png'], "text/html"),
        (["text/html, */*"], "text/html"),
        (["text/html, image/png"], "image/png"),
        (["text/html charset=utf-8"], ""),
        (['"text/html"'], ""),
        (["text"], ""),
        (["/html"], ""),
        (["text/"], ""),
        (["*/*"], ""),
        (["unknown/unknown"], ""),
        (["application/unknown;x"], ""),
        (["text/html\xa0"], ""),
        (["", ","], ""),
        ([], ""),
    ],
)
def test_the_last_content_type_that_is_one_counts(values, found):
    assert content_type_of(tuple(("Content-Type", value) for value in values)) == found


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"  \n<!DOCTYPE html><p>x", "text/html"),
        (b"\xef\xbb\xbf<html lang=en>", "text/html"),
        (b"<!-- by hand --><p>", "text/html"),
        (b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "x"><html>', "application/xhtml+xml"),
        (b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml">', "application/xhtml+xml"),
        (b'<?xml version="1.0"?><rss>', ""),
        (b"Plain words.", "text/plain"),
        ("\ufeffwords".encode("utf-16-be"), "text/plain"),
        (b"<abbr>", ""),
        (b"%PDF-1.7", ""),
        (b"\x89PNG\r\n\x1a\n", ""),
        (gzip.compress(b""), ""),
        (b"", ""),
    ],
)
def test_a_page_without_a_type_is_judged_by_how_it_begins(body, found):
    assert sniffed(body) == found
    for headers in ((), (("Content-Type", "text/html charset=utf-8"),)):
        verdict = judge(Head("1.1", 200, "", headers), body, PagesSettings())
        assert verdict.outcome is (Outcome.KEPT if found else Outcome.NOT_HTML if body else Outcome.EMPTY_BODY)
        assert verdict.content_type == found


HTML = (("Content-Type", "text/html"),)


@pytest.mark.failure(
    "the connection breaks within a page, or a server sends a part of it",
    "outcome `incomplete`, after retries",
    "raise `pages.passes` another day",
)
@pytest.mark.parametrize(
    ("status", "headers", "body", "cut", "outcome"),
    [
        (200, HTML, b"<p>x", "disconnect", "incomplete"),
        (200, HTML, b"", "disconnect", "incomplete"),
        (200, HTML, b"<p>x", "unspecified", "incomplete"),
        (200, HTML, b"<p>x", "length", "too_large"),
        (200, HTML, b"<p>x", "time", "timed_out"),
        (200, (*HTML, ("Content-Encoding", "gzip")), gzip.compress(TEXT)[:30], "disconnect", "incomplete"),
        (200, (*HTML, ("X-Robots-Tag", "noai")), b"<p>x", "disconnect", "incomplete"),
        (206, HTML, b"<p>x", "", "incomplete"),
        (206, (*HTML, ("Content-Range", "bytes 0-2/4")), b"<p>", "", "incomplete"),
        (206, (*HTML, ("Content-Range", "bytes 0-3/4")), b"<p>x", "", "kept"),
        (404, HTML, b"<p>x", "disconnect", "not_found"),
        (200, (("Content-Type", "image/png"),), b"x", "disconnect", "not_html"),
        (200, (*HTML, ("Content-Length", "3"), ("Content-Length", "4")), b"<p>x", "", "bad_response"),
        (404, (*HTML, ("Content-Length", "3"), ("Content-Length", "4")), b"<p>x", "", "not_found"),
    ],
)
def test_what_is_not_all_of_a_page_is_not_kept_as_one(status, headers, body, cut, outcome):
    assert judge(Head("1.1", status, "", headers), body, PagesSettings(), cut).outcome is Outcome(outcome)


@pytest.mark.parametrize(
    ("headers", "head", "found"),
    [
        ((), b"<p>noai is a word here</p>", ()),
        ((("X-Robots-Tag", "noindex"),), b"", ()),
        ((("X-Robots-Tag", "noindex, NoAI"),), b"", ("header:noai",)),
        ((("x-robots-tag", "a"), ("X-ROBOTS-TAG", "otherbot: noimageai")), b"", ("header:noimageai",)),
        ((("TDM-Reservation", "1"),), b"", ("header:tdm-reservation",)),
        ((("TDM-Reservation", "0"),), b"", ()),
        ((("Content-Usage", "train-ai=n"),), b"", ("header:content-usage",)),
        ((("Content-Usage", "search=y, train-ai=n;x=1"),), b"", ("header:content-usage",)),
        ((("Content-Usage", "search=n"), ("content-usage", "AI=N")), b"", ("header:content-usage",)),
        ((("Content-Usage", "train-ai=y, ai=n"),), b"", ()),
        ((("Content-Usage", "train-ai=n, train-ai=y"),), b"", ()),
        ((("Content-Usage", "train-ai"),), b"", ()),
        ((("Content-Signal", "search=yes, ai-train=no"),), b"", ("header:content-signal",)),
        ((), b"<META NAME=robots CONTENT='index, noai, noimageai'>", ("meta:noai", "meta:noimageai")),
        ((), b'<meta content="1" name="tdm-reservation">', ("meta:tdm-reservation",)),
        ((), b'<meta name="tdm-reservation" content="0">', ()),
        ((), b'<meta name="description" content="about noai">', ()),
    ],
)
def test_opt_outs_are_found_in_headers_and_meta(headers, head, found):
    assert opt_outs_of(headers, head) == found


@pytest.mark.parametrize(("obey", "outcome"), [(True, "opted_out"), (False, "kept")])
def test_an_opt_out_is_recorded_and_obeyed_unless_the_settings_say_otherwise(obey, outcome):
    headers = (("Content-Type", "text/html"), ("X-Robots-Tag", "noai"))
    verdict = judge(Head("1.1", 200, "OK", headers), b"<p>x", PagesSettings(opt_outs=obey))
    assert verdict.outcome is Outcome(outcome)
    assert verdict.opt_outs == ("header:noai",)


@pytest.mark.parametrize(
    ("status", "ended", "outcome"),
    [
        (103, False, "incomplete"),
        (100, True, "incomplete"),
        (101, True, "bad_status"),
        (200, False, "incomplete"),
        (404, False, "not_found"),
    ],
)
def test_an_answer_that_never_came_is_incomplete_whatever_was_announced(status, ended, outcome):
    head = Head("1.1", status, "", HTML, ended=ended)
    assert judge(head, b"", PagesSettings()).outcome is Outcome(outcome)
