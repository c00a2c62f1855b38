"""Drawn schedules between those of a search that leaves nothing out.

Depth first, schedules that are run one after the other differ in their last steps, so that one mistake near the
beginning of a long schedule is met late. Two of three calls that a queue answers, say, are the same for hours. So
once a search takes long, every eighth schedule is drawn at random, and every second one where the strategy says itself
that one of them breaks. What is proved is proved by the search alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.explore.event import Choice, Event
from harness.explore.search import Search

FIRST = 48
"""So many schedules are the search's: what has few is proved as soon as without."""
EACH = 8
OFTEN = 2


class Scouting:
    """`search`, and between its schedules those of `scout`. Exhausted, and over, when `search` is."""

    persists = False

    def __init__(self, search: Search, scout: Search, each: int = EACH) -> None:
        """`scout` has more schedules than will ever be asked of it; every `each`th schedule is its."""
        self._search = search
        self._scout = scout
        self.each = each
        self._now = search
        self._run = 0

    @property
    def exhausted(self) -> bool:
        """Of the search."""
        return self._search.exhausted

    @property
    def pruned(self) -> int:
        """By the search."""
        return self._search.pruned

    @property
    def diverged(self) -> str:
        """From the search's path."""
        return self._search.diverged

    def choose(self, choices: Sequence[Choice], events: Sequence[Event]) -> Choice | None:
        """By the one or by the other, for all of a schedule."""
        return self._now.choose(choices, events)

    def finished(self, events: Sequence[Event]) -> bool:
        """After a drawn one the search goes on where it was."""
        self._run += 1
        if self._now is self._scout:
            self._scout.finished(events)
            self._now = self._search
            return True
        more = self._search.finished(events)
        if more and self._run >= FIRST and self._run % self.each == 0:
            self._now = self._scout
        return more

    def again(self) -> None:
        """Of whichever it was."""
        self._now.again()
