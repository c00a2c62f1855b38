"""Ctrl-C, at whatever moment: an exploration ends with that schedule, and what was found before it stands."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from harness.explore import Exhaustive, Exploration, Options, Schedule
from harness.explore.event import Choice, Event
from harness.model import Verdict

if TYPE_CHECKING:
    from tests.explore.conftest import Stage


class Interrupted(Exhaustive):
    """Sends SIGINT as it is asked for a choice, the `at`th; counts the schedules that were over by then, and after."""

    def __init__(self, at: int) -> None:
        """Counted over all schedules."""
        super().__init__()
        self.left = at
        self.over = self.over_then = 0

    def choose(self, choices: Sequence[Choice], events: Sequence[Event]) -> Choice | None:
        """As it would have been."""
        self.left -= 1
        if not self.left:
            self.over_then = self.over
            signal.raise_signal(signal.SIGINT)
        return super().choose(choices, events)

    def finished(self, events: Sequence[Event]) -> bool:
        """As it would have been."""
        self.over += 1
        return super().finished(events)


@pytest.mark.parametrize(
    ("scenario", "strategy", "faults"),
    [
        ("counter", "watch", ()),
        ("counter", "pg-for-update", ()),
        ("double-submit", "queue", ()),
        ("counter", "actors", ()),
        ("counter", "redis-lock", ("pause",)),
    ],
)
def test_one_is_enough(stage: Stage, scenario: str, strategy: str, faults: tuple[str, ...]) -> None:
    """Also where the store answers without ever letting the event loop go on."""
    for at in (1, 2, 7, 40):
        search = Interrupted(at)
        options = Options(size=3, faults=faults, every=True)
        found, _ = stage.explore(scenario, strategy, lambda search=search: search, options)
        assert search.left <= 0
        assert (found.complete, found.exhausted, search.over - search.over_then <= 1) == (False, False, True)
        if found.verdict is not Verdict.VIOLATED:
            assert (found.verdict in {Verdict.BOUNDED, Verdict.INCONCLUSIVE}, found.reason) == (True, "interrupted")


def test_while_it_is_made_small(stage: Stage) -> None:
    """The violation is kept as it was found."""

    async def go() -> tuple[Exploration, Exploration, Schedule | None]:
        async with stage.explorer("counter", "naive", Options()) as explorer:
            found = await explorer.explore(Exhaustive())
            signal.raise_signal(signal.SIGINT)
            return found, *await explorer.smallest(found)

    found, afterwards, smallest = stage.run(go())
    assert found.first is not None
    assert (found.complete, afterwards.complete, afterwards.verdict) == (True, False, Verdict.VIOLATED)
    assert smallest is found.first
