"""Several who wait inside PostgreSQL, and are let go on by one step."""

from __future__ import annotations

import pytest

from harness.explore import Exhaustive, Options, Replay
from harness.explore.event import Choice
from harness.model import Verdict
from tests.explore.conftest import Stage


@pytest.mark.parametrize(("strategy", "verdict"), [("lua:remember", Verdict.PROVED), ("lua", Verdict.VIOLATED)])
def test_delivered_three_times(stage: Stage, strategy: str, verdict: Verdict) -> None:
    """Each delivery has a name of its own, whichever is the one that is delivered again."""
    options = Options(size=1, faults=("duplicate",), most_faults=2, every=True)
    found, _ = stage.explore("counter", strategy, Exhaustive, options)
    assert found.verdict is verdict, found.reason


def test_they_go_on_in_one_order(stage: Stage) -> None:
    """Whichever the server is done with first: else the same schedule would not be the same the next time."""
    four = ("B", "B'", "B''", "B'''")
    choices = [
        Choice("step", "A"), *[Choice("duplicate", "B")] * 3, *(Choice("step", name) for name in four),
        Choice("step", "A"),
    ]  # fmt: skip
    options = Options(faults=("duplicate",), most_faults=3)
    found = stage.play("booking", "pg-exclusion", options, [Replay(choices) for _ in range(60)])
    told = {tuple(step.caller for step in schedule.events[8].steps) for schedule in found if schedule is not None}
    assert told == {("A", *four)}
