"""SURT keys: those that the Internet Archive's tools and Common Crawl's index have for the same addresses."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.fetch.surt import surt

ID32, ID24 = "0123456789abcdefghijklemopqrstuv", "4hqa0555fwsecu455xqckv45"

# facts from the tests of iipc/webarchive-commons and internetarchive/surt, and from Common Crawl's index itself
CASES = {
    "http://www.archive.org/": "org,archive)/",
    "http://archive.org": "org,archive)/",
    "https://archive.org/goo/": "org,archive)/goo",
    "http://archive.org/goo/?": "org,archive)/goo",
    "http://archive.org/goo/?b&a": "org,archive)/goo?a&b",
    "http://archive.org/goo/?a=2&b&a=1": "org,archive)/goo?a=1&a=2&b",
    "http://www34.archive.org/index.html?b=a&b=b&a=b": "org,archive)/index.html?a=b&b=a&b=b",
    "http://www2foo.com/": "com,www2foo)/",
    "http://www2.www2foo.com/": "com,www2foo)/",
    "http://www.archive.org:8080/X#foo": "org,archive:8080)/x",
    "https://www.archive.org:443/": "org,archive)/",
    "https://www.archive.org:80/": "org,archive:80)/",
    "http://user:pass@archive.org/": "org,archive)/",
    "http://192.168.1.254/info/": "254,1,168,192)/info",
    "http://host/%25%32%35": "host)/%25",
    "http://host/asdf%25%32%35asd": "host)/asdf%25asd",
    "http://host.com//twoslashes?more//slashes": "com,host)/twoslashes?more//slashes",
    "http://host.com/ab%23cd": "com,host)/ab%23cd",
    "http://www.google.com/blah/..": "com,google)/",
    "http://www.google.com/q?r?s": "com,google)/q?r?s",
    "http://evil.com/foo;": "com,evil)/foo;",
    "http://b\u00fccher.ch/\u00c4": "ch,xn--bcher-kva)/%c3%84",
    "http://example.com/a%20b+c~%7Ed": "com,example)/a%20b+c~~d",
    f"http://archive.org/i.php?PHPSESSID={ID32}&action=profile;u=1": "org,archive)/i.php?action=profile;u=1",
    f"http://archive.org/x?jsessionid={ID32}0": f"org,archive)/x?jsessionid={ID32}0",
    "http://archive.org/?sid=9682993c8daa2c5497996114facdc805&x=y": "org,archive)/?x=y",
    "http://archive.org/?CFID=1169580&CFTOKEN=48630702&dt=1": "org,archive)/?dt=1",
    f"http://archive.org/(S({ID24}))/mileg.aspx": "org,archive)/mileg.aspx",
    f"http://archive.org/({ID24})/mileg.aspx?page=1": "org,archive)/mileg.aspx?page=1",
    "http://archive.org/photos/36050182@N05/": "org,archive)/photos/36050182@n05",
    "https://an.wikipedia.org/wiki/Escopete": "org,wikipedia,an)/wiki/escopete",
    "http://visit.webhosting.yahoo.com/visit.gif?&r=http%3A//web.archive.org/&b=Netscape%205.0%20%28Windows%29": (
        "com,yahoo,webhosting,visit)/visit.gif?&b=netscape%205.0%20(windows)&r=http://web.archive.org/"
    ),
}


@pytest.mark.parametrize("url", CASES)
def test_an_address_has_the_key_of_the_index(url):
    assert surt(url) == CASES[url]


SEGMENT = st.text("aZ09-_.~é %26", min_size=1, max_size=6)
PAIRS = st.lists(st.tuples(SEGMENT, SEGMENT).map("=".join), max_size=4, unique=True)


@given(st.lists(SEGMENT, max_size=3).map("/".join), PAIRS, st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_what_a_key_merges_has_one_key(path, pairs, random):
    key = surt(f"http://example.com/{path}?{'&'.join(pairs)}#x")
    random.shuffle(pairs)
    query = "&".join(pairs)
    for other in ("https://www.example.com", "http://WWW7.Example.COM:80", "http://example.com."):
        assert surt(f"{other}/{path}?{query}#x") == key
    assert key == key.lower()
    assert key.isascii()
    assert key.startswith("com,example)/")


@given(st.text(max_size=40), st.text(max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_text_has_a_key_or_is_no_address(path, query):
    try:
        key = surt(f"http://a.test/{path}?{query}")
    except ValueError:
        return
    assert key.startswith("test,a)/")
    assert key.isascii()
    assert " " not in key


def test_what_is_no_address_has_no_key():
    with pytest.raises(ValueError):
        surt("hello")
