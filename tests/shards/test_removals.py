"""Removal requests: what a line of a list is taken for, whom it covers, and that its file names nobody."""

import json
from datetime import UTC, datetime

import pytest

from pipeline import urls
from pipeline.shards import removals
from pipeline.shards.outcomes import InputError, IntegrityError, Outcome
from pipeline.shards.removals import Refusals, RemovalRequest, Removals
from pipeline.urls import HostList

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
DOC = urls.doc_id("https://target.example/a")


def request_of(*lines, **options):
    return removals.request_of(lines, NOW, **options)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("https://target.example/a", "url"),
        ("HTTP://www.Target.example:80/a#top", "url"),
        (DOC, "doc_id"),
        ("t3_1ab", "submission"),
        ("1ab", "submission"),
        ("example", "submission"),
        ("www.someone.example", "host"),
        ("\ufeffsomeone.example", "host"),
        ("someone.example  # all of it", "host"),
        ("someone.blogspot.com", "host"),
        ("192.0.2.7", "host"),
    ],
)
def test_a_line_is_taken_for_one_thing_and_says_for_which(line, kind):
    (found,) = request_of("", "# a list", line).lines
    assert (found.kind, found.number) == (kind, 3)


@pytest.mark.parametrize("line", ["target.example/a", "//target.example", "so me", "a_b"])
def test_a_line_that_is_none_of_these_is_refused_with_what_may_stand_there(line):
    with pytest.raises(InputError, match=r"^line 1: .* is no URL \(with https://\), host, doc_id or submission id$"):
        request_of(line)


def test_a_list_that_cannot_be_read_is_told_with_the_reason(tmp_path):
    with pytest.raises(InputError, match=r"none\.txt: cannot be read: No such file or directory; "):
        removals.read_list(tmp_path / "none.txt")
    (tmp_path / "list.txt").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"list\.txt: cannot be read: .*can't decode byte 0xff"):
        removals.read_list(tmp_path / "list.txt")


def test_rows_are_told_each_with_its_own_noun():
    assert removals.rows_told(1, 2, 0) == "1 link, 2 pages, 0 documents"
    assert removals.rows_told(1_000, 1, 1) == "1,000 links, 1 page, 1 document"


@pytest.mark.failure(
    wrong="a removal list names a public suffix",
    seen="exit 3; the line names the suffix",
    mend="name the host that is meant, or --whole-suffix",
)
@pytest.mark.parametrize(
    "suffix",
    ["co.uk", "www.co.uk", "blogspot.com", "www.blogspot.com", "github.io", "公司.cn", "xn--55qx5d.cn", "anything.ck"],
)
def test_a_public_suffix_is_refused_with_its_line_unless_it_is_meant(suffix):
    with pytest.raises(InputError, match=r"line 2: .* is a public suffix .*--whole-suffix"):
        request_of("fine.example", suffix)
    (line,) = request_of(suffix, whole_suffix=True).lines
    assert line.kind == "host"


@pytest.mark.parametrize("host", ["bbc.co.uk", "someone.github.io", "www.ck", "city.kawasaki.jp", "nosuch.invalid"])
def test_a_host_of_one_owner_is_none(host):
    assert request_of(host).lines[0].kind == "host"


def test_an_order_covers_every_spelling_of_an_address_and_every_name_under_a_host():
    every = Removals((request_of("https://target.example/a", "host.example", "t3_9z"),))
    for address in ("http://www.target.example/a#top", "https://target.example:443/%61?utm_source=x"):
        assert every.cover_address(address)
    for address in ("https://host.example/", "http://deep.er.host.example:8080/x"):
        assert every.cover_address(address)
    for address in ("https://target.example/b", "https://nothost.example/", "https://example/", "no address"):
        assert not every.cover_address(address)
    assert every.cover("f" * 32, "other.example", ["1", "9z"])
    assert not every.cover("f" * 32, "other.example", ["1"])
    assert not Removals().cover(DOC, "target.example")


def test_the_file_of_an_order_names_no_address_and_no_host(tmp_path):
    path = tmp_path / "removals/0001.json"
    removals.write(path, request_of("https://target.example/secret", "host.example"))
    assert not any(word in path.read_text() for word in ("target", "secret", "host.example", "https"))
    assert removals.Removals.of(tmp_path).cover_address("https://www.host.example/")


def test_an_order_of_the_first_format_counts_and_is_to_be_carried_out_again(tmp_path):
    path = tmp_path / "removals/0001.json"
    path.parent.mkdir()
    old = {
        "asked_at": "2026-01-01T00:00:00Z",
        "asked": ["host.example"],
        "hosts": ["host.example"],
        "submissions": ["9"],
    }
    path.write_text(
        json.dumps({**old, "doc_ids": [DOC], "removed": [], "returning": [], "changes": [], "ended_at": "x"})
    )
    found = Removals.of(tmp_path)
    assert found.cover_address("https://www.host.example/")
    assert found.cover(DOC, "", ())
    assert found.cover("", "", ["9"])
    assert found.requests[0].ended_at == ""


def test_what_is_no_order_stops_rather_than_let_pages_back(tmp_path):
    path = tmp_path / "removals/0001.json"
    path.parent.mkdir()
    path.write_text("{")
    with pytest.raises(IntegrityError, match="without it pages might come back"):
        Removals.of(tmp_path)


def test_a_chain_is_refused_for_any_of_its_addresses_and_a_removal_goes_before_a_block():
    found = Refusals(Removals((request_of("https://target.example/a"),)), HostList(frozenset({"eval.example"})))
    assert found.of("https://short.example/", "http://target.example/a") is Outcome.REMOVED
    assert found.of("https://short.example/", "http://en.eval.example/q") is Outcome.BLOCKED_DOMAIN
    assert found.of("http://en.eval.example/q", "http://target.example/a") is Outcome.REMOVED
    assert found.of("https://short.example/", "https://target.example/b") is Outcome.KEPT
    assert Refusals().of("https://target.example/a") is Outcome.KEPT
    assert RemovalRequest("").removed == ()
