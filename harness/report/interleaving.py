"""Draws a counterexample: one column for each caller, one line for each step, time downwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.report.figures import wrapped
from harness.report.paint import Paint, plain

_NUMBER = 6
"""Width of a step's number, its indent and the gap behind it."""
_SHARES = {1: 30, 2: 30, 3: 20, 4: 15}
"""How far apart columns begin, by their number; with more of them letters are easier to follow."""
_MOST_LINES = 3


def draw(counterexample: Mapping[str, Any], width: int = 80, paint: Paint = plain, note: str = "") -> list[str]:
    """The lines of the diagram; with too many or too long steps, one column with each caller's letter."""
    steps = counterexample["steps"]
    letters = [letter for letter, _name in counterexample["columns"]]
    if not steps:
        return []
    note = note or (
        "one order that fits the times"
        if counterexample["fits"]
        else "in the order of the answers: no order was found that fits"
    )
    lines = _side_by_side(steps, letters, width, paint) or _one_below_the_other(steps, width)
    return _with_note(lines, note, width, paint, beside=steps[-1]["caller"] != letters[-1])


def text_of(step: Mapping[str, Any]) -> str:
    """`GET user:17 -> (none)  accepted`."""
    reply = f" -> {step['reply']}" if step["reply"] else ""
    waited = "  (waited)" if step["blocked"] else ""
    outcome = f"  {step['outcome']}" if step["outcome"] else ""
    return f"{step['command']}{reply}{waited}{outcome}"


def _side_by_side(steps: Sequence[Mapping[str, Any]], letters: Sequence[str], width: int, paint: Paint) -> list[str]:
    """A column for each caller; a step may reach into the next one, nobody else is on its line.

    Empty where columns would not be readable.
    """
    share = _SHARES.get(len(letters))
    if share is None:
        return []
    room = width - _NUMBER - share * (len(letters) - 1)
    heads = "".join(_head(letter).ljust(share) for letter in letters)
    lines = [paint((" " * _NUMBER + heads).rstrip(), "bold")]
    for step in steps:
        before = " " * share * letters.index(step["caller"])
        parts = wrapped(text_of(step), room, "  ")
        if len(parts) > _MOST_LINES:
            return []
        lines.append(f"{step['step']:>4}  {before}{parts[0]}")
        lines += [" " * _NUMBER + before + part for part in parts[1:]]
    return lines


def _head(letter: str) -> str:
    return f"request {letter}" if letter[:1].isupper() else letter


def _one_below_the_other(steps: Sequence[Mapping[str, Any]], width: int) -> list[str]:
    lines = []
    for step in steps:
        lead = f"{step['step']:>4}  {step['caller']}  "
        first, *rest = wrapped(text_of(step), width - len(lead), "  ")
        lines += [lead + first, *(" " * len(lead) + part for part in rest)]
    return lines


def _with_note(lines: list[str], note: str, width: int, paint: Paint, *, beside: bool) -> list[str]:
    """The note goes where the last line leaves room for it in another caller's column, else below."""
    place = width - 2 - len(note)
    if beside and len(lines[-1]) + 3 <= place:
        return [*lines[:-1], lines[-1].ljust(place) + paint(note, "dim")]
    return [*lines, " " * place + paint(note, "dim")]
