"""Schedules by random priorities with few changes (PCT: Burckhardt et al. 2010).

Each caller has a random priority; the highest that can move does. At `depth` - 1 random places
the one that runs drops below all others. A bug that needs `depth` steps to come in one order is found by
one schedule with a probability of at least 1 / (n * k ** (depth - 1)), for n callers and k steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from harness.explore.event import Choice, Event

_FAULT_SHARE = 0.1


class Pct:
    """`schedules` of them, the same for the same seed. The number of steps is that of the longest schedule so far."""

    exhausted = False
    pruned = 0
    persists = False
    diverged = ""

    def __init__(self, seed: int, schedules: int, depth: int = 3) -> None:
        """`exhausted` never becomes true: it gives a probability, no certainty."""
        self._rng = Random(f"pct:{seed}")
        self._left = schedules
        self._depth = depth
        self._longest = depth
        self._begin()

    def _begin(self) -> None:
        self._start = self._rng.getstate()
        self._priorities: dict[str, float] = {}
        places = range(1, max(self._longest, self._depth) + 1)
        self._changes = sorted(self._rng.sample(places, min(self._depth - 1, len(places))))
        self._lowest = 0.0

    def choose(self, choices: Sequence[Choice], events: Sequence[Event]) -> Choice | None:
        """The caller with the highest priority."""
        for choice in choices:
            if choice.caller not in self._priorities:
                self._priorities[choice.caller] = 1.0 + self._rng.random()
        faults = [choice for choice in choices if choice.kind not in {"step", "victim"}]
        if faults and self._rng.random() < _FAULT_SHARE:
            return self._rng.choice(faults)
        steps = [choice for choice in choices if choice.kind in {"step", "victim"}] or choices
        chosen = max(steps, key=lambda choice: self._priorities[choice.caller])
        if self._changes and len(events) + 1 >= self._changes[0]:
            self._changes.pop(0)
            self._lowest -= 1.0
            self._priorities[chosen.caller] = self._lowest
            chosen = max(steps, key=lambda choice: self._priorities[choice.caller])
        return chosen

    def finished(self, events: Sequence[Event]) -> bool:
        """Whether there are schedules left."""
        self._longest = max(self._longest, len(events))
        self._left -= 1
        self._begin()
        return self._left > 0

    def again(self) -> None:
        """Draw the same."""
        self._rng.setstate(self._start)
        self._begin()
