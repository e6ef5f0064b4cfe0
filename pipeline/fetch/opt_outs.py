"""How a page says that it does not want to be used for training: headers, meta elements, usage preferences.

Choice: every vocabulary that is in use counts, whichever agent it addresses. Cost: regular expressions over the first
bytes of a page rather than a parser. Alternative: robots.txt alone, which a page's author often cannot write.
"""

from __future__ import annotations

import re

from pipeline.fetch.heads import Headers, header

META = re.compile(rb"<meta\b([^>]{1,500})>", re.IGNORECASE)
NO_AI = re.compile(r"\bno(?:image)?ai\b", re.IGNORECASE)  # the directives that DeviantArt introduced in 2022
# Names of training in usage preferences, the most particular first. Content-Usage: `train-ai` (draft-ietf-aipref-vocab)
# and `ai` (its first versions); Content-Signal: `ai-train` (contentsignals.org).
TRAINING = ("train-ai", "ai-train", "ai")


def opt_outs_of(headers: Headers, head: bytes) -> tuple[str, ...]:
    """The ways in which a page asks not to be used for training, sorted, such as `header:noai`.

    X-Robots-Tag and meta robots with noai or noimageai, whichever agent they address; TDM-Reservation: 1 in a header
    or a meta element (W3C TDM Reservation Protocol, sections 5.1 and 5.3); Content-Usage (draft-ietf-aipref-attach,
    section 2) and Content-Signal.
    """
    found = {f"header:{word.lower()}" for word in NO_AI.findall(header(headers, "x-robots-tag"))}
    found.update(f"header:{name}" for name in ("content-usage", "content-signal") if refuses(header(headers, name)))
    if header(headers, "tdm-reservation").strip() == "1":
        found.add("header:tdm-reservation")
    for match in META.finditer(head):
        attributes = match[1].decode("latin-1").lower()
        if "robots" in attributes:
            found.update(f"meta:{word}" for word in NO_AI.findall(attributes))
        if "tdm-reservation" in attributes and re.search(r"""content\s*=\s*["']?\s*1\b""", attributes):
            found.add("meta:tdm-reservation")
    return tuple(sorted(found))


def refuses(preferences: str) -> bool:
    """Whether usage preferences ask not to train."""
    return may_train(preferences) is False


def may_train(preferences: str) -> bool | None:
    """What usage preferences, such as `train-ai=n, search=y`, say of training; None where they say nothing.

    A dictionary of structured fields (RFC 9651, section 3.2), of which the last value of a name counts; parameters do
    not matter here.
    """
    stated: dict[str, str] = {}
    for member in preferences.lower().split(","):
        name, _, value = member.partition(";")[0].partition("=")
        stated[name.strip()] = value.strip()
    for name in TRAINING:
        if stated.get(name) in ("n", "no"):
            return False
        if stated.get(name) in ("y", "yes"):
            return True
    return None
