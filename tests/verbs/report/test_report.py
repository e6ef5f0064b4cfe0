"""The report of a working directory: what it shows, what it never shows, and what it says of what is missing."""

import contextlib
import re
import shutil
from itertools import pairwise
from pathlib import Path

import lxml.html
import pytest
from markdown_it import MarkdownIt

from pipeline.shards.outcomes import InputError, IntegrityError
from pipeline.verbs.report import webtext
from pipeline.verbs.report.markup import plain
from pipeline.verbs.report.page import CONTENTS
from pipeline.verbs.report.write import CARD, PAGE, report
from tests.verbs.report.working import HOSTILE, SHARDS, SUBREDDIT, URLS, built, url

HARMLESS = {
    *(
        "html",
        "head",
        "meta",
        "link",
        "title",
        "style",
        "body",
        "header",
        "nav",
        "main",
        "section",
        "article",
        "footer",
    ),
    *("p", "h1", "h2", "h3", "h4", "dl", "div", "dt", "dd", "ul", "ol", "li", "a", "details", "summary"),
    *("figure", "figcaption", "svg", "g", "rect", "line", "text", "polyline"),
    *("table", "caption", "thead", "tbody", "tr", "th", "td", "code", "bdi", "span", "b", "mark"),
}
ELSEWHERE = re.compile(r"https?:|//|url\(|@import|javascript:", re.IGNORECASE)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return built(tmp_path_factory.mktemp("working"))


@pytest.fixture(scope="module")
def written(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    report(root, SHARDS, out)
    return out


@pytest.fixture(scope="module")
def html(written):
    return lxml.html.document_fromstring((written / PAGE).read_text("utf-8"))


@pytest.fixture(scope="module")
def card(written):
    return (written / CARD).read_text("utf-8")


def words(element):
    return " ".join(" ".join(element.itertext()).split())


def section(html, name):
    (found,) = html.xpath(f"//section[@id='{name}']")
    return found


def test_the_page_asks_nothing_from_elsewhere_and_runs_nothing(html):
    names = {one.tag for one in html.iter() if isinstance(one.tag, str)}
    assert names <= HARMLESS
    for one in html.iter():
        if not isinstance(one.tag, str):
            raise AssertionError("a comment or an instruction on the page")
        for name, value in one.attrib.items():
            assert not name.startswith("on")
            assert name not in ("src", "srcset", "style", "action", "data", "xlink:href")
            if name == "href":
                assert value.startswith("#") or value == "data:,", value
    (style,) = html.xpath("//style")
    assert not ELSEWHERE.search(style.text)
    (policy,) = html.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    assert policy.startswith("default-src 'none'")


def test_hostile_titles_addresses_and_texts_stand_on_the_page_as_they_are_read(html):
    for place in (0, 1):
        shown = words(section(html, "duplicates"))
        assert plain(HOSTILE[place]) in shown
        assert URLS[place].partition("long")[0] in shown
    assert plain(HOSTILE[2]) in words(section(html, "wikipedia"))
    assert f"r/ {SUBREDDIT}" in words(section(html, "sources"))
    assert "header:noai|<i>" in words(section(html, "opt-outs"))
    assert "<i>" in words(section(html, "documents"))


def test_nothing_that_turns_the_direction_of_text_or_hides_is_on_either_page(written):
    for name in (PAGE, CARD):
        text = (written / name).read_text("utf-8")
        assert not re.search("[\u061c\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff\x00-\x08\x0b-\x1f\x7f]", text)


def test_hostile_titles_stand_in_the_card_as_they_are_read(card):
    body = card.split("---\n", 2)[2]
    tokens = MarkdownIt("commonmark", {"linkify": False}).enable("table").parse(body)
    inline = [child for token in tokens for child in token.children or ()]
    assert {child.type for child in inline} <= {"text", "code_inline", "text_special", "softbreak"}
    assert not [token for token in tokens if token.type == "html_block"]
    cells = [
        "".join(child.content for child in token.children)
        for before, token in pairwise(tokens)
        if before.type == "td_open"
    ]
    for place in (0, 1):
        title, where = plain(HOSTILE[place], 80), plain(url(place), 80)
        assert f"{title} ({where})" in cells
    assert SUBREDDIT in cells


def test_every_row_of_every_table_of_the_card_has_the_cells_of_its_head(card):
    for block in re.findall(r"(?:^\|.*\n)+", card, re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1, block


def test_the_header_of_the_card_is_what_the_hub_reads(card):
    lines = card.split("---\n", 2)[1].splitlines()
    assert "license: other" in lines
    assert '- "en"' in lines
    assert '- "<i>"' in lines
    assert "- n<1K" in lines
    assert '    path: "train-*.parquet"' in lines


def test_the_funnel_tells_every_outcome_of_every_step(html, card):
    shown = words(section(html, "funnel"))
    for text in ("self_post 2", "low_karma 1", "not_found 1", "near_duplicate 1", "14 of 15", "11 of 14", "8 of 11"):
        assert text in shown
    assert "| pages | 14 | 11 (78.6\N{NARROW NO-BREAK SPACE}%) |" in card


def test_a_pair_of_copies_is_shown_side_by_side_with_what_differs_marked(html):
    assert [words(one) for one in section(html, "duplicates").xpath("./ul/li")] == ["measured <0>", "measured <1>"]
    first, second = section(html, "duplicates").xpath(".//div[@class='twins']")
    assert [words(one) for one in first.xpath("./h3")] == ["Similarity 0.875, threshold 0.8"]
    assert [words(one) for one in second.xpath("./h3")] == ["The same words"]
    gone, stays = first.xpath("./article")
    assert words(gone).startswith("Goes")
    assert words(stays).startswith("Stays")


def test_where_no_reference_of_wikipedia_was_given_the_page_says_so(html):
    assert "No reference was given" in words(section(html, "wikipedia"))


def test_years_without_links_have_their_place(html):
    shown = section(html, "links").xpath(".//*[local-name()='text'][contains(@class, 'tick')]")
    labels = [one.text for one in shown]
    assert labels[labels.index("2012") :] == ["2012", "2013", "2014", "2015", "2016"]


def test_buckets_that_hold_nothing_have_their_place(html):
    karma = section(html, "links").xpath(".//figure")[0].xpath(".//*[local-name()='text'][contains(@class, 'tick')]")
    assert [one.text for one in karma] == ["1", "2", "4"]


def test_the_list_of_webtexts_domains_is_the_published_one():
    path = Path(__file__).resolve().parents[3] / "../shared/data/gpt2/webtext_domains.txt"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    lines = [f"{count} {name}" for name, count in webtext.published()]
    assert lines == path.read_text("utf-8").splitlines()[: len(lines)]
    assert len(lines) == 50


def test_domains_stand_beside_those_of_webtext(html, card):
    shown = words(section(html, "sources"))
    assert "bbc 8 no. 9" in shown
    assert f"google {webtext.published()[0][1]:,} 0" in shown
    assert "| `bbc` | 8 | google | 1,542,261 |" in card


def test_a_log_that_was_cut_short_still_gives_its_curves(html):
    curves = section(html, "training").xpath(".//*[local-name()='polyline']/@points")
    assert [len(points.split()) for points in curves] == [150, 2]
    assert "held-out 5.5 at step 300" in words(section(html, "training"))


def test_of_files_of_a_user_only_the_names_are_shown(written):
    for name in (PAGE, CARD):
        assert "/home/somebody" not in (written / name).read_text("utf-8")
    assert "pages.warc.gz" in (written / PAGE).read_text("utf-8")


def test_the_same_artefacts_give_the_same_bytes_wherever_they_lie(root, written, tmp_path):
    moved = tmp_path / "a, folder 'with' \"odd\" [name]*"
    shutil.copytree(root, moved)
    with contextlib.chdir(tmp_path):
        report(moved.relative_to(tmp_path), SHARDS, tmp_path / "out")
    for name in (PAGE, CARD):
        assert (tmp_path / "out" / name).read_bytes() == (written / name).read_bytes()


def test_the_headings_go_down_one_step_at_a_time_and_every_section_is_named(html):
    levels = [int(one.tag[1]) for one in html.iter() if one.tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = html.xpath("//@id")
    assert len(ids) == len(set(ids))
    links = [href.removeprefix("#") for href in html.xpath("//nav//a/@href")]
    assert links == [anchor for anchor, _, _ in CONTENTS]
    assert {*links, *html.xpath("//@aria-labelledby"), "content"} <= set(ids)


def test_every_table_has_a_caption_and_every_heading_of_it_a_scope(html):
    for table in html.xpath("//table"):
        assert words(table.xpath("./caption")[0])
        assert all(th.get("scope") == "col" for th in table.xpath("./thead//th"))
        assert all(th.get("scope") == "row" for th in table.xpath("./tbody//th"))
    for picture in html.xpath("//*[local-name()='svg'][not(ancestor::*[local-name()='svg'])]"):
        assert picture.get("aria-hidden") == "true" or (picture.get("role") == "img" and picture.get("aria-label"))


def test_of_an_empty_working_directory_the_report_says_so(tmp_path):
    report(tmp_path, SHARDS, tmp_path / "report")
    html = lxml.html.parse(tmp_path / "report" / PAGE).getroot()
    assert "links is not made" in words(html.xpath("//header")[0])
    for anchor, _, _ in CONTENTS:
        assert section(html, anchor).xpath(".//p[@class='missing']"), anchor
    assert "not built yet" in (tmp_path / "report" / CARD).read_text("utf-8")


@pytest.mark.parametrize("last", ["links", "pages", "documents", "corpus", "tokenizer"])
def test_what_is_not_built_yet_is_a_sentence_and_the_rest_is_told(root, tmp_path, last):
    work = tmp_path / "work"
    stages = ("links", "pages", "documents", "corpus", "tokenizer", "tokens")
    for stage in stages[: stages.index(last) + 1]:
        shutil.copytree(root / stage, work / stage)
    report(work, SHARDS, tmp_path / "out")
    html = lxml.html.parse(tmp_path / "out" / PAGE).getroot()
    assert f"{stages[stages.index(last) + 1]} is not made" in words(html.xpath("//header")[0])
    assert "low_karma 1" in words(section(html, "funnel"))
    assert "No model has been trained here yet" in words(section(html, "training"))


def test_a_folder_in_which_the_report_is_asked_by_mistake_is_named(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        report(tmp_path / "nothing", SHARDS, tmp_path / "out")


@pytest.mark.parametrize("name", ["links/00000-of-00002.parquet", "removed/00001-of-00002.parquet"])
def test_a_damaged_artefact_is_named_and_nothing_is_written(root, tmp_path, name):
    work = shutil.copytree(root, tmp_path / "work")
    data = bytearray((work / name).read_bytes())
    data[len(data) // 2] ^= 1
    (work / name).write_bytes(data)
    with pytest.raises(IntegrityError, match=re.escape(name)):
        report(work, SHARDS, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_who_crawled_is_told_neither_by_the_page_nor_by_the_card(root, written):
    assert "somebody.example" in (root / "pages" / ".manifest.json").read_text("utf-8")
    for name in (PAGE, CARD):
        assert "somebody.example" not in (written / name).read_text("utf-8")
