import bz2

import numpy as np
import pytest

from pipeline.shards.outcomes import InputError
from pipeline.text.normalize import words
from pipeline.text.overlap import Reference, ngram_hashes
from pipeline.verbs.reference import write_reference

TEXT = " ".join(f"word{n}" for n in range(2_000))


def dump(tmp_path, *texts):
    pages = "".join(
        f"<page><title>T{n}</title><ns>0</ns><revision><text>{text}</text></revision></page>"
        for n, text in enumerate(texts)
    )
    path = tmp_path / "pages.xml.bz2"
    path.write_bytes(bz2.compress(f"<mediawiki>{pages}</mediawiki>".encode()))
    return path


def test_the_file_holds_the_grams_of_all_articles_of_all_dumps(tmp_path):
    grams, size = write_reference([dump(tmp_path, "a b c d e f g h i", TEXT)], tmp_path / "out.npy", 1)
    expected = {*ngram_hashes(words(TEXT), 8).tolist(), *ngram_hashes(list("abcdefghi"), 8).tolist()}
    with (tmp_path / "out.npy").open("rb") as file:
        found = Reference.load(file)
    assert (set(found.hashes.tolist()), found.n, found.sample) == (expected, 8, 1)
    assert (grams, size) == (1_995, (tmp_path / "out.npy").stat().st_size)
    assert size == 8 * grams + 128 + 24 + 128  # two headers of .npy


def test_a_sample_is_an_equal_part_of_all_grams_and_smaller_by_so_much(tmp_path):
    grams, _ = write_reference([dump(tmp_path, TEXT)], tmp_path / "out.npy", 8)
    assert 0.7 < grams / (1_993 / 8) < 1.3
    with (tmp_path / "out.npy").open("rb") as file:
        found = Reference.load(file)
    every = ngram_hashes(words(TEXT), 8)
    assert found.hashes.tolist() == sorted(one for one in every.tolist() if one % 8 == 0)
    assert found.overlap(every) == 1.0
    assert found.overlap(np.concatenate([every, every + np.uint64(8)])) == pytest.approx(0.5, abs=0.01)


def test_a_broken_dump_leaves_no_file(tmp_path):
    path = dump(tmp_path, TEXT)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="truncated or corrupt"):
        write_reference([path], tmp_path / "out.npy", 1)
    assert not (tmp_path / "out.npy").exists()
