"""Which rule of a robots.txt decides: the longest as written, in one spelling, whatever stars it holds."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.fetch.matching import Paths, Rule, path_of, rules_of


@pytest.mark.parametrize(
    ("allow", "disallow", "path", "allowed"),
    [
        ("/*?", "/cart", "/cart?add=1", False),  # three octets against five
        ("*.js", "/*?", "/b.js?v=1", True),  # four against three
        ("/a?b=c", "/a?b=", "/a?b=c", True),
        ("/page", "/page", "/page", True),  # as long: the least restrictive, RFC 9309, section 2.2.2
        ("/p", "/", "/page", True),
        ("/folder", "/folder/", "/folder/page", False),
        ("/$", "/", "/", True),
        ("/$", "/", "/page", False),
        ("/page", "/*.htm", "/page.htm", False),
        ("/x", "/*.php$", "/page.php5", True),
        ("/x", "/*.php$", "/page.php", False),
        ("/x", "/fish*.php", "/fishheads/catfish.php?id=1", False),
        ("/x", "/%7Ejoe", "/~joe/index.html", False),
        ("/x", "/~joe", "/%7ejoe", False),
        ("/x", "/a%3cd", "/a%3Cd.html", False),
        ("/x", "/a%2fb", "/a/b", True),  # a reserved character is another one escaped
        ("/x", "/ツ", "/%E3%83%84", False),
        ("/x", "/%e3%83%84", "/ツ", False),
        ("/x", "/path/file-with-a-%2A.html", "/path/file-with-a-*.html", False),
        ("/x", "/a$b", "/a$b", False),
        ("/index.html", "/", "/", True),
        ("/index.html", "/", "/other", False),
        ("", "/", "/page", False),
        ("/x", "", "/page", True),
        ("/x", "/?a", "?a", False),
    ],
)
def test_the_longest_rule_decides(allow, disallow, path, allowed):
    for lines in ([("allow", allow), ("disallow", disallow)], [("disallow", disallow), ("allow", allow)]):
        assert Paths.of(lines).allow(f"http://a.test{path}") is allowed


def test_without_a_rule_everything_is_allowed():
    assert Paths().allow("http://a.test/")
    assert Paths.of([("disallow", "/x")]).allow("http://x.test/y#/x")


@given(st.text("ab*", max_size=8), st.booleans(), st.text("ab/", max_size=12))
def test_stars_match_as_in_a_regular_expression(pattern, anchored, rest):
    (rule,) = rules_of(allows=False, value=f"/{pattern}{'$' if anchored else ''}")
    obvious = "".join(".*" if one == "*" else re.escape(one) for one in f"/{pattern}") + ("$" if anchored else "")
    assert rule.matches(f"/{rest}") == bool(re.match(obvious, f"/{rest}"))


def test_many_stars_cost_no_more_than_the_path_is_long():
    (rule,) = rules_of(allows=False, value="/" + "a*" * 500 + "b")
    assert not rule.matches("/" + "a" * 5_000)


@given(st.text(min_size=1))
def test_any_text_is_a_pattern_and_a_path(text):
    assert all(isinstance(one, Rule) for one in rules_of(allows=True, value=text))
    assert path_of(f"http://a.test/{text}").isascii()
    assert path_of(f"http://a.test/{text}").startswith("/")
