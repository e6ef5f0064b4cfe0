import json
import random
from collections import Counter
from itertools import chain
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.shards.outcomes import BooksError, InputError, Outcome
from pipeline.text import contamination
from pipeline.text.contamination import Cutter, Evaluation, collisions, common, read_evaluation, verdict
from pipeline.text.normalize import words
from pipeline.text.overlap import Reference, grams_of

TEST = " ".join(f"test{n}" for n in range(20))


def cutter(*texts, ignored=()):
    return Cutter(Reference.from_hashes((grams_of(text, 13)[0] for text in texts), 13), np.array(ignored, np.uint64))


def filler(name, count):
    return " ".join(f"{name}{n:04}" for n in range(count))


def test_a_collision_goes_with_200_characters_on_both_sides():
    before, after = filler("b", 100), filler("a", 100)  # 600 characters less one
    pieces = cutter(TEST)(f"{before} {TEST} {after}")
    assert pieces == [before[: len(before) + 1 - 200].rpartition(" ")[0], after[199:].partition(" ")[2]]
    assert all(200 <= len(piece) <= 400 for piece in pieces)


def test_case_and_punctuation_hide_nothing_and_twelve_words_are_no_collision():
    page = f"{filler('b', 100)} {TEST.upper().replace(' ', ', ')} {filler('a', 100)}"
    assert len(cutter(TEST)(page)) == 2
    twelve = " ".join(TEST.split()[:12])
    page = f"{filler('b', 100)} {twelve} {filler('a', 100)}"
    assert cutter(TEST)(page) == [page]


def test_short_pieces_go_and_a_short_clean_text_stays():
    assert cutter(TEST)(f"{filler('b', 60)} {TEST} {filler('a', 100)}") == [filler("a", 100)[199:].partition(" ")[2]]
    assert cutter(TEST)("short") == ["short"]
    assert cutter(TEST)(TEST) == []


@pytest.mark.parametrize(
    ("pieces", "outcome"),
    [(0, Outcome.CONTAMINATED), (1, Outcome.KEPT), (10, Outcome.KEPT), (11, Outcome.CONTAMINATED)],
)
def test_a_document_of_more_than_ten_pieces_goes_whole(pieces, outcome):
    assert verdict(["piece"] * pieces)[0] is outcome


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 5), unique=True), max_size=40), st.integers(1, 9))
def test_common_speech_is_what_one_count_of_all_collisions_finds(parts, at_once):
    expected = Counter(chain.from_iterable(parts))
    with mock.patch.object(contamination, "ADDED_UP", at_once):
        found = common(np.array(part, np.uint64) for part in parts)
    assert found.tolist() == sorted(gram for gram, count in expected.items() if count > contamination.MOST_DOCUMENTS)


def test_a_gram_of_more_than_ten_documents_is_common_speech():
    found = [collisions(f"{TEST} {n}", cutter(TEST).reference) for n in range(11)]
    assert len(common(found)) == 8
    assert len(common(found[:10])) == 0
    page = f"{filler('b', 100)} {TEST}"
    assert cutter(TEST, ignored=common(found))(page) == [page]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 300), max_size=6), st.integers(0, 2**32))
def test_what_is_left_holds_no_gram_of_the_evaluation_text_and_stands_in_the_page(places, seed):
    source = random.Random(seed)
    words = [f"w{source.randrange(10**6)}" for _ in range(400)]
    for place in places:
        words[place : place + 1] = TEST.split()[source.randrange(7) :][:13]
    page = " ".join(words)
    cut = cutter(TEST)
    for piece in cut(page):
        assert not len(collisions(piece, cut.reference))
        assert piece in page
        assert set(piece.split()) <= set(page.split())  # whole words


def test_texts_are_every_string_of_every_row(tmp_path):
    path = tmp_path / "test.jsonl"
    path.write_text(json.dumps({"q": TEST, "choices": ["a", {"b": "c"}], "n": 3}) + "\n\n" + json.dumps([TEST]))
    assert read_evaluation(path).texts == (TEST, "a", "c", TEST)
    (tmp_path / "test.txt").write_text(TEST)
    assert read_evaluation(tmp_path / "test.txt").texts == (TEST,)


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\u0085", "\x0b", "\x1c", "\r"])
def test_a_line_of_json_ends_at_a_line_feed_alone(tmp_path, sign):
    path = tmp_path / "test.jsonl"
    inside = sign if sign >= " " else " "  # JSON has no raw controls in strings
    rows = [json.dumps({"q": TEST.replace("test9 ", f"test9{inside}")}, ensure_ascii=False), json.dumps([TEST])]
    path.write_bytes("\r\n".join(rows).encode("utf-8-sig"))
    assert [words(text) for text in read_evaluation(path).texts] == [TEST.split(), TEST.split()]


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "test.txt").write_bytes(TEST.encode("utf-8-sig"))
    assert read_evaluation(tmp_path / "test.txt").texts == (TEST,)


def test_evaluation_texts_are_read_in_the_form_of_documents(tmp_path):
    path = tmp_path / "test.jsonl"
    path.write_text(json.dumps(TEST.replace("test7", "te\u0301st7 co\xadop")))
    assert "t\u00e9st7 coop" in read_evaluation(path).texts[0]


def test_rows_that_are_too_short_to_be_found_are_named_by_their_lines(tmp_path):
    path = tmp_path / "test.jsonl"
    rows = [
        ["too", "short"],
        {"q": TEST, "a": "short"},
        "",
        ["twelve words are not enough by one for the search they say"],
    ]
    path.write_text("\n".join(map(json.dumps, [*rows, *["no"] * 9])))
    found = read_evaluation(path)
    assert found.short == (1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13)
    assert found.summary() == [f"{path}: not looked for: 12 rows without a text of 13 words (line 1, 3, 4, 5, 6, …)"]
    assert read_evaluation(path, 8).short == (1, 3, *range(5, 14))
    path.write_text(json.dumps(TEST) + "\n\n")
    assert read_evaluation(path).summary() == []


def test_marks_of_mirrors_hide_nothing_and_go_with_what_they_mark():
    marked = TEST.replace(" test5", "[1] test5").replace(" test9", "[citation needed] test9")
    before, after = filler("b", 100), filler("a", 100)
    assert len(cutter(TEST)(f"{before} {marked} {after}")) == 2
    assert len(cutter(marked)(f"{before} {TEST} {after}")) == 2


CHINESE = "城里的老渡口在星期二的会议上被决定关闭，结束了九十多年来为小岛服务的历史。"


def test_a_text_without_spaces_is_found_wherever_in_a_sentence_it_stands():
    before, after = ("".join(chr(0x4E00 + 7 * n + at) for n in range(500)) for at in (0, 3))
    for start in range(3):  # also where its characters pair in another way
        pieces = cutter(CHINESE)(f"{before}{'的' * start}{CHINESE[start:]}{after}")
        assert [piece in whole for piece, whole in zip(pieces, (before, after), strict=True)] == [True, True]
        assert not any(len(collisions(piece, cutter(CHINESE).reference)) for piece in pieces)
    assert cutter(CHINESE)(before + CHINESE[:25]) == [before + CHINESE[:25]]  # 12 words and a half


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [("a.jsonl", b"{", "cannot be read"), ("a.txt", b"\xff", "cannot be read"), ("a.txt", b"few words", "13 words")],
)
def test_a_file_in_which_nothing_could_be_found_is_refused(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_evaluation(tmp_path / name)


def test_a_search_that_finds_nothing_or_everything_is_no_search(tmp_path, monkeypatch):
    path = tmp_path / "test.txt"
    path.write_text(TEST)
    contamination.contaminants(((path, "1"),))
    one = Evaluation(path, (TEST,))
    with pytest.raises(BooksError, match="planted in a document, is not found"):
        contamination.prove(one, cutter("another " * 20).reference)
    with pytest.raises(BooksError, match="holds nothing of it"):
        contamination.prove(one, cutter(TEST, " ".join(contamination.FILLER[93:107])).reference)
    monkeypatch.setattr(Reference, "holds", lambda _self, hashes: np.zeros(len(hashes), bool))
    with pytest.raises(BooksError, match="planted in a document, is not found"):
        contamination.contaminants(((path, "2"),))
