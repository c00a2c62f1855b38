"""Plots of a document's figures: pace, latencies, rates. Geometry only, in pixels; the templates draw it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from harness.report.advice import title
from harness.report.figures import milliseconds, per_second

Document = Mapping[str, Any]

_LABELS, _PLOT, _ROW = 190, 620, 30
"""Width of the names, of the plot, and height of a row."""
_TOP, _BOTTOM = 8, 30
_TALL = 110
_GOOD = frozenset({"held", "proved", "bounded"})


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of the grid with its value."""

    x: float
    words: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One strategy's pace; `dots` are the parts of its load."""

    name: str
    y: float
    width: float
    words: str
    dots: tuple[float, ...]
    broken: bool
    tells: str


@dataclass(frozen=True, slots=True)
class Ridge:
    """One strategy's latencies: a curve of their density, and where half and 99 of 100 of them are below."""

    name: str
    y: float
    path: str
    p50: float | None
    p99: float | None
    worst: float | None
    words: str
    broken: bool
    tells: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A grid with rows."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    ticks: tuple[Tick, ...]
    rows: tuple[Any, ...]
    axis: str


def pace_plot(rows: Sequence[Document], document: Document, name: str = "starts_per_s") -> Plot | None:
    """Bars from nought, in the order of the table; None where nothing was measured."""
    rows = [row for row in rows if row[name]]
    if not rows:
        return None
    parts = [[part[name] for part in row.get("parts", []) if part[name] is not None] for row in rows]
    most = max([row[name] for row in rows] + [value for one in parts for value in one])
    scale = _PLOT / (1.04 * most)
    ticks = tuple(Tick(_LABELS + value * scale, per_second(value) if value else "0") for value in _linear(most))
    bars = [
        Bar(
            title(row, document),
            _TOP + _ROW * place,
            row[name] * scale,
            per_second(row[name]),
            tuple(_LABELS + value * scale for value in dots),
            row["verdict"] not in _GOOD,
            f"{title(row, document)}: {per_second(row[name])} a second"
            + (f", in parts of the load {per_second(min(dots))} to {per_second(max(dots))}" if dots else ""),
        )
        for place, (row, dots) in enumerate(zip(rows, parts, strict=True))
    ]
    axis = "starts a second" if name == "starts_per_s" else "requests a second"
    return _plot(ticks, bars, _ROW * len(bars), axis)


def latency_plot(rows: Sequence[Document], document: Document, *, tall: bool = False) -> Plot | None:
    """Ridges over a common logarithmic axis; where a document has no distribution, only its percentiles."""
    height = _TALL if tall else _ROW
    rows = [row for row in rows if row["latency_ms"]]
    if not rows:
        return None
    low, high = _extent(rows)
    scale = _PLOT / (math.log10(high) - math.log10(low))

    def x(value: float) -> float:
        return _LABELS + (math.log10(min(max(value, low), high)) - math.log10(low)) * scale

    ticks = tuple(Tick(x(value), _ms(value)) for value in _logarithmic(low, high))
    ridges = []
    for place, row in enumerate(rows):
        base = _TOP + height * (place + 1) - 6
        latency = row["latency_ms"]
        told = f"p50 {milliseconds(latency.get('p50'))}, p99 {milliseconds(latency.get('p99'))} ms"
        p50, p99, worst = (x(latency[name]) if name in latency else None for name in ("p50", "p99", "max"))
        path = _ridge(row.get("distribution", []), x, base, height - 4)
        ridges.append(
            Ridge(
                title(row, document), base, path, p50, p99, worst, told,
                row["verdict"] not in _GOOD,
                f"{title(row, document)}: {told}, longest {milliseconds(latency.get('max'))} ms",
            )
        )  # fmt: skip
    return _plot(ticks, ridges, height * len(ridges), "milliseconds, each step ten times the last")


def parts_plot(document: Document) -> Plot | None:
    """A run's parts, one after the other: whether its pace was steady."""
    parts = [part["requests_per_s"] for part in document.get("parts", [])]
    if len(parts) < 2 or None in parts:
        return None
    scale = _PLOT / (1.04 * max(parts))
    ticks = tuple(Tick(_LABELS + value * scale, per_second(value) if value else "0") for value in _linear(max(parts)))
    bars = [
        Bar(
            f"part {place + 1}", _TOP + 20 * place, value * scale, per_second(value), (), False,
            f"part {place + 1}: {per_second(value)} requests a second",
        )
        for place, value in enumerate(parts)
    ]  # fmt: skip
    return _plot(ticks, bars, 20 * len(bars), "requests a second, in equal parts of the load")


def rate_bar(violations: Document, width: float = 120) -> tuple[float, float, float] | None:
    """Where a rate's interval begins and ends on a bar from none to all, and the rate; None of nothing judged."""
    if not violations["judged"]:
        return None
    low, high, rate = violations["low"], violations["high"], violations["rate"]
    return width * low, max(width * high, width * low + 1.5), width * rate


def _plot(ticks: tuple[Tick, ...], rows: Sequence[Any], height: float, axis: str) -> Plot:
    width = _LABELS + _PLOT + 190
    bottom = _TOP + height
    return Plot(width, bottom + _BOTTOM, _LABELS, _LABELS + _PLOT, _TOP, bottom, ticks, tuple(rows), axis)


def _linear(most: float) -> Iterator[float]:
    """Four or five round values from nought."""
    power = 10 ** math.floor(math.log10(most))
    step = next(size * power / 10 for size in (1, 2, 2.5, 5, 10, 20, 25, 50) if size * power / 10 * 5 >= most)
    value = 0.0
    while value <= most:
        yield value
        value += step


def _extent(rows: Sequence[Document]) -> tuple[float, float]:
    """What is drawn: from below the shortest to the longest, in halves of decades."""
    values = [value for row in rows for value in row["latency_ms"].values() if value > 0]
    values += [bound for row in rows for bound, number in row.get("distribution", []) if number]
    low, high = min(values) * 0.9, max(values) * 1.05
    return 10 ** (math.floor(2 * math.log10(low)) / 2), 10 ** (math.ceil(2 * math.log10(high)) / 2)


def _logarithmic(low: float, high: float) -> Iterator[float]:
    for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        for digit in (1, 3) if high / low < 3e3 else (1,):
            value = digit * 10.0**power
            if low * 0.999 <= value <= high * 1.001:
                yield value


def _ms(value: float) -> str:
    return f"{value:g}" if value < 10_000 else f"{value / 1000:g} s"


def _ridge(distribution: Sequence[Sequence[float]], x: Any, base: float, high: float) -> str:
    """A closed path; the steps are equally wide in the logarithm, so that numbers are densities. Empty without any."""
    if not distribution:
        return ""
    most = max(number for _bound, number in distribution)
    bounds = [bound for bound, _number in distribution]
    ratio = bounds[1] / bounds[0] if len(bounds) > 1 else 10 ** (1 / 16)
    points = [(x(bounds[0] / ratio), base)]
    points += [(x(bound / math.sqrt(ratio)), base - high * number / most) for bound, number in distribution]
    points.append((x(bounds[-1]), base))
    curve = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for before, after in pairwise(points):
        middle = (before[0] + after[0]) / 2
        curve.append(f"C{middle:.1f} {before[1]:.1f} {middle:.1f} {after[1]:.1f} {after[0]:.1f} {after[1]:.1f}")
    return "".join(curve) + "Z"
