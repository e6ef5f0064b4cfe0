import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.demo import prose
from pipeline.shards.outcomes import InputError

ROOT = Path(__file__).resolve().parents[2]
DIGEST = (
    "import hashlib, sys; from pipeline.demo.prose import passages;"
    "print(hashlib.sha256(repr(passages(40, 200)).encode()).hexdigest());"
    "print([name for name in ('apache_beam', 'numpy', 'lxml', 'pyarrow') if name in sys.modules])"
)


@pytest.fixture(scope="module")
def passages():
    return prose.passages(350, 500)


def sentences_of(passage):
    return [
        " ".join(prose.WORD.findall(sentence)).lower()
        for paragraph in passage.paragraphs
        for sentence in prose.SENTENCE_END.split(paragraph)
    ]


def test_no_sentence_stands_twice_in_all_passages_together(passages):
    met = [sentence for passage in passages for sentence in sentences_of(passage)]
    assert len(met) > 8_000
    assert len(met) == len(set(met))


def test_there_is_over_a_megabyte_in_passages_of_about_the_words_asked_for(passages):
    assert sum(len(paragraph) for passage in passages for paragraph in passage.paragraphs) > 1_000_000
    assert all(passage.words >= 250 for passage in passages)
    longest_paragraph = max(len(paragraph.split()) for passage in passages for paragraph in passage.paragraphs)
    assert all(passage.words < 900 + longest_paragraph for passage in passages)


def test_passages_are_the_same_in_another_process_with_another_hash_seed_and_nothing_heavy_is_imported():
    ours = hashlib.sha256(repr(prose.passages(40, 200)).encode()).hexdigest()
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    answer = subprocess.run(
        [sys.executable, "-c", DIGEST], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert answer.split("\n")[:2] == [ours, "[]"]


def test_more_than_is_installed_is_refused_with_how_far_it_goes():
    with pytest.raises(InputError, match=r"ends after \d+ of 9000 passages of 500 words; ask for fewer"):
        prose.passages(9_000, 500)


def test_titles_are_of_the_passages_own_words(passages):
    for passage in passages[:50]:
        text = " ".join(passage.paragraphs).lower()
        assert all(word.lower() in text for word in passage.title.replace(",", "").split() if word != "and")


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (
            "The lock is held by one of them.\nIt is free then.",
            ["The lock is held by one of them.", "It is free then."],
        ),
        ("See :class:`~queue.Queue` for what it does.", ["See Queue for what it does."]),
        (
            "This is a **bold** word in ``code`` of the `site <http://x.y/>`_.",
            ["This is a bold word in code of the site."],
        ),
        ("This is [a link](https://x.y/) to the page.", ["This is a link to the page."]),
        ("* The first of all items is here.", ["The first of all items is here."]),
        ("x : int\n    The number of items in the box.", ["The number of items in the box."]),
        (">>> the code is not a sentence.", []),
        ("Parameters\n----------", []),
        (".. note:: This is for all of you.", []),
        ("def of(the, a):\n    return the", []),
        ("| a | table | of | the |", []),
        ("Too short.", []),
        ("the first letter is not a capital one.", []),
        ("It can be found at https://example.org/ on the web.", []),
    ],
)
def test_only_sentences_remain_of_markup(block, expected):
    assert prose.sentences(block) == expected


def test_a_repeated_sentence_is_left_out_whatever_its_case_and_spacing():
    texts = [
        "The tide is in when the bell rings. The boats are out for the whole of the long day.",
        "THE TIDE  IS IN when the bell rings. The nets are on the wall, and the gulls are on the nets in the sun.",
    ]
    assert list(prose.distinct_paragraphs(texts)) == [
        "The tide is in when the bell rings. The boats are out for the whole of the long day.",
        "The nets are on the wall, and the gulls are on the nets in the sun.",
    ]
