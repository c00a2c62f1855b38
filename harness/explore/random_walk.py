"""Schedules drawn at random: every choice as likely as every other one, a fault as likely early as late."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from harness.explore.event import Choice, Event

_LATER_SHARE = 0.1
"""How often time moves on, where it may."""
_FIRST_GUESS = 20
"""How long a schedule is, as long as none has been run."""


class RandomWalk:
    """`schedules` of them, the same for the same seed."""

    exhausted = False
    pruned = 0
    persists = False
    diverged = ""

    def __init__(self, seed: int, schedules: int) -> None:
        """`exhausted` never becomes true: it cannot know."""
        self._rng = Random(f"walk:{seed}")
        self._left = schedules
        self._longest = _FIRST_GUESS
        self._fault_at = 0
        self._start = self._rng.getrandbits(64)
        self.again()

    def choose(self, choices: Sequence[Choice], events: Sequence[Event]) -> Choice | None:
        """Anything."""
        steps = [choice for choice in choices if choice.kind in {"step", "victim"}]
        later = [choice for choice in choices if choice.kind == "later"]
        faults = [choice for choice in choices if choice not in steps and choice not in later]
        if faults and (not (steps or later) or len(events) >= self._fault_at):
            self._fault_at = len(events) + 1 + self._rng.randrange(self._longest)
            return self._rng.choice(faults)
        return self._rng.choice(later if later and (not steps or self._rng.random() < _LATER_SHARE) else steps)

    def finished(self, events: Sequence[Event]) -> bool:
        """Whether there are schedules left."""
        self._longest = max(self._longest, len(events))
        self._left -= 1
        self._start += 1
        self.again()
        return self._left > 0

    def again(self) -> None:
        """Draw the same."""
        self._rng.seed(self._start)
        self._fault_at = self._rng.randrange(self._longest)
