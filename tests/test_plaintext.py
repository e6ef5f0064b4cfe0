"""Text files that a user names: what editors of Windows write is read like the rest, everywhere."""

import codecs
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import config, plaintext, urls
from pipeline.shards import removals
from pipeline.shards.outcomes import ConfigError, InputError
from pipeline.text.contamination import read_evaluation
from pipeline.text.rules import read_rules

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
ENDS = ["\n", "\r\n", "\r"]
TWO = st.text(st.characters(min_codepoint=1, max_codepoint=126), min_size=2, max_size=2)


@given(TWO, st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from(ENCODINGS), st.lists(st.integers(0, 99)))
def test_pieces_and_the_whole_are_decoded_alike_wherever_they_are_cut(head, tail, encoding, cuts):
    data = (head + tail).encode(encoding)
    edges = [0, *sorted(cuts), max([len(data), *cuts])]
    pieces = [data[begin:end] for begin, end in pairwise(edges)]
    assert plaintext.decoded(data) == head + tail
    assert b"".join(plaintext.as_utf8(pieces)).decode() == head + tail


@given(st.binary(max_size=40))
def test_what_has_no_mark_is_handed_through_as_it_is(data):
    if plaintext.encoding_of(data[: plaintext.HEAD_BYTES]) == "utf-8":
        assert b"".join(plaintext.as_utf8([data[:1], data[1:]])) == data


def test_half_characters_and_broken_ends_are_told_apart():
    halves = codecs.BOM_UTF16_LE + b"\x3d\xd8a\x00"
    assert b"".join(plaintext.as_utf8([halves])) == "\ud83da".encode("utf-8", "surrogatepass")
    for data in (codecs.BOM_UTF16_LE + b"a", codecs.BOM_UTF32_BE + b"\0\0"):
        with pytest.raises(UnicodeDecodeError):
            list(plaintext.as_utf8([data]))


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_file_of_lines_is_read_in_every_encoding_with_a_mark(tmp_path, encoding, end):
    def write(name, *lines):
        (tmp_path / name).write_bytes(end.join([*lines, ""]).encode(encoding))
        return tmp_path / name

    assert urls.HostList.from_file(write("hosts.txt", "imgur.com", "# mine", "b\u00fccher.example")).hosts == {
        "imgur.com", "xn--bcher-kva.example",
    }  # fmt: skip
    assert urls.file_entries(write("names.txt", "books", "", "gifs # and")) == ("books", "gifs")
    assert removals.read_list(write("gone.txt", "http://a.example/", "b.example"))[:2] == [
        "http://a.example/", "b.example",
    ]  # fmt: skip
    write("rules.txt", "# mine", "word_count >= 7")
    assert len(read_rules(["rules.txt"], tmp_path, {"word_count"})) == 1
    if end != "\r":  # which TOML does not take, and JSON lines do not end in
        assert config.load(write("webtext.toml", "[links]", "karma = 7", 'blocked_hosts = "\u00e9"')).links.karma == 7
        text = " ".join(f"word{number}" for number in range(40))
        assert read_evaluation(write("set.jsonl", json.dumps({"q": text}))).texts == (text,)


@pytest.mark.failure(
    "a list or the config file is in another encoding", "exit 2 or 3; the line names the file", "save it as UTF-8"
)
def test_a_legacy_encoding_is_refused_and_not_guessed(tmp_path):
    (tmp_path / "a").write_bytes("# café\n".encode("latin-1"))
    for read, error in (
        (urls.file_entries, InputError), (removals.read_list, InputError), (config.load, ConfigError)
    ):  # fmt: skip
        with pytest.raises(error, match=r"/a: .*can't decode byte 0xe9"):
            read(tmp_path / "a")
