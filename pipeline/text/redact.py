"""Redaction: e-mail and IP addresses out of a text, as FineWeb took them out.

Choice: the expressions of datatrove's `PIIFormatter` (Penedo et al. 2024, section 3.7: e-mail addresses and public IP
addresses), each address replaced by a fixed one that leads nowhere. Cost: what looks like an address goes too, version
numbers of four parts among them. Alternative: a model of named entities, a thousand times the time.
"""

from __future__ import annotations

import ipaddress
import re

EMAIL = re.compile(r"\b[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,64}(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,64}){0,20}@"
                   r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,10}[A-Za-z]{2,63}\b")  # fmt: skip
IP = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.]*\d)")
NOBODY = "email@example.com"  # RFC 2606, section 3
NOWHERE = "192.0.2.1"  # RFC 5737: for documentation


def redacted(text: str, kinds: tuple[str, ...]) -> tuple[str, int]:
    """The text with addresses of `kinds` ("email", "ip") replaced, and how many were."""
    emails = addresses = 0
    if "email" in kinds and "@" in text:
        text, emails = EMAIL.subn(NOBODY, text)
    if "ip" in kinds:
        addresses = sum(is_public(match.group()) for match in IP.finditer(text))
        text = IP.sub(lambda match: NOWHERE if is_public(match.group()) else match.group(), text) if addresses else text
    return text, emails + addresses


def is_public(address: str) -> bool:
    """Whether an IPv4 address is one and belongs to somebody: not private, not of documentation."""
    try:
        return ipaddress.IPv4Address(address).is_global
    except ValueError:
        return False
