import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import PagesSettings
from pipeline.fetch import robots
from pipeline.fetch.robots import LIMIT_BYTES, Cache, known, obeyed_agents, parse, product_token, rules_for_status
from pipeline.shards.outcomes import ConfigError, Outcome

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
    assert parse(text.encode(), "webtext", ()).allowed(PAGE) is allowed


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
def test_a_robots_txt_of_a_windows_editor_is_read(encoding):
    text = "User-agent: *\r\nDisallow: /private\r\n"
    assert not parse(text.encode(encoding), "webtext", ()).allowed(PAGE)
    assert parse(text.encode(encoding), "webtext", ()).allowed("http://a.test/other")


@pytest.mark.skipif(not GOOGLE.exists(), reason="../shared/data/robots is not there")
def test_the_assertions_of_googles_parser_hold():
    cases = [json.loads(line) for line in GOOGLE.read_text().splitlines()]
    wrong = [
        case
        for case in cases
        if parse(case["robots_txt"].encode(), product_token(case["user_agent"]), ()).allowed(case["url"])
        != case["allowed"]
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
        (429, "robots_unreachable"),
        (500, "robots_unreachable"),
        (503, "robots_unreachable"),
        (999, "robots_unreachable"),
        (None, "robots_unreachable"),
    ],
)
def test_the_status_of_robots_txt_decides(status, outcome):
    assert rules_for_status(status, b"User-agent: *\nDisallow: /", "webtext", ()).outcome(PAGE) is Outcome(outcome)


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
    assert parse(f"User-agent: *\n{line}\nDisallow: /x".encode(), "webtext", ()).crawl_delay == seconds


@pytest.mark.parametrize(
    "line", ["Crawl-delay: 5", "Sitemap: /s.xml", "Content-Signal: search=yes", "Host: a.test", "x"]
)
@pytest.mark.parametrize("order", [("webtext", "*"), ("*", "webtext"), ("other", "*"), ("other", "webtext")])
def test_only_allow_and_disallow_end_the_agents_of_a_group(line, order):
    first, second = order
    text = f"User-agent: {first}\n{line}\n\nUser-agent: {second}\nDisallow: /private\n"
    assert not parse(text.encode(), "webtext", ()).allowed(PAGE)
    assert parse(f"{text}User-agent: webtext\nAllow: /private/page".encode(), "webtext", ()).allowed(PAGE)


def test_other_lines_among_the_agents_are_for_those_before_them():
    text = b"User-agent: other\nCrawl-delay: 5\nContent-Usage: train-ai=n\nUser-agent: %s\nDisallow: /private\n"
    others = parse(text % b"webtext", "webtext", ())
    assert (others.crawl_delay, others.opt_outs("http://a.test/"), others.allowed(PAGE)) == (0.0, (), False)
    ours = parse(text.replace(b"other", b"webtext") % b"*", "webtext", ())
    assert (ours.crawl_delay, ours.opt_outs("http://a.test/"), ours.allowed(PAGE)) == (
        5.0,
        ("robots:content-usage",),
        False,
    )


def test_crawl_delay_for_another_agent_does_not_count():
    rules = parse(b"User-agent: other\nCrawl-delay: 9\n\nUser-agent: *\nDisallow: /x", "webtext", ())
    assert rules.crawl_delay == 0.0


def test_only_the_first_500_kib_count():
    head = b"User-agent: *\n"
    rule = b"Disallow: /private\n"
    padding = b"#" * (LIMIT_BYTES - len(head) - len(rule) - 1) + b"\n"
    assert not parse(head + padding + rule, "webtext", ()).allowed(PAGE)
    assert parse(head + padding + b"#" * len(rule) + b"\n" + rule, "webtext", ()).allowed(PAGE)


@pytest.mark.parametrize(
    ("software", "token"),
    [("webtext/1.2", "webtext"), ("WebText", "webtext"), ("Foo Bar/1", ""), ("", ""), ("a_b-c/0", "a_b-c")],
)
def test_the_product_token_is_the_name_of_the_software(software, token):
    assert product_token(software) == token


@given(st.binary(max_size=400))
def test_any_bytes_are_a_robots_txt(body):
    assert parse(body, "webtext", ()).allowed(PAGE) in (True, False)


# The example of draft-ietf-aipref-attach, section 3.4, and what surrounds it.
DRAFT = """
User-Agent: *
Allow: /
Disallow: /never/
Content-Usage: train-ai=n
Content-Usage: /ai-ok/ train-ai=y

User-Agent: ExampleBot
Allow: /
Content-Usage: train-ai=y
"""


@pytest.mark.parametrize(
    ("text", "path", "asks_not_to"),
    [
        (DRAFT, "/test", True),
        (DRAFT, "/never/test", False),
        (DRAFT, "/ai-ok/test", False),
        (DRAFT.replace("ExampleBot", "webtext"), "/test", False),
        ("User-agent: *\nContent-Usage: search=n", "/", False),
        ("User-agent: *\nContent-Usage: ai=n", "/", True),
        ("User-agent: *\nContent-Usage: ai=n, train-ai=y", "/", False),
        ("User-agent: *\nContent-Usage: /a train-ai=n;why=art", "/a/b", True),
        ("User-agent: *\nContent-Usage: /a train-ai=n\nContent-Usage: /a train-ai=y", "/a", True),
        ("User-agent: *\nContent-Usage: /*.txt$ train-ai=n", "/a.txt", True),
        ("User-agent: *\nContent-Usage: /*.txt$ train-ai=n", "/a.txt?b", False),
        ("User-agent: *\nContent-Usage: nonsense", "/", False),
        ("User-agent: *\nContent-Usage:", "/", False),
        ("Content-Usage: train-ai=n", "/", False),
        ("User-agent: other\nContent-Usage: train-ai=n", "/", False),
        ("User-agent: *\nContent-Signal: search=yes, ai-train=no\nAllow: /", "/", True),
        ("User-agent: *\nContent-Signal: search=yes, ai-train=yes", "/", False),
    ],
)
def test_usage_preferences_are_read_as_their_draft_says(text, path, asks_not_to):
    found = parse(text.encode(), "webtext", ()).opt_outs(f"http://a.test{path}")
    assert found == (("robots:content-usage",) if asks_not_to else ())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("User-agent: GPTBot\nDisallow: /", ("robots:gptbot",)),
        ("User-agent: GPTBot\nUser-agent: AI2Bot/1.0\nDisallow: /private", ("robots:ai2bot", "robots:gptbot")),
        ("User-agent: GPTBot-News\nDisallow: /", ()),
        ("User-agent: GPTBot\nDisallow: /elsewhere", ()),
        ("User-agent: *\nDisallow: /", ()),
        ("User-agent: *\nDisallow: /\n\nUser-agent: GPTBot\nAllow: /", ()),
    ],
)
def test_groups_of_agents_that_the_settings_obey_count_like_ours(text, found):
    rules = parse(text.encode(), "webtext", ("ai2bot", "gptbot"))
    assert rules.opt_outs(PAGE) == found
    assert rules.allowed(PAGE) is (not found and "*" not in text)
    assert parse(text.encode(), "webtext", ()).allowed(PAGE) is ("*" not in text)


@pytest.mark.parametrize("name", ["GPT Bot", "", "Bot/1.0", "Böt"])
def test_an_agent_that_no_group_can_name_is_refused(name):
    with pytest.raises(ConfigError, match=r"pages\.obey_agents"):
        obeyed_agents(PagesSettings(obey_agents=("CCBot", name)))


def test_agents_are_obeyed_once_whatever_their_case():
    assert obeyed_agents(PagesSettings(obey_agents=("GPTBot", "gptbot", "CCBot"))) == ("ccbot", "gptbot")


def test_a_robots_txt_is_remembered_for_a_day():
    now = [100.0]
    cache = Cache("webtext", (), lambda: now[0])
    cache.put(known("http://a.test/robots.txt", 100.0, 200, b"User-agent: *\nDisallow: /private\nSitemap: /x"))
    cache.put(known("http://b.test/robots.txt", 100.0, 404, b"User-agent: *\nDisallow: /private"))
    for now[0], there in ((100.0, True), (86_499.0, True), (86_500.0, False), (99.0, False)):
        found = [cache.get(f"http://{host}.test/robots.txt") for host in "ab"]
        assert [one is not None for one in found] == [there, there]
        assert not there or [one.allowed(PAGE) for one in found] == [False, True]
    assert cache.get("http://c.test/robots.txt") is None


def test_what_is_remembered_is_bounded_and_the_oldest_goes_first(monkeypatch):
    monkeypatch.setattr(robots, "CACHE_CHARACTERS", 100)
    cache = Cache("webtext", (), lambda: 0.0)
    for number in range(5):
        cache.put(known(f"http://{number}.test/robots.txt", 0.0, 200, b"User-agent: *\nDisallow: /" + b"x" * 20))
    assert [cache.get(f"http://{number}.test/robots.txt") is not None for number in range(5)] == [0, 0, 0, 1, 1]
    cache.put(known("http://long.test/robots.txt", 0.0, 200, b"User-agent: *\nDisallow: /" + b"x" * 200))
    assert cache.get("http://long.test/robots.txt") is not None
    assert len(cache.found) == 1


@given(st.binary(max_size=400))
def test_what_is_remembered_says_the_same_as_the_file(body):
    said = parse(body, "webtext", ("gptbot",))
    cache = Cache("webtext", ("gptbot",), lambda: 0.0)
    cache.put(known("http://a.test/robots.txt", 0.0, 200, body))
    again = cache.get("http://a.test/robots.txt")
    for url in (PAGE, "http://a.test/", "http://a.test/0"):
        assert (again.allowed(url), again.opt_outs(url)) == (said.allowed(url), said.opt_outs(url))
    assert again.crawl_delay == said.crawl_delay
