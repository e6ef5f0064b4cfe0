from collections import Counter
from html import escape

import pytest

from pipeline.demo import site
from pipeline.fetch import robots
from pipeline.text.extract import extract
from pipeline.urls import canonical_url


def test_ordinary_pages_have_addresses_of_their_own_on_over_twenty_hosts():
    pages = site.ordinary_pages()
    assert len(pages) == 310
    assert len({canonical_url(page.url) for page in pages}) == 310
    a_host = Counter(page.host for page in pages)
    assert len(a_host) == 26
    assert set(a_host.values()) == {11, 12}


def test_reserved_passages_are_long_and_no_ordinary_page_shows_one():
    kept_back = [site.reserved(number) for number in range(site.RESERVED)]
    shown = {page.passage for page in site.ordinary_pages()}
    assert len(kept_back) == 40
    assert not shown & set(kept_back)
    assert min(passage.words for passage in kept_back) >= 550


@pytest.mark.parametrize("host", sorted(site.HOSTS))
def test_a_page_holds_its_passage_among_clutter_and_extraction_parts_them(host):
    page = next(page for page in site.ordinary_pages() if page.host == host)
    html = site.render(page)
    assert all(escape(paragraph, quote=False) in html for paragraph in page.passage.paragraphs)
    assert "cookie policy" in html
    assert "text that no one should read" in html
    text = extract(html.encode(), "text/html; charset=utf-8", page.url, "cascade").text
    found = Counter(text.split())
    wanted = Counter(word for paragraph in page.passage.paragraphs for word in paragraph.split())
    assert (wanted & found).total() >= 0.7 * wanted.total()
    assert found.total() <= wanted.total() + 60
    assert "cookie policy" not in text
    assert "no one should read" not in text


def test_robots_txt_opens_all_but_the_private_parts():
    rules = robots.parse(site.robots_txt("tin-roof.test").encode(), "webtext", ())
    assert rules.allowed("http://tin-roof.test/2014/01/a/")
    assert not rules.allowed("http://tin-roof.test/private/a")
    assert rules.allowed("http://tin-roof.test/private/visitors/a")
    assert not robots.parse(site.robots_txt("tin-roof.test").encode(), "greedybot", ()).allowed(
        "http://tin-roof.test/a"
    )
