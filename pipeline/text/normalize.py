"""Text hygiene: one clean form for reading, one word list for comparing, one hash for equality.

Choice: repair only what is provably broken (mojibake, C1 controls), compose (NFC), drop what no reader sees, and lay
white space by rule; the rounds repeat until nothing changes, so cleaning twice is cleaning once. Cost: indentation and
column alignment are lost, also in program code. Alternative: ftfy's `fix_text`, which also straightens quotes and
ligatures (opinions about style that a corpus should not have) and is not idempotent.
"""

from __future__ import annotations

import functools
import hashlib
import re
import unicodedata

from ftfy import fix_encoding
from ftfy.chardata import CHARMAP_ENCODINGS
from ftfy.fixes import fix_c1_controls

from pipeline.text.scripts import MARK, UNSPACED, character_class, holds_unspaced, is_plain

ROUNDS = 8  # a bound, not a plan: texts settle in two; ftfy gives no proof that its repairs end

NEWLINE = re.compile("\r\n|[\r\v\f\x1c-\x1e\u2028]")
C1 = re.compile("[\x80-\x9f]")
SURROGATE = re.compile("[\ud800-\udfff]")
# Controls without meaning in text, and Default_Ignorable_Code_Point (Unicode 16, DerivedCoreProperties.txt) without
# the two joiners, variation selectors and Mongolian and Hangul letters' parts, which change what is seen.
UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
    "\ufff0-\ufffb\ufffe\uffff\U000e0000-\U000e0fff]"
)
# ZWNJ and ZWJ shape Persian, Indic scripts and emoji; beside ASCII, a space or an edge they are junk.
STRAY_JOINER = re.compile("(?<![^\x00-\x7f\\s])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f\\s])")
BLANKS = re.compile(r"[^\S\n]{2,}|[^\S\n ]")  # runs inside a line that are not one space already
LINE_EDGE = re.compile(" \n ?|\n ")
BLANK_LINES = re.compile("\n{3,}")
WORD = re.compile(r"\w+")


def mojibake_pattern() -> re.Pattern[str]:
    """A superset of what ftfy can repair: two characters that were the first two bytes of a UTF-8 sequence.

    In any of ftfy's single-byte encodings, its marks of a lost byte (U+FFFD, U+001A) included, and the blank that was
    a no-break space (not in MacRoman, where the lead bytes are quotation marks). Costs a twentieth of ftfy's own test.
    """
    leads: set[str] = set()
    trails = {"\x1a"}
    before_blank: set[str] = set()
    for encoding in CHARMAP_ENCODINGS:
        table = bytes(range(256)).decode(encoding, "replace")
        leads.update(table[0xC2:0xF5])
        trails.update(table[0x80:0xC0])
        if encoding != "macroman":
            before_blank.update(table[0xC2:0xF5])
    lead, trail, blank = (re.escape("".join(sorted(chars - {"\ufffd"}))) for chars in (leads, trails, before_blank))
    return re.compile(f"[{lead}](?:[{trail}\ufffd]|(?<=[{blank}]) )")


MOJIBAKE = mojibake_pattern()


def clean(text: str) -> str:
    """The text as it should be read: repaired, NFC, without invisible characters, always encodable as UTF-8.

    White space: a run inside a line is one space, lines have no blanks at their ends, at most one blank line stands
    between two lines, none at either end of the text. Lone surrogates become U+FFFD. `clean(clean(t)) == clean(t)`.
    """
    for _ in range(ROUNDS):
        tidied = tidy(text)
        if tidied == text or tidied.isascii():
            return tidied
        text = tidied
    return text


def tidy(text: str) -> str:
    """One round of cleaning: newlines, then encoding, then the unseen, then NFC, then white space."""
    text = NEWLINE.sub("\n", text).replace("\u2029", "\n\n")
    if not text.isascii():
        if MOJIBAKE.search(text):
            text = "\n".join(map(repair, text.split("\n")))
        text = SURROGATE.sub("\ufffd", text)
        if C1.search(text):
            text = fix_c1_controls(text)  # `&#146;` means a quotation mark: browsers read C1 as Windows-1252
        if "\u200c" in text or "\u200d" in text:
            text = STRAY_JOINER.sub("", text)
    text = UNSEEN.sub("", text)
    text = unicodedata.normalize("NFC", text)
    text = LINE_EDGE.sub("\n", BLANKS.sub(" ", text))
    return BLANK_LINES.sub("\n\n", text).strip()


def repair(line: str) -> str:
    """The line with its mojibake undone where ftfy is sure that it is mojibake; a line is of one encoding."""
    return fix_encoding(line) if MOJIBAKE.search(line) else line


def words(text: str) -> list[str]:
    r"""The lower-cased words, in order: runs of `\w` (letters, digits, underscore of any script) with their marks.

    Punctuation never counts and "don't" is two words. In scripts without spaces (Chinese, Japanese, Thai, Khmer …)
    every character with its marks is one: a copy may begin at any. Canonically equal texts have the same words.
    """
    if is_plain(text):
        return WORD.findall(text.lower())
    return word_pattern(text).findall(unicodedata.normalize("NFC", text.lower()))


def word_pattern(text: str) -> re.Pattern[str]:
    """What the words of a text match; for a clean text, lower-cased, they are those of `words`."""
    return WORD if is_plain(text) else marked_word()


@functools.cache
def marked_word() -> re.Pattern[str]:
    """WORD for all scripts: a letter of an unspaced one with its marks, or a run of others with theirs."""
    mark, unspaced = character_class(MARK), character_class(UNSPACED)
    return re.compile(rf"[{unspaced}][{mark}]*|[^\W{unspaced}]+(?:[{mark}]+[^\W{unspaced}]*)*")


def counted_words(text: str) -> list[str]:
    """The words of a text where words are counted: between white space; of scripts without spaces two characters.

    Two, as a Chinese or Japanese word has on average, begun anew at every mark of punctuation, which counts with the
    characters beside it.
    """
    return counted_word().findall(text) if holds_unspaced(text) else text.split()


@functools.cache
def counted_word() -> re.Pattern[str]:
    """What `counted_words` finds in a text with unspaced letters."""
    mark, unspaced = character_class(MARK), character_class(UNSPACED)
    sign = rf"[^\w\s{mark}]*"
    return re.compile(rf"{sign}(?:[{unspaced}][{mark}]*){{1,2}}{sign}|[^\s{unspaced}]+")


def text_hash(text: str) -> bytes:
    """16 bytes that are equal for texts of the same words in the same order: BLAKE2b of the casefolded words.

    A text without any word is hashed as it stands, so that two such texts are equal only when they are the same.
    """
    normal = " ".join(words(text)).casefold() or text
    return hashlib.blake2b(normal.encode("utf-8", "surrogatepass"), digest_size=16).digest()
