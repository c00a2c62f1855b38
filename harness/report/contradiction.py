"""Draws what shows that a piece of evidence is broken: a timeline of as few operations as possible."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from harness.report.figures import count, plural, wrapped
from harness.report.paint import Paint, plain
from harness.report.timeline import draw_timeline, most, printable

Document = Mapping[str, Any]

BARS = "from invocation to answer, in the order of events, not to scale"
"""What has to be said below."""

_WIDTH = 80
_MOST_UNORDERED, _MOST_LONGEST = 16, 8


def draw_contradiction(found: Document, paint: Paint = plain) -> Iterator[str]:
    """Those that a breach names, those that no order explains, and the longest order; an empty line after each."""
    keys = ", ".join(found["keys"][:3]) + (" ..." if len(found["keys"]) > 3 else "")
    where = f"of {count(found['operations'])} on {keys}"
    if found["effects"] or not found["unordered"]:
        lines = sorted([*found["concerned"], *found["effects"]], key=_begin)
        yield from _timeline("Those concerned", lines[:_MOST_UNORDERED], 0, paint)
    cut = found["order"] == "violated" and not found.get("fewest", True)
    several = len(found["unordered"]) > 1
    if found["unordered"]:
        shown, more = most(found["unordered"], _MOST_UNORDERED)
        says = "explains" if several or not cut else "gets past"
        yield from _timeline(
            f"{plural(len(found['unordered']), 'operation')} {where} that no order {says}", shown, more, paint
        )
    if cut:
        unknown = "whether fewer would do" if several else "which operations contradict each other"
        yield f"   There was no time to find out {unknown}."
        yield ""
    if found["rest"] is not None:
        left = " ".join(f"{key}={json.dumps(value)}" for key, value in found["rest"].items())
        yield from (f"   {line}" for line in wrapped(printable(f"left at rest: {left}"), _WIDTH - 4, "  "))
        yield ""
    if found["unordered"] and found["longest"]:
        shown, more = most(found["longest"], _MOST_LONGEST)
        yield from _timeline("The longest order that explains what came before", shown, more, paint)


def _timeline(head: str, lines: list[Any], more: int, paint: Paint) -> Iterator[str]:
    if not lines:
        return
    yield from _heading(head, paint)
    yield from [f"   ... {count(more)} before these"] if more else []
    yield from draw_timeline(lines)
    yield ""


def _heading(text: str, paint: Paint) -> Iterator[str]:
    yield from (paint(f"  {line}", "bold") for line in wrapped(printable(text), _WIDTH - 4, "  "))


def _begin(line: Document) -> int:
    return int(line["invoked_ns"] if "op" in line else line["began_ns"])
