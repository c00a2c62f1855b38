"""Draws a counterexample: one column for each caller, one line for each step, time downwards."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from harness.report.figures import cut, plural, wrapped
from harness.report.paint import Paint, plain

Steps = Sequence[Mapping[str, Any]]

_NUMBER = 6
"""Width of a step's number, its indent and the gap behind it."""
_SHARES = {1: 30, 2: 30, 3: 20, 4: 15}
"""How far apart columns begin, by their number; with more of them letters are easier to follow."""
_MOST_LINES = 3
_MOST_STEPS, _MOST_CALLERS = 24, 3
"""With more of both, only the callers that show the violation are drawn."""
_MOST_DRAWN, _ENDS_DRAWN = 80, 30
"""Of more steps only the first and the last are drawn: nobody reads how a caller polls for the 200th time."""
_LONGEST_VALUE = 40
_BEGINS_MS, _LASTS_MS = 4_102_444_800_000, 10**9
"""When every explored schedule begins by its own clock, 1 January 2100, and longer than any lasts."""
_INSTANT = re.compile(r"\b41\d{11}\b")
_TOKEN = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{24}\b")
_T, _T_LATER = "T: when the schedule begins", "; T+2000: 2 s later"
_VALUE = re.compile(r'"(?:[^"\\]|\\.)*"|\S+')
"""What may be long in a command: a string with all its spaces, or anything without one."""
_TOLD = re.compile(r"\b(?:at|step) (\d+)")
"""How a sentence of the explanation names a step."""


def draw(
    counterexample: Mapping[str, Any], width: int = 80, paint: Paint = plain, note: str = "", most_columns: int = 4
) -> list[str]:
    """The lines of the diagram; with too many or too long steps, one column with each caller's letter.

    Of many callers only those are drawn whom the explanation names; how many were left out is said.
    """
    every = [letter for letter, _name in counterexample["columns"]]
    steps, begins = since_beginning(counterexample["steps"])
    steps, letters, left_out = fewer(steps, every, counterexample.get("why") or "")
    if not steps:
        return []
    note = note or (
        "one order that fits the times"
        if counterexample["fits"]
        else "in the order of the answers: no order was found that fits"
    )
    gap, steps = _without_middle(steps, counterexample.get("why") or "")
    beside = _side_by_side(steps, letters, width, paint) if len(letters) <= most_columns else []
    lines = beside or _one_below_the_other(steps, width)
    lines = _with_note(lines, note, width, paint, beside=steps[-1]["caller"] != letters[-1])
    below = [begins, "; ".join(filter(None, (left_out, gap)))]
    said = [line for text in below for line in wrapped(text, width - _NUMBER) if line]
    return [*lines, *(paint(f"{' ' * _NUMBER}{line}", "dim") for line in said)]


def since_beginning(steps: Steps) -> tuple[Steps, str]:
    """The steps of a schedule with its instants as `T+2000` and tokens by their beginnings; what T is, "" for none."""
    told = [{**step, **{name: _INSTANT.sub(_since, step[name]) for name in ("command", "reply")}} for step in steps]
    later = any("T+" in f"{step['command']} {step['reply']}" for step in told)
    begins = f"{_T}{_T_LATER * later}" if told != list(steps) else ""
    return [
        {**step, **{name: _TOKEN.sub(r"\1..", step[name]) for name in ("command", "reply")}} for step in told
    ], begins


def _since(found: re.Match[str]) -> str:
    since_ms = int(found[0]) - _BEGINS_MS
    return (f"T+{since_ms}" if since_ms else "T") if 0 <= since_ms < _LASTS_MS else found[0]


def _without_middle(steps: Steps, why: str) -> tuple[str, Steps]:
    """What is left out of very many steps, in words; and the first, the last, and those that `why` names."""
    if len(steps) <= _MOST_DRAWN:
        return "", steps
    told = {int(number) for number in _TOLD.findall(why)}
    middle = steps[_ENDS_DRAWN:-_ENDS_DRAWN]
    kept = [*steps[:_ENDS_DRAWN], *(step for step in middle if step["step"] in told), *steps[-_ENDS_DRAWN:]]
    missing = plural(len(steps) - len(kept), "step")
    return f"left out: {missing} between {steps[_ENDS_DRAWN - 1]['step']} and {steps[-_ENDS_DRAWN]['step']}", kept


def fewer(steps: Steps, letters: Sequence[str], why: str) -> tuple[Steps, Sequence[str], str]:
    """The steps to draw with the letters of their callers, and who is left out, in words."""
    if len(letters) <= _MOST_CALLERS or len(steps) <= _MOST_STEPS:
        return steps, letters, ""
    told = {int(number) for number in _TOLD.findall(why)}
    named = [step["caller"] for step in steps if step["step"] in told]
    order = dict.fromkeys([*named, *(step["caller"] for step in steps)])
    kept = {*list(order)[: max(2, len(set(named))) if named else _MOST_CALLERS]}
    kept |= {letter for letter in letters if not letter[:1].isupper()}
    shown = [step for step in steps if step["caller"] in kept]
    others = [letter for letter in letters if letter not in kept]
    missing = plural(len(steps) - len(shown), "step")
    left_out = f"left out: {plural(len(others), 'caller')} with {missing} ({_spans(others)})"
    return shown, [letter for letter in letters if letter in kept], left_out


def _spans(letters: Sequence[str]) -> str:
    """`C-F, H`: neighbours in the alphabet together."""
    spans: list[list[str]] = []
    for letter in letters:
        after = spans and len(letter) == len(spans[-1][-1]) == 1 and ord(letter) == ord(spans[-1][-1]) + 1
        if after:
            spans[-1].append(letter)
        else:
            spans.append([letter])
    return ", ".join(f"{span[0]}-{span[-1]}" if len(span) > 2 else ", ".join(span) for span in spans)


def _shortened(text: str) -> str:
    """Long values without their middle: what a command does with them is what counts."""
    return _VALUE.sub(lambda found: cut(found[0], _LONGEST_VALUE), text)


def _fitted(text: str, room: int) -> list[str]:
    """The text in lines, without its middle where they would be too many."""
    lines = wrapped(text, room, "  ")
    longest = room * _MOST_LINES
    while len(lines) > _MOST_LINES:
        longest -= 4
        lines = wrapped(cut(text, longest), room, "  ")
    return lines


def answer_of(step: Mapping[str, Any]) -> str:
    """`accepted replaced=a1`: the decision, with values where what is wrong depends on them; not a crash once more."""
    if step["outcome"] == "crash" and step["command"].startswith("(crash"):
        return ""
    return " ".join(filter(None, (step["outcome"], _shortened(step.get("values") or ""))))


def text_of(step: Mapping[str, Any]) -> str:
    """`GET user:17 -> (none)  accepted`."""
    reply = f" -> {_shortened(step['reply'])}" if step["reply"] else ""
    waited = "  (waited)" if step["blocked"] else ""
    answer = answer_of(step)
    outcome = f"  {answer}" if answer else ""
    return f"{_shortened(step['command'])}{reply}{waited}{outcome}"


def _side_by_side(steps: Steps, letters: Sequence[str], width: int, paint: Paint) -> list[str]:
    """A column for each caller; a step may reach into the next one, nobody else is on its line.

    Empty where columns would not be readable.
    """
    share = _SHARES.get(len(letters))
    if share is None:
        return []
    room = width - _NUMBER - share * (len(letters) - 1)
    heads = "".join(head(letter).ljust(share) for letter in letters)
    lines = [paint((" " * _NUMBER + heads).rstrip(), "bold")]
    for step in steps:
        before = " " * share * letters.index(step["caller"])
        parts = wrapped(text_of(step), room, "  ")
        if len(parts) > _MOST_LINES:
            return []
        lines.append(f"{step['step']:>4}  {before}{parts[0]}")
        lines += [" " * _NUMBER + before + part for part in parts[1:]]
    return lines


def head(letter: str) -> str:
    """`request A`; an owner's name is what it is."""
    return f"request {letter}" if letter[:1].isupper() else letter


def _one_below_the_other(steps: Steps, width: int) -> list[str]:
    lines = []
    for step in steps:
        lead = f"{step['step']:>4}  {step['caller']}  "
        first, *rest = _fitted(text_of(step), width - len(lead))
        lines += [lead + first, *(" " * len(lead) + part for part in rest)]
    return lines


def _with_note(lines: list[str], note: str, width: int, paint: Paint, *, beside: bool) -> list[str]:
    """The note goes where the last line leaves room for it in another caller's column, else below."""
    place = width - 2 - len(note)
    if beside and len(lines[-1]) + 3 <= place:
        return [*lines[:-1], lines[-1].ljust(place) + paint(note, "dim")]
    return [*lines, " " * place + paint(note, "dim")]
