"""Colours for a terminal, or none at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Paint = Callable[[str, str], str]
"""Text and style (`red`, `green`, `yellow`, `dim`, `bold`) to text."""

_CODES = {"red": "1;31", "green": "1;32", "yellow": "1;33", "dim": "2", "bold": "1"}

VERDICT_STYLES: Mapping[Any, str] = {
    "violated": "red",
    "held": "green",
    "proved": "green",
    "fixed": "green",
    "bounded": "green",
    "inconclusive": "yellow",
}


def plain(text: str, _style: str) -> str:
    """No colour: for pipes, files and NO_COLOR."""
    return text


def coloured(text: str, style: str) -> str:
    """ANSI colour."""
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if text else text
