"""Which capture of several counts: by time and content, whatever the files are called and however they are cut."""

from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.fetch.nearest import posted
from tests.fetch.warcs import POST, answer, body_of, brief, look, moved, record, sha1, write

A = "http://a.test/"


def of_day(day, body=None, url=A, **fields):
    return record(answer(body or f"<p>{day}".encode()), url, date=f"{day}T16:53:20Z" if day else "", **fields)


def chosen(work, *records, **values):
    write(work, *records)
    return body_of(work, look(work, A, **values)[0][A]).decode().removeprefix("<p>")


@pytest.mark.parametrize(
    ("posted", "days", "expected"),
    [
        (POST, ["2013-05-13", "2014-05-20", "2019-01-01"], "2014-05-20"),
        (POST, ["2014-05-01", "2014-05-30"], "2014-05-01"),
        (POST, ["2014-05-14", "2014-05-12"], "2014-05-12"),  # as far: the earlier
        (None, ["2014-05-14", "2012-01-01", "2019-01-01"], "2012-01-01"),
        (POST, ["", "1999-01-01"], "1999-01-01"),
        (None, ["", "2019-01-01"], "2019-01-01"),
        (POST, [""], ""),
    ],
)
def test_the_capture_nearest_to_the_post_counts(tmp_path, posted, days, expected):
    assert chosen(tmp_path / "1", *map(of_day, days), posted=posted) == expected
    assert chosen(tmp_path / "2", *map(of_day, reversed(days)), posted=posted) == expected


def test_pages_count_before_what_leads_elsewhere_and_that_before_failures(tmp_path):
    page = of_day("2001-01-01")
    away = record(moved("http://b.test/"), A, date="2010-01-01T00:00:00Z")
    failure = record(answer(b"no", "404 Not Found"), A, date="2014-05-13T00:00:00Z")
    target = record(answer(), "http://b.test/")
    ends = []
    for n, records in enumerate(([page, away, failure, target], [away, failure, target], [failure, target])):
        write(tmp_path / str(n), *records)
        ends.append(brief(look(tmp_path / str(n), A)[0][A]))
    assert ends == [("kept", A), ("kept", "http://b.test/"), ("not_found", A)]


def test_a_page_that_opts_out_is_not_passed_over_for_an_older_one(tmp_path):
    asking = record(answer(b"<p>no", "200 OK", ("X-Robots-Tag", "noai")), A, date="2014-05-13T00:00:00Z")
    write(tmp_path, of_day("2001-01-01"), asking)
    assert brief(look(tmp_path, A)[0][A]) == ("opted_out", A)


def test_the_target_of_a_redirect_is_the_capture_nearest_to_the_post_too(tmp_path):
    away = record(moved("http://b.test/"), A)
    pages = [of_day(day, url="http://b.test/") for day in ("2012-01-01", "2014-05-01", "2019-01-01")]
    assert chosen(tmp_path, away, *pages) == "2014-05-01"
    assert chosen(tmp_path, away, *pages, posted=1_500_000_000) == "2019-01-01"


@pytest.mark.parametrize(("created", "expected"), [(POST, datetime(2014, 5, 13, 16, 53, 20)), (0, None), (None, None)])
def test_the_time_of_a_post_is_utc_or_unknown(created, expected):
    assert posted(created) == expected


URLS = [A, "https://www.a.test", "http://b.test/", "http://b.test/2"]
DATES = ["2014-05-12T16:53:20Z", "2014-05-14T16:53:20Z", "2014-05-13T16:53:20.5Z", "2019-01-01T00:00:00Z", ""]
BODIES = [b"<p>one", b"<p>two"]


@st.composite
def captures(draw):
    url, date, body = draw(st.sampled_from(URLS)), draw(st.sampled_from(DATES)), draw(st.sampled_from(BODIES))
    number = f"<urn:uuid:{draw(st.integers(0, 5))}>"
    match draw(st.sampled_from(["page", "page", "page", "moved", "missing", "revisit", "post"])):
        case "page":
            return [record(answer(body), url, date=date, Record_ID=number, Payload_Digest=sha1(body))]
        case "moved":
            return [record(moved(draw(st.sampled_from(URLS))), url, date=date)]
        case "missing":
            return [record(answer(b"no", "404 Not Found"), url, date=date)]
        case "revisit":
            names = {
                "Refers_To": number,
                "Payload_Digest": sha1(body),
                "Refers_To_Target_URI": draw(st.sampled_from(URLS)),
                "Refers_To_Date": draw(st.sampled_from(DATES[:4])),
            }
            told = draw(st.sets(st.sampled_from(sorted(names))))
            return [record(answer(b""), url, "revisit", date, **{name: names[name] for name in told})]
        case _:
            request = record(b"POST / HTTP/1.1\r\n\r\n", url, "request", date, Concurrent_To=number)
            return [request, record(answer(body), url, date=date, Record_ID=number)]


@given(st.lists(captures(), min_size=1, max_size=8), st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_files_in_any_order_under_any_names_and_cut_anywhere_give_the_same_pages(tmp_path_factory, groups, order):
    """But for the place where a page is pointed at."""
    records = [one for group in groups for one in group]
    found = []
    for name in ("one", "other"):
        work = tmp_path_factory.mktemp(name)
        files = {}
        for one in records:
            files.setdefault(f"{order.randint(0, 2)}.warc.gz", []).append(one)
        for file, held in files.items():
            write(work, *held, name=file)
        rows = look(work, *URLS)[0]
        found.append([without_place(row) for row in rows.values()])
        order.shuffle(records)
    assert found[0] == found[1]


def without_place(row):
    return row and {name: value for name, value in row.items() if name not in ("warc", "offset")}
