"""What was removed, and domains that are blocked, are not asked for on the way to a page, and may not be its end."""

import shutil

import pyarrow.parquet as pq

from pipeline import config
from pipeline.build import build
from pipeline.shards.runner import PlainRun
from pipeline.verbs.remove import remove
from tests.test_pages import HERE, THERE, local_web
from tests.verbs.remove.test_traces import HTML, page_of
from tests.verbs.remove.working import NOW, holding, table

ONE, TWO = f"{HERE[0]}.test", f"{THERE[0]}.test"
REPLIES = {
    f"{ONE}/short": (302, {"Location": f"http://{TWO}/evil"}, b""),
    f"{TWO}/evil": (302, {"Location": f"http://{ONE}/end"}, b""),
    f"{ONE}/end": (200, HTML, page_of("ended")),
    f"{ONE}/plain": (200, HTML, page_of("plainly")),
}


def ends(work, values, links, **blocked):
    """Build pages of some links; how each ended."""
    (work / "list.txt").write_text("".join(f"http://{one}\n" for one in links))
    tables = {"build": {"shards": 2}, "links": {"submissions": ["list.txt"], **blocked}, "pages": values}
    build(work, config.parse(tables), "documents", run=PlainRun())
    rows = [row for path in (work / "pages").glob("*.parquet") for row in pq.read_table(path).to_pylist()]
    return {row["url"].removeprefix("https://"): row["outcome"] for row in rows}


def asked(web):
    return [host + path for host, path, *_ in web.requests]


def test_a_removed_address_in_the_middle_of_a_chain_is_not_asked_for_and_named_nowhere(tmp_path):
    remove(tmp_path, 2, [f"http://{TWO}/evil"], NOW)
    with local_web(REPLIES, hosts=[HERE[0], THERE[0]]) as (values, web):
        found = ends(tmp_path, values, [f"{ONE}/short", f"{ONE}/plain"])
        assert not [one for one in asked(web) if "evil" in one or "/end" in one]
    assert found == {f"{ONE}/short": "removed", f"{ONE}/plain": "kept"}
    assert holding(tmp_path, "/evil") == {}


def test_a_blocked_domain_is_not_asked_for_until_the_block_is_lifted_and_then_only_what_it_kept_away(tmp_path):
    (tmp_path / "none.txt").write_text("# nobody\n")
    (tmp_path / "some.txt").write_text(f"{TWO}\n")
    links = [f"{ONE}/short", f"{ONE}/plain"]
    with local_web(REPLIES, hosts=[HERE[0], THERE[0]]) as (values, web):
        found = ends(tmp_path, values, links, blocked_domains="some.txt")
        assert found == {f"{ONE}/short": "blocked_domain", f"{ONE}/plain": "kept"}
        assert not [one for one in asked(web) if TWO in one]
        assert set(ends(tmp_path, values, links, blocked_domains="none.txt").values()) == {"kept"}
        before = len(asked(web))
        assert sum("/plain" in one for one in asked(web)) == 1
        found = ends(tmp_path, values, links, blocked_domains="some.txt")
        assert found == {f"{ONE}/short": "blocked_domain", f"{ONE}/plain": "kept"}
        assert len(asked(web)) == before


def test_an_order_that_came_with_a_copy_holds_for_pages_that_stand_by_their_final_address(tmp_path):
    work, other = tmp_path / "work", tmp_path / "other"
    for folder in (work, other):
        folder.mkdir()
    with local_web(REPLIES, hosts=[HERE[0], THERE[0]]) as (values, _):
        found = ends(work, values, [f"{ONE}/short", f"{ONE}/plain"])
        assert set(found.values()) == {"kept"}
        shutil.rmtree(work / "documents")
        remove(other, 2, [f"http://{ONE}/end"], NOW)
        shutil.copytree(other / "removals", work / "removals")
        ends(work, values, [f"{ONE}/short", f"{ONE}/plain"])
    documents = table(work, "documents").to_pylist()
    assert sorted((row["outcome"], row["url"] == "") for row in documents) == [("kept", False), ("removed", True)]
