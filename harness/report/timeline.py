"""Draws operations as a timeline: one line each, with a bar from its invocation to its answer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.report.figures import cut

_WIDTH = 80
_TEXT = 46
"""At most so wide is what stands before the bar."""
_INDENT = 3
_GAP = "  "
_MOST_COLUMNS = 28


def draw_timeline(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each operation or effect, as a history holds them, in the order given.

    Bars show the order of events, not their distance: nanoseconds and minutes would not fit on one line.
    Keys are named where there are several, callers where they are known.
    """
    several = len({tuple(line["keys"]) for line in lines}) > 1
    texts = [_text(line, several) for line in lines]
    width = min(_TEXT, max(map(len, texts), default=0))
    bars = _bars([_times(line) for line in lines])
    return [
        f"{' ' * _INDENT}{cut(text, width):<{width}}{_GAP}{bar}".rstrip()
        for text, bar in zip(texts, bars, strict=True)
    ]  # fmt: skip


def _text(line: Mapping[str, Any], several: bool) -> str:
    who = f"{line['caller']}: " if line.get("caller") else ""
    keys = " ".join(line["keys"]) if several else ""
    if "effect" in line:
        return printable(" ".join(part for part in (f"{who}{line['name']}", keys, "(effect)") if part))
    request = dict(line["request"])
    name = line.get("operation") or request.pop("operation")
    asked = " ".join(part for part in (f"{who}{name}", keys, _values(request)) if part)
    return printable(f"{asked} -> {_answer(line)}")


def _answer(line: Mapping[str, Any]) -> str:
    reply = line["reply"]
    if line["status"] == "failed":
        return f"failed {line.get('error', '')}".rstrip()
    if reply is None:
        return f"unknown {line.get('error', '')}".rstrip()
    values = dict(reply)
    decision = line.get("decision") or values.pop("decision", "done")
    told = " ".join(part for part in ("" if decision == "done" else decision, _values(values)) if part)
    return told or "ok"


def _values(values: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={_value(value)}" for name, value in values.items())


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def printable(text: str) -> str:
    """What a terminal can show: a history may hold anything."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def _times(line: Mapping[str, Any]) -> tuple[int, int | None]:
    if "effect" in line:
        return line["began_ns"], line["ended_ns"]
    return line["invoked_ns"], line["returned_ns"] if line["status"] != "unknown" else None


def _bars(times: Sequence[tuple[int, int | None]]) -> list[str]:
    """`|--|` from the rank of the beginning to that of the end; `|-->` where there is no end."""
    moments = sorted({moment for pair in times for moment in pair if moment is not None})
    room = _WIDTH - _INDENT - _TEXT - len(_GAP)
    step = min(2.0, (min(room, _MOST_COLUMNS) - 2) / max(1, len(moments) - 1))
    column = {moment: round(rank * step) for rank, moment in enumerate(moments)}
    last = max(column.values(), default=0)
    return [_bar(column[began], last + 1 if ended is None else column[ended], open_=ended is None)
            for began, ended in times]  # fmt: skip


def _bar(start: int, stop: int, *, open_: bool) -> str:
    if stop <= start:
        return " " * start + "|"
    return " " * start + "|" + "-" * (stop - start - 1) + (">" if open_ else "|")


def most(lines: Iterable[Any], number: int) -> tuple[list[Any], int]:
    """The last so many, and how many came before them."""
    every = list(lines)
    return every[-number:], max(0, len(every) - number)
