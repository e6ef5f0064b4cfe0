"""Numbers as a person reads them."""

from __future__ import annotations

LARGE = ((1_000_000_000_000, "T"), (1_000_000_000, "B"), (1_000_000, "M"), (1_000, "k"))
SIZES = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))
THIN = "\N{NARROW NO-BREAK SPACE}"


def exact(value: float | None) -> str:
    """1234567 as 1,234,567; nothing known is a dash."""
    return "–" if value is None else f"{value:,.0f}"


def short(value: float) -> str:
    """1234567 as 1.2M, 12345 as 12k: for labels."""
    for size, unit in LARGE:
        if abs(value) >= size * 0.9995:
            scaled = value / size
            return (f"{scaled:.0f}" if scaled >= 9.95 else f"{scaled:.1f}").removesuffix(".0") + unit
    return f"{value:.0f}"


def size(value: float | None) -> str:
    """Bytes as 1.2 MB (of a million bytes)."""
    if value is None:
        return "–"
    for factor, unit in SIZES:
        if value >= factor:
            return f"{value / factor:.1f}{THIN}{unit}"
    return f"{value:.0f}{THIN}bytes"


def percent(part: float, whole: float) -> str:
    """A share; never 0 % of something, and never 100 % of less than all."""
    if not whole:
        return "–"
    share = 100 * part / whole
    if part and share < 0.1:
        return f"<0.1{THIN}%"
    if part != whole and share > 99.9:
        return f">99.9{THIN}%"
    return f"{share:.1f}{THIN}%"


def decimal(value: float | None, digits: int = 3) -> str:
    """A measure with so many digits after the point, at most; nothing known is a dash."""
    if value is None:
        return "–"
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def span_of_years(first: int, last: int) -> str:
    """`in 2012`, `from 2012 to 2019`."""
    return f"in {first}" if first == last else f"from {first} to {last}"


def fixed(value: float | None) -> str:
    """A measure in a column of its like: three digits after the point, always."""
    return "–" if value is None else f"{value:.3f}"
