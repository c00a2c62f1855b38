"""How long a matrix takes: what each scenario may have of the budget, by what those before it took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from harness.burst.engine import ROUNDS

_LEAST_S = 0.3
"""Seconds of load for a cell, whatever the budget: with fewer no control would break often enough."""
_BEYOND_S = 0.35
"""Seconds that a cell takes beyond those, for judging, say; what it takes on this machine is known after a scenario."""
_ONCE = 0.6
"""What a cell with one turn takes, of what it takes with two."""
_START_S = 1.5
"""Seconds until a scenario's load begins."""


@dataclass(frozen=True, slots=True)
class Share:
    """What a cell may have: so many seconds of load, if it had all its turns, and so many turns."""

    each_s: float
    rounds: int


class Pace:
    """The budget of a matrix, and what its cells take on this machine."""

    def __init__(self, budget_s: float, started_s: float, cells: int, *, strict: bool) -> None:
        """`started_s`: monotonic."""
        self._budget_s, self._started_s, self._cells, self._strict = budget_s, started_s, cells, strict
        self._beyond_s, self._done = _BEYOND_S, 0

    def share(self, cells: int, left: int, scenarios: int) -> Share | None:
        """For the next scenario, of so many cells; None where it would not be done in time.

        `left`: cells, itself included, for as many `scenarios`. What one takes beyond its share (it waits for leases,
        say) the others have less.
        """
        left_s = self._budget_s - (time.monotonic() - self._started_s)
        each_s = (left_s - _START_S * scenarios) / left - self._beyond_s
        if not self._strict or each_s >= _LEAST_S:
            return Share(max(_LEAST_S, each_s), ROUNDS)
        fits = left_s >= _START_S + cells * self._once_s
        return Share(_LEAST_S, 1) if fits else None

    @property
    def _once_s(self) -> float:
        return _ONCE * (_LEAST_S + self._beyond_s)

    @contextmanager
    def measuring(self, share: Share, cells: int) -> Iterator[None]:
        """While a scenario of so many cells runs: how long it takes is reckoned with from then on."""
        began = time.monotonic()
        yield
        each_s = (time.monotonic() - began - _START_S) / cells
        beyond_s = (each_s / (1 if share.rounds == ROUNDS else _ONCE)) - share.each_s
        weight = cells / (self._done + cells)
        self._beyond_s = max(0.0, (1 - weight) * self._beyond_s + weight * beyond_s)
        self._done += cells

    def estimate(self) -> str:
        """Before it begins: how long it takes, or that the budget is too small for all of it."""
        least_s, whole_s = self._cells * self._once_s, self._cells * (_LEAST_S + self._beyond_s)
        number = f"{self._cells:,} cell{'s' if self._cells != 1 else ''}"
        if not self._strict:
            return f"{number}: about {_minutes(max(whole_s, self._budget_s))} on two cores that are idle"
        if least_s <= self._budget_s:
            return f"{number}: about {_minutes(self._budget_s)}, as --budget says"
        return (
            f"{number}: about {_minutes(least_s)} at least; in the {self._budget_s:g} s of --budget"
            f" some are not come to"
        )

    def ran_out(self) -> str:
        """Why some were not come to."""
        return f"the budget of {self._budget_s:g} s ran out"


def _minutes(duration_s: float) -> str:
    return f"{duration_s / 60:.0f} min" if duration_s >= 90 else f"{duration_s:.0f} s"
