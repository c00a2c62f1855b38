"""How a lock is given back: in one step, a script, DELIFEQ or EXEC, it is one's own; by GET and DEL maybe another's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.explore import Exhaustive, Options
from harness.explore.random_walk import RandomWalk
from harness.model import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.explore.event import Choice, Event
    from tests.explore.conftest import Stage

pytestmark = pytest.mark.stores
RIGHT, WITHOUT, ONE = "redis-lock:watch-release", "redis-lock:watch-without-multi", "redis-lock:delifeq"
LOCK = "lock:report"
DRAWN = 600
"""So many schedules: where nothing is checked, a third one gets in within a third of them, by each of six seeds."""
ALL_QUICK = """
from harness import *
from harness.strategy.loader import find_scenario
class AllQuick(find_scenario("lock-lease")):
    name = "all-quick"
    def burst(self, rng, size):
        return [Request("build", ("report",), {"takes_ms": 50})] * size
"""


@pytest.fixture
def all_quick(tmp_path: Path) -> str:
    """Nobody's work outlives a lease: only what is done to the lock can harm."""
    script = tmp_path / "all_quick.py"
    script.write_text(ALL_QUICK, encoding="utf-8")
    return str(script)


class HeldUpWhileGivingBack(RandomWalk):
    """Who pauses has written its report, and is anywhere between that and the end of its release."""

    def choose(self, choices: Sequence[Choice], events: Sequence[Event]) -> Choice | None:
        """Any step; a pause of these only."""
        written = {
            step.caller for event in events for step in event.steps if step.command[:2] == ("SET", "report")
        }  # fmt: skip
        return super().choose([one for one in choices if one.kind != "pause" or one.caller in written], events)

    def finished(self, events: Sequence[Event]) -> bool:
        """Whether there are more; counts those in which somebody paused."""
        self.paused += any(event.choice.kind == "pause" for event in events)
        return super().finished(events)

    paused = 0


@pytest.mark.parametrize("strategy", [RIGHT, WITHOUT, ONE])
def test_whoever_is_not_late_gives_back_its_own(stage: Stage, strategy: str) -> None:
    """Every order of two, and of two of which one outlives its lease and drops its work."""
    for scenario, rule in (("counter", ""), ("double-submit", ""), ("lock-lease", "overrun")):
        found, _ = stage.explore(scenario, strategy, Exhaustive, Options(budget_s=60), rule=rule)
        assert (found.verdict, found.errors) == (Verdict.PROVED, {}), found.reason


def test_del_without_multi_lets_a_third_in(stage: Stage, all_quick: str) -> None:
    """One looks, its lease runs out, another takes the lock, the first one gives that back, and a third takes it."""
    options = Options(size=3, faults=("pause",))
    found, smallest = stage.explore(
        all_quick, WITHOUT, lambda: HeldUpWhileGivingBack(1, DRAWN), options, rule="overrun", shrink=True
    )
    assert found.verdict is Verdict.VIOLATED, found.reason
    assert smallest is not None
    assert smallest.says == "3 reports were built, and the last one is version 2"
    taken = [step.caller for step in smallest.steps if step.command[:1] == ("SET",) and step.command[1] == LOCK]
    freed = [step.caller for step in smallest.steps if step.command == ("DEL", LOCK)]
    assert (len(set(taken)), freed[0]) == (3, taken[0])


@pytest.mark.parametrize(
    "strategy", [RIGHT, pytest.param(ONE, marks=pytest.mark.long), pytest.param("redis-lock", marks=pytest.mark.long)]
)
def test_exec_leaves_anothers_lock_alone(stage: Stage, all_quick: str, strategy: str) -> None:
    """Whenever the first one is held up: its release is none, as with a script that compares and deletes."""
    options, walk = Options(size=3, faults=("pause",)), HeldUpWhileGivingBack(1, DRAWN)
    found, _ = stage.explore(all_quick, strategy, lambda: walk, options, rule="overrun")
    assert found.verdict is Verdict.BOUNDED, found.reason
    assert walk.paused > DRAWN // 4
