"""A measured figure, with its spread and its target; the table of all of them, and their JSON."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

_WIDTH = 44


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some measurements, with the smallest and the largest."""

    median: float
    low: float
    high: float
    of: int

    @classmethod
    def over(cls, values: Iterable[float]) -> Spread:
        """Of at least one value."""
        known = sorted(values)
        return cls(statistics.median(known), known[0], known[-1], len(known))

    def document(self) -> dict[str, float]:
        """As JSON."""
        return {"median": self.median, "min": self.low, "max": self.high, "of": self.of}


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    `compares` says exactly what was measured against what. `value` is None where nothing could
    be measured: `skipped` says why. `parts` are the measurements behind a ratio.
    """

    name: str
    compares: str
    unit: str = ""
    value: Spread | None = None
    target: float | None = None
    better: Literal["at least", "at most"] = "at least"
    parts: Mapping[str, Spread] = field(default_factory=dict)
    note: str = ""
    skipped: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the median meets the target; None without either."""
        if self.value is None or self.target is None:
            return None
        if self.better == "at least":
            return self.value.median >= self.target
        return self.value.median <= self.target

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "name": self.name,
            "compares": self.compares,
            "unit": self.unit,
            "value": None if self.value is None else self.value.document(),
            "target": self.target,
            "better": self.better,
            "met": self.met,
            "parts": {name: part.document() for name, part in self.parts.items()},
            "note": self.note,
            "skipped": self.skipped,
        }


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Of neighbours in time: what slows the machine down for a while slows both down."""
    return Spread.over(mine / other for mine, other in zip(ours, theirs, strict=True))


HEADING = f"{'figure':<{_WIDTH}} {'median':>9} {'min':>8} {'max':>8}  target"


def rows(figure: Figure) -> list[str]:
    """The lines of one figure: the figure itself, then what it is made of."""
    if figure.value is None:
        return [f"{figure.name:<{_WIDTH}} skipped: {figure.skipped}"]
    value = figure.value
    name = f"{figure.name}, {figure.unit}" if figure.unit else figure.name
    sign = ">=" if figure.better == "at least" else "<="
    aim = "" if figure.target is None else f"{sign} {number(figure.target)} {'met' if figure.met else 'MISSED'}"
    cells = " ".join((f"{number(value.median):>9}", f"{number(value.low):>8}", f"{number(value.high):>8}"))
    lines = [f"{name:<{_WIDTH}} {cells}  {aim}".rstrip()]
    for part, spread in figure.parts.items():
        cells = " ".join((f"{number(spread.median):>9}", f"{number(spread.low):>8}", f"{number(spread.high):>8}"))
        lines.append(f"  {part:<{_WIDTH - 2}} {cells}")
    if figure.note:
        lines.append(f"  {figure.note}")
    return lines


def number(value: float) -> str:
    """Three figures where it is small, none behind the point where it is large."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
