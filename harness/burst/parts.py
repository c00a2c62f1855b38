"""A load cut into equal parts: its own repeats, from which intervals are made."""

from __future__ import annotations

import statistics
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

FEWEST = 100
"""Answers that a percentile needs: of fewer, it says little."""
_MOST_US = 0xFFFF_FFFF
_SHORTEST_S, _FEW, _MANY = 0.2, 5, 10


@dataclass(frozen=True, slots=True)
class Part:
    """What one part showed.

    Rates are None where a load has no pace of its own, as bursts have none; percentiles, where a part has too few
    answers for one: those that have enough would be the fast ones.
    """

    requests_per_s: float | None
    starts_per_s: float | None
    p50_ms: float | None
    p99_ms: float | None


@dataclass(slots=True)
class Parts:
    """From `first` to `last`, in nanoseconds under sustained load, else in bursts; `length_s` is that of one part."""

    first: int
    last: int
    length_s: float | None = None
    number: int = _MANY
    _durations_us: list[array[int]] = field(init=False)
    _starts: list[int] = field(init=False)

    def __post_init__(self) -> None:
        """All empty."""
        self._durations_us = [array("I") for _ in range(self.number)]
        self._starts = [0] * self.number

    @classmethod
    def of_time(cls, begin_ns: int, duration_s: float) -> Parts:
        """Of so many seconds: ten parts, or five where those would be short."""
        number = _MANY if duration_s >= _MANY * _SHORTEST_S else _FEW
        return cls(begin_ns, begin_ns + round(duration_s * 1e9), duration_s / number, number)

    def add(self, place: int, duration_ns: int, *, start: bool) -> None:
        """Something that was answered there; `start`: an attempt began with it. What came after the end is left out."""
        if self.first <= place < self.last:
            part = (place - self.first) * self.number // (self.last - self.first)
            self._durations_us[part].append(min(duration_ns // 1000, _MOST_US))
            self._starts[part] += start

    def values(self) -> list[Part]:
        """One for each part; those that the bursts did not reach are none."""
        parts = list(zip(self._durations_us, self._starts, strict=True))
        while self.length_s is None and parts and len(parts[-1][0]) < FEWEST:
            parts.pop()
        enough = all(len(durations) >= FEWEST for durations, _starts in parts)
        return [
            Part(
                None if self.length_s is None else round(len(durations) / self.length_s, 1),
                None if self.length_s is None else round(starts / self.length_s, 1),
                *(_percentiles(durations) if enough else (None, None)),
            )
            for durations, starts in parts
        ]


def _percentiles(durations_us: Sequence[int]) -> tuple[float, float]:
    cuts = statistics.quantiles(durations_us, n=100, method="inclusive")
    return round(cuts[49] / 1000, 3), round(cuts[98] / 1000, 3)
