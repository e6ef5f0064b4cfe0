"""Dumps: every form is read whole or refused by name and offset, and every line has one fate.

Over 350 lines for its two tables, of odd lines and of what is no line, which are read best as one.

Long because every form of file meets every kind of damage.
"""

import bz2
import gzip
import json
import lzma
import tempfile
from collections import Counter
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.shards.outcomes import InputError, Outcome
from pipeline.submissions import dumps, forms, rows
from pipeline.submissions.dumps import read_dump, read_line, read_lines
from pipeline.submissions.rows import Fault, Submission
from pipeline.submissions.sources import read_submissions

DATA = Path(__file__).resolve().parents[2] / "../shared/data"
PLAIN = {"id": "87", "url": "http://a.example/", "score": 3, "created_utc": 1119552233, "subreddit": "s"}
USUAL = {**PLAIN, "over_18": False, "is_self": False}

COMPRESS = {
    ".zst": zstandard.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".gz": gzip.compress,
    ".ndjson": bytes,
    ".jsonl": bytes,
    ".json": bytes,
}
COMPRESSED = [".zst", ".xz", ".bz2", ".gz"]


def line(**changes):
    return json.dumps({**USUAL, **changes}).encode()


def sample(count):
    """Lines of `count` submissions that do not compress away."""
    rows = (
        line(id=f"x{n}", url=f"http://a.example/{n * 2654435761 % 2**32:x}", title="&" * (n % 50)) for n in range(count)
    )
    return b"".join(row + b"\n" for row in rows)


def write(folder, suffix, content):
    path = folder / f"RS_2005-06{suffix}"
    path.write_bytes(content)
    return path


def read_all(path, rows=1_000):
    submissions, fates = [], Counter()
    for block, counts, _ in read_dump(path, rows):
        assert counts[Outcome.KEPT] == len(block)
        assert counts.total() > 0
        submissions += block
        fates += counts
    return submissions, fates


@pytest.mark.parametrize("suffix", COMPRESS)
def test_every_form_gives_the_same_submissions(tmp_path, suffix):
    text = sample(2_500)
    path = write(tmp_path, suffix, COMPRESS[suffix](text))
    submissions, fates = read_all(path)
    assert [each.id for each in submissions] == [f"x{n}" for n in range(2_500)]
    assert [each.url for each in submissions] == [json.loads(row)["url"] for row in text.splitlines()]
    assert fates == {Outcome.KEPT: 2_500}


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_frames_that_follow_each_other_are_one_dump(tmp_path, suffix):
    text = sample(300)
    compress = COMPRESS[suffix]
    cuts = [0, 0, 1, 700, 20_000, len(text)]
    frames = b"".join(compress(text[a:b]) for a, b in pairwise(cuts))
    assert len(read_all(write(tmp_path, suffix, frames))[0]) == 300


def test_skippable_frames_of_zstandard_are_skipped(tmp_path):
    skipped = bytes.fromhex("502a4d18 05000000") + b"hello"
    content = skipped + zstandard.compress(sample(3)) + skipped
    assert len(read_all(write(tmp_path, ".zst", content))[0]) == 3


@pytest.mark.parametrize("suffix", [".xz", ".gz"])
def test_zeros_may_pad_the_end_where_the_form_allows_it(tmp_path, suffix):
    content = COMPRESS[suffix](sample(3)) + bytes(5_000)
    assert len(read_all(write(tmp_path, suffix, content))[0]) == 3


def long_window_frame(exponent, content):
    """A zstandard frame of one raw block, written byte by byte: RFC 8878, section 3.1.1; window 2**(10 + exponent)."""
    block = (len(content) << 3 | 1).to_bytes(3, "little")  # last block, type raw
    return bytes.fromhex("28b52ffd 00") + bytes([exponent << 3]) + block + content


def test_the_window_of_the_real_dumps_is_read(tmp_path):
    submissions, _ = read_all(write(tmp_path, ".zst", long_window_frame(21, sample(3))))
    assert [each.id for each in submissions] == ["x0", "x1", "x2"]


def test_a_window_larger_than_that_of_any_dump_is_refused(tmp_path):
    path = write(tmp_path, ".zst", long_window_frame(22, sample(3)))
    with pytest.raises(InputError, match="too much memory"):
        read_all(path)


def test_a_frame_that_the_library_wrote_with_a_long_window_is_read(tmp_path):
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=28, enable_ldm=True)
    text = sample(2_000)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    content = stream.compress(text) + stream.flush()
    assert zstandard.get_frame_parameters(content).window_size == 2**28
    assert len(read_all(write(tmp_path, ".zst", content))[0]) == 2_000


@pytest.mark.failure("a dump is cut off", "exit 3; the line names the file and the byte", "fetch the file again")
@pytest.mark.parametrize("suffix", COMPRESSED)
def test_a_truncated_dump_names_file_and_offset(tmp_path, suffix):
    content = COMPRESS[suffix](sample(2_000))
    assert len(content) > 3 * forms.PIECE_BYTES
    points = {0, 1, 2, 3, 4, 5, 8, 12, 20, forms.PIECE_BYTES, *range(0, len(content), 997)}
    for cut in [*sorted(points), *range(len(content) - 30, len(content))]:
        path = write(tmp_path, suffix, content[:cut])
        with pytest.raises(InputError) as caught:
            read_all(path)
        assert f"{path}: truncated: ends at byte {cut:,} " in str(caught.value)


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_a_second_frame_cut_off_is_told_too(tmp_path, suffix):
    first, second = COMPRESS[suffix](sample(5)), COMPRESS[suffix](sample(500))
    for cut in [1, 3, 7, len(second) // 2, len(second) - 1]:
        path = write(tmp_path, suffix, first + second[:cut])
        with pytest.raises(InputError, match=f"truncated: ends at byte {len(first) + cut:,} "):
            read_all(path)


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_what_precedes_the_damage_is_given_first(tmp_path, suffix):
    blocks = read_dump(write(tmp_path, suffix, COMPRESS[suffix](sample(20_000))[:-1]), 1_000)
    submissions, fates, _ = next(blocks)
    assert 1_000 <= len(submissions) < 20_000
    assert fates == {Outcome.KEPT: len(submissions)}
    with pytest.raises(InputError, match="truncated"):
        list(blocks)


@pytest.mark.failure(
    "a dump is damaged", "exit 3; the line names the file and the byte near which", "fetch the file again"
)
@pytest.mark.parametrize("suffix", COMPRESSED)
def test_a_damaged_dump_names_file_and_offset(tmp_path, suffix):
    content = bytearray(COMPRESS[suffix](sample(1_000)))
    at = len(content) // 2 // forms.PIECE_BYTES * forms.PIECE_BYTES
    content[at : at + 200] = bytes(200)
    path = write(tmp_path, suffix, bytes(content))
    with pytest.raises(InputError) as caught:
        read_all(path)
    assert str(caught.value).startswith(f"{path}: damaged near byte ")
    offset = int(str(caught.value).split("near byte ")[1].split(":")[0].replace(",", ""))
    assert at <= offset <= len(content)


@pytest.mark.parametrize("suffix", COMPRESSED)
@pytest.mark.parametrize("other", [b"no frame at all: a page that says 404", b"\0" * 100])
def test_what_is_no_frame_is_damage(tmp_path, suffix, other):
    with pytest.raises(InputError, match="damaged near byte"):
        read_all(write(tmp_path, suffix, other))
    if other[0]:
        with pytest.raises(InputError, match="damaged near byte"):
            read_all(write(tmp_path, suffix, COMPRESS[suffix](sample(3)) + other))


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.zst: cannot be read: No such file"):
        read_all(tmp_path / "none.zst")
    with pytest.raises(InputError, match=r"\.zst: cannot be read: Is a directory"):
        folder = tmp_path / "folder.zst"
        folder.mkdir()
        read_all(folder)
    with pytest.raises(InputError, match=r"a\.rar: unknown kind of submissions; known suffixes: \.zst \.xz \.bz2"):
        next(read_submissions(tmp_path / "a.rar", 10))


@pytest.mark.parametrize("suffix", COMPRESS)
def test_an_empty_dump_has_no_block(tmp_path, suffix):
    assert list(read_dump(write(tmp_path, suffix, COMPRESS[suffix](b"")), 10)) == []
    assert list(read_dump(write(tmp_path, suffix, COMPRESS[suffix](b"\n \r\n\n")), 10)) == []


def test_a_small_file_that_grows_without_end_is_read_in_bounded_pieces(tmp_path):
    megabytes = 300
    bomb = zstandard.ZstdCompressor(level=1).compress(b" " * (megabytes << 20))
    path = write(tmp_path, ".zst", bomb)
    sizes = [len(piece) for piece in forms.decompress(path)]
    assert sum(sizes) == megabytes << 20
    assert max(sizes) <= forms.PIECE_BYTES // 4 * (128 << 10)  # RFC 8878: 4 bytes make a block of 128 KiB
    for suffix in (".gz", ".bz2", ".xz"):
        path = write(tmp_path, suffix, COMPRESS[suffix](bytes(8 << 20)))
        assert max(len(piece) for piece in forms.decompress(path)) <= forms.CHUNK_BYTES
    assert max(map(len, forms.gather([b"ab", bytes(3_500_000), b"", b"c"]))) == forms.CHUNK_BYTES


@pytest.mark.failure("a line never ends", "outcome `bad_line`; memory stays bounded", "nothing")
def test_a_line_without_end_is_one_bad_line(tmp_path):
    endless = b'{"id": "' + b"a" * forms.LONGEST_LINE
    text = b"\n".join([line(id="1"), endless, line(id="2"), endless + b'"}', endless])
    submissions, fates = read_all(write(tmp_path, ".gz", gzip.compress(text, 1)))
    assert [each.id for each in submissions] == ["1", "2"]
    assert fates == {Outcome.KEPT: 2, Outcome.BAD_LINE: 3}


def test_a_line_as_long_as_the_limit_is_read(tmp_path):
    longest = line(title="t").replace(b'"t"', b'"' + b"t" * (forms.LONGEST_LINE - len(line(title=""))) + b'"')
    assert len(longest) == forms.LONGEST_LINE
    text = longest + b"\n" + longest.replace(b'"ttt', b'"tttt') + b"\n"
    assert read_all(write(tmp_path, ".ndjson", text))[1] == {Outcome.KEPT: 1, Outcome.BAD_LINE: 1}


def fate(found):
    """What a row is, whatever is said of a fault."""
    return found.outcome if isinstance(found, Fault) else found


def good(url="http://a.example/", score=3, subreddit="s", over_18=False):
    return Submission("87", url, score, 1119552233, subreddit, over_18)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, good()),
        ({"id": "t3_87"}, good()),
        ({"id": None, "name": "t3_87"}, good()),
        ({"created_utc": "1119552233"}, good()),
        ({"created_utc": 1119552233.0}, good()),
        ({"created_utc": "1119552233.9"}, good()),
        ({"score": "3"}, good()),
        ({"score": 3.0}, good()),
        ({"over_18": None}, good()),
        ({"over_18": "false"}, good()),
        ({"over_18": 0}, good()),
        ({"is_self": None}, good()),
        ({"is_self": "false"}, good()),
        ({"url": " http://a.example/\n"}, good()),
        ({"title": {"any": ["thing", 10**400]}}, good()),
        ({"score": None}, good(score=0)),
        ({"score": ""}, good(score=0)),
        ({"score": -2}, good(score=-2)),
        ({"subreddit": None}, good(subreddit="")),
        ({"over_18": True}, good(over_18=True)),
        ({"over_18": "true"}, good(over_18=True)),
        ({"url": "/r/s/comments/1/a/"}, good(url="https://www.reddit.com/r/s/comments/1/a/")),
        ({"url": "//b.example/"}, good(url="//b.example/")),
        ({"url": "http://b.example/?a=1&amp;b=%3C&lt;&gt;&c"}, good(url="http://b.example/?a=1&b=%3C<>&c")),
        ({"url": "http://b.example/?a=&amp;lt;"}, good(url="http://b.example/?a=&lt;")),
        ({"is_self": True}, Outcome.SELF_POST),
        ({"is_self": "true", "url": None}, Outcome.SELF_POST),
        ({"is_self": 1, "selftext": "a"}, Outcome.SELF_POST),
        ({"url": None}, Outcome.BAD_URL),
        ({"url": ""}, Outcome.BAD_URL),
        ({"url": " "}, Outcome.BAD_URL),
        ({"url": "http://a.example/" + "a" * 8_000}, Outcome.BAD_URL),
        ({"url": 7}, Outcome.BAD_LINE),
        ({"id": None}, Outcome.BAD_LINE),
        ({"id": ""}, Outcome.BAD_LINE),
        ({"id": "t3_"}, Outcome.BAD_LINE),
        ({"id": 87}, Outcome.BAD_LINE),
        ({"id": "a" * 65}, Outcome.BAD_LINE),
        ({"subreddit": "a" * 65}, Outcome.BAD_LINE),
        ({"created_utc": None}, Outcome.BAD_LINE),
        ({"created_utc": "yesterday"}, Outcome.BAD_LINE),
        ({"created_utc": "nan"}, Outcome.BAD_LINE),
        ({"created_utc": "inf"}, Outcome.BAD_LINE),
        ({"created_utc": -1}, Outcome.BAD_LINE),
        ({"created_utc": 1e300}, Outcome.BAD_LINE),
        ({"created_utc": 2**32}, Outcome.BAD_LINE),
        ({"score": 10**30}, Outcome.BAD_LINE),
        ({"score": 2**31}, Outcome.BAD_LINE),
        ({"score": "many"}, Outcome.BAD_LINE),
        ({"score": True}, Outcome.BAD_LINE),
        ({"score": [3]}, Outcome.BAD_LINE),
        ({"over_18": "perhaps"}, Outcome.BAD_LINE),
        ({"is_self": 2}, Outcome.BAD_LINE),
    ],
)  # fmt: skip
def test_the_oddities_of_real_lines(changes, expected):
    assert fate(read_line(line(**changes))) == expected


def test_fields_that_old_dumps_do_not_have_may_be_absent():
    bare = b'{"name": "t3_87", "url": "http:\\/\\/a.example\\/", "created_utc": "1119552233"}'
    assert read_line(bare) == good(score=0, subreddit="")


@pytest.mark.failure("a line is no submission", "outcome `bad_line`; the run goes on", "nothing")
@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"[]",
        b"null",
        b"7",
        b'"a"',
        b"{}",
        b"\0",
        b"\xff\xfe",
        line() + b"}",
        line() + line(),
        line()[:-1],
        line().replace(b"a.example", b"\xff.example"),
        line().replace(b"a.example", b"\\ud800.example"),
        b'{"title": ' + b"[" * 100_000,
        b'{"title": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_no_submission_is_one_bad_line(raw):
    assert fate(read_line(raw)) is Outcome.BAD_LINE


def test_a_line_that_is_no_json_says_so_without_counting_lines_of_its_own():
    assert read_line(b'{"id": "87", "url"}').why == "not JSON: Expecting ':' delimiter (character 19)"


@given(
    st.fixed_dictionaries(
        {
            "id": st.sampled_from(["a1", "t3_a1", "t3_"]),
            "url": st.text(max_size=20),
            "score": st.integers(-(2**31), 2**31),
            "created_utc": st.integers(-1, 2**32),
            "subreddit": st.text(max_size=70),
            "over_18": st.booleans(),
            "is_self": st.booleans(),
        }
    )
)
def test_the_fast_decoder_equals_the_loose_one(fields):
    raw = json.dumps(fields).encode()
    try:
        usual = dumps.USUAL.decode(raw)
    except ValueError:
        with pytest.raises(ValueError):
            rows.usual(dumps.ODD.decode(raw))
        return
    assert rows.usual(dumps.ODD.decode(raw)) == usual


FATED_LINES = st.sampled_from(
    [
        (line(), Outcome.KEPT),
        (line(score="9") + b"\r", Outcome.KEPT),
        (line(is_self=True), Outcome.SELF_POST),
        (line(url=None), Outcome.BAD_URL),
        (line()[:-9], Outcome.BAD_LINE),
        (b"\xff", Outcome.BAD_LINE),
        (b"", None),
        (b" \t\r", None),
    ]
)


@given(st.lists(FATED_LINES, max_size=60), st.integers(1, 7), st.sampled_from([*COMPRESS]), st.booleans())
def test_the_books_balance_in_every_block(lines, rows, suffix, ends_in_a_line_feed):
    text = b"\n".join(raw for raw, _ in lines) + (b"\n" if ends_in_a_line_feed else b"")
    with tempfile.TemporaryDirectory() as folder:
        blocks = list(read_dump(write(Path(folder), suffix, COMPRESS[suffix](text)), rows))
    fates = Counter(fate for _, fate in lines if fate)
    assert sum((block.fates for block in blocks), Counter()) == fates
    assert all(len(block.kept) == block.fates[Outcome.KEPT] for block in blocks)
    assert all(block.fates.total() >= rows for block in blocks[:-1])


@given(st.lists(FATED_LINES.map(lambda pair: pair[0]) | st.sampled_from([b'{"id":', b" }", b"{}", b"{"]), max_size=8))
@example([b'{"id": "1", "url": "http://a/",', line()[1:]])
@example([line().replace(b"{", b"{ "), line() + line()])
@example([line(), line()[:-1], b"}" + line()])
def test_lines_read_together_are_what_each_is_alone(lines):
    text = b"\n".join(lines)
    (kept, fates, _), read = read_lines(text)
    assert read == text.count(b"\n") + 1
    alone = [fate(read_line(each)) for each in text.split(b"\n") if each and not each.isspace()]
    assert [msgspec.structs.astuple(row)[:6] for row in kept] == [
        msgspec.structs.astuple(row) for row in alone if isinstance(row, Submission)
    ]
    assert fates == Counter(Outcome.KEPT if isinstance(row, Submission) else row for row in alone)


ODDITIES = ["http://a.example/", "http://b.example/?a=1&amp;b=2", " http://a/ ", "http://a/\u3000", "/r/a/", "", "http"]


@given(st.lists(st.fixed_dictionaries({}, optional={
    "id": st.sampled_from(["87", "t3_87", "t3_", "", "t"]),
    "url": st.sampled_from([*ODDITIES, "http://a/" + "a" * 7_991, "http://a/" + "a" * 7_992]),
    "is_self": st.booleans(),
    "score": st.sampled_from([1, None, "2"]),
}), min_size=1, max_size=5))  # fmt: skip
def test_the_fast_way_to_a_submission_equals_the_slow_one(changes):
    test_lines_read_together_are_what_each_is_alone.hypothesis.inner_test([line(**change) for change in changes])


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=5))
def test_lines_do_not_depend_on_where_the_pieces_are_cut(text, cuts):
    edges = [0, *sorted(cuts), max([len(text), *cuts])]
    pieces = [text[a:b] for a, b in pairwise(edges)]
    expected = text.split(b"\n")
    found = [line for run in forms.whole_lines(pieces) for line in run.split(b"\n")]
    assert found == (expected if expected[-1] else expected[:-1])


@pytest.mark.parametrize(
    ("name", "fates"),
    [
        ("reddit/RS_2005-06_07.long31.zst", {Outcome.KEPT: 1_182}),
        ("reddit/RS_v2_2005-06.xz", {Outcome.KEPT: 103}),
        ("miniweb/submissions.ndjson.zst", {Outcome.KEPT: 1_022, Outcome.SELF_POST: 60}),
        ("reddit/top2013_10pct.ndjson.zst", {Outcome.KEPT: 162_803, Outcome.SELF_POST: 63_346}),
    ],
)
def test_real_dumps_are_read_whole(name, fates):
    if not (DATA / name).exists():
        pytest.skip(f"the real dump {name} is not here")
    submissions, counted = read_all(DATA / name, 10_000)
    assert counted == fates
    assert len(submissions) == fates[Outcome.KEPT]
