"""A schedule played again: replay is just another search."""

from __future__ import annotations

from collections.abc import Sequence

from harness.explore.event import Choice, Event


class Replay:
    """Makes the given choices. `diverged` names one that was not possible.

    `lenient`: what is not possible is left out, and who can still move at the end does, one caller after the other.
    """

    exhausted = False
    pruned = 0
    persists = True

    def __init__(self, choices: Sequence[Choice], *, lenient: bool = False) -> None:
        """`choices` in their order."""
        self.diverged = ""
        self._choices = tuple(choices)
        self._left = list(choices)
        self._lenient = lenient

    def choose(self, choices: Sequence[Choice], events: Sequence[Event]) -> Choice | None:
        """The next one given."""
        while self._left:
            choice = self._left.pop(0)
            if choice in choices:
                return choice
            asleep = Choice("later", choice.caller)
            if asleep in choices:
                self._left.insert(0, choice)
                return asleep
            if not self._lenient:
                self.diverged = f"{choice.caller} cannot take its {choice.kind} any more"
                return None
        before = events[-1].choice.caller if events else ""
        steps = [choice for choice in choices if choice.kind in {"step", "victim"}] or choices
        return next((choice for choice in steps if choice.caller == before), steps[0])

    def finished(self, events: Sequence[Event]) -> bool:  # noqa: ARG002 - a search's
        """There is one schedule only."""
        return False

    def again(self) -> None:
        """From its beginning."""
        self.diverged = ""
        self._left = list(self._choices)
