"""A vocabulary that is too large for its text is told before a build, and what the tokenizer noted once it stands."""

from dataclasses import replace

import pytest

from pipeline import config
from pipeline.shards.receipts import Manifest
from pipeline.verbs.plan.costs import Code
from pipeline.verbs.plan.outlook import outlook
from pipeline.verbs.plan.probe import Probe
from pipeline.verbs.plan.vocabulary import learnable, vocabulary_notes
from tests.own_data import SETTINGS, write_both
from tests.verbs.plan.probes import HERE

# bytes of English posts -> merges of which 95 % were seen 100 times, by bisection over `tokenizer.seen_often`
MEASURED = {1_000_245: 444, 2_000_345: 796, 4_000_064: 1_406, 8_000_297: 2_250, 16_000_627: 3_750}


@pytest.mark.parametrize("text_bytes", MEASURED)
def test_the_law_is_within_a_tenth_of_what_was_measured(text_bytes):
    assert learnable(text_bytes, Code()) == pytest.approx(MEASURED[text_bytes], rel=0.1)


NOTHING = Probe()


def noted(vocab_size, text_bytes, found=NOTHING, **more):
    settings = config.parse({"tokenizer": {"vocab_size": vocab_size, **more}})
    return list(vocabulary_notes(found, settings, text_bytes, Code()))


def test_a_vocabulary_too_large_for_its_text_is_told_with_one_that_would_do():
    (note,) = noted(50_257, 4e6)
    assert note == (
        "tokenizer.vocab_size is 50,257, too large for about 4.0 MB of text, where fewer than 95% of the merges are "
        "seen 100 times: a model will hardly learn the others; tokenizer.vocab_size = 1557 would "
        "do (an estimate: the build counts)"
    )
    assert noted(1_557, 4e6) == []
    assert len(noted(1_558, 4e6)) == 1
    assert noted(50_257, 1e5)[0].endswith("; it needs more text (an estimate: the build counts)")


def test_published_merges_and_a_corpus_that_nobody_knows_are_not_judged():
    assert noted(50_257, 4e6, merges="vocab.bpe") == noted(50_257, 0.0) == []


def test_of_a_tokenizer_that_stands_its_own_notes_are_told():
    stands = replace(Probe(), made={"tokenizer": Manifest("tokenizer", 1, "", {}, {}, {}, {}, notes=("too large",))})
    assert noted(50_257, 4e6, stands) == ["tokenizer: too large"]


def test_a_plan_tells_it(tmp_path):
    write_both(tmp_path)
    sources = '[build]\nshards = 2\n[links]\nsubmissions = ["dump.ndjson"]\n[pages]\nwarc = ["pages.warc.gz"]\n'
    (tmp_path / config.FILE_NAME).write_text(sources + SETTINGS)
    notes = outlook(tmp_path, config.load(tmp_path / config.FILE_NAME), machines=HERE).notes
    assert [note for note in notes if note.startswith("tokenizer.vocab_size is ")]
