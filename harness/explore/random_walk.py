"""Schedules drawn at random: every choice as likely as every other one, faults now and then."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from harness.explore.event import Choice, Event

_FAULT_SHARE = 0.1


class RandomWalk:
    """`schedules` of them, the same for the same seed."""

    exhausted = False
    pruned = 0
    diverged = ""

    def __init__(self, seed: int, schedules: int) -> None:
        """`exhausted` never becomes true: it cannot know."""
        self._rng = Random(f"walk:{seed}")
        self._left = schedules
        self._start = self._rng.getrandbits(64)
        self.again()

    def choose(self, choices: Sequence[Choice], events: Sequence[Event]) -> Choice | None:  # noqa: ARG002 - a search's
        """Anything."""
        steps = [choice for choice in choices if choice.kind in {"step", "victim"}] or choices
        faults = [choice for choice in choices if choice.kind not in {"step", "victim"}]
        return self._rng.choice(faults if faults and self._rng.random() < _FAULT_SHARE else steps)

    def finished(self, events: Sequence[Event]) -> bool:  # noqa: ARG002 - a search's
        """Whether there are schedules left."""
        self._left -= 1
        self._start += 1
        self.again()
        return self._left > 0

    def again(self) -> None:
        """Draw the same."""
        self._rng.seed(self._start)
