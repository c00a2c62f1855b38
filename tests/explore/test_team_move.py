"""Two keys: who locks them in what order, and what a move is that is half made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.explore import Exhaustive, Options, searching
from harness.model import Verdict
from harness.report.exploration import sentence

if TYPE_CHECKING:
    from tests.explore.conftest import Stage


@pytest.mark.parametrize(
    ("strategy", "processes", "says"),
    [
        ("mutex:caller-order", 1, "a deadlock: 2 requests were never answered"),
        ("redis-lock:caller-order", 2, "members before: 2, now: 1"),
    ],
)
def test_locks_in_the_callers_order(stage: Stage, strategy: str, processes: int, says: str) -> None:
    """In memory both wait for ever; leased locks run out, and both go on."""
    found, smallest = stage.explore("team-move", strategy, Exhaustive, Options(processes=processes), shrink=True)
    assert found.verdict is Verdict.VIOLATED
    assert smallest is not None
    assert smallest.says == says


@pytest.mark.parametrize("strategy", ["pg-for-update:caller-order", "pg-advisory:caller-order"])
def test_a_database_ends_one_of_two(stage: Stage, strategy: str) -> None:
    """Nothing is lost, but a caller is shown 40P01."""
    found, _ = stage.explore("team-move", strategy, Exhaustive, Options())
    assert (found.verdict, set(found.errors)) == (Verdict.PROVED, {"40P01"})
    proved = {"counterexample": None, "verdict": "proved", "size": 2, "scenario": "team-move", "strategy": "it"}
    says = "no schedule of 2 requests breaks team-move under it; callers are shown 40P01"
    assert sentence({**proved, "errors": found.errors}) == says


@pytest.mark.parametrize("strategy", ["lua", "mutex", "pg-for-update", "pg-advisory"])
def test_in_one_order_nobody_waits_for_ever(stage: Stage, strategy: str) -> None:
    """Locks taken by name, whatever the caller says first."""
    for rule in ("back", "delete"):
        found, _ = stage.explore("team-move", strategy, Exhaustive, Options(processes=1), rule=rule)
        assert (found.verdict, found.errors) == (Verdict.PROVED, {}), found.reason


def test_a_move_is_two_writes(stage: Stage) -> None:
    """Whoever dies between them leaves a member in no team, whatever lock was held."""
    options = Options(faults=("crash",))
    found, smallest = stage.explore("team-move", "redis-lock", Exhaustive, options, shrink=True)
    assert found.verdict is Verdict.VIOLATED
    assert smallest is not None
    assert smallest.says == "members before: 2, now: 1"


def test_an_owner_that_forgets_while_it_reads(stage: Stage) -> None:
    """Three are served at once, and one learns the second team while another forgets the first: that is no mistake."""
    options = Options(size=3, search="random", every=True, most_schedules=40)
    found, _ = stage.explore("team-move", "actor:reentrant", lambda: searching(options), options)
    assert found.verdict is Verdict.VIOLATED
    assert found.schedules == 40
