"""What an owner asks a report first: which corpus, from what and when; where everything went; what it reads like."""

import io
import json
import re
import shutil
from datetime import date

import lxml.html
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from pipeline import config
from pipeline.shards import removals
from pipeline.shards.outcomes import BusyError
from pipeline.text.rules import Rule
from pipeline.verbs.report import about, cautions, signals
from pipeline.verbs.report.dates import Captured, captured
from pipeline.verbs.report.markup import code, markdown, plain
from pipeline.verbs.report.page import page
from pipeline.verbs.report.questions import answers
from pipeline.verbs.report.write import CARD, PAGE, report
from tests.verbs.report.test_report import section, words
from tests.verbs.report.working import HOSTILE, SHARDS, built

NAME = 'Mine & "yours" <1>'


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return built(tmp_path_factory.mktemp("owned"))


@pytest.fixture(scope="module")
def settings():
    links = {"submissions": ["/home/somebody/dumps/RS_2014.zst", *(f"more{n}.ndjson" for n in range(5))]}
    return config.parse({"build": {"name": NAME}, "links": links})


@pytest.fixture(scope="module")
def html(root, settings):
    return lxml.html.document_fromstring(page(answers(root, SHARDS, settings)))


def shown(root):
    return lxml.html.document_fromstring(page(answers(root, SHARDS)))


# --- which corpus


def test_the_corpus_is_called_as_its_owner_calls_it_on_the_page_and_in_the_card(root, settings, html, tmp_path):
    assert words(html.xpath("//h1")[0]) == NAME
    assert html.xpath("//title")[0].text == f"{NAME} · webtext report"
    report(root, SHARDS, tmp_path, settings)
    card = (tmp_path / CARD).read_text("utf-8")
    assert f"pretty_name: {json.dumps(NAME)}\n" in card
    assert 'title = {Mine \\& "yours" <1>}' in card


def test_what_the_links_and_pages_come_from_is_told_by_names_without_folders(html):
    facts = {words(one.find("dt")): words(one.find("dd")) for one in html.xpath("//dl[@class='facts']/div")}
    assert facts["Links from"] == "RS_2014.zst, more0.ndjson, more1.ndjson, more2.ndjson and 2 more"
    assert facts["Posted"].startswith("in 20")
    assert facts["Pages from"] == "WARC files that existed 11"
    assert re.fullmatch("[0-9a-f]{32}", facts["Fingerprint"])


def archive(path, *days):
    """A WARC file with a page a day; the row of sql/report/archives.sql of it."""
    offsets = []
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        for day in days:
            offsets.append(file.tell())
            head = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.1")
            writer.write_record(
                writer.create_warc_record(
                    "http://a.test/", "response", io.BytesIO(b"<p>x"), http_headers=head,
                    warc_headers_dict={"WARC-Date": f"{day}T12:00:00Z"},
                )
            )  # fmt: skip
    return {"warc": str(path), "pages": len(days), "first_offset": offsets[0], "last_offset": offsets[-1]}


def test_when_pages_were_captured_is_read_from_the_first_and_last_record_of_each_archive(tmp_path):
    rows = [
        archive(tmp_path / "a.warc.gz", "2014-05-01", "2014-05-03", "2014-06-02"),
        archive(tmp_path / "b.warc.gz", "2013-12-31"),
        {"warc": str(tmp_path / "gone.warc.gz"), "first_offset": 0, "last_offset": 0},
        {"warc": "s3://somebody/else.warc.gz", "first_offset": 0, "last_offset": 0},
    ]
    found = captured(tmp_path, rows)
    assert found == Captured(date(2013, 12, 31), date(2014, 6, 2), 2, 4)
    assert about.captured(found) == "2013-12-31 to 2014-06-02, as 2 of 4 archives say"
    assert about.captured(captured(tmp_path, rows[1:2])) == "2013-12-31"
    assert about.captured(captured(tmp_path, rows[2:])) == ""


# --- the funnel


def test_one_bar_holds_every_row_that_came_in_by_where_it_ended(html):
    whole = section(html, "funnel").xpath(".//li[@class='whole']")[0]
    told = [one.text for one in whole.xpath(".//*[local-name()='title']")]
    counts = [int(re.search(r": ([\d,]+) \(", one)[1].replace(",", "")) for one in told]
    assert sum(counts) == 17
    assert [one.partition(":")[0] for one in told] == [
        "submissions, self_post", "links, low_karma",
        "pages, not_found", "pages, opted_out", "pages, robots_disallowed",
        "corpus, exact_duplicate", "corpus, near_duplicate", "corpus, wikipedia_text", "left",
    ]  # fmt: skip
    assert words(whole.xpath("./span[@class='sum']")[0]) == "8 of 17"


# --- samples


def test_documents_that_stay_and_those_of_each_rule_are_shown_escaped_and_bounded(html):
    part = section(html, "samples")
    kept = part.xpath(".//article[contains(@class, 'stays')]")
    assert len(kept) == 6
    assert {words(one.find("h4")) for one in kept} <= {" ".join(plain(one, 120).split()) for one in HOSTILE}
    (gone,) = part.xpath(".//details")
    assert words(gone.find("summary")) == "wikipedia_text: wikipedia_overlap (1 document)"
    assert "has 0.75 · threshold 0.5" in words(gone)
    assert all(len(words(one.xpath("./p[@dir]")[0])) <= 600 for one in part.xpath(".//article"))


def test_addresses_of_people_are_on_no_page_for_others_whatever_the_setting_says(tmp_path):
    from tests.verbs.report import working

    work = tmp_path / "work"
    rows = working.rows()
    for one in (*rows["documents"], *rows["corpus"]):
        one["text"] = f"Ask somebody@people.example at 8.8.8.8. {one['text']}"
    for stage, schema in (("documents", working.DOCUMENTS), ("corpus", working.schemas.CORPUS)):
        working.write(work, stage, schema, rows)
    report(work, SHARDS, tmp_path)
    for name in (PAGE, CARD):
        assert not re.search(r"somebody@people|8\.8\.8\.8", (tmp_path / name).read_text("utf-8"))
    assert "email@example.com" in (tmp_path / PAGE).read_text("utf-8")


def test_nothing_of_a_page_that_was_asked_to_go_is_on_the_page_or_in_the_card(root, tmp_path):
    work = shutil.copytree(root, tmp_path / "work")
    hosts = [f"host{n}.bbc.co.uk" for n in (3, 0, 2)]  # of a page that stays, of a near copy, of one of Wikipedia's
    report(work, SHARDS, tmp_path)
    before = (tmp_path / PAGE).read_text("utf-8")
    assert all(f"https://{host}/" in before for host in hosts)
    lines = tuple(removals.Line(n, "host", removals.hidden(host)) for n, host in enumerate(hosts, 1))
    removals.write(work / removals.FOLDER / "000001.json", removals.RemovalRequest("2026", lines, ended_at="2026"))
    report(work, SHARDS, tmp_path)
    for name in (PAGE, CARD):
        assert not [host for host in hosts if host in (tmp_path / name).read_text("utf-8")]


def test_while_a_removal_was_cut_short_no_report_is_written(root, tmp_path):
    work = shutil.copytree(root, tmp_path / "work")
    removals.write(work / removals.FOLDER / "000001.json", removals.RemovalRequest("2026"))
    with pytest.raises(BusyError, match="cut short"):
        report(work, SHARDS, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- signals


def test_a_signal_is_drawn_with_the_bounds_of_its_rules(html):
    figure = next(one for one in section(html, "signals").xpath(".//figure") if "word_count" in words(one))
    assert "A rule asks for at least" not in words(figure)  # the settings of this artefact name no rule
    rows = [{"signal": "word_count", "at_least": 2.0**n, "documents": n, "stay": n // 2} for n in range(5, 9)]
    drawn = lxml.html.fragment_fromstring(signals.histogram("word_count", rows, [Rule("word_count", ">=", 96.0)]))
    (line,) = drawn.xpath(".//*[local-name()='line'][@class='bound']")
    assert 25 < float(line.get("x1").rstrip("%")) < 50  # in the second of four columns: 64 to 127
    assert "≥ 96" in words(drawn)


@given(
    st.lists(
        st.tuples(st.integers(0, 200), st.integers(1, 1000)), min_size=1, max_size=40, unique_by=lambda one: one[0]
    ),
    st.lists(st.floats(0, 1), max_size=2),
)
def test_a_histogram_of_shares_holds_every_document_and_every_bound(counts, bounds):
    rows = [
        {"at_least": round(place * 0.005, 3), "documents": many, "stay": many // 2} for place, many in sorted(counts)
    ]
    made = signals.even(rows, 0.005, [Rule("x_share", "<=", bound) for bound in bounds])
    assert sum(row["documents"] for _, _, row in made.columns) == sum(many for _, many in counts)
    assert sum(row["stay"] for _, _, row in made.columns) == sum(many // 2 for _, many in counts)
    assert len(made.columns) <= signals.COLUMNS
    places = [made.across(bound) for bound in bounds]
    assert all(0 <= one <= 100 for one in places)
    assert (places == sorted(places)) == (bounds == sorted(bounds)) or len(set(places)) < 2


@given(st.lists(st.integers(0, 20), min_size=1, unique=True))
def test_a_histogram_of_counts_has_a_column_for_each_doubling_between_the_first_and_the_last(powers):
    rows = [{"at_least": float(2 ** (one - 1)) if one else 0.0, "documents": 1, "stay": 1} for one in sorted(powers)]
    made = signals.doubling(rows)
    assert len(made.columns) == max(powers) - min(powers) + 1
    assert sum(row["documents"] for _, _, row in made.columns) == len(powers)


# --- hosts, and the card


def test_hosts_stand_with_their_full_names(tmp_path):
    from tests.verbs.report import working

    long = ".".join(["a-very-long-label-of-some-blog"] * 5) + ".example"
    rows = working.rows()
    rows["corpus"][0]["host"] = long
    for stage, schema in (("documents", working.DOCUMENTS), ("corpus", working.schemas.CORPUS)):
        working.write(tmp_path / "work", stage, schema, rows)
    assert long in words(section(shown(tmp_path / "work"), "sources"))
    report(tmp_path / "work", SHARDS, tmp_path)
    assert f"| `{long}` | 1 |" in (tmp_path / CARD).read_text("utf-8")


@pytest.mark.parametrize("text", ["https://a.test/b_c-d.html?e=f&g", "a | b", "`tick`", "``", "x `` y ` z", " ", "\\"])
def test_code_in_a_cell_is_read_as_it_is(text):
    parsed = MarkdownIt("commonmark").enable("table").parse(f"| a | b |\n|---|---|\n| {code(text)} | x |")
    cells = [token for token in parsed if token.type == "inline"]
    assert len(cells) == 4
    assert "".join(child.content for child in cells[2].children) == (plain(text) or "–")
    assert {child.type for child in cells[2].children} == ({"code_inline"} if plain(text) else {"text"})


def test_an_ordinary_title_stands_in_the_card_without_a_backslash():
    title = "What's new in 3.12? (2023-10-02) – a look; well, 5 + 5 = 10! #1: R&D, 50 %"
    assert markdown(title) == title


def test_the_card_says_its_limits_what_was_done_about_addresses_and_how_to_cite_it(root, settings):
    found = answers(root, SHARDS, settings)
    found.rows["personal"] = [{"documents": 9, "with_email": 2, "emails": 3, "with_ip": 0, "ips": 0}]
    said = cautions.personal(found)
    assert (
        "2 documents held e-mail addresses when extracted; they stand there (`corpus.redact` does not name `email`)"
        in said
    )
    assert "No IPv4 addresses were found." in said
    found.rows["settings"] = [{"stage": "corpus", "setting": "redact", "value": '["email"]'}]
    assert "when extracted; they were replaced." in cautions.personal(found)
    assert "Texts of evaluations were not looked for" in cautions.limits(found)
    found.rows["settings"] = [{"stage": "corpus", "setting": "contamination", "value": '["lambada.jsonl"]'}]
    assert "Texts of evaluations" not in cautions.limits(found)
    found.captured, found.made = Captured(date(2015, 1, 1), date(2017, 1, 1), 1, 1), date(2026, 11, 29)
    entry = cautions.citation(found)
    assert "year = {2026}" in entry  # in which it was made, not that of its pages
    assert entry.count("@") == 2
    assert re.search(r"@misc\{mine-yours-1-[0-9a-f]{8},\n", entry)


@given(st.text(max_size=60))
def test_no_name_breaks_out_of_its_field_of_bibtex(name):
    value = cautions.field(name)
    assert not set("{}`\n") & set(value)
    assert re.fullmatch(r"(?:[^\\&%$#_]|\\[&%$#_])*", value)
