"""Drawn schedules between those of a search: a mistake near the beginning of long schedules is met soon."""

from __future__ import annotations

import pytest

from harness.explore import Choice, Exhaustive, Exploration, Options, Replay, Schedule, searching
from harness.explore.random_walk import RandomWalk
from harness.explore.scouting import EACH, FIRST, OFTEN, Scouting
from harness.model import Verdict
from tests.explore.conftest import Stage

AT_WORK = "two attempts of one user were at work at once"
TWO = "queue:two-consumers"


def test_two_consumers_and_who_waits(stage: Stage) -> None:
    """Depth first alone, the first thousands of schedules begin alike, and nothing was found in 20 seconds."""
    options = Options(budget_s=60)
    found, _ = stage.explore("double-submit", TWO, lambda: searching(options), options, rule="wait")
    assert found.verdict is Verdict.VIOLATED, found.reason
    assert found.schedules < 300
    assert found.first is not None
    assert found.first.says == AT_WORK


@pytest.mark.parametrize(
    ("strategy", "faults", "share"),
    [("redis-lock", (), 1 / EACH), ("redis-lock", ("crash",), 1 / EACH), ("redis-lock", ("pause",), 1 / OFTEN)],
)
def test_what_says_that_it_breaks_is_drawn_more_often(
    stage: Stage, strategy: str, faults: tuple[str, ...], share: float
) -> None:
    """A proof is not what it waits for."""
    options = Options(faults=faults)
    search = searching(options, stage.explorer("counter", strategy, options).bound.claim)
    assert isinstance(search, Scouting)
    assert share == 1 / search.each


def test_who_begins_to_wait_has_changed_nothing(stage: Stage) -> None:
    """A consumer that found its queue empty woke whoever had written to it, who asked again, for ever."""
    order = "22AB11111222AABBBB111AA"
    choices = [Choice("step", f"consumer{name}" if name.isdecimal() else name) for name in order]
    options = Options(budget_s=60)

    async def go() -> Schedule | None:
        async with stage.explorer("double-submit", TWO, options, "wait") as explorer:
            return await explorer.play(Replay(choices, lenient=True))

    played = stage.run(go())
    assert played is not None
    assert len(played.events) < 80  # for ever was 300


def test_a_proof_is_the_searchs_alone(stage: Stage) -> None:
    """The drawn ones are beside it: as many others as without, and no proof before they are over."""

    def explored(scouts: int) -> Exploration:
        def search() -> Exhaustive | Scouting:
            return Scouting(Exhaustive(), RandomWalk(1, scouts)) if scouts else Exhaustive()

        return stage.explore("counter", "watch", search, Options(size=3, budget_s=60))[0]

    alone, scouted = explored(0), explored(1_000)
    assert alone.verdict is scouted.verdict is Verdict.PROVED
    drawn = scouted.schedules - alone.schedules
    assert alone.schedules > FIRST
    assert 0 < drawn <= (alone.schedules - FIRST) / (EACH - 1) + 1
    assert scouted.pruned == alone.pruned
    assert scouted.outcomes == alone.outcomes
