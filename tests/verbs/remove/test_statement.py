"""What the statement of a removal says is true, a third person can check it, and it names nobody."""

import json
from collections import Counter

import numpy as np
import pytest

from pipeline.config import parse
from pipeline.shards import storage
from pipeline.shards.outcomes import InputError, IntegrityError
from pipeline.verbs.explain import explain
from pipeline.verbs.export import export
from pipeline.verbs.remove import remove, report, verify
from tests.trainer.runs import SETTINGS, settings_with
from tests.verbs.remove.working import NOW, doc_id_of, kept_page, rebuilt, table, token_rows
from trainer.data import Windows, load_split
from trainer.train import train

BLOCK, BATCH = 64, 16


def statement(work, number=1):
    return json.loads((work / f"removals/{number:04d}.statement.json").read_text())


def trained_page(work, pages):
    """A page of the train split, whose tokens fill some windows of SETTINGS."""
    ids = {one for split, rows in token_rows(work) if split == "train" for one in rows["doc_id"].to_pylist()}
    return next(page for page in pages if doc_id_of(page) in ids)


def trained(work, **changes):
    chosen = settings_with(**{"block": BLOCK, "batch": BATCH, "eval_every": 100, "checkpoint_every": 100, **changes})
    return train(chosen, work, work / "model", lambda _: None)


def shown_by_hand(work, doc_id, steps):
    """How often a window that shows a part of a document is among those of the first `steps` steps: one by one."""
    windows = Windows(load_split(work, "train"), BLOCK, SETTINGS.seed)
    mine = {window for window in range(windows.count) if doc_id in windows.doc_ids(window)}

    stream = windows.visited(np.arange(steps * BATCH, dtype=np.int64))
    counts = Counter(stream)
    return len(mine), sum(counts[window] for window in mine), windows.count


def test_it_says_how_often_a_checkpoint_was_shown_the_page(made, work):
    page = trained_page(work, made[1])
    doc_id = doc_id_of(page)
    windows = shown_by_hand(work, doc_id, 0)[2]
    steps = -(-windows // BATCH) + 3  # into the second epoch
    trained(work, steps=steps, checkpoint_every=steps - 4)
    expected = {step: shown_by_hand(work, doc_id, step)[:2] for step in (steps - 4, steps)}
    remove(work, 2, [page.url], NOW)
    found = {one["step"]: one for one in statement(work)["checkpoints"]}
    assert set(found) == set(expected)
    for step, (mine, times) in expected.items():
        assert found[step]["held"] == "yes"
        assert found[step]["shown"] == {doc_id: {"windows": mine, "shown": times}}
        record = work / found[step]["path"] / "checkpoint.json"
        assert found[step]["sha256"] == storage.sha256_of(record)
    assert found[steps]["shown"][doc_id]["shown"] > 0
    life = dict(explain(work, 2, page.url))
    assert life["removal"]["trained"][found[steps]["path"]] == f"shown {expected[steps][1]} times"


def test_a_run_that_went_on_after_the_removal_was_shown_the_page_until_then_and_says_so(made, work):
    page = trained_page(work, made[1])
    doc_id = doc_id_of(page)
    trained(work, steps=3)
    at_3 = shown_by_hand(work, doc_id, 3)[1]
    remove(work, 2, [page.url], NOW)
    gone = [row for _, rows in token_rows(work) for row in rows.to_pylist() if row["doc_id"] == ""]
    tokens = sum(len(row["tokens"]) for row in gone)
    result = trained(work, steps=6)
    note = f"removed from the token shards since step 3: 1 document; {tokens} tokens are end-of-text instead"
    assert any(one.startswith(note) for one in result.notes)
    again = trained(work, steps=6)
    assert any("removed from the token shards: 1 document; " in one for one in again.notes)
    other = kept_page(work, made[1], but=[page])
    remove(work, 2, [other.url], NOW)
    remove(work, 2, [page.url], NOW)  # asked again: the first statement stands
    first = {one["step"]: one["shown"][doc_id]["shown"] for one in statement(work)["checkpoints"]}
    assert first[3] == at_3
    records = [
        json.loads(path.read_text())["record"] for path in sorted((work / "model").glob("step-*/checkpoint.json"))
    ]
    marks = records[-1]["contents"]
    assert list(marks.values()) == [0, 3 * BATCH]
    assert len(set(marks)) == 2


def test_a_checkpoint_of_other_tokens_and_one_that_never_saw_it_are_told_apart(made, work):
    page = kept_page(work, made[1])
    remove(work, 2, [page.url], NOW)
    rebuilt(work, made[2], tokens={"val_share": 0.2})
    trained(work, steps=4)
    remove(work, 2, [page.url], NOW)
    (one,) = {json.dumps(each["held"]) for each in statement(work, 2)["checkpoints"]}
    assert one == '"no"'
    rebuilt(work, made[2], tokens={"val_share": 0.4})
    remove(work, 2, [kept_page(work, made[1], but=[page]).url], NOW)
    assert {each["held"] for each in statement(work, 3)["checkpoints"]} == {"unknown"}


def test_exports_are_told_by_what_they_were_made_from(made, work, tmp_path):
    page, settings = trained_page(work, made[1]), parse({"build": {"shards": 2}})
    export(work, settings, "nanogpt", work / "inside")
    export(work, settings, "parquet", tmp_path / "outside")
    remove(work, 2, [page.url], NOW)
    export(work, settings, "jsonl", work / "later")
    other = kept_page(work, made[1], but=[page])
    remove(work, 2, [other.url], NOW)
    first = {one["path"]: (one["state"], one["held"]) for one in statement(work)["exports"]}
    assert first == {"inside": ("deleted", "yes"), str(tmp_path / "outside"): ("not reached", "yes")}
    assert not (work / "inside/train.bin").exists()
    assert (tmp_path / "outside/webtext.json").exists()
    second = {one["path"]: (one["state"], one["held"]) for one in statement(work, 2)["exports"]}
    assert second["later"] == ("deleted", "yes")
    assert second[str(tmp_path / "outside")] == ("not reached", "yes")


def test_it_names_no_address_unless_it_is_to_be_handed_on(made, work):
    page = kept_page(work, made[1])
    host = page.url.split("/")[2].removeprefix("www.")
    remove(work, 2, [page.url, host], NOW)
    for path in (work / "removals").iterdir():
        assert host not in path.read_text(), path
    other = kept_page(work, made[1], but=[page])
    remove(work, 2, [other.url], NOW, name_addresses=True)
    assert other.url in (work / "removals/0002.statement.txt").read_text()
    assert statement(work, 2)["lines"][0]["said"] == other.url
    assert other.url not in (work / "removals/0002.json").read_text()


def test_a_third_person_can_check_it(made, work):
    page = kept_page(work, made[1])
    before = table(work, "corpus")
    old = {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}
    remove(work, 2, [page.url], NOW)
    path, said = work / "removals/0001.statement.json", statement(work)
    for one in said["files"]:
        assert storage.sha256_of(work / one["file"]) == one["sha256_after"] != one["sha256_before"]
    assert verify(work, 2, path)[1].endswith("holds any of its 1 document")
    rebuilt(work, made[2], corpus={"min_words": 20})
    assert "made anew since" in verify(work, 2, path)[0]
    shard = work / next(one["file"] for one in said["files"] if one["file"].startswith("corpus/"))
    assert before.num_rows
    shard.write_bytes(old[shard])
    with pytest.raises(IntegrityError, match="as it was before the removal"):
        verify(work, 2, path)


def test_it_says_what_the_tokenizer_keeps_until_it_is_learnt_anew(made, work):
    (done,) = remove(work, 2, [kept_page(work, made[1]).url], NOW)
    path, text = work / "removals/0001.statement.json", (work / "removals/0001.statement.txt").read_text()
    said = "merges that were learnt while the corpus held it stay"
    how = "webtext build --set tokenizer.keep=false"
    assert said in text
    assert how in text
    assert any(said in line for line in report(done))
    assert said in verify(work, 2, path)[2]
    rebuilt(work, made[2])
    assert said in verify(work, 2, path)[2]  # kept
    rebuilt(work, made[2], tokenizer={"keep": False})
    assert verify(work, 2, path)[2] == "the tokenizer was learnt anew since"


def test_of_a_page_that_was_never_built_the_tokenizer_keeps_nothing(work):
    remove(work, 2, ["https://nobody.test/never"], NOW)
    assert statement(work)["tokenizer"] == {}
    assert len(verify(work, 2, work / "removals/0001.statement.json")) == 2


def test_what_is_no_statement_is_refused(work):
    with pytest.raises(InputError, match="no statement of a removal"):
        verify(work, 2, work / "links/.manifest.json")


def test_a_document_that_came_back_is_found_by_the_check(made, work, tmp_path):
    page = kept_page(work, made[1])
    remove(work, 2, [page.url], NOW)
    said = tmp_path / "said.json"
    said.write_text(json.dumps({**statement(work), "files": []}))
    assert len(verify(work, 2, said)) == 3  # the files, the words, what the tokenizer keeps
    with pytest.raises(IntegrityError, match="holds 1 removed document"):
        verify(made[0], 2, said)
