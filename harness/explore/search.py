"""What a search is: it chooses the next step, and says after each schedule whether there is another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from harness.explore.event import Choice, Event


class Search(Protocol):
    """One way through the schedules. `exhausted`: all of them have been run, or need not be.

    `diverged` says what was different when the beginning of a schedule was run once more; "" while nothing was.
    """

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left."""
        ...

    @property
    def persists(self) -> bool:
        """Whether a caller may be chosen to try again and again in vain."""
        ...

    @property
    def pruned(self) -> int:
        """So many schedules were given up because they are like others."""
        ...

    @property
    def diverged(self) -> str:
        """What was different."""
        ...

    def choose(self, choices: Sequence[Choice], events: Sequence[Event]) -> Choice | None:
        """Which of the choices comes next; None to give this schedule up."""
        ...

    def finished(self, events: Sequence[Event]) -> bool:
        """A schedule is over. Whether there is another."""
        ...

    def again(self) -> None:
        """Something came between: choose the same schedule once more."""
        ...
