import gzip
import zlib

import brotli
import pytest
import zstandard

from pipeline.config import PagesSettings
from pipeline.fetch.response import Refused, decode, judge, opt_outs_of, outcome_of_status
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
    assert decode(body, encodings, LIMIT) == TEXT


@pytest.mark.failure(
    "a body is a compression bomb", "outcome `too_large` or `bad_encoding`; memory stays bounded", "nothing"
)
@pytest.mark.parametrize(
    ("encodings", "body", "outcome"),
    [
        ("gzip", b"rubbish", "bad_encoding"),
        ("deflate", b"rubbish", "bad_encoding"),
        ("br", b"rubbish", "bad_encoding"),
        ("zstd", b"rubbish", "bad_encoding"),
        ("gzip", gzip.compress(TEXT)[:-1], "bad_encoding"),
        ("deflate", zlib.compress(TEXT)[:-5], "bad_encoding"),
        ("br", brotli.compress(TEXT)[:-1], "bad_encoding"),
        ("zstd", zstandard.compress(TEXT)[:-1], "bad_encoding"),
        ("snappy", TEXT, "bad_encoding"),
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
        decode(body, encodings, LIMIT)
    assert raised.value.outcome is Outcome(outcome)


def test_html_labelled_as_compressed_is_taken_as_it_is():
    assert decode(b"<html><p>not compressed", "gzip", LIMIT) == b"<html><p>not compressed"


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b"  \n<!DOCTYPE html><p>x", "kept"),
        (b"\xef\xbb\xbf<html lang=en>", "kept"),
        (b"<!-- by hand --><p>", "kept"),
        (b"<abbr>", "not_html"),
        (b"%PDF-1.7", "not_html"),
        (b"", "empty_body"),
    ],
)
def test_a_missing_content_type_is_judged_by_the_look_of_the_body(body, outcome):
    verdict = judge(200, (), body, PagesSettings())
    assert verdict.outcome is Outcome(outcome)
    assert verdict.content_type == ("text/html" if outcome == "kept" else "")


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
    verdict = judge(200, headers, b"<p>x", PagesSettings(opt_outs=obey))
    assert verdict.outcome is Outcome(outcome)
    assert verdict.opt_outs == ("header:noai",)
