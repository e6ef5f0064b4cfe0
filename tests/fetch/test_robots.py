import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.fetch.robots import LIMIT_BYTES, parse, product_token, rules_for_status
from pipeline.shards.outcomes import Outcome

GOOGLE = Path(__file__).resolve().parents[2] / "../shared/data/robots/google_cases.jsonl"
PAGE = "http://a.test/private/page?q=1"


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("", True),
        ("User-agent: *\nDisallow: /private", False),
        ("User-agent: *\nDisallow: /private\nAllow: /private/page", True),
        ("User-agent: other\nDisallow: /", True),
        ("User-agent: webtext\nDisallow: /", False),
        ("user-AGENT: WebText/2.0\nDisallow: /", False),
        ("User-agent: web\nDisallow: /", True),
        ("User-agent: webtext-news\nDisallow: /", True),
        ("User-agent: *\nDisallow: /\n\nUser-agent: webtext\nDisallow:", True),
        ("User-agent: a\nUser-agent: webtext\nDisallow: /", False),
        ("User-agent: webtext\nAllow: /x\n\nUser-agent: webtext\nDisallow: /private", False),
        ("User-agent: *\rDisallow: /private", False),
        ("\ufeffUser-agent: *\nDisallow: /private", False),
        ("User-agent: *\nDisallow: /*q=1$", False),
        ("User-agent: *\nDisallow: /private$", True),
        ("User-agent: *\nSitemap: http://a.test/s.xml\nNoindex: /\nDisallow: /private # said at 9\u2028", False),
        ("Disallow: /", True),
        ("<html><body>Disallow: /</body></html>", True),
    ],
)
def test_a_robots_txt_allows_what_rfc_9309_says(text, allowed):
    assert parse(text.encode(), "webtext").allowed(PAGE) is allowed


@pytest.mark.skipif(not GOOGLE.exists(), reason="../shared/data/robots is not there")
def test_the_assertions_of_googles_parser_hold():
    cases = [json.loads(line) for line in GOOGLE.read_text().splitlines()]
    wrong = [
        case
        for case in cases
        if parse(case["robots_txt"].encode(), product_token(case["user_agent"])).allowed(case["url"]) != case["allowed"]
    ]
    assert len(cases) == 102
    assert wrong == []


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, "robots_disallowed"),
        (204, "robots_disallowed"),
        (301, "kept"),
        (401, "kept"),
        (403, "kept"),
        (404, "kept"),
        (410, "kept"),
        (429, "kept"),
        (500, "robots_unreachable"),
        (503, "robots_unreachable"),
        (999, "robots_unreachable"),
        (None, "robots_unreachable"),
    ],
)
def test_the_status_of_robots_txt_decides(status, outcome):
    assert rules_for_status(status, b"User-agent: *\nDisallow: /", "webtext").outcome(PAGE) is Outcome(outcome)


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("Crawl-delay: 7.5", 7.5),
        ("Crawl-delay: soon", 0.0),
        ("Crawl-delay: -3", 0.0),
        ("Crawl-delay: inf", 0.0),
        ("Crawl-delay: nan", 0.0),
        ("", 0.0),
    ],
)
def test_crawl_delay_is_seconds_or_nothing(line, seconds):
    assert parse(f"User-agent: *\n{line}\nDisallow: /x".encode(), "webtext").crawl_delay == seconds


def test_crawl_delay_for_another_agent_does_not_count():
    rules = parse(b"User-agent: other\nCrawl-delay: 9\n\nUser-agent: *\nDisallow: /x", "webtext")
    assert rules.crawl_delay == 0.0


def test_only_the_first_500_kib_count():
    head = b"User-agent: *\n"
    rule = b"Disallow: /private\n"
    padding = b"#" * (LIMIT_BYTES - len(head) - len(rule) - 1) + b"\n"
    assert not parse(head + padding + rule, "webtext").allowed(PAGE)
    assert parse(head + padding + b"#" * len(rule) + b"\n" + rule, "webtext").allowed(PAGE)


@pytest.mark.parametrize(
    ("software", "token"),
    [("webtext/1.2", "webtext"), ("WebText", "webtext"), ("Foo Bar/1", ""), ("", ""), ("a_b-c/0", "a_b-c")],
)
def test_the_product_token_is_the_name_of_the_software(software, token):
    assert product_token(software) == token


@given(st.binary(max_size=400))
def test_any_bytes_are_a_robots_txt(body):
    assert parse(body, "webtext").allowed(PAGE) in (True, False)
