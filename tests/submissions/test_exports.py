"""Exports and lists: every form gives what the dump gives, a bad row is one fate, a damaged file is named."""

import csv
import gzip
import io
import json
from collections import Counter
from datetime import UTC, datetime

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pipeline.shards.outcomes import InputError, Outcome
from pipeline.submissions import exports, forms
from pipeline.submissions.dumps import read_dump, read_line
from pipeline.submissions.rows import row_of
from pipeline.submissions.sources import read_submissions, reader_of

ROW = {"id": "87", "url": "http://a.example/", "score": 3, "created_utc": 1119552233, "subreddit": "s"}
USUAL = {**ROW, "over_18": False, "is_self": False}
ROWS = [
    USUAL,
    {**USUAL, "id": "88", "url": "http://b.example/?a=1&amp;b=2", "score": -5, "over_18": True},
    {**USUAL, "id": "89", "is_self": True},
    {**USUAL, "id": "90", "url": ""},
    {**USUAL, "id": "", "url": "http://c.example/"},
    {**USUAL, "id": "t3_91", "score": None},
    {**USUAL, "id": "92", "created_utc": None},
]


def read_all(path, rows=1_000):
    submissions, fates = [], Counter()
    for block, counts, _ in read_submissions(path, rows):
        assert counts[Outcome.KEPT] == len(block)
        submissions += [msgspec.structs.astuple(row)[:6] for row in block]
        fates += counts
    return submissions, fates


def dump(folder, rows):
    path = folder / "rows.ndjson"
    path.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    return read_all(path)


def parquet(path, rows, **columns):
    table = pa.Table.from_pylist(rows)
    for name, column in columns.items():
        table = table.drop_columns([name]).append_column(name, column)
    pq.write_table(table, path, row_group_size=2)
    return path


def text_of(rows, names=tuple(USUAL)):
    out = io.StringIO()
    writer = csv.DictWriter(out, names, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def test_parquet_and_csv_give_what_the_dump_gives(tmp_path):
    expected = dump(tmp_path, ROWS)
    assert expected[1] == {Outcome.KEPT: 3, Outcome.SELF_POST: 1, Outcome.BAD_URL: 1, Outcome.BAD_LINE: 2}
    assert read_all(parquet(tmp_path / "rows.parquet", ROWS)) == expected
    for name, pack in (("a.csv", bytes), ("b.CSV.GZ", gzip.compress), ("c.csv.zst", zstandard.compress)):
        (tmp_path / name).write_bytes(pack(text_of(ROWS).encode()))
        assert read_all(tmp_path / name) == expected, name


@pytest.mark.parametrize("kept", [("name", "url", "created_utc"), ("url", "created_utc", "id", "score", "is_self")])
def test_missing_columns_are_missing_fields(tmp_path, kept):
    rows = [{name: value for name, value in {**row, "name": f"t3_{row['id']}"}.items() if name in kept} for row in ROWS]
    expected = dump(tmp_path, rows)
    assert read_all(parquet(tmp_path / "rows.parquet", rows)) == expected
    (tmp_path / "rows.csv").write_text(text_of(rows, kept))
    assert read_all(tmp_path / "rows.csv") == expected


@pytest.mark.failure(
    "an export lacks a column", "exit 3; the line names the column, and those wanted", "rename the column"
)
@pytest.mark.parametrize("missing", ["id", "url", "created_utc"])
def test_a_table_that_cannot_be_of_submissions_is_refused_by_its_column(tmp_path, missing):
    rows = [{name: value for name, value in USUAL.items() if name != missing}]
    (tmp_path / "rows.csv").write_text(text_of(rows, tuple(rows[0])))
    for path in (parquet(tmp_path / "rows.parquet", rows), tmp_path / "rows.csv"):
        with pytest.raises(InputError, match=f"{path.name}: no column '{missing}'; wanted Reddit's field names: id, "):
            read_all(path)


def test_times_may_be_timestamps_in_parquet(tmp_path):
    times = pa.array([datetime.fromtimestamp(1119552233, UTC)], pa.timestamp("us", "UTC"))
    assert read_all(parquet(tmp_path / "a.parquet", [USUAL], created_utc=times)) == dump(tmp_path, [USUAL])


def test_a_row_of_parquet_that_is_not_utf_8_is_one_bad_line(tmp_path):
    rows = [{**USUAL, "id": str(number)} for number in range(5)]
    urls = [b"http://a.example/", b"http://\xff.example/", *[b"http://b.example/"] * 3]
    spoilt = pa.Array.from_buffers(pa.string(), 5, pa.array(urls, pa.binary()).buffers())
    submissions, fates = read_all(parquet(tmp_path / "a.parquet", rows, url=spoilt))
    assert [row[0] for row in submissions] == ["0", "2", "3", "4"]
    assert fates == {Outcome.KEPT: 4, Outcome.BAD_LINE: 1}


@pytest.mark.failure("a Parquet export is cut off", "exit 3; the line names the file", "export it again")
def test_a_parquet_file_cut_anywhere_is_an_error_that_names_it(tmp_path):
    whole = parquet(tmp_path / "whole.parquet", ROWS).read_bytes()
    path = tmp_path / "cut.parquet"
    for size in (0, 3, 4, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"cut\.parquet: no whole Parquet file: "):
            read_all(path)


def test_a_damaged_row_group_is_named_and_those_before_it_are_given(tmp_path):
    rows = [{**USUAL, "id": str(number), "url": f"http://a.example/{number * 7919 % 10007}"} for number in range(9_000)]
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=3_000, write_page_checksum=True)
    with pq.ParquetFile(path) as file:
        start = file.metadata.row_group(1).column(1).data_page_offset + 500
    data = bytearray(path.read_bytes())
    data[start : start + 50] = bytes(byte ^ 255 for byte in data[start : start + 50])
    path.write_bytes(data)
    blocks = read_submissions(path, 1)
    assert len(next(blocks)[0]) == 3_000
    with pytest.raises(InputError, match=r"rows\.parquet: damaged in row group 2 of 3: "):
        next(blocks)


def test_a_bad_row_of_csv_is_one_bad_line(tmp_path):
    head, good = text_of([]), text_of([USUAL]).splitlines()[1]
    bad = [good + ",more", good.rpartition(",")[0], good.replace("87", '"8"7'), good.replace("87", "9" * 65)]
    bad += [good.replace("1119552233", "soon"), good.replace("False", "perhaps")]
    (tmp_path / "a.csv").write_text("\n".join([head.strip(), *(each for row in bad for each in (row, good)), ""]))
    submissions, fates = read_all(tmp_path / "a.csv")
    assert fates == {Outcome.KEPT: len(bad), Outcome.BAD_LINE: len(bad)}
    spoilt = (head + good + "\n").encode().replace(b"a.example", b"\xff.example")
    (tmp_path / "b.csv").write_bytes(b"\xef\xbb\xbf" + spoilt + good.encode())
    assert read_all(tmp_path / "b.csv") == (submissions[:1], {Outcome.KEPT: 1, Outcome.BAD_LINE: 1})


def test_quoted_fields_may_hold_line_feeds_commas_and_quotes(tmp_path):
    rows = [{**USUAL, "title": 'two\nlines, "quoted"\r\n'}, {**USUAL, "id": "88"}]
    (tmp_path / "a.csv").write_text(text_of(rows, ("title", *USUAL)), newline="")
    assert [row[0] for row in read_all(tmp_path / "a.csv")[0]] == ["87", "88"]


def test_a_csv_file_that_ends_within_quotes_or_a_frame_is_an_error(tmp_path):
    text = text_of([{**USUAL, "title": "a,b"}], ("id", "url", "created_utc", "title"))
    (tmp_path / "a.csv").write_text(text[:-4])
    with pytest.raises(InputError, match=r"a\.csv: truncated: ends at line \d+ within quotes"):
        read_all(tmp_path / "a.csv")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(text.encode())[:-1])
    with pytest.raises(InputError, match=r"b\.csv\.gz: truncated: ends at byte \d+ within a frame"):
        read_all(tmp_path / "b.csv.gz")


LONG = "<li>an item\n</li>" * 40_000


def test_fields_of_any_length_are_read_and_a_quote_that_nothing_closes_is_named(tmp_path, monkeypatch):
    rows = [{**USUAL, "id": str(number), "more": more} for number, more in enumerate(("x", LONG, "y" * 200_000, ""))]
    path = tmp_path / "a.csv"
    path.write_text(text_of(rows, (*USUAL, "more")), newline="")
    assert [row[0] for row in read_all(path)[0]] == ["0", "1", "2", "3"]
    monkeypatch.setattr(exports, "LONGEST_LINE", 1 << 20)
    monkeypatch.setattr(forms, "LONGEST_LINE", 1 << 20)
    for more in ((LONG + "\n") * 3, "z" * (3 << 20)):
        path.write_text(text_of([*rows[:1], {**USUAL, "more": more}, *rows], (*USUAL, "more")), newline="")
        with pytest.raises(InputError, match=r"a\.csv: line 3 begins a field of over 1 MiB; is there a quote that"):
            read_all(path)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_what_stands_between_fields_is_told_by_the_header(tmp_path, delimiter, encoding):
    rows = [{**USUAL, "title": "a;b,c\td|e\r\nf", "url": "http://a.example/;b,c|d"}]
    out = io.StringIO()
    names = ["title", *(name.upper() for name in USUAL)]
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerows([names, *([row["title"], *(row[name] for name in USUAL)] for row in rows)])
    (tmp_path / "a.csv").write_bytes(out.getvalue().encode(encoding))
    assert read_all(tmp_path / "a.csv") == dump(tmp_path, rows)


def test_of_columns_with_one_name_nobody_chooses(tmp_path):
    (tmp_path / "a.csv").write_text("id,url,created_utc,url\n1,http://a.example/,5,http://b.example/\n")
    with pytest.raises(InputError, match="2 columns are named 'url'; which is meant"):
        read_all(tmp_path / "a.csv")


FIELDS = {
    "id": st.sampled_from(["a1", "t3_a1", "", None, "a" * 65]),
    "url": st.sampled_from(["http://a.example/", "/r/a/", "", None]),
    "score": st.sampled_from([1, -1, "2", None, 2**31, "many"]),
    "created_utc": st.sampled_from([0, "1119552233", None, 2**32]),
    "subreddit": st.sampled_from(["a", None]),
    "over_18": st.sampled_from([True, False, None, "true", "perhaps"]),
    "is_self": st.sampled_from([True, False, None, "0"]),
}


@given(st.fixed_dictionaries(FIELDS))
def test_fields_meet_the_fate_that_the_same_line_of_json_meets(fields):
    assert row_of(fields) == read_line(json.dumps(fields).encode())


LISTED = """# what I like
http://a.example/
 http://b.example/?a&amp;b#part   # why

"http://c.example/",
<http://d.example/x,y>
'http://e.example/'
d.example/path?q=http://f.example/
xn--bcher-kva.example:8080
b\u00fccher.example
//g.example/a
192.0.2.7/a#top
HTTPS://H.example/,
"""
ADDRESSES = [
    "http://a.example/", "http://b.example/?a&amp;b#part", "http://c.example/", "http://d.example/x,y",
    "http://e.example/", "http://d.example/path?q=http://f.example/", "http://xn--bcher-kva.example:8080",
    "http://b\u00fccher.example", "http://g.example/a", "http://192.0.2.7/a#top", "HTTPS://H.example/",
]  # fmt: skip


def listed_rows(addresses):
    return [("", url, None, None, "", False) for url in addresses]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_list_of_addresses_names_no_karma_no_time_and_no_place(tmp_path, end, encoding):
    text = LISTED.replace("\n", end).encode(encoding)
    for name, content in (("a.txt", text), ("a.txt.gz", gzip.compress(text))):
        (tmp_path / name).write_bytes(content)
        assert read_all(tmp_path / name) == (listed_rows(ADDRESSES), {Outcome.KEPT: len(ADDRESSES)})


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        (b"\xff.example/", Outcome.BAD_LINE),
        (b"http://a.example/\t7", Outcome.BAD_LINE),
        (b"http://" + b"a" * 8_000, Outcome.BAD_URL),
        (b"no url", Outcome.BAD_URL),
        (b"word", Outcome.BAD_URL),
        (b"localhost:80/", Outcome.BAD_URL),
        (b"mailto:a@b.example", Outcome.BAD_URL),
        (b"a@b.example", Outcome.BAD_URL),
        (b"3.14", Outcome.BAD_URL),
        (b"/r/books", Outcome.BAD_URL),
        (b'""', Outcome.BAD_URL),
    ],
)
def test_a_line_that_is_no_address_is_one_fault_with_its_number(tmp_path, line, outcome):
    (tmp_path / "a.txt").write_bytes(b"# two lines\nhttp://a.example/\n" + line + b"\nhttp://b.example/")
    ((kept, fates, faults),) = read_submissions(tmp_path / "a.txt", 10)
    assert [row.url for row in kept] == ["http://a.example/", "http://b.example/"]
    assert fates == {Outcome.KEPT: 2, outcome: 1}
    assert [(one.outcome, one.where) for one in faults] == [(outcome, "line 3")]


def test_a_table_of_nothing_but_addresses_is_a_list(tmp_path):
    urls = ["http://a.example/", "b.example/x", None, "no address"]
    rows = [{"url": url, "title": "a,b"} for url in urls]
    texts = {
        "a.csv": text_of(rows, ("title", "url")),
        "a.tsv": "URL\n" + "\n".join(url or "''" for url in urls),
        "a.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "a.json": json.dumps(rows),
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    for path in (*map(tmp_path.joinpath, texts), parquet(tmp_path / "a.parquet", rows)):
        expected = listed_rows(["http://a.example/", "http://b.example/x"])
        assert read_all(path) == (expected, {Outcome.KEPT: 2, Outcome.BAD_URL: 2}), path
    (tmp_path / "b.csv").write_text("url,score\nhttp://a.example/,5\n")
    with pytest.raises(InputError, match=r"no column 'id'; wanted Reddit's field names: .*; or url alone"):
        read_all(tmp_path / "b.csv")


def test_the_kind_is_told_by_the_suffix_before_that_of_the_compression(tmp_path):
    assert reader_of(tmp_path / "RS_2013-08.zst") is reader_of(tmp_path / "RS.2013.json.XZ") is read_dump
    assert reader_of(tmp_path / "a.csv.bz2") is reader_of(tmp_path / "a.csv") is not read_dump
    with pytest.raises(InputError, match=r"a\.xlsx: unknown kind of submissions; known suffixes: "):
        reader_of(tmp_path / "a.xlsx")
    with pytest.raises(InputError, match=r"a\.parquet\.gz: a \.parquet file is not read through \.gz; decompress"):
        reader_of(tmp_path / "a.parquet.gz")


@pytest.mark.parametrize("compressed", [False, True])
def test_lines_of_csv_may_end_in_carriage_returns_alone(tmp_path, compressed):
    rows = [{**USUAL, "title": "one\rtwo\nthree"}, {**USUAL, "id": "88", "title": "x"}]
    out = io.StringIO()
    names = ("title", *USUAL)
    csv.writer(out, lineterminator="\r").writerows([names, *([row[name] for name in names] for row in rows)])
    path = tmp_path / ("a.csv.gz" if compressed else "a.csv")
    path.write_bytes(gzip.compress(out.getvalue().encode()) if compressed else out.getvalue().encode())
    assert read_all(path) == dump(tmp_path, rows)
    path = tmp_path / "b.csv"
    path.write_bytes(text_of([USUAL]).encode().replace(b"\r\n", b"\r\r\n"))  # text mode of Windows, twice
    assert read_all(path) == dump(tmp_path, [USUAL])


def test_a_carriage_return_within_a_row_costs_that_row(tmp_path):
    head, good = text_of([]), text_of([USUAL]).splitlines()[1]
    (tmp_path / "a.csv").write_bytes("\n".join([head.strip(), good.replace("a.ex", "a\r.ex"), good, ""]).encode())
    assert read_all(tmp_path / "a.csv")[1] == {Outcome.KEPT: 1, Outcome.BAD_LINE: 1}


@pytest.mark.parametrize(
    "line", ["\u200bhttp://a.example/", "http://a.example/\u2060,", '\ufeff"http://a.example/"\u200b']
)
def test_signs_that_nobody_sees_around_a_listed_address_go(tmp_path, line):
    (tmp_path / "a.txt").write_text(f"http://b.example/\n{line}\n", encoding="utf-8")
    rows = listed_rows(["http://b.example/", "http://a.example/"])
    assert read_all(tmp_path / "a.txt") == (rows, {Outcome.KEPT: 2})
