"""Document features, called signals: one pure function each, one dict of fixed keys for all.

Choice: counts and shares of the published filters, kept as columns, thresholds left to whoever decides. Words are
split at white space as those papers do. The language comes from py3langid's model (in its package, no download), on
the first 1,000 characters: on 701 texts of real pages the same answers as on the whole texts, in 0.5 ms. Cost: that is
a third of all signals' time. Alternative: resiliparse's `detect_fast`, ten times as fast, which took 13 of the 679
English ones, mostly product lists, for Latin, Czech, Welsh and others.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

import numpy as np
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from pipeline.text.normalize import counted_words, words
from pipeline.text.repetition import REPETITIONS, repetitions
from pipeline.text.scripts import MARK, UNSPACED, is_plain, kinds_of
from pipeline.text.sentences import sentence_counts

LANGUAGE_CHARS = 1_000  # read from the beginning
LANGUAGE_LETTERS = 20  # fewer in that piece: undecided
SHORT_LINE_CHARS = 30  # Penedo et al. 2024 (FineWeb), section 3.6
STOP_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})  # Rae et al. 2021, section A1.1
BULLETS = ("•", "‣", "▪", "●", "◦", "-", "*", "–", "·")
ELLIPSES = ("...", "…")
TERMINAL = (".", "!", "?", '"', "”", "…", "。", "！", "？", "」", "»")  # C4's four, and their other scripts
# C4's own lists (Raffel et al. 2020, section 2.2, and tensorflow_datasets' c4_utils.py, which made it).
BOILERPLATE = (
    "terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies", "javascript",
    "lorem ipsum",
)  # fmt: skip
# Words whose only common use is sexual: health, law, religion and literature have others, and those are not here.
ADULT_WORDS = frozenset({
    "bdsm", "blowjob", "blowjobs", "bukkake", "camgirl", "camgirls", "camsex", "clit", "creampie", "creampies",
    "cumshot", "cumshots", "cunnilingus", "deepthroat", "dildo", "dildos", "fellatio", "femdom", "fleshlight",
    "gangbang", "gangbangs", "gilf", "handjob", "handjobs", "hentai", "horny", "jizz", "milf", "milfs", "pegging",
    "porn", "porno", "pornhub", "pornos", "pornstar", "pornstars", "pussies", "rimjob", "sexcam", "sexcams",
    "shemale", "shemales", "threesome", "threesomes", "titties", "upskirt", "upskirts", "webcamsex", "xhamster",
    "xnxx", "xvideos", "xxx",
})  # fmt: skip
# What link farms sell. One of them in an article is news; many are the page's purpose.
SPAM_WORDS = frozenset({
    "baccarat", "bingo", "blackjack", "bonuses", "bookmaker", "bookmakers", "casino", "casinos", "cialis", "escort",
    "escorts", "forex", "gambling", "jackpot", "jackpots", "kamagra", "levitra", "lottery", "payday", "poker",
    "replica", "replicas", "roulette", "sildenafil", "slots", "sportsbook", "sportsbooks", "tadalafil", "togel",
    "viagra",
})  # fmt: skip
# Bounded and anchored, so that a run of a million letters is read once.
EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}(?![\w@])")
BYTE = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
IP = re.compile(rf"(?<![\w.])(?:{BYTE}\.){{3}}{BYTE}(?!\w|\.\d)", re.ASCII)
INSIDE_IP = re.compile(r"\.\d{1,3}\.\d", re.ASCII)  # begins with one character, which is ten times as fast to look for

SIGNALS: dict[str, str] = {
    "language": "ISO 639 code by py3langid, 'und' for too little text (Lui and Baldwin 2012)",
    "language_score": "probability of that language, 0 to 1",
    "word_count": "words between white space, or two characters where none is (Rae et al. 2021: 50 to 100,000)",
    "char_count": "Unicode code points",
    "mean_word_length": "characters a word (Rae et al. 2021, table A1: 3 to 10); null: its script has no spaces",
    "alphabetic_word_share": "words with at least one letter (Rae et al. 2021, table A1: at least 0.8)",
    "stop_word_count": "different words of the, be, to, of, and, that, have, with (Rae et al. 2021: at least 2)",
    "symbol_ratio": "hash signs or ellipses a word (Rae et al. 2021, table A1: at most 0.1)",
    "bullet_line_share": "lines that begin with a bullet (Rae et al. 2021, table A1: at most 0.9)",
    "ellipsis_line_share": "lines that end in an ellipsis (Rae et al. 2021, table A1: at most 0.3)",
    "terminal_punctuation_share": "lines ending in a terminal mark (Raffel et al. 2020, 2.2; Penedo et al. 2024: 0.12)",
    "short_line_share": "lines of at most 30 characters (Penedo et al. 2024, section 3.6: at most 0.67)",
    "lines_per_word": "lines a word (Penedo et al. 2024, datatrove's FineWebQualityFilter: at most 0.3)",
    "curly_bracket_count": "opening curly brackets (Raffel et al. 2020, section 2.2: none)",
    "boilerplate_line_share": "lines that name a policy, cookies, JavaScript, lorem ipsum (Raffel et al. 2020, 2.2)",
    "adult_word_share": "words of our list of sexual ones (Raffel et al. 2020, section 2.2, dropped pages for one)",
    "spam_word_share": "words of our list of what link farms sell",
    "email_count": "e-mail addresses (Penedo et al. 2024, section 3.7, made them anonymous)",
    "ip_count": "IPv4 addresses (Penedo et al. 2024, section 3.7, made them anonymous)",
    "sentence_count": "sentences in lines that FineWeb keeps (Penedo et al. 2024, datatrove: at least 5)",
    "c4_sentence_count": "sentences in lines that C4 keeps (Raffel et al. 2020, section 2.2: at least 3)",
    "lorem_ipsum_count": "how often lorem ipsum stands there (Raffel et al. 2020, section 2.2: never)",
    "replacement_count": "U+FFFD: bytes that were no characters, or what the page holds itself",
    **REPETITIONS,
}


def signals(text: str) -> dict[str, float | int | str | None]:
    """Every signal of SIGNALS, by name, in its order. A text without words or lines has zeros and 'und'."""
    tokens = counted_words(text)
    lines = [line.strip() for line in text.split("\n") if line and not line.isspace()]
    lower = words(text)
    named = boilerplate_lines(lines)
    sentences, c4_sentences = sentence_counts(lines, named)
    code, score = language(text)
    return {
        "language": code,
        "language_score": score,
        "word_count": len(tokens),
        "char_count": len(text),
        "mean_word_length": mean_word_length(tokens, text),
        "alphabetic_word_share": alphabetic_word_share(tokens),
        "stop_word_count": stop_word_count(tokens),
        "symbol_ratio": symbol_ratio(text, tokens),
        "bullet_line_share": bullet_line_share(lines),
        "ellipsis_line_share": ellipsis_line_share(lines),
        "terminal_punctuation_share": terminal_punctuation_share(lines),
        "short_line_share": short_line_share(lines),
        "lines_per_word": share(len(lines), tokens),
        "curly_bracket_count": text.count("{"),
        "boilerplate_line_share": share(sum(named), lines),
        "adult_word_share": share(sum(map(ADULT_WORDS.__contains__, lower)), lower),
        "spam_word_share": share(sum(map(SPAM_WORDS.__contains__, lower)), lower),
        "email_count": email_count(text),
        "ip_count": ip_count(text),
        "sentence_count": sentences,
        "c4_sentence_count": c4_sentences,
        "lorem_ipsum_count": text.lower().count("lorem ipsum"),
        "replacement_count": text.count("\ufffd"),
        **repetitions(text, tokens, lines),
    }


@functools.cache
def identifier() -> LanguageIdentifier:
    """The language model: half a second to unpack, once a process."""
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def language(text: str) -> tuple[str, float]:
    """(ISO 639 code, probability) of the text's beginning; ('und', 0.0) for fewer than 20 letters.

    The probability is rounded to 3 digits: the model adds in single precision, and processors differ in the last bit.
    """
    beginning = text[:LANGUAGE_CHARS]
    if sum(map(str.isalpha, beginning)) < LANGUAGE_LETTERS:
        return "und", 0.0
    code, probability = identifier().classify(beginning)
    return str(code), round(float(probability), 3)


def mean_word_length(tokens: Sequence[str], text: str) -> float | None:
    """Characters a word; Rae et al. 2021, table A1. None where most letters are of scripts without spaces."""
    chars = sum(map(len, tokens))
    if not is_plain(text):
        kinds = kinds_of(text)
        if 2 * np.count_nonzero(kinds == UNSPACED) > chars - np.count_nonzero(kinds == MARK):
            return None
    return chars / len(tokens) if tokens else 0.0


def alphabetic_word_share(tokens: Sequence[str]) -> float:
    """Share of words with at least one letter; Rae et al. 2021, table A1."""
    rest = [token for token in tokens if not token.isalpha()]
    return share(len(tokens) - len(rest) + sum(any(map(str.isalpha, token)) for token in rest), tokens)


def stop_word_count(tokens: Sequence[str]) -> int:
    """How many different words of STOP_WORDS occur; Rae et al. 2021, section A1.1."""
    return len(STOP_WORDS.intersection(map(str.lower, set(tokens))))


def symbol_ratio(text: str, tokens: Sequence[str]) -> float:
    """Hash signs or ellipses a word, whichever are more; Rae et al. 2021, table A1. May pass 1."""
    return share(max(text.count("#"), text.count("...") + text.count("…")), tokens)


def bullet_line_share(lines: Sequence[str]) -> float:
    """Share of lines that begin with a bullet; Rae et al. 2021, table A1."""
    return share(sum(line.startswith(BULLETS) for line in lines), lines)


def ellipsis_line_share(lines: Sequence[str]) -> float:
    """Share of lines that end in an ellipsis; Rae et al. 2021, table A1."""
    return share(sum(line.endswith(ELLIPSES) for line in lines), lines)


def terminal_punctuation_share(lines: Sequence[str]) -> float:
    """Share of lines that end in a terminal mark; Raffel et al. 2020 (C4), section 2.2."""
    return share(sum(line.endswith(TERMINAL) for line in lines), lines)


def short_line_share(lines: Sequence[str]) -> float:
    """Share of lines of at most 30 characters; Penedo et al. 2024 (FineWeb), section 3.6."""
    return share(sum(len(line) <= SHORT_LINE_CHARS for line in lines), lines)


def boilerplate_lines(lines: Sequence[str]) -> list[bool]:
    """Which lines hold one of BOILERPLATE; Raffel et al. 2020 (C4), section 2.2, took such lines out."""
    return [any(map(line.__contains__, BOILERPLATE)) for line in map(str.lower, lines)]


def email_count(text: str) -> int:
    """How many e-mail addresses stand in the text; Penedo et al. 2024 (FineWeb), section 3.7."""
    return len(EMAIL.findall(text)) if "@" in text else 0


def ip_count(text: str) -> int:
    """How many IPv4 addresses stand in the text, private ones too; Penedo et al. 2024 (FineWeb), section 3.7.

    Four numbers of a version look the same; five do not.
    """
    return sum(1 for _ in IP.finditer(text)) if INSIDE_IP.search(text) else 0


def share(part: int, whole: Sequence[str]) -> float:
    """`part` of the length of `whole`; 0.0 of nothing."""
    return part / len(whole) if whole else 0.0
