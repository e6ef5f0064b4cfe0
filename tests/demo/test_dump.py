import json
from collections import Counter
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from pipeline.demo import dump, site, traps
from pipeline.shards.outcomes import Outcome
from pipeline.submissions.dumps import read_line
from pipeline.submissions.rows import Fault, Submission
from pipeline.urls import BadUrl, canonical_url

FIELDS = [
    "id", "name", "url", "score", "subreddit", "domain", "created_utc", "over_18", "is_self", "num_comments", "title",
    "permalink",
]  # fmt: skip


def fate(line, seen):
    row = read_line(line)
    if not isinstance(row, Submission):
        return row.outcome if isinstance(row, Fault) else row
    try:
        canonical_url(row.url)
    except BadUrl:
        return Outcome.BAD_URL
    if row.id in seen:
        return Outcome.REPEATED
    seen.add(row.id)
    return Outcome.KEPT


def rows():
    for line in dump.submissions():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and len(row) == len(FIELDS):
            yield row


def test_every_line_of_the_dump_meets_the_fate_that_the_books_expect():
    seen = set()
    fates = Counter(fate(line, seen) for line in dump.submissions())
    assert fates == traps.expected()["submissions"]
    assert sum(fates.values()) == len(list(dump.submissions())) == 567


def test_the_links_of_the_dump_are_those_that_the_books_expect():
    seen, found = set(), set()
    for line in dump.submissions():
        if fate(line, seen) in (Outcome.KEPT, Outcome.REPEATED):
            found.add(canonical_url(read_line(line).url))
    assert len(found) == sum(traps.expected()["links"].values())


def test_the_dump_is_the_same_every_time_and_in_the_order_of_posting():
    assert list(dump.submissions()) == list(dump.submissions())
    dates = [row["created_utc"] for row in rows()]
    assert dates == sorted(dates)
    assert {datetime.fromtimestamp(date, UTC).year for date in dates} == set(range(2012, 2020))


def test_rows_have_the_fields_of_a_pushshift_dump_and_ids_that_differ():
    found = list(rows())
    assert all(list(row) == FIELDS for row in found)
    assert all(row["name"] == "t3_" + row["id"] and len(row["id"]) == 6 for row in found)
    assert [count for count in Counter(row["id"] for row in found).values() if count > 1] == [2]


def test_ids_are_written_in_base_36():
    assert [dump.base36(number) for number in (0, 35, 36, 36**6 - 1)] == ["000000", "00000z", "000010", "zzzzzz"]


def test_the_encyclopedias_dump_is_a_mediawiki_export_that_holds_the_mirrored_articles(tmp_path):
    dump.wikipedia_dump(tmp_path / "pages-articles.xml")
    space = {"m": dump.NAMESPACE}
    tree = ET.parse(tmp_path / "pages-articles.xml")
    pages = tree.findall("m:page", space)
    assert [page.findtext("m:ns", None, space) for page in pages] == ["0", "0", "0"]
    assert [page.find("m:redirect", space) is not None for page in pages] == [False, False, True]
    for page, number in zip(pages, traps.ENCYCLOPEDIA, strict=False):
        text = page.findtext("m:revision/m:text", "", space).replace("[[", "").replace("]]", "")
        assert page.findtext("m:title", "", space) == site.reserved(number).title
        assert site.reserved(number).paragraphs[1].replace("[[", "").replace("]]", "") in text
        assert "<ref>" in text
