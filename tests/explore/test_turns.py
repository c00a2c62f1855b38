"""Who is told to wait asks again once somebody else has done something, not because it was answered."""

from __future__ import annotations

from typing import Any

import pytest

from harness.explore import Exhaustive, Exploration, Options
from harness.explore.event import Event
from harness.explore.persistence import UNTRIED
from harness.explore.random_walk import RandomWalk
from harness.explore.turns import Turn
from harness.model import Verdict
from tests.explore.conftest import Stage

WAITING = [
    (scenario, strategy, rule)
    for scenario, rule in (("double-submit", "wait"), ("double-submit", "join"), ("idempotency-key", "wait"))
    for strategy in ("queue", "pg-queue")
    if (strategy, rule) != ("pg-queue", "join")  # whose every order in which somebody waits in vain takes minutes
]
SHORTEST = ("idempotency-key", "queue", "wait")


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("scenario", "strategy", "rule"),
    [pytest.param(*one, marks=pytest.mark.long if one == SHORTEST else pytest.mark.matrix) for one in WAITING],
)
def test_waiting_for_an_answer_from_a_queue(stage: Stage, scenario: str, strategy: str, rule: str) -> None:
    """Every order of two: the consumer's work for the one who waits is no news to it."""
    found, _ = stage.explore(scenario, strategy, Exhaustive, Options(budget_s=500), rule=rule)
    if strategy == "queue":  # who waits in vain has to be served, and is not tried
        assert (found.exhausted, found.caps) == (True, (UNTRIED,)), found.reason
    else:
        assert found.verdict is Verdict.PROVED, found.reason


def seen(found: Exploration) -> set[Any]:
    """What the attempts were told in the end, however often they had asked before."""
    return {
        (frozenset((id_.partition(".")[0], reply) for id_, _, _, reply in told if "'join'" not in reply), broke)
        for told, _rest, broke in found.outcomes
    }


def test_nothing_is_missed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it asks again whatever happens, nothing is seen that was not seen in some orders before.

    In some: in all there is more, and to run them is what `test_waiting_for_an_answer_from_a_queue` does.
    """
    options = Options(budget_s=90, every=True)
    collapsed, _ = stage.explore("double-submit", "queue", lambda: RandomWalk(2, 40), options, rule="join")

    def own(self: Turn, event: Event) -> bool:
        return event.choice.caller == self._caller.name and event.choice.kind == "step"

    monkeypatch.setattr(Turn, "own", own)
    again, _ = stage.explore("double-submit", "queue", lambda: RandomWalk(1, 20), options, rule="join")
    assert (collapsed.schedules, again.schedules) == (40, 20)
    assert seen(again) <= seen(collapsed)
    assert len(seen(again)) > 1
