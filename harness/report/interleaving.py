"""Draws a counterexample: one column for each caller, one line for each step, time downwards."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from harness.report.paint import Paint, plain

_NUMBER = 6
"""Width of a step's number, its indent and the gap behind it."""
_GAP = 2
_MOST_COLUMNS = 3
_MOST_LINES = 3


def draw(counterexample: Mapping[str, Any], width: int = 80, paint: Paint = plain) -> list[str]:
    """The lines of the diagram; with too many or too wide columns, one column with the caller's letter."""
    steps = counterexample["steps"]
    letters = [letter for letter, _name in counterexample["columns"]]
    if not steps:
        return []
    note = (
        "one order that fits the times"
        if counterexample["fits"]
        else "in the order of the answers: no order was found that fits"
    )
    columns = _columns(steps, letters, width)
    lines = _side_by_side(steps, letters, columns, paint) if columns else _one_below_the_other(steps, width)
    return _with_note(lines, note, width, paint, alone=not columns or steps[-1]["caller"] == letters[-1])


def text_of(step: Mapping[str, Any]) -> str:
    """`GET user:17 -> (none)   accepted`."""
    reply = f" -> {step['reply']}" if step["reply"] else ""
    waited = "  (waited)" if step["blocked"] else ""
    outcome = f"  {step['outcome']}" if step["outcome"] else ""
    return f"{step['command']}{reply}{waited}{outcome}"


def _columns(steps: Sequence[Mapping[str, Any]], letters: Sequence[str], width: int) -> list[int] | None:
    """The width of each column, or None where columns would not be readable."""
    if not 1 < len(letters) <= _MOST_COLUMNS:
        return None
    room = width - _NUMBER - _GAP * (len(letters) - 1)
    wanted = [
        max([len(_heading(letter)), *(len(text_of(step)) for step in steps if step["caller"] == letter)])
        for letter in letters
    ]
    if sum(wanted) <= room:
        return wanted
    share = room // len(letters)
    spare = sum(max(0, share - needed) for needed in wanted)
    wide = [needed for needed in wanted if needed > share]
    widths = [needed if needed <= share else share + spare // len(wide) for needed in wanted]
    for step in steps:
        if len(_wrapped(text_of(step), widths[letters.index(step["caller"])])) > _MOST_LINES:
            return None
    return widths


def _side_by_side(
    steps: Sequence[Mapping[str, Any]], letters: Sequence[str], widths: Sequence[int], paint: Paint
) -> list[str]:
    gap = " " * _GAP
    heads = gap.join(_heading(letter).ljust(width) for letter, width in zip(letters, widths, strict=True))
    lines = [paint((" " * _NUMBER + heads).rstrip(), "bold")]
    for step in steps:
        place = letters.index(step["caller"])
        before = sum(widths[:place]) + _GAP * place
        for number, part in enumerate(_wrapped(text_of(step), widths[place])):
            label = f"{step['step']:>4}" if number == 0 else " " * 4
            lines.append(f"{label}{gap}{' ' * before}{part}")
    return lines


def _one_below_the_other(steps: Sequence[Mapping[str, Any]], width: int) -> list[str]:
    lines = []
    for step in steps:
        lead = f"{step['step']:>4}  {step['caller']}  "
        for number, part in enumerate(_wrapped(text_of(step), width - len(lead))):
            lines.append((lead if number == 0 else " " * len(lead)) + part)
    return lines


def _with_note(lines: list[str], note: str, width: int, paint: Paint, *, alone: bool) -> list[str]:
    """The note goes where the last line leaves room for it in another caller's column, else below."""
    if not alone and len(lines[-1]) + 3 + len(note) <= width - 2:
        return [*lines[:-1], f"{lines[-1]}{' ' * (width - 2 - len(lines[-1]) - len(note))}{paint(note, 'dim')}"]
    return [*lines, " " * (width - 2 - len(note)) + paint(note, "dim")]


def _heading(letter: str) -> str:
    return f"request {letter}"


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent="  ", drop_whitespace=True) or [""]
