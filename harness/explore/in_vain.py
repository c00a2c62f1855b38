"""After a search that has found nothing: what callers do whose tries are all in vain.

One that then answers that it was aborted, and does nothing else, is of no more interest. Where one goes on, with or
without what it has waited for, every schedule is run in which callers may run out of patience at any point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.explore.event import Choice, Event
from harness.explore.exhaustive import Exhaustive
from harness.explore.replay import Replay
from harness.explore.search import Search


@dataclass(slots=True)
class Vain:
    """What is known of tries: how a loop was come to at first, for each; whether somebody went on after such a loop.

    `broken`: whether any schedule broke.
    """

    loops: dict[object, list[Choice]] = field(default_factory=dict)
    went_on: bool = False
    broken: bool = False

    def add(
        self, choices: Sequence[Choice], loops: Mapping[object, tuple[int, str]], *, went_on: bool, broke: bool
    ) -> None:
        """A schedule. `loops`: after how many of its choices somebody waited between two tries, and who."""
        for loop, (many, caller) in loops.items():
            self.loops.setdefault(loop, [*choices[:many], Choice("persist", caller)])
        self.went_on, self.broken = self.went_on or went_on, self.broken or broke


class InVain:
    """`search`, and what comes after it."""

    def __init__(self, search: Search, vain: Vain) -> None:
        """`vain` is kept up to date by who runs the schedules."""
        self._first = self._now = search
        self._vain = vain
        self._probed: set[object] = set()
        self._all = False

    @property
    def persists(self) -> bool:
        """Whether callers may try in vain."""
        return self._now is not self._first

    @property
    def exhausted(self) -> bool:
        """Of both."""
        return self._first.exhausted and (not self._all or self._now.exhausted)

    @property
    def pruned(self) -> int:
        """By the first."""
        return self._first.pruned

    @property
    def diverged(self) -> str:
        """From the path."""
        return self._now.diverged

    def choose(self, choices: Sequence[Choice], events: Sequence[Event]) -> Choice | None:
        """By the one that is on."""
        return self._now.choose(choices, events)

    def finished(self, events: Sequence[Event]) -> bool:
        """Whether there are schedules left, of whichever."""
        if self._now.finished(events):
            return True
        if not self._first.exhausted or self._vain.broken or self._all or self._now.diverged:
            return False
        if self._vain.went_on:
            self._all, self._now = True, _Impatient()
            return True
        loop = next((one for one in self._vain.loops if one not in self._probed), None)  # those met in vain, too
        if loop is None:
            return False
        self._probed.add(loop)
        self._now = Replay(self._vain.loops[loop], lenient=True)
        return True

    def again(self) -> None:
        """Along the same path."""
        self._now.again()


class _Impatient(Exhaustive):
    """Every schedule, and in each whoever may try in vain."""

    persists = True
