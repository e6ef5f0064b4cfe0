"""The same submissions in whatever form a tool writes them: the same rows, and each bad one by its own."""

import csv
import gzip
import io
import json
import tempfile
from collections import Counter
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.shards.outcomes import InputError, Outcome
from pipeline.submissions import arrays
from pipeline.submissions.sources import read_submissions

ROW = {"id": "87", "url": "http://a.example/", "score": 3, "created_utc": 1375315200, "subreddit": "s"}
USUAL = {**ROW, "over_18": False, "is_self": False}
DAY = 86_400


def read_all(path, rows=1_000):
    """(submissions as tuples, fates, [where and why of faults])."""
    submissions, fates, faults = [], Counter(), []
    for block in read_submissions(path, rows):
        submissions += [msgspec.structs.astuple(row)[:6] for row in block.kept]
        fates += block.fates
        faults += [f"{one.where}: {one.why}" for one in block.faults]
    return submissions, fates, faults


def written(path, data):
    path.write_bytes(data)
    return path


def lines(rows):
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


# --- how tools lay out a JSON array

LAYOUTS = {
    "DuckDB": lambda rows: "[\n\t" + ",\n\t".join(map(json.dumps, rows)) + "\n]\n",
    "brackets on the lines": lambda rows: "[" + ",\n".join(map(json.dumps, rows)) + "]",
    "commas first": lambda rows: "[ " + "\n, ".join(map(json.dumps, rows)) + "\n]",
    "one line": json.dumps,
    "one line, no blanks": lambda rows: json.dumps(rows, separators=(",", ":"), ensure_ascii=False) + "\n",
    "indented": lambda rows: json.dumps(rows, indent=2),
    "indented by tabs": lambda rows: "\n" + json.dumps(rows, indent="\t") + "\n",
    "Windows": lambda rows: ("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n").replace("\n", "\r\n"),
    "three after each other": lambda rows: "\n".join(
        "[\n" + ",\n".join(map(json.dumps, some)) + "\n]" for some in (rows[:2], rows[2:3], rows[3:])
    ),
}
NESTED = {**USUAL, "id": "88", "title": '[{"id": "no"},\n{"id": "no"}]', "crosspost_parent_list": [USUAL, {"a": []}]}
MANY = [USUAL, NESTED, {**USUAL, "is_self": True}, {**USUAL, "id": None}, {**USUAL, "id": "é\u2028"}]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_an_array_of_any_layout_gives_what_lines_give(tmp_path, layout, encoding):
    expected = read_all(written(tmp_path / "a.ndjson", lines(MANY)))
    assert expected[1] == {Outcome.KEPT: 3, Outcome.SELF_POST: 1, Outcome.BAD_LINE: 1}
    data = LAYOUTS[layout](MANY).encode(encoding)
    for name, content in (("b.json", data), ("c.jsonl.gz", gzip.compress(data))):
        assert read_all(written(tmp_path / name, content))[:2] == expected[:2]


@given(
    st.lists(st.sampled_from(MANY), min_size=1, max_size=6),
    st.sampled_from(sorted(LAYOUTS)),
    st.integers(1, 9),
    st.data(),
)
@settings(deadline=None)
def test_elements_do_not_depend_on_where_pieces_are_cut(rows, layout, most, data):
    text = LAYOUTS[layout](rows).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=most)))
    pieces = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert list(arrays.elements(pieces, Path("a.json"))) == rows


@pytest.mark.parametrize("layout", ["DuckDB", "Windows", "brackets on the lines"])
def test_a_broken_line_of_an_array_costs_itself_and_is_named(tmp_path, layout):
    text = LAYOUTS[layout]([USUAL, {**USUAL, "id": "SPOILT"}, {**USUAL, "id": "89"}]).replace('"SPOILT"', '"SPOILT')
    found, fates, faults = read_all(written(tmp_path / "a.json", text.encode()))
    assert [row[0] for row in found] == ["87", "89"]
    assert fates == {Outcome.KEPT: 2, Outcome.BAD_LINE: 1}
    number = text[: text.index("SPOILT")].count("\n") + 1
    assert [fault.partition(":")[0] for fault in faults] == [f"line {number}"]


@pytest.mark.failure(
    "a JSON array has no end, or an element that cannot be read", "exit 3; the line names file and element",
    "fetch it again, or write one object a line: `jq -c '.[]'`",
)  # fmt: skip
@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_array_without_an_end_is_an_error(tmp_path, layout):
    text = LAYOUTS[layout](MANY).rstrip()
    for cut in (1, 2, 30):
        with pytest.raises(InputError, match=r"a\.json: (truncated|none|a JSON array whose element \d+)"):
            read_all(written(tmp_path / "a.json", text[:-cut].encode()))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('["id", "url"]\n["1", "http://a.example/"]\n', "element 1 is no object"),
        ("[1, 2]", "element 1 is no object"),
        ('[{"id": "1"}, [1]]', "element 2 is no object"),
        ('[{"id": "1"}, {"id": oops}]', "ends in element 2"),
        ('[{"id": "1"}, {"id": ' + "[" * 100_000, "ends in element 2"),
        ('[{"id": "1"}] and more', "element 2 is no object"),
    ],
)
def test_an_array_of_something_else_is_named_with_the_cure(tmp_path, text, said):
    with pytest.raises(InputError, match=f"a.json: .*{said}.*; write one object a line: jq -c"):
        read_all(written(tmp_path / "a.json", text.encode()))


@pytest.mark.failure("a post is nested over 1,000 levels deep", "`bad_line`, with its number", "nothing")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("opens", "closes"), [("[", "]"), ('{"}": ', "}"), ('[{"a": "]\\"}", "b": ', "}]")])
def test_a_post_that_is_nested_too_deep_is_one_bad_line(tmp_path, monkeypatch, layout, opens, closes):
    monkeypatch.setattr(arrays, "LONGEST_LINE", 1 << 20)
    deep = opens * 5_000 + "0" + closes * 5_000
    rows = [USUAL, {**USUAL, "id": "88", "title": "SPOILT"}, {**USUAL, "id": "89"}]
    text = LAYOUTS[layout](rows).replace('"SPOILT"', deep)
    found, fates, faults = read_all(written(tmp_path / "a.json", text.encode()))
    assert [row[0] for row in found] == ["87", "89"]
    assert fates == {Outcome.KEPT: 2, Outcome.BAD_LINE: 1}
    assert [fault.partition(": ")[2] for fault in faults] == ["nested without end"]


def test_a_post_that_is_nested_without_end_is_told_before_memory_is(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "LONGEST_LINE", 1 << 18)
    with pytest.raises(InputError, match="element 1 is nested without end"):
        read_all(written(tmp_path / "a.json", b'[{"a": ' + b"[" * (1 << 20)))


def test_an_element_that_never_ends_is_told_before_memory_is(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "LONGEST_LINE", 1 << 20)
    text = b'[{"id": "' + b"x" * (4 << 20)
    with pytest.raises(InputError, match="element 1 cannot be read: Unterminated string"):
        read_all(written(tmp_path / "a.json", text))


def test_an_empty_array_holds_nothing(tmp_path):
    for text in (b"[]", b"[\n]\n", b" [ ] \n"):
        assert read_all(written(tmp_path / "a.json", text))[:2] == ([], {})


# --- fields that nobody reads, and those that are read

UNREAD = [
    r'"title": "look \ud83d"', r'"title": "\udc00\ud83d"', '"x": NaN', '"x": [Infinity, -Infinity]', '"x": 1e999',
    '"x": ' + "9" * 5_000, '"x": -' + "9" * 5_000, '"x": 0.' + "3" * 5_000, '"x": 1, "x": 2, "x": {"x": 1, "x": []}',
    '"x": "a\tb"', r'"\ud83d": 1', '"url2": "\x7f"', r'"x": "\u0000"', '"": {}', '"Score": "no"', '"x": "\x01"',
]  # fmt: skip


@pytest.mark.parametrize("field", UNREAD, ids=lambda field: field[:24])
def test_what_stands_in_a_field_that_nobody_reads_costs_nothing(tmp_path, field):
    plain = json.dumps(USUAL)
    text = f"{plain[:-1]}, {field}}}\n{plain}\n{{{field}, {plain[1:]}\n"
    for name, data in (("a.ndjson", text), ("b.json", f"[{','.join(text.split(chr(10))[:3])}]")):
        found, fates, faults = read_all(written(tmp_path / name, data.encode()))
        assert (len(found), fates, faults) == (3, {Outcome.KEPT: 3}, [])


def test_a_byte_that_is_not_utf_8_costs_its_own_field_alone(tmp_path):
    rows = lines([{**USUAL, "title": "SPOILT"}, {**USUAL, "subreddit": "SPOILT"}]).replace(b"SPOILT", b"caf\xe9")
    array = b"[" + rows.strip().replace(b"\n", b",") + b"]"
    for name, data, where in (("a.ndjson", rows, "line"), ("a.json", array, "element")):
        found, fates, faults = read_all(written(tmp_path / name, data))
        assert (len(found), fates) == (1, {Outcome.KEPT: 1, Outcome.BAD_LINE: 1})
        assert faults == [f"{where} 2: not UTF-8, or half a character"]


@pytest.mark.parametrize(
    ("field", "why"),
    [
        ('"score": NaN', "score: nan is out of range"),
        ('"score": Infinity', "score: inf is out of range"),
        ('"score": ' + "9" * 5_000, "score: inf is out of range"),
        ('"created_utc": "soon"', "created_utc: 'soon' is no number"),
        ('"created_utc": null', "created_utc: missing"),
        ('"over_18": "perhaps"', "over_18: 'perhaps' is neither true nor false"),
        (r'"url": "http://a.example/\ud83d"', "not UTF-8, or half a character"),
        ('"url": 7', "Expected `str | null`, got `int` - at `$.url`"),
        ('"id": ""', "id: missing"),
    ],
)
def test_a_bad_field_that_is_read_is_one_bad_line_that_says_why(tmp_path, field, why):
    text = f"{json.dumps(USUAL)}\n{json.dumps(USUAL)[:-1]}, {field}}}\n{json.dumps(USUAL)}\n"
    found, fates, faults = read_all(written(tmp_path / "a.ndjson", text.encode()))
    assert (len(found), fates) == (2, {Outcome.KEPT: 2, Outcome.BAD_LINE: 1})
    assert faults == [f"line 2: {why}"]


def test_lines_are_numbered_over_all_pieces_of_a_file(tmp_path):
    rows = [{**USUAL, "title": "t" * (n % 900)} for n in range(2_000)]
    data = bytearray(lines(rows))
    for number in (700, 1_400, 1_401, 1_402):
        start = sum(len(lines([row])) for row in rows[: number - 1])
        data[start : start + 1] = b"!"
    _, fates, faults = read_all(written(tmp_path / "a.ndjson", b"\n" + data), 10_000)
    assert fates[Outcome.BAD_LINE] == 4
    assert [fault.partition(":")[0] for fault in faults] == ["line 701", "line 1,401", "line 1,402"]


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (1375315200.75, 1375315200),
        ("1375315200.0", 1375315200),
        ("2013-08-01", 1375315200),
        ("2013-08-01T00:00:00Z", 1375315200),
        ("2013-08-01 00:00:00 UTC", 1375315200),
        ("2013-08-01 00:00:00.250000 UTC", 1375315200),
        ("2013-08-01T02:00:00+02:00", 1375315200),
        ("2013-08-01 00:00:01", 1375315201),
        ("1.3753152e9", 1375315200),
    ],
)
def test_a_time_may_be_a_number_or_a_date(tmp_path, said, seconds):
    (row,), fates, _ = read_all(written(tmp_path / "a.ndjson", lines([{**USUAL, "created_utc": said}])))
    assert (row[3], fates) == (seconds, {Outcome.KEPT: 1})


@pytest.mark.parametrize("said", ["2013-13-01", "-5", "1969-12-31", "2200-01-01", "2013-08-01T25:00", "--"])
def test_a_date_that_is_none_is_a_bad_line(tmp_path, said):
    assert read_all(written(tmp_path / "a.ndjson", lines([{**USUAL, "created_utc": said}])))[1] == {Outcome.BAD_LINE: 1}


# --- every form and every type of column


def text(*kinds):
    return [lambda values, kind=kind: pa.array(values, pa.string()).cast(kind) for kind in kinds] + [
        lambda values: pa.array(values, pa.string()).dictionary_encode(),
        lambda values: pa.array(values, pa.string()).cast(pa.binary()).dictionary_encode(),
    ]


TEXTS = text(pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view())
NUMBERS = [
    *(
        lambda values, kind=kind: pa.array(values, kind)
        for kind in (pa.int32(), pa.int64(), pa.float64(), pa.float32())
    ),
    lambda values: pa.array([None if one is None else Decimal(one) for one in values], pa.decimal128(12, 2)),
    lambda values: pa.array([None if one is None else str(one) for one in values]),
    lambda values: pa.array([float("nan") if one is None else one for one in values], pa.float64()),
]
TIMES = [
    *(
        lambda values, per=per, unit=unit, zone=zone: pa.array([one * per for one in values], pa.timestamp(unit, zone))
        for unit, per in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9))
        for zone in (None, "UTC", "America/New_York")
    ),
    lambda values: pa.array(values, pa.int64()),
    lambda values: pa.array(values, pa.uint32()),
    lambda values: pa.array([float(one) for one in values]),
    lambda values: pa.array([datetime.fromtimestamp(one, UTC).isoformat() for one in values]),
    lambda values: pa.array([Decimal(one) for one in values]),
    lambda values: pa.array([datetime.fromtimestamp(one, UTC).date() for one in values], pa.date32()),
    lambda values: pa.array([datetime.fromtimestamp(one, UTC).date() for one in values], pa.date64()),
]
FLAGS = [
    lambda values: pa.array(values, pa.bool_()),
    *(
        lambda values, kind=kind: pa.array([None if one is None else int(one) for one in values], kind)
        for kind in (pa.int8(), pa.int64(), pa.float64())
    ),
    lambda values: pa.array([float("nan") if one is None else float(one) for one in values], pa.float64()),
    lambda values: pa.array([None if one is None else str(one).lower() for one in values]),
    lambda values: pa.array([None if one is None else str(one).lower() for one in values]).cast(pa.binary()),
]
MAKERS = {"id": TEXTS, "url": TEXTS, "subreddit": TEXTS, "score": NUMBERS, "created_utc": TIMES, "over_18": FLAGS,
          "is_self": FLAGS}  # fmt: skip
ROWS = st.lists(
    st.fixed_dictionaries({
        "id": st.sampled_from(["a1", "t3_b2", "c3"]),
        "url": st.sampled_from(["http://a.example/", "http://é.example/?a&amp;b", "/r/a/", "http://c.example/\u2028"]),
        "score": st.sampled_from([5, -7, None]),
        "created_utc": st.integers(0, 40_000).map(lambda days: days * DAY),
        "subreddit": st.sampled_from(["books", "über", None]),
        "over_18": st.sampled_from([True, False, None]),
        "is_self": st.sampled_from([False, False, True, None]),
    }),
    min_size=1, max_size=5,
)  # fmt: skip


def csv_of(rows, names, delimiter):
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\r\n")
    writer.writerow(names)
    writer.writerows([["" if row[name] is None else row[name] for name in USUAL] for row in rows])
    return out.getvalue()


@given(
    ROWS,
    st.sampled_from(sorted(LAYOUTS)),
    st.sampled_from(",;\t|"),
    st.sampled_from([str, str.upper, str.title]),
    st.data(),
)
@example([dict(USUAL)], "DuckDB", ";", str.upper, None)
@settings(deadline=None)
def test_the_same_submissions_in_every_form_give_the_same_rows(rows, layout, delimiter, case, data):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        expected = read_all(written(folder / "a.ndjson", lines(rows)))
        assert read_all(written(folder / "b.json", LAYOUTS[layout](rows).encode()))[:2] == expected[:2]
        table = csv_of(rows, list(map(case, USUAL)), delimiter)
        assert read_all(written(folder / "c.csv", table.encode("utf-8-sig")))[:2] == expected[:2]
        columns = {
            case(field): (data.draw(st.sampled_from(makers)) if data else makers[0])([row[field] for row in rows])
            for field, makers in MAKERS.items()
        }
        pq.write_table(pa.table(columns | {"media": [[{"a": 1}]] * len(rows)}), folder / "d.parquet")
        assert read_all(folder / "d.parquet")[:2] == expected[:2]


@pytest.mark.parametrize(
    ("field", "column", "said"),
    [
        ("url", pa.array([["http://a.example/"]]), "column 'url' is list<.*>; wanted text"),
        ("id", pa.array([87]), "column 'id' is int64; wanted text"),
        ("score", pa.array([True]), "column 'score' is bool; wanted a number or text"),
        (
            "created_utc",
            pa.array([{"seconds": 5}]),
            "column 'created_utc' is struct<.*>; wanted a time, a",
        ),
        ("over_18", pa.array([date(2013, 8, 1)]), r"column 'over_18' is date32\[day\]; wanted true or false"),
        ("subreddit", pa.array([5.0]), "column 'subreddit' is double; wanted text"),
    ],
)
def test_a_column_that_cannot_be_read_is_named_with_its_type(tmp_path, field, column, said):
    table = pa.Table.from_pylist([USUAL]).drop_columns([field]).append_column(field, column)
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a\.parquet: " + said):
        read_all(tmp_path / "a.parquet")


def test_a_bad_row_of_a_table_is_named_by_its_number(tmp_path):
    rows = [{**USUAL, "id": str(number), "score": "7"} for number in range(12)]
    rows[7]["score"] = "many"
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=5)
    assert read_all(tmp_path / "a.parquet")[2] == ["row 8: score: 'many' is no number"]
    (tmp_path / "a.csv").write_text(
        'id,url,created_utc,title\n1,http://a.example/,5,"two\nlines"\n2,http://a.example/\n'
    )
    assert read_all(tmp_path / "a.csv")[2] == ["line 4: 2 fields, the header has 4"]


def examples():
    """Section of docs/links.md -> its first example."""
    page = (Path(__file__).resolve().parents[2] / "docs/links.md").read_text("utf-8")
    for part in page.split("\n### ")[1:]:
        block = next(one for one in part.split("\n\n") if one.startswith("    "))
        yield part.partition("\n")[0], "".join(f"{line[4:]}\n" for line in block.splitlines())


@pytest.mark.parametrize(
    ("section", "name", "urls"),
    [
        ("Dumps and arrays", "a.ndjson", ["http://example.org/a"]),
        ("CSV", "a.csv", ["http://example.org/a;b"]),
        ("Lists", "a.txt", ["http://example.org/a", "http://example.org/b", "https://example.org/c"]),
    ],
)
def test_the_examples_of_the_page_are_read_as_it_says(tmp_path, section, name, urls):
    found, fates, faults = read_all(written(tmp_path / name, dict(examples())[section].encode()))
    assert ([row[1] for row in found], fates, faults) == (urls, {Outcome.KEPT: len(urls)}, [])
    assert name == "a.txt" or [row[2:4] for row in found] == [(7, 1375315200)]
