"""Counts with their noun, as a person reads them."""

from __future__ import annotations


def counted(count: float, noun: str, many: str = "") -> str:
    """`1 document`, `2,345 documents`; `many`: the plural, where that is more than an s."""
    return f"{count:,.0f} {noun if round(count) == 1 else many or noun + 's'}"
