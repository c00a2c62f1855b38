"""Whose doing a step is: an attempt that waits for others waits for none who work on what it has asked for itself.

A consumer that decides a request and answers it writes to what the asker has touched. Were that taken for news, who
is told to wait would ask again for no other reason than that it was told so.
"""

from __future__ import annotations

from collections.abc import Collection

from harness.explore.caller import Caller
from harness.explore.event import Event
from harness.explore.passing import TIME_MOVES
from harness.explore.program import Cast
from harness.explore.touch import NOWHERE, Touch


class Turn:
    """What of a schedule is one caller's own doing, event by event, in their order."""

    def __init__(self, cast: Cast, caller: Caller) -> None:
        """From where it last looked on."""
        self._caller = caller
        self._daemons: Collection[str] = cast.daemons
        self._asked = cast.asked_by(caller)
        self._before: dict[str, Touch] = {}

    def own(self, event: Event) -> bool:
        """Whether nothing of it is anybody else's doing: of a daemon, what it does from its decision on."""
        who, kind = event.choice.caller, event.choice.kind
        if who == self._caller.name:
            return kind not in TIME_MOVES
        requests = {step.request for step in event.steps if step.caller == who}
        return who in self._daemons and kind == "step" and bool(requests) and requests <= self._asked

    def touched(self, event: Event) -> Touch:
        """What of it the caller's requests have touched, also before a daemon knew whose they are."""
        who = event.choice.caller
        if who not in self._daemons:
            return event.touch if self.own(event) else NOWHERE
        before = self._before.get(who, NOWHERE).with_(event.touch)
        decided = [step.request for step in event.steps if step.caller == who and step.kind == "decide"]
        self._before[who] = NOWHERE if decided else before
        if decided:
            return before if self._asked.issuperset(decided) else NOWHERE
        return event.touch if self.own(event) else NOWHERE
