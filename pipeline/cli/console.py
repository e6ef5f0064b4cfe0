"""The two streams of the command: what outsiders wrote is shown on them, and not obeyed by a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.text import Text

from pipeline.shards.locations import with_addresses

PIPE_CLOSED = 141  # what a shell reports of a process that SIGPIPE ended: 128 + 13
# What moves a cursor, sets a title or turns a line around, and is seen by nobody: controls (C0, C1, DEL), the ends of
# lines and paragraphs of Unicode, halves of characters, and what is only format (Unicode 15, category Cf: bidirectional
# overrides and isolates, zero-width marks, tags), but for the joiners that Persian, Hindi and emoji are written with.
UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)


def seen(text: str, but: str = "") -> str:
    """The text with what a terminal would obey, or not show, as JSON escapes it; the characters of `but` stay."""
    return UNSEEN.sub(lambda found: found[0] if found[0] in but else escaped(found[0]), text)


def escaped(character: str) -> str:
    """A character as JSON writes it (RFC 8259, section 7)."""
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return {"\n": r"\n", "\r": r"\r", "\t": r"\t"}.get(character) or re.sub("....", r"\\u\g<0>", units)


def as_json(value: Any) -> str:
    """A value as a line of JSON; what a terminal would obey is escaped in it, and comes back when it is read."""
    return seen(json.dumps(value, ensure_ascii=False, default=str)) + "\n"


class Stream(Console):
    """A console that prints what it is given: brackets and colons of paths and titles mean nothing here.

    Nothing that comes from outside (titles, hosts, names of files, messages) reaches the terminal but as `seen`: every
    string of a line or a table passes here. So a string is one line, and a line feed within one is shown, not sent.
    """

    def __init__(self, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, soft_wrap=True, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """The text as seen, with the addresses of objects and not where they lie in the cache."""
        return super().render_str(seen(with_addresses(text)), **options)

    def write(self, data: str) -> None:
        """Write text that is the answer itself, for a file or another program: every character as it is.

        On a terminal it is `seen` as well, its line feeds and tabs aside.
        """
        try:
            self.file.write(seen(data, "\n\t") if self.file.isatty() else data)
            self.file.flush()
        except BrokenPipeError:
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        """End quietly when nobody reads any more (`webtext status | head -1`)."""
        try:
            super().on_broken_pipe()
        except SystemExit:
            raise SystemExit(PIPE_CLOSED) from None


out = Stream()
err = Stream(stderr=True)


def print_notes(stage: str, notes: Iterable[str], stream: Stream) -> None:
    """Print what a stage has noted: bad lines and damaged files by name and place, what was left out, a line each."""
    for note in notes:
        stream.print(f"{stage}: note: {note}")
