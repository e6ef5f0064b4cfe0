"""What is published about WebText itself: its most frequent domains."""

from __future__ import annotations

from importlib import resources

SOURCE = "domains.txt of github.com/openai/gpt-2"
DOMAINS = "webtext_domains.txt"


def published() -> list[tuple[str, int]]:
    """(domain, how often it stands in WebText), the most frequent first."""
    lines = (resources.files("pipeline") / "data" / DOMAINS).read_text("utf-8").splitlines()
    pairs = (line.split() for line in lines if line and not line.startswith("#"))
    return [(name, int(count)) for count, name in pairs]
