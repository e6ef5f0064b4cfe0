"""Addresses: one identity a link, the same shard for ever, and lists that match whole labels.

Over 350 lines for its tables of addresses, which are read best as one.

Long because the tables of addresses are the documentation of the rules.
"""

import re
from collections import Counter
from urllib.parse import quote

import ada_url
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.shards.outcomes import InputError
from pipeline.urls import (
    MOST_CARRIERS,
    REDDIT,
    UNRESERVED,
    BadUrl,
    HostList,
    both_urls,
    canonical_url,
    doc_id,
    escape,
    fetch_url,
    host_of,
    identity_host,
    is_reddit,
    mobile_hosts,
    packaged_entries,
    path_of,
    redirectors,
    shard_of,
    split_hosts,
    suffix_blocked,
    tracking_parameters,
)

CANONICAL = [
    # what the WHATWG parser does
    ("  HTTP://Example.COM/A  ", "https://example.com/A"),
    ("http://exa\nmple.com/a\tb", "https://example.com/ab"),
    ("http:\\\\example.com\\a", "https://example.com/a"),
    ("http://example.com/a/./b/../c", "https://example.com/a/c"),
    ("http://example.com/a/%2E%2e/c", "https://example.com/c"),
    ("http://bücher.example/ü", "https://xn--bcher-kva.example/%C3%BC"),
    ("http://ｅｘａｍｐｌｅ.com/", "https://example.com/"),
    ("http://0x7f.1/", "https://127.0.0.1/"),
    ("http://2130706433/", "https://127.0.0.1/"),
    ("http://0177.0.0.01/", "https://127.0.0.1/"),
    ("http://[2001:DB8:0:0::1]/", "https://[2001:db8::1]/"),
    ("http://example.com", "https://example.com/"),
    ("http://@example.com/", "https://example.com/"),
    # scheme, port, host
    ("https://example.com:443/", "https://example.com/"),
    ("http://example.com:80/", "https://example.com/"),
    ("http://example.com:443/", "https://example.com/"),
    ("https://example.com:80/", "https://example.com/"),
    ("http://example.com:8080/", "https://example.com:8080/"),
    ("http://[::1]:8080/", "https://[::1]:8080/"),
    ("http://example.com./", "https://example.com/"),
    ("http://www.example.com/", "https://example.com/"),
    ("http://www.example.com./", "https://example.com/"),
    ("http://www.com/", "https://www.com/"),
    ("http://www.www.example.com/", "https://www.www.example.com/"),
    ("http://www2.example.com/", "https://www2.example.com/"),
    # fragment and escapes
    ("http://example.com/#a", "https://example.com/"),
    ("http://example.com/#!/a", "https://example.com/"),
    ("http://example.com/%7euser/%e2%82%ac", "https://example.com/~user/%E2%82%AC"),
    ("http://example.com/a%2fb", "https://example.com/a%2Fb"),
    ("http://example.com/a|b", "https://example.com/a%7Cb"),
    ("http://example.com/100%", "https://example.com/100%25"),
    ("http://example.com/%%32e/", "https://example.com/%252e/"),
    ("http://example.com/?q=a b'c", "https://example.com/?q=a%20b%27c"),
    # query
    ("http://example.com/?", "https://example.com/"),
    ("http://example.com/?&&", "https://example.com/"),
    ("http://example.com/?a&&b", "https://example.com/?a&b"),
    ("http://example.com/?utm_source=x&id=3&fbclid=y", "https://example.com/?id=3"),
    ("http://example.com/?UTM_Source=x", "https://example.com/"),
    ("http://example.com/?%75tm_source=x", "https://example.com/"),
    ("http://example.com/?id=3&amp;utm_source=x", "https://example.com/?id=3"),
    ("http://example.com/?id=utm_source", "https://example.com/?id=utm_source"),
    ("http://example.com/?ref=a&sid=b&s=c", "https://example.com/?ref=a&sid=b&s=c"),
    # carried by another address
    ("https://www.google.com/url?sa=t&url=http%3A%2F%2Fa.example%2Fx%3Fid%3D1&usg=A", "https://a.example/x?id=1"),
    ("http://www.google.co.uk/url?q=https://a.example/%3Futm_source%3Dg%26b%3D2&amp;ei=x", "https://a.example/?b=2"),
    ("http://www.google.de/url?q=how+to+knit&url=https://a.example/", "https://a.example/"),
    ("https://l.facebook.com/l.php?u=https%3A%2F%2Fwww.a.example%2F%23top&h=AT0", "https://a.example/"),
    ("https://out.reddit.com/t3_87?url=https%3A%2F%2Fa.example%2Fb&token=AQ&app_name=reddit", "https://a.example/b"),
    ("https://m.youtube.com/redirect?q=http%3A%2F%2Fa.example%2F", "https://a.example/"),
    ("https://l.facebook.com/l.php?u=https%3A%2F%2Fwww.google.com%2Furl%3Fq%3Dhttp%253A%252F%252Fa.example%252F",
     "https://a.example/"),
    ("https://www.google.com/amp/s/www.a.example/news/1.amp.html?x=1", "https://a.example/news/1.amp.html?x=1"),
    ("https://www.google.com/amp/a.example/news/1", "https://a.example/news/1"),
    ("https://www-a-example.cdn.ampproject.org/c/s/www.a.example/1?amp=1", "https://a.example/1?amp=1"),
    ("https://www.google.com/url?q=knitting", "https://google.com/url?q=knitting"),
    ("https://www.google.com/url?q=ftp://a.example/", "https://google.com/url?q=ftp://a.example/"),
    ("https://www.google.com/url?q=http://a.example/%FF", "https://google.com/url?q=http://a.example/%FF"),
    ("https://www.google.com/search?q=http://a.example/", "https://google.com/search?q=http://a.example/"),
    ("https://www.google.com.evil.example/url?q=http://a.example/",
     "https://google.com.evil.example/url?q=http://a.example/"),
    ("https://www.google.com/amp/help", "https://google.com/amp/help"),
    # mobile hosts
    ("http://mobile.nytimes.com/2015/1.html", "https://nytimes.com/2015/1.html"),
    ("http://www.m.bbc.co.uk./news", "https://bbc.co.uk/news"),
    ("http://m.nytimes.com/2015/1.html", "https://m.nytimes.com/2015/1.html"),
    # left alone
    ("http://t.co/AbC", "https://t.co/AbC"),
    ("http://web.archive.org/web/2012/http://a.example/", "https://web.archive.org/web/2012/http://a.example/"),
    ("http://example.com/A/?b=1&a=2&a=1", "https://example.com/A/?b=1&a=2&a=1"),
    ("http://example.com/a/", "https://example.com/a/"),
    ("http://example.com/a//b", "https://example.com/a//b"),
    ("http://example.com/index.html", "https://example.com/index.html"),
    ("http://m.example.com/amp?a=b+c", "https://m.example.com/amp?a=b+c"),
]  # fmt: skip


@pytest.mark.parametrize(("posted", "expected"), CANONICAL)
def test_each_rule_of_the_canonical_form(posted, expected):
    assert canonical_url(posted) == expected


REFUSED = [
    *("", "   ", "example.com/a", "/r/science", "//example.com/"),
    *("ftp://example.com/", "javascript:alert(1)", "mailto:a@example.com", "file:///etc/passwd", "data:text/html,a"),
    "http://",
    "http:///?",
    "http://user@example.com/",
    "http://user:secret@example.com/",
    "http://:secret@example.com/",
    "http://a b/",
    "http://example.com:99999/",
    "http://1.2.3.256/",
    "http://www.1.2.3.4/",
    "http://[::1/",
    "http://a..example/",
    "http://.example/",
    "http://example.com../",
    "http://" + "a" * 64 + ".example/",
    "https://www.google.com/url?q=http://user@a.example/",
    "https://l.facebook.com/l.php?u=http%3A%2F%2Fa..example%2F",
    "http://" + "a." * 126 + "ab/",
    "http://example.com/\ud800",
    "http://example.com/" + "a" * 8_000,
]


@pytest.mark.parametrize("posted", REFUSED)
def test_what_no_crawler_could_ask_for_is_refused_by_both_forms(posted):
    with pytest.raises(BadUrl):
        canonical_url(posted)
    with pytest.raises(BadUrl):
        fetch_url(posted)


def test_the_longest_identity_has_2048_characters():
    assert len(canonical_url("http://example.com/" + "a" * 2_028)) == 2_048
    with pytest.raises(BadUrl, match="2,049 characters in canonical form"):
        canonical_url("http://example.com/" + "a" * 2_029)
    assert canonical_url("http://example.com/?utm_source=" + "a" * 2_029) == "https://example.com/"


def test_a_host_as_long_as_dns_allows_is_kept():
    host = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
    assert host_of(canonical_url(f"http://{host}./")) == host


def test_the_address_to_fetch_is_as_posted_without_its_fragment():
    posted = "http://www.Example.com./a/../b%7e?utm_source=x&#top"
    assert fetch_url(posted) == "http://www.example.com./b%7e?utm_source=x&"


def test_an_address_within_many_addresses_is_refused():
    address = "http://a.example/"
    for _ in range(MOST_CARRIERS - 1):
        address = "http://out.reddit.com/?url=" + quote(address, safe="")
    assert canonical_url(address) == "https://a.example/"
    with pytest.raises(BadUrl, match="within an address"):
        canonical_url("http://out.reddit.com/?url=" + quote(address, safe=""))


def test_what_a_redirector_carries_is_what_is_fetched():
    assert fetch_url("https://l.facebook.com/l.php?u=http%3A%2F%2FWWW.a.example%2Fb%3Futm_source%3Dx%23c&h=1") == (
        "http://www.a.example/b?utm_source=x"
    )
    assert fetch_url("http://mobile.nytimes.com/1") == "http://mobile.nytimes.com/1"


def test_the_lists_of_rules_are_whole_and_in_canonical_form():
    names, prefixes = tracking_parameters()
    assert all(name == name.lower() and "*" not in name for name in names)
    assert prefixes == ("utm_",)
    assert not any(name.startswith(prefixes) for name in names)
    for mobile, site in mobile_hosts().items():
        assert site not in mobile_hosts()
        assert canonical_url(f"http://www.{mobile}/a") == canonical_url(f"https://{site}/a") == f"https://{site}/a"
    for host, paths in redirectors().items():
        assert host.startswith("google.") or identity_host(host) == host
        assert all(path.startswith("/") and names for path, names in paths.items())


@given(
    st.lists(st.sampled_from(["a=1", "b=2", "a=3"])), st.lists(st.sampled_from(["utm_x=1", "FBCLID=2", ""])), st.data()
)
def test_where_tracking_stands_changes_nothing(pairs, tracking, data):
    mixed = list(pairs)
    for pair in tracking:
        mixed.insert(data.draw(st.integers(0, len(mixed))), pair)
    assert canonical_url("http://a.example/?" + "&".join(mixed)) == canonical_url(
        "http://a.example/?" + "&".join(pairs)
    )


def pieces_of_urls():
    """Texts that look like addresses: each part taken from what parsers disagree about."""
    host = st.sampled_from(
        ["www.", "example.com", "a", "www.www.a.b", "0x7f.1", "[::1]", "bücher.de", "xn--a", "..", "%41.com", "ß.de"]
    ) | st.sampled_from(
        ["google.com/url?q=", "google.de/amp/s/", "m.bbc.com", "l.facebook.com/l.php?u=", "x.cdn.ampproject.org/c/"]
    )
    bits = st.sampled_from(
        ["/", "..", "%2e", "%2E.", "%", "%32", "5", "%7e", "%zz", "|", "?", "&", "=", "utm_x=1", "amp;", "#", "\\"]
    ) | st.sampled_from(
        ["http://", "https%3A%2F%2F", "l.facebook.com/l.php?u=", "out.reddit.com/?url=", "a.example", "{", "%71="]
    )
    return st.builds(
        "".join,
        st.tuples(
            st.sampled_from(["http://", "https://", "HTTP:", " http:/", "ftp://", ""]),
            st.sampled_from(["", "", "@", "u@", "www."]),
            host,
            st.sampled_from(["", ".", ":80", ":443", ":0", ":8080", ":"]),
            st.lists(bits | st.text(max_size=3), max_size=12).map("".join),
        ),
    )


@given(st.text() | pieces_of_urls())
@example("http://a/%%32e/")
@example("http://a/%2%35")
@example("http://www.www.www.a.b/")
@example("http://google.com/url?q=http://l.facebook.com/l.php%3Fu=http%253A%252F%252Fa/%257B{{")
@example("http://google.com/%75rl?%71=http://b.c")
@example("http://x.cdn.ampproject.org/c/www.google.com./url?q=http://b.c")
def test_the_canonical_form_is_idempotent_parses_and_nothing_but_bad_url_is_raised(text):
    try:
        canonical = canonical_url(text)
    except BadUrl:
        return
    assert canonical_url(canonical) == canonical
    assert fetch_url(canonical) == canonical
    parsed = ada_url.URL(canonical)
    assert host_of(canonical) == parsed.hostname
    assert path_of(canonical) == parsed.pathname


@given(pieces_of_urls())
def test_what_is_fetched_has_the_identity_of_what_was_posted(text):
    try:
        requested = fetch_url(text)
    except BadUrl:
        with pytest.raises(BadUrl):
            canonical_url(text)
        return
    assert canonical_url(requested) == canonical_url(text)
    assert both_urls(text) == (canonical_url(text), requested)
    assert fetch_url(requested) == requested


def escaped_letter_by_letter(text):
    """The slow twin of `escape`: one character after the other, no regular expression."""
    out, at = "", 0
    while at < len(text):
        digits = text[at + 1 : at + 3]
        if text[at] == "%" and len(digits) == 2 and all(d in "0123456789abcdefABCDEF" for d in digits):
            code = int(digits, 16)
            out += chr(code) if code in UNRESERVED else "%" + digits.upper()
            at += 3
            continue
        allowed = ord(text[at]) in UNRESERVED or text[at] in "!$&'()*+,;=:@/?"
        out += text[at] if allowed else "%" + format(ord(text[at]), "02X")
        at += 1
    return out


@given(st.text(st.sampled_from([chr(code) for code in range(32, 127)] + ["%"] * 40 + list("27eEfF") * 5)))
def test_escaping_equals_its_slow_twin(text):
    assert escape(text) == escaped_letter_by_letter(text)


def test_the_id_of_a_link_is_what_b2sum_says_of_its_address():
    # printf https://example.com/ | b2sum -l 128
    assert doc_id("https://example.com/") == "3259687d649f8e86106dd28ba70f1016"


def test_host_and_path_of_both_forms():
    assert host_of("https://example.com:8080/a?b=/c") == "example.com"
    assert host_of("http://www.example.com/") == "www.example.com"
    assert host_of("https://[::1]/") == "[::1]"
    assert host_of("https://[::1]:8080/") == "[::1]"
    assert path_of("https://example.com:8080/a/b?c=/d") == "/a/b"
    assert path_of("https://example.com/?c") == "/"


def test_a_shard_is_literal_so_that_no_link_ever_moves():
    ids = [doc_id(f"https://example.com/{number}") for number in range(6)]
    assert [shard_of("example.com", each, 100, {}) for each in ids] == [29, 29, 29, 29, 29, 29]
    assert [shard_of("example.com", each, 100, {"example.com": 4}) for each in ids] == [32, 31, 30, 29, 29, 31]


@given(st.text(min_size=1), st.text(), st.integers(1, 200), st.integers(1, 200))
def test_a_split_host_lives_in_the_shards_that_follow_its_home(host, link, shards, pieces):
    home = shard_of(host, "any", shards, {})
    owner = shard_of(host, link, shards, {host: min(pieces, shards)})
    assert 0 <= owner < shards
    assert (owner - home) % shards < min(pieces, shards)


def test_pieces_of_a_split_host_and_homes_of_hosts_are_about_even():
    pieces = Counter(shard_of("a.example", doc_id(str(number)), 16, {"a.example": 8}) for number in range(8_000))
    homes = Counter(shard_of(f"{number}.example", "", 16, {}) for number in range(16_000))
    assert len(pieces) == 8
    assert all(850 < count < 1_150 for count in pieces.values())
    assert all(850 < count < 1_150 for count in homes.values())


def test_only_hosts_over_two_shares_are_split():
    counts = {"small.example": 199, "b.example": 201, "a.example": 500, "rest": 100}
    assert split_hosts(counts, 1_000, 10) == {"a.example": 5, "b.example": 3}
    assert split_hosts({"only.example": 7}, 7, 4) == {"only.example": 4}
    assert split_hosts({"only.example": 7}, 7, 1) == {}
    assert split_hosts({"only.example": 7}, 7, 2) == {}
    assert split_hosts({}, 0, 8) == {}


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 1_000)), st.integers(1, 50))
def test_a_piece_is_at_most_one_share(counts, shards):
    total = sum(counts.values())
    pieces = split_hosts(counts, total, shards)
    for host, count in counts.items():
        assert (host in pieces) == (count * shards > 2 * total)
    for host, k in pieces.items():
        assert 2 < k <= shards
        assert counts[host] * shards <= k * total


LISTED = HostList.from_lines(["# comment", "", "wikipedia.org  # all languages", "WWW.Bücher.example", "1.2.3.4"])


@pytest.mark.parametrize(
    "host", ["wikipedia.org", "en.m.wikipedia.org", "EN.wikipedia.org.", "xn--bcher-kva.example", "1.2.3.4"]
)
def test_a_listed_host_holds_all_names_under_it(host):
    assert host in LISTED


@pytest.mark.parametrize("host", ["wikipedia.org.evil.example", "notwikipedia.org", "org", "", ".", "2.3.4", "9.1.2.3"])
def test_a_host_list_matches_whole_labels_only(host):
    assert host not in LISTED


LABELS = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(".".join)


@given(st.frozensets(LABELS), LABELS)
def test_a_host_list_equals_its_slow_twin(hosts, host):
    slow = any(host == listed or host.endswith("." + listed) for listed in hosts)
    assert (host in HostList(hosts)) == slow


@pytest.mark.parametrize(
    "entry", ["http://example.com/", "example.com/a", "example.com:8080", "a b", "user@a.example", "*.a"]
)
def test_an_entry_that_is_no_host_is_refused_by_name(tmp_path, entry):
    path = tmp_path / "hosts.txt"
    path.write_text(f"good.example\n{entry}\n")
    with pytest.raises(InputError) as caught:
        HostList.from_file(path)
    assert str(path) in str(caught.value)
    assert repr(entry) in str(caught.value)


def test_a_host_file_is_read_and_one_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "hosts.txt"
    path.write_text("a.example\n# b.example\n")
    assert HostList.from_file(path).hosts == frozenset({"a.example"})
    path.write_bytes(b"\xff\n")
    with pytest.raises(InputError, match=re.escape(str(path))):
        HostList.from_file(path)
    with pytest.raises(InputError, match=re.escape(str(tmp_path / "none.txt"))):
        HostList.from_file(tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("name", "held", "not_held"),
    [
        ("wikipedia_hosts.txt", ["en.wikipedia.org", "commons.wikimedia.org", "wikiwand.com"], ["wikihow.com"]),
        ("blocked_hosts.txt", ["i.imgur.com", "youtu.be", "mobile.twitter.com"], ["nytimes.com", "google.com"]),
    ],
)
def test_the_packaged_lists_hold_what_they_say_once_and_in_canonical_form(name, held, not_held):
    listed = HostList.packaged(name)
    entries = packaged_entries(name)
    assert all(host in listed for host in held)
    assert not any(host in listed for host in not_held)
    assert listed.hosts == frozenset(entries)
    assert len(listed.hosts) == len(entries)
    assert [host for host in entries if host.partition(".")[2] in listed] == []


def test_suffixes_are_told_by_the_path_in_any_case():
    suffixes = packaged_entries("blocked_suffixes.txt")
    assert all(re.fullmatch(r"\.[a-z0-9]+", suffix) for suffix in suffixes)
    assert len(set(suffixes)) == len(suffixes)
    assert {".jpg", ".mp4", ".zip", ".pdf"} <= set(suffixes)
    assert suffix_blocked("https://a.example/b/C.JPG?w=1", suffixes)
    assert suffix_blocked("https://a.example/b.tar.gz", suffixes)
    assert not suffix_blocked("https://a.example/b.html?c.jpg", suffixes)
    assert not suffix_blocked("https://a.zip/", suffixes)
    assert not suffix_blocked("https://a.example/jpg", suffixes)
    assert not suffix_blocked("https://a.example/node.js", suffixes)
    assert not suffix_blocked("https://a.example/c.jpg", ())


def test_reddits_own_hosts():
    assert all(is_reddit(host) for host in ["reddit.com", "old.reddit.com", "v.redd.it", "i.redditmedia.com"])
    assert not any(is_reddit(host) for host in ["notreddit.com", "reddit.com.evil.example", "redditblog.com"])
    assert [canonical_url(f"https://{host}/") for host in REDDIT.hosts] == [f"https://{host}/" for host in REDDIT.hosts]
