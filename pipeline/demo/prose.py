"""Real English prose that every machine with this project already has: the documentation it installed.

Choice: read docstrings and package descriptions as files and keep only what reads as sentences; nothing is imported,
so numpy's and Beam's prose costs a second, not their start-up. Cost: the subject is always software, and the text
changes with the versions of Python and of a few libraries, so nothing may rest on its exact words. Alternative: a
corpus in the wheel, which is weight and a licence to carry; or Lorem ipsum, from which no model learns anything.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import itertools
import math
import re
import sysconfig
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from pydoc_data import topics

from pipeline.shards.outcomes import InputError

# Modules and packages of the standard library, by folder or file name: those whose docstrings hold sentences, and that
# Debian, python.org and the container images all ship (no tests, no idlelib, no tkinter).
STANDARD_LIBRARY = (
    "_pydecimal", "_pyio", "abc", "argparse", "ast", "asyncio", "asyncore", "bdb", "bisect", "calendar", "cmd",
    "code", "codecs", "collections", "compileall", "concurrent", "configparser", "contextlib", "copy", "csv",
    "ctypes", "dataclasses", "datetime", "difflib", "dis", "doctest", "email", "enum", "filecmp", "fileinput",
    "fractions", "ftplib", "functools", "gettext", "glob", "gzip", "hashlib", "heapq", "hmac", "html", "http",
    "imaplib", "importlib", "inspect", "ipaddress", "json", "linecache", "locale", "logging", "mailbox", "mimetypes",
    "multiprocessing", "netrc", "numbers", "optparse", "os", "pathlib", "pdb", "pickle", "pickletools", "pkgutil",
    "platform", "plistlib", "poplib", "posixpath", "pprint", "profile", "pstats", "pydoc", "queue", "random", "re",
    "reprlib", "runpy", "sched", "secrets", "selectors", "shelve", "shlex", "shutil", "signal", "site", "smtplib",
    "socket", "socketserver", "sqlite3", "ssl", "statistics", "string", "subprocess", "symtable", "sysconfig",
    "tarfile", "tempfile", "textwrap", "threading", "timeit", "tokenize", "trace", "traceback", "tracemalloc",
    "types", "typing", "unittest", "urllib", "uuid", "venv", "warnings", "wave", "weakref", "webbrowser", "wsgiref",
    "xml", "xmlrpc", "zipapp", "zipfile", "zipimport", "zoneinfo",
)  # fmt: skip
# Folders of site-packages whose docstrings are read: hard dependencies of this project only.
PACKAGES = ("numpy", "apache_beam", "pyarrow", "lxml", "typer", "rich", "trafilatura")
# Distributions whose package descriptions are read: the same ones, and more hard dependencies with long descriptions.
DISTRIBUTIONS = (*PACKAGES, "msgspec", "datasketch", "warcio", "charset-normalizer")
SKIPPED_FOLDERS = {
    "test",
    "tests",
    "testing",
    "_vendor",
    "clients",
    "idlelib",
    "lib2to3",
    "site-packages",
    "__pycache__",
}

DOCSTRING = re.compile(r'^[ \t]*[rRuU]?"""(.+?)"""', re.MULTILINE | re.DOTALL)
SENTENCE_END = re.compile(r"(?<=[.!?])[\"')]?\s+(?=[\"'(]?[A-Z])")
WORD = re.compile(r"[A-Za-z][A-Za-z'’-]*")
STOP_WORDS = frozenset({
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "can", "for", "from", "has", "have", "if", "in", "into",
    "is", "it", "its", "may", "must", "not", "of", "on", "or", "should", "so", "such", "than", "that", "the", "then",
    "there", "these", "this", "to", "used", "was", "when", "which", "will", "with", "you",
})  # fmt: skip
LIST_MARK = re.compile(r"^(\s*)(?:[-*]|\d+[.)])\s+(?=\S)", re.MULTILINE)
# Lines in which one of these stands are code, a table, a heading, a field list or a directive, not a paragraph.
NOT_PROSE = re.compile(
    r">>>|^\s*(?:\.\.|[-+|#=~<>{}$@!]|[*] |In \[)"
    r"|[=~^-]{3}|\w\(.*\) ->|^\s*\w[\w, ]* : |^\s*:(?:param|return)|\{|\|.*\|",
    re.MULTILINE,
)
MARKUP = (
    (re.compile(r":[\w:+-]+:`[~!]?(?:[^`<]*\.)?([^`<]+?)(?:\s*<[^`>]*>)?`"), r"\1"),  # :class:`~a.b.Name` -> Name
    (re.compile(r"`([^`<]+?)\s*<[^`>]*>`_{0,2}"), r"\1"),  # `text <target>`_ -> text
    (re.compile(r"!?\[([^\]]*)\]\([^)]*\)"), r"\1"),  # [text](target) -> text
    (re.compile(r"`+([^`]+)`+_{0,2}"), r"\1"),
    (re.compile(r"(\*\*|\*)(?=\S)([^*]+?)(?<=\S)\1"), r"\2"),
    (re.compile(r"\[[\w. -]{1,12}\]_?"), ""),  # [1]_
    (re.compile(r"\s+"), " "),
)
SHORTEST_SENTENCE = 4  # words
SHORTEST_PARAGRAPH = 14  # words


@dataclass(frozen=True)
class Passage:
    """A piece of prose: a title of its own most telling words, and its paragraphs, each of whole sentences."""

    title: str
    paragraphs: tuple[str, ...]

    @property
    def words(self) -> int:
        """Words separated by white space, the title not counted."""
        return sum(len(paragraph.split()) for paragraph in self.paragraphs)


def passages(count: int, words: int) -> list[Passage]:
    """`count` passages of about `words` words (0.5 to 1.8 times as many); no sentence stands in two of them.

    Deterministic for given versions of Python and of the packages read. Raises InputError when the installed prose
    is not enough.
    """
    pieces: list[list[str]] = []
    stream = distinct_paragraphs(sources())
    for index in range(count):
        wanted = round(words * (0.5 + 1.3 * share_of(f"passage {index}")))
        piece: list[str] = []
        held = 0
        while held < wanted and (paragraph := next(stream, None)) is not None:
            piece.append(paragraph)
            held += len(paragraph.split())
        if held < wanted:
            raise InputError(
                f"the installed documentation ends after {index} of {count} passages of {words} words; ask for fewer"
            )
        pieces.append(piece)
    return [Passage(title, tuple(piece)) for title, piece in zip(titles(pieces), pieces, strict=True)]


def share_of(key: str) -> float:
    """A number in [0, 1) that depends on `key` alone."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6]) / 2**48


def sources() -> Iterator[str]:
    """Texts in reST or Markdown, one topic, docstring or package description each, in a fixed order."""
    yield from (text for _, text in sorted(topics.topics.items()))
    standard = Path(sysconfig.get_paths()["stdlib"])
    for name in STANDARD_LIBRARY:
        yield from docstrings(standard / name if (standard / name).is_dir() else standard / f"{name}.py")
    for name in PACKAGES:
        yield from docstrings(Path(str(importlib.metadata.distribution(name).locate_file(name))))
    for name in DISTRIBUTIONS:
        yield str(importlib.metadata.metadata(name).json["description"])


def docstrings(place: Path) -> Iterator[str]:
    """Triple-quoted strings that begin a line, cleaned of their indent, from one file or from all files under a folder.

    A regular expression, not `ast`: eight times as fast, and it finds the strings that numpy hands to `add_newdoc`.
    """
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place] if place.exists() else []
    for file in files:
        folders = {part.lower() for part in file.relative_to(place.parent).parts}
        if not (folders & SKIPPED_FOLDERS) and "test" not in file.stem:
            for match in DOCSTRING.finditer(file.read_text(encoding="utf-8", errors="replace")):
                yield inspect.cleandoc(match[1])


def distinct_paragraphs(texts: Iterable[str]) -> Iterator[str]:
    """Paragraphs of whole sentences; a sentence that was met before, in whatever case or spacing, is left out."""
    seen: set[bytes] = set()
    for text in texts:
        for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n")):
            fresh: list[str] = []
            for sentence in sentences(block):
                key = hashlib.blake2b(" ".join(WORD.findall(sentence)).lower().encode(), digest_size=8).digest()
                if key not in seen:
                    seen.add(key)
                    fresh.append(sentence)
            if sum(len(sentence.split()) for sentence in fresh) >= SHORTEST_PARAGRAPH:
                yield " ".join(fresh)


def sentences(block: str) -> list[str]:
    """Sentences of a reST or Markdown block, free of markup; none when the block is not running text.

    Lines of one indent belong together: that reads lists and the descriptions under numpy's parameters.
    """
    found: list[str] = []
    lines = [line for line in LIST_MARK.sub(r"\1", block).split("\n") if line.strip()]
    for _, group in itertools.groupby(lines, key=lambda line: len(line) - len(line.lstrip())):
        text = "\n".join(group)
        if not NOT_PROSE.search(text):
            for pattern, replacement in MARKUP:
                text = pattern.sub(replacement, text)
            found += [sentence for sentence in SENTENCE_END.split(text.strip()) if is_sentence(sentence)]
    return found


def is_sentence(text: str) -> bool:
    """Whether `text` begins and ends like a sentence and is made of words more than of names and signs."""
    tokens = text.split()
    if len(tokens) < SHORTEST_SENTENCE or not (text[0].isupper() and text[-1] in ".!?"):
        return False
    if "://" in text or "wikipedia" in text.lower():
        return False
    plain = sum(1 for token in tokens if WORD.fullmatch(token.strip(".,;:!?()\"'")))
    stops = sum(1 for token in tokens if token.lower() in STOP_WORDS)
    return plain >= 0.85 * len(tokens) and stops >= 0.2 * len(tokens) and len(text) < 8.5 * len(tokens)


def titles(pieces: list[list[str]]) -> list[str]:
    """For each piece its three most telling words: frequent in the piece, rare in the others (tf-idf)."""
    counts = [
        Counter(w.lower() for p in piece for w in WORD.findall(p) if len(w) > 4 and w.isalpha()) for piece in pieces
    ]
    documents = Counter(word for count in counts for word in count)
    found: list[str] = []
    for count in counts:
        weight = {word: n * math.log(len(pieces) / documents[word] + 1) for word, n in count.items()}
        telling = sorted(weight, key=lambda word: (-weight[word], word))[:3]
        found.append(f"{telling[0].capitalize()}, {telling[1]} and {telling[2]}" if len(telling) == 3 else "Notes")
    return found
