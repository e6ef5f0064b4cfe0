import numpy as np
import pytest
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dedup import minhash
from pipeline.shards.outcomes import ConfigError

MASK = 2**64 - 1
WORDS = st.lists(st.text(st.characters(exclude_characters="\n"), max_size=90), max_size=12)


def slow_mix(value):
    value ^= value >> 30
    value = value * 0xBF58476D1CE4E5B9 & MASK
    value ^= value >> 27
    value = value * 0x94D049BB133111EB & MASK
    return value ^ value >> 31


def slow_word(word):
    data = minhash.shortened(word).encode("utf-8", "surrogatepass") + b"\n"
    value = 0
    for place, byte in enumerate(data):
        value ^= slow_mix((place * 256 + byte + 1) * 0x9E3779B97F4A7C15 & MASK)
    return value


def slow_shingles(words, n):
    width = min(n, len(words))
    found = set()
    for start in range(len(words) - width + 1 if words else 0):
        value = width
        for word in words[start : start + width]:
            value = (value * 0x9E3779B97F4A7C15 + slow_word(word)) & MASK
        found.add(slow_mix(value) >> 32)
    return sorted(found)


def datasketch_signature(hashes, count, seed):
    sketch = MinHash(num_perm=count, seed=seed, hashfunc=int)
    sketch.update_batch(hashes.tolist())
    return sketch.hashvalues


@settings(deadline=None, max_examples=60)
@given(WORDS, st.integers(1, 6))
def test_shingles_are_what_the_slow_definition_gives(words, n):
    assert minhash.shingles(words, n).tolist() == slow_shingles(words, n)


def test_shingles_of_a_document_do_not_hang_on_how_many_words_are_hashed_at_once(monkeypatch):
    words = [f"word{number * number}" for number in range(50)]
    whole = minhash.shingles(words, 5)
    monkeypatch.setattr(minhash, "WORDS_AT_ONCE", 7)
    assert minhash.shingles(words, 5).tolist() == whole.tolist()
    assert len(whole) == 46


def test_shingles_never_change_from_version_to_version():
    assert minhash.shingles(["the", "quick", "brown", "fox", "jumps", "over"], 5).tolist() == [1699704839, 3239626269]


def test_short_documents_have_one_shingle_and_empty_ones_none():
    assert minhash.shingles([], 5).tolist() == []
    assert len(minhash.shingles(["alone"], 5)) == 1
    assert len(minhash.shingles(["one", "two", "three", "four"], 5)) == 1
    assert minhash.shingles(["one", "two"], 5).tolist() != minhash.shingles(["two", "one"], 5).tolist()
    assert minhash.shingles(["one"], 5).tolist() != minhash.shingles(["one", "one"], 5).tolist()
    assert minhash.shingles(["ab", "c"], 5).tolist() != minhash.shingles(["a", "bc"], 5).tolist()


def test_hostile_words_are_hashed_too():
    surrogate, endless = "\ud800", "x" * 1_000_000
    assert len(minhash.shingles([surrogate, endless, "", "\0"], 1)) == 4
    assert minhash.shingles([endless], 1).tolist() != minhash.shingles([endless + "x"], 1).tolist()
    assert minhash.shingles(["a\nb"], 1).tolist() == minhash.shingles(["a", "b"], 1).tolist()


def test_shingles_of_many_words_hardly_collide():
    assert len(minhash.shingles([str(number) for number in range(20_000)], 3)) >= 19_998 - 2


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 2**32 - 1), max_size=40), st.integers(2, 40), st.integers(0, 2**32 - 1))
def test_signatures_are_those_of_datasketch_bit_for_bit(hashes, count, seed):
    hashes = np.array(hashes, np.uint32)
    ours = minhash.signature(hashes, minhash.permutations(count, seed))
    assert ours.dtype == np.uint32
    assert ours.tolist() == datasketch_signature(hashes, count, seed).tolist()


def test_a_signature_over_many_chunks_is_that_of_datasketch():
    hashes = minhash.scrambled(2_500).astype(np.uint32)
    ours = minhash.signature(hashes, minhash.permutations(128, 1))
    assert ours.tolist() == datasketch_signature(hashes, 128, 1).tolist()


def test_the_signature_of_an_empty_document_is_all_ones():
    assert minhash.signature(np.empty(0, np.uint32), minhash.permutations(3, 1)).tolist() == [2**32 - 1] * 3


def test_agreement_is_the_share_of_equal_places():
    left = np.array([[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4]], np.uint32)
    right = np.array([[1, 2, 3, 4], [4, 3, 2, 1], [1, 2, 3, 9]], np.uint32)
    assert minhash.agreement(left, right).tolist() == [1.0, 0.0, 0.75]


def test_agreement_estimates_jaccard():
    hashes, drawn = minhash.scrambled(3_000).astype(np.uint32), minhash.permutations(1_024, 1)
    left, right = np.sort(hashes[:2_000]), np.sort(hashes[1_000:])
    assert minhash.jaccard(left, right) == pytest.approx(1 / 3, abs=0.001)
    pair = [minhash.signature(side, drawn)[None] for side in (left, right)]
    assert minhash.agreement(*pair)[0] == pytest.approx(1 / 3, abs=0.06)  # four standard deviations


@given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_jaccard_is_that_of_sets(left, right):
    expected = len(left & right) / len(left | right) if left | right else 0.0
    assert minhash.jaccard(np.array(sorted(left), np.uint32), np.array(sorted(right), np.uint32)) == expected


@settings(deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 1) | st.just(2**32 - 1), min_size=7, max_size=7), min_size=1, max_size=8),
    st.sampled_from([(1, 7), (2, 3), (3, 2), (7, 1)]),
)
def test_band_values_are_equal_exactly_where_bands_are(rows, shape):
    bands, height = shape
    values = minhash.band_values(np.array(rows, np.uint32), bands, height)
    assert values.shape == (len(rows), bands)
    by_value = {}
    for row, of_row in zip(rows, values.tolist(), strict=True):
        for band, value in enumerate(of_row):
            by_value.setdefault(value, set()).add((band, tuple(row[band * height : (band + 1) * height])))
    assert all(len(contents) == 1 for contents in by_value.values())
    contents = [content for found in by_value.values() for content in found]
    assert len(contents) == len(set(contents))


def test_band_values_never_change_from_version_to_version():
    values = minhash.band_values(np.arange(8, dtype=np.uint32).reshape(1, 8), 2, 3)
    multipliers = [slow_mix(number * 0x9E3779B97F4A7C15 & MASK) | 1 for number in range(1, 7)]
    terms = [(place + 1) * multiplier for place, multiplier in enumerate(multipliers)]
    assert values.tolist() == [[slow_mix(sum(terms[:3]) & MASK), slow_mix(sum(terms[3:]) & MASK)]]
    assert values.tolist() == [[12661825953583582225, 15317408356754691896]]


def test_band_values_do_not_hang_on_how_many_signatures_are_cut_at_once(monkeypatch):
    signatures = minhash.scrambled(100 * 12).astype(np.uint32).reshape(100, 12)
    whole = minhash.band_values(signatures, 4, 3)
    monkeypatch.setattr(minhash, "SIGNATURES_AT_ONCE", 9)
    assert (minhash.band_values(signatures, 4, 3) == whole).all()


def test_more_bands_than_the_signature_has_places_name_the_settings():
    with pytest.raises(ConfigError, match=r"corpus.bands x corpus.rows = 126, but the signatures have 64 places"):
        minhash.band_values(np.zeros((1, 64), np.uint32), 21, 6)
