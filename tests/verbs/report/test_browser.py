"""The report in a browser: wide and narrow, light and dark, by keyboard, and as a screen reader hears it."""

import base64
import struct
from itertools import product

import pytest

from pipeline.verbs.report.page import CONTENTS
from pipeline.verbs.report.write import PAGE, report
from tests.verbs.report import browser as chromium
from tests.verbs.report.test_markup import palettes
from tests.verbs.report.working import SHARDS, built

pytestmark = pytest.mark.skipif(
    chromium.found() is None,
    reason=f"no browser: none of {', '.join(chromium.NAMES)} is on the PATH, and {chromium.VARIABLE} is not set",
)

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
SCHEMES = ("light", "dark")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium.running(tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The report of a full and of an empty working directory."""
    full = built(tmp_path_factory.mktemp("full"))
    empty = tmp_path_factory.mktemp("empty")
    for root in (full, empty):
        report(root, SHARDS, root / "report")
    return {"full": full / "report" / PAGE, "empty": empty / "report" / PAGE}


@pytest.mark.parametrize(("which", "size", "scheme"), list(product(("full", "empty"), SIZES, SCHEMES)))
def test_the_page_is_drawn_within_its_width_asks_nobody_and_complains_of_nothing(browser, pages, which, size, scheme):
    width, height = SIZES[size]
    browser.open(pages[which], width, height, scheme)
    browser.value("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert browser.value(
        "[innerWidth, document.documentElement.scrollWidth <= document.documentElement.clientWidth]"
    ) == [
        width,
        True,
    ]
    assert browser.value("getComputedStyle(document.body).backgroundColor") == ground(scheme)
    picture = base64.b64decode(browser.call("Page.captureScreenshot", format="png")["data"])
    assert struct.unpack(">II", picture[16:24]) == (width, height)
    assert len(picture) > 10_000
    assert browser.of("Log.entryAdded") == []
    assert browser.of("Runtime.exceptionThrown") == []
    assert browser.of("Runtime.consoleAPICalled") == []
    asked = {one["request"]["url"] for one in browser.of("Network.requestWillBeSent")}
    assert asked <= {pages[which].as_uri(), "data:,"}
    assert browser.value("document.title") == "What is in this corpus · webtext report"


def ground(scheme):
    colour = palettes()[SCHEMES.index(scheme)]["ground"]
    return f"rgb({', '.join(str(int(colour[at : at + 2], 16)) for at in (1, 3, 5))})"


def test_hostile_text_hides_no_element_below_another(browser, pages):
    browser.open(pages["full"], *SIZES["phone"])
    beyond = """[...document.querySelectorAll('main *')].filter(one => !one.closest('.scroll, svg')
        && one.getBoundingClientRect().right > innerWidth + 1).map(one => one.tagName)"""
    assert browser.value(beyond) == []


def test_the_first_key_leads_past_the_links_to_the_report(browser, pages):
    browser.open(pages["full"])
    browser.press("Tab", 9)
    assert browser.value("document.activeElement.className") == "skip"
    assert browser.value("document.activeElement.getBoundingClientRect().left") >= 0
    browser.press("Enter", 13, "\r")
    assert browser.value("location.hash") == "#content"
    assert browser.value("document.activeElement.id") == "content"


def test_every_stop_of_the_keyboard_is_named_and_seen_and_every_link_is_one(browser, pages):
    browser.open(pages["full"], *SIZES["phone"])
    stops = []
    for _ in range(200):
        browser.press("Tab", 9)
        stop = browser.value(
            """(one => one === document.body ? null : {tag: one.tagName,
            name: (one.getAttribute('aria-label') || one.textContent).trim(), line: getComputedStyle(one).outlineStyle,
            wide: parseFloat(getComputedStyle(one).outlineWidth)})(document.activeElement)"""
        )
        if stop is None:
            break
        stops.append(stop)
    assert all(stop["name"] and stop["line"] == "solid" and stop["wide"] >= 2 for stop in stops)
    tags = [stop["tag"] for stop in stops]
    assert tags.count("A") == 1 + len(CONTENTS)
    assert tags.count("SUMMARY") == browser.value(
        "document.querySelectorAll('summary').length - document.querySelectorAll('details details > summary').length"
    )
    assert tags.count("DIV") == browser.value("document.querySelectorAll('.scroll:not(details *)').length")


def test_what_is_folded_opens_by_key(browser, pages):
    browser.open(pages["full"])
    browser.value("document.querySelector('summary').focus()")
    assert browser.value("document.querySelector('details').open") is False
    browser.press(" ", 32, " ")
    assert browser.value("document.querySelector('details').open") is True


def test_a_screen_reader_hears_landmarks_headings_tables_and_the_names_of_pictures(browser, pages):
    browser.open(pages["full"])
    heard = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in browser.call("Accessibility.getFullAXTree")["nodes"]
        if not node["ignored"]
    ]
    roles = [role for role, _ in heard]
    for role in ("banner", "navigation", "main", "contentinfo"):
        assert roles.count(role) == 1, role
    names = {name for role, name in heard if role == "heading"}
    assert {"What is in this corpus", *(title for _, title, _ in CONTENTS)} <= names
    assert {title for _, title, _ in CONTENTS} <= {name for role, name in heard if role == "region"}
    pictures = [name for role, name in heard if role in ("image", "img")]
    assert all(pictures)
    assert any(name.startswith("links: 14 of 15 go on") for name in pictures)
    assert all(name for role, name in heard if role in ("table", "link", "DisclosureTriangle"))
    assert ("columnheader", "Documents") in heard
    assert any(role == "rowheader" and name == "bbc" for role, name in heard)
