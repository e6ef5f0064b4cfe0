"""N-gram overlap: how much of a text stands in a reference; and the reference most wanted, a dump of Wikipedia.

Choice: 64-bit hashes of n-grams in one sorted array, looked up by bisection. A lookup is wrong with a chance of
n-grams / 2^64: 3e-10 for the 5 x 10^9 of the English Wikipedia, where GPT-2's own filter allowed 1e-8 (Radford et al.
2019, section 4). Cost: 8 bytes a distinct n-gram, in memory: 40 GB for all of the English Wikipedia, 2.5 GB for one
n-gram in 16. Alternative: a Bloom filter at 1e-8, 4.8 bytes an n-gram (1.44 x log2(10^8) bits; 6 when blocked for the
cache): still 24 GB, so that a sample is wanted all the same, and then the half that it saves is small.
"""

from __future__ import annotations

import bz2
import functools
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

import mwparserfromhell
import numpy as np
from lxml import etree
from numpy.typing import NDArray

from pipeline.shards import progress, storage
from pipeline.shards.outcomes import InputError
from pipeline.text.normalize import word_pattern, words
from pipeline.text.scripts import UNSPACED, is_plain, kinds_of

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]

MULTIPLIER = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, odd: words at different places weigh differently
INVERSE = pow(MULTIPLIER, -1, 2**64)
BRACKETED = re.compile(r"\[[^\[\]\n]{0,40}\]")  # [citation needed], [Bearbeiten | Quelltext bearbeiten]
NGRAM = 8  # words, of the overlap with Wikipedia; the WebText paper's own measure of overlap (Radford et al. 2019, 4)
WORDS = 2  # raise it when `compared_words` or `ngrams` come to give others: a reference knows only its own
LEAST_SAMPLED = 16  # n-grams of a document that a sampled reference weighs at least; half of them make a copy
MAKE = "make it with 'webtext reference wikipedia'"


def compared(text: str) -> str:
    """The text with what copies print and sources do not, or the other way round, blanked out; places stay as they are.

    Anything short in square brackets: [1], [note 2], [edit], [citation needed] and their like in all languages. What an
    author bracketed goes too, on both sides alike.
    """
    return BRACKETED.sub(lambda mark: " " * len(mark[0]), text) if "[" in text else text


def compared_words(text: str) -> list[str]:
    """The words of a text by which it is compared with others."""
    return words(compared(text))


def ngram_hashes(words: Sequence[str], n: int) -> Hashes:
    """One hash for each n-gram, in order (uint64; empty for fewer than n words); see `ngrams`."""
    return ngrams(words, n)[0]


def ngrams(words: Sequence[str], n: int) -> tuple[Hashes, Places]:
    """The hash of each n-gram, in order (uint64), and the place of the word after its last (int64).

    An n-gram begins at every word that n words follow, itself included; characters of scripts without spaces count as
    half a word each, so that it holds up to 2n of them. The same in every process: with h the BLAKE2b hashes of words
    and M = MULTIPLIER, the n-gram from i up to e has h[i] M^(e-i-1) + ... + h[e-2] M + h[e-1], modulo 2^64.
    """
    before = halves_before(words)
    starts = np.arange(np.searchsorted(before, before[-1] - 2 * n, "right"))
    ends = np.searchsorted(before, before[starts] + 2 * n)
    if not len(starts):
        return np.empty(0, np.uint64), ends
    hashed = np.fromiter(map(word_hash, words), np.uint64, len(words))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(hashed * powers(INVERSE, len(words)))])
    return (sums[ends] - sums[starts]) * powers(MULTIPLIER, len(words))[ends - 1], ends


def grams_of(text: str, n: int) -> tuple[Hashes, list[tuple[int, int]]]:
    """The hashes of the n-grams of a clean text, and where each begins and ends in it."""
    plain = compared(text)
    words = list(word_pattern(plain).finditer(plain))
    hashes, ends = ngrams([word.group().lower() for word in words], n)
    return hashes, [(words[start].start(), words[end - 1].end()) for start, end in enumerate(ends.tolist())]


def halves_before(words: Sequence[str]) -> Places:
    """How many half words stand before each word, and after the last (int64)."""
    if is_plain("".join(words)):
        return np.arange(0, 2 * len(words) + 1, 2)
    first = kinds_of("".join(word[:1] or " " for word in words))
    return np.concatenate([[0], np.cumsum(np.where(first == UNSPACED, 1, 2))])


def powers(base: int, count: int) -> Hashes:
    """base^0, base^1, ... modulo 2^64, at least so many."""
    return all_powers(base, 1 << max(10, (count - 1).bit_length()))[:count]


@functools.lru_cache(maxsize=8)
def all_powers(base: int, count: int) -> Hashes:
    """Exactly so many of them, kept for the next text of about this length."""
    steps = np.full(count, base, np.uint64)
    steps[0] = 1
    return np.cumprod(steps, dtype=np.uint64)


@functools.lru_cache(maxsize=1 << 16)
def word_hash(word: str) -> int:
    """64 bits of BLAKE2b, little-endian; half the words of a text are among its language's commonest, so remembered."""
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


@dataclass(frozen=True)
class Reference:
    """The set of n-grams of some texts: a sorted array of distinct uint64 hashes.

    Of `sample` = s > 1 only the hashes divisible by s are held, an s-th of all, and only those of a document are
    looked up: its overlap is then an estimate from an s-th of its n-grams.
    """

    hashes: Hashes
    n: int
    sample: int = 1

    @classmethod
    def from_hashes(cls, arrays: Iterable[Hashes], n: int, sample: int = 1) -> Reference:
        """The union of arrays of hashes of n-grams, in any order and with repetitions."""
        merged = np.empty(0, np.uint64)
        waiting: list[Hashes] = []
        size = 0
        for array in arrays:
            waiting.append(sampled(array, sample))
            size += len(waiting[-1])
            if size > max(1_000_000, len(merged)):  # so each hash is sorted log times, not often
                merged, waiting, size = distinct([merged, *waiting]), [], 0
        return cls(distinct([merged, *waiting]), n, sample)

    def overlap(self, hashes: Hashes) -> float:
        """The share of a document's n-grams, each as often as it occurs, that the reference holds; 0.0 of none.

        By a sampled reference a document with fewer than LEAST_SAMPLED n-grams to look up counts as having so many:
        one accidental hit must not make a copy.
        """
        asked = sampled(hashes, self.sample)
        least = LEAST_SAMPLED if self.sample > 1 else 1
        return float(np.count_nonzero(self.holds(asked)) / max(least, len(asked)))

    def holds(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Which of these hashes the reference holds."""
        if not len(self.hashes):
            return np.zeros(len(hashes), bool)
        places = np.searchsorted(self.hashes, hashes)
        places[places == len(self.hashes)] = 0
        return np.asarray(self.hashes[places] == hashes)

    def save(self, file: BinaryIO | IO[bytes]) -> None:
        """Write the set as two NumPy arrays, one after the other (.npy, no pickle): [n, sample, WORDS], the hashes."""
        np.save(file, np.array([self.n, self.sample, WORDS], np.uint64), allow_pickle=False)
        np.save(file, self.hashes, allow_pickle=False)

    @classmethod
    def load(cls, file: BinaryIO | IO[bytes]) -> Reference:
        """The set that `save` wrote. Raises InputError: the file is truncated, something else, or of other WORDS."""
        name = getattr(file, "name", "reference")
        try:
            about, hashes = np.load(file, allow_pickle=False), np.load(file, allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise InputError(f"{name}: not a reference of n-grams: {error}; {MAKE}") from None
        if not all(
            isinstance(array, np.ndarray) and array.dtype == np.uint64 and array.ndim == 1 for array in (about, hashes)
        ):
            raise InputError(f"{name}: not a reference of n-grams: expected sorted arrays of uint64; {MAKE}")
        if len(about) == 2 or (len(about) == 3 and about[2] != WORDS):
            raise InputError(
                f"{name}: made by another version, which took other words for words: nothing matches; {MAKE}"
            )
        if len(about) != 3 or about.min() < 1 or not np.all(hashes[:-1] < hashes[1:]):
            raise InputError(f"{name}: not a reference of n-grams: the hashes are not sorted and distinct; {MAKE}")
        return cls(hashes, int(about[0]), int(about[1]))


def sampled(hashes: Hashes, sample: int) -> Hashes:
    """The hashes divisible by `sample`."""
    return hashes if sample == 1 else hashes[hashes % np.uint64(sample) == 0]


def distinct(arrays: list[Hashes]) -> Hashes:
    """The sorted union. Not np.unique: since 2.3 it hashes first, fifteen times the time here."""
    ordered = np.sort(np.concatenate(arrays))
    fresh = np.ones(len(ordered), bool)
    fresh[1:] = ordered[1:] != ordered[:-1]
    union: Hashes = ordered[fresh]
    return union


# --- Wikipedia


def wikipedia_reference(dumps: Iterable[Path], n: int, sample: int = 1) -> Reference:
    """The n-grams of all articles of some dumps. Raises what `wikipedia_articles` raises."""
    texts = (text for dump in dumps for _, text in progress.each(wikipedia_articles(dump)))
    return Reference.from_hashes((ngram_hashes(compared_words(text), n) for text in texts), n, sample)


PIECE_CHARS = 50_000  # of wikitext parsed at once; longer articles are cut between paragraphs
TAGS = tuple(f"{{*}}{name}" for name in ("mediawiki", "siteinfo", "page", "revision"))
TABLE = (re.compile(r"^[ \t:]*\{\|", re.MULTILINE), re.compile(r"^[ \t]*\|\}", re.MULTILINE))
NOTE = (re.compile(r"<ref\b[^<>]*(?<!/)>", re.IGNORECASE), re.compile(r"</ref\s*>", re.IGNORECASE))
SAYS_WIKIPEDIA = re.compile(
    r"^\W*(?:from wikipedia,? the free encyclopa?edia|aus wikipedia,? der freien enzyklopädie|"
    r"un article de wikipédia,? l['’]encyclopédie libre|de wikipedia,? la enciclopedia libre|"
    r"da wikipedia,? l['’]enciclopedia libera|wikipedia,? the free encyclopa?edia)"
    r"\W*(?:\(?redirected from [^\n]{1,100}|jump to:?[^\n]{1,60})?$"
    r"|^\W*retrieved from \W{0,3}https?://[a-z-]{2,12}\.wikipedia\.org/"
    r"|\b(?:this|the) article (?:uses|incorporates|includes) (?:material|text|content) from the wikipedia article\b"
    r"|\bwikipedia® is a registered trademark of the wikimedia foundation\b",
    re.IGNORECASE | re.MULTILINE,
)


def says_wikipedia(text: str) -> bool:
    """True for a text that says itself that it is a copy of Wikipedia: its tag line alone on a line, its licence note.

    For mirrors when no dump is at hand. A mention inside a sentence is none of these marks.
    """
    return ("ikip" in text or "IKIP" in text) and SAYS_WIKIPEDIA.search(text) is not None


def wikipedia_articles(path: Path) -> Iterator[tuple[str, str]]:
    """(title, plain text) of every article of a pages-articles dump, .xml or .xml.bz2, in any encoding XML allows.

    Streams: memory is bounded by the longest page. Redirects and pages outside namespace 0 are passed over.
    Raises InputError, with file and byte offset, when the dump is missing, truncated, corrupt, no MediaWiki export, or
    carries a document type (dumps have none; entity bombs do).
    """
    try:
        with storage.reading(path) as raw:
            packed = raw.read(3) == b"BZh"
            raw.seek(0)
            try:
                yield from articles_of(path, bz2.BZ2File(raw) if packed else raw)
            except (etree.XMLSyntaxError, EOFError, OSError) as error:
                raise InputError(
                    f"{path}: near byte {raw.tell()}: truncated or corrupt: {error}; fetch the dump again"
                ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def articles_of(path: Path, stream: IO[bytes]) -> Iterator[tuple[str, str]]:
    """(title, plain text) of the articles of an XML stream; forgets every revision and page once it is read."""
    events = etree.iterparse(
        stream, events=("start", "end"), tag=TAGS, resolve_entities=False, load_dtd=False, no_network=True
    )
    begun = False
    spaces: dict[str, str] = {}
    wikitext = ""
    for event, element in events:
        name = etree.QName(element).localname
        if not begun:
            refuse_strangers(path, element, name)
            begun = True
        if event == "start":
            continue
        if name == "siteinfo":
            spaces = {
                space.get("key", ""): space.text or "" for space in element.iterfind("{*}namespaces/{*}namespace")
            }
        elif name == "revision":
            wikitext = element.findtext("{*}text") or ""
            element.clear()
        elif name == "page":
            title = element.findtext("{*}title") or ""
            if is_article(element, title, spaces):
                yield title, plain_text(wikitext, frozenset({"File", "Category", spaces.get("6"), spaces.get("14")}))
            wikitext = ""
            forget(element)
    if not begun:
        raise InputError(f"{path}: holds no <mediawiki> element: not a MediaWiki export")


def refuse_strangers(path: Path, root: etree._Element, name: str) -> None:
    """Raise InputError for a document with a type declaration, or of another kind."""
    if root.getroottree().docinfo.internalDTD is not None:
        raise InputError(f"{path}: carries a document type declaration, which no dump has; refused")
    if name != "mediawiki" or root.getparent() is not None:
        raise InputError(f"{path}: its first element is not <mediawiki>: not a MediaWiki export")


def is_article(page: etree._Element, title: str, spaces: dict[str, str]) -> bool:
    """Whether a page is in namespace 0 (by its number; in exports without one by its title) and not a redirect."""
    if page.find("{*}redirect") is not None:
        return False
    namespace = page.findtext("{*}ns")
    return namespace == "0" if namespace is not None else title.partition(":")[0] not in spaces.values()


def forget(page: etree._Element) -> None:
    """Free a page and what stands before it."""
    page.clear()
    parent = page.getparent()
    while parent is not None and page.getprevious() is not None:
        del parent[0]


def plain_text(wikitext: str, hidden: frozenset[str | None]) -> str:
    """The prose of wikitext: no tables, notes and templates, no links of `hidden` namespaces or to other languages."""
    prose = without(without(wikitext, *TABLE), *NOTE)
    links = links_of(hidden)
    return "\n\n".join(
        str(mwparserfromhell.parse(links.sub("", piece)).strip_code()) for piece in pieces(prose)
    ).strip()


@functools.cache
def links_of(hidden: frozenset[str | None]) -> re.Pattern[str]:
    """Links that show no prose: to files and categories (these may hold links), and `[[de:...]]` to other languages."""
    names = "|".join(re.escape(name) for name in sorted(filter(None, hidden)))
    inside = r"(?:[^\[\]]|\[\[[^\[\]]*\]\]|\[[^\[\]]*\])*"
    return re.compile(rf"\[\[ ?(?:(?i:{names}|image) ?:{inside}|[a-z]{{2,3}}(?:-[a-z]+)?:[^\[\]|]*)\]\]")


def without(text: str, opening: re.Pattern[str], closing: re.Pattern[str]) -> str:
    """The text without its (nested) bracketed parts, in one pass; an opening that is never closed stays."""
    marks = sorted(
        [(mark.start(), mark.end(), 1) for mark in opening.finditer(text)]
        + [(mark.start(), mark.end(), -1) for mark in closing.finditer(text)]
    )
    kept: list[str] = []
    begin = depth = outer = 0
    for start, end, step in marks:
        if depth == 0 and step == 1:
            outer = start
        if depth == 1 and step == -1:
            kept.append(text[begin:outer])
            begin = end
        depth = max(0, depth + step)
    return "".join([*kept, text[begin:]])


def pieces(wikitext: str) -> Iterator[str]:
    """The text in pieces of at most PIECE_CHARS, cut at a blank line where there is one."""
    start = 0
    while len(wikitext) - start > PIECE_CHARS:
        end = wikitext.rfind("\n\n", start + 1, start + PIECE_CHARS)
        end = end if end > start else start + PIECE_CHARS
        yield wikitext[start:end]
        start = end
    yield wikitext[start:]
