"""How figures are written: never more certain than they are, never a rate rounded to all or none."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping
from typing import Any

MISSING = "-"

_UNIT = re.compile(r"(?<=\d) (?=(?:%|s|ms|us|min)(?:\W|$))")
KEPT_SPACE = "\u00a0"
"""A space at which `wrapped` does not break; it prints a plain one."""


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """The text in lines of at most `width`; a figure stays with its unit, a command with its dashes."""
    kept = _UNIT.sub(KEPT_SPACE, text)
    lines = textwrap.wrap(kept, width, subsequent_indent=indent, break_on_hyphens=False)
    return [line.replace(KEPT_SPACE, " ") for line in lines] or [""]


def cut(text: str, width: int) -> str:
    """Both ends: the request and the answer matter, the middle of a long value least."""
    if len(text) <= width:
        return text
    tail = width // 2
    return f"{text[: width - tail - 2]}..{text[-tail:]}"


def count(number: int) -> str:
    """`1000` as `1,000`."""
    return f"{number:,}"


def short_count(number: int) -> str:
    """`12,345` as `12k`: for a narrow column."""
    if number < 10_000:
        return count(number) if number < 1_000 else f"{number / 1000:.1f}k"
    return f"{number // 1000:,}k" if number < 10_000_000 else f"{number // 1_000_000:,}M"


def per_second(rate: float | None) -> str:
    """A rate without fractions where those say nothing."""
    if rate is None:
        return MISSING
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"


def milliseconds(value: float | None) -> str:
    """Three digits at most after the comma, fewer for longer times."""
    if value is None:
        return MISSING
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def percent(rate: float) -> str:
    """`0.996` as `99.6`; only nought is written `0` and only one `100`, up to one of a hundred million."""
    return _digits(rate, round, 7)


def interval(violations: Mapping[str, Any], digits: int = 3) -> str:
    """`98.9-99.9`, widened by rounding, never narrowed; at most so many digits keep it from all or none."""
    return f"{_digits(violations['low'], math.floor, digits)}-{_digits(violations['high'], math.ceil, digits)}"


def bound(violations: Mapping[str, Any]) -> str:
    """The upper bound in percent, two digits that count, rounded up."""
    value = 100 * violations["high"]
    digits = max(0, 1 - math.floor(math.log10(value))) if value else 0
    rounded = math.ceil(round(value * 10**digits, 6))
    if rounded == 100 and digits:  # rounding up gave one digit more
        rounded, digits = 10, digits - 1
    return f"{rounded / 10**digits:.{digits}f}"


def microseconds(value: float) -> str:
    """One digit after the comma where it says something."""
    return f"{value:.1f} us" if value < 10 else f"{value:,.0f} us"


def seconds(duration_s: float) -> str:
    """`2.1 s`, `41 s`, `3 min 5 s`."""
    if duration_s < 10:
        return f"{duration_s:.1f} s"
    whole = round(duration_s)
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60} s"


def plural(number: int, noun: str) -> str:
    """`1 process`, `2 processes`."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{count(number)} {noun}{ending}"


def _digits(rate: float, rounding: Any, most: int = 3) -> str:
    """Percent with one digit, or with as many as keep it from looking like all or none."""
    if rate in {0, 1}:
        return f"{100 * rate:.0f}"
    for digits in range(1, most + 1):
        scale = 10**digits
        value = rounding(round(100 * rate * scale, 6)) / scale
        if 0 < value < 100:
            return f"{value:.{digits}f}"
    return "100" if rate > 0.5 else "0"
