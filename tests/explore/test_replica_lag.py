"""A copy that is behind: one caller after the other is let through, and how far behind it is, is tried, too."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from harness.burst.cells import bind
from harness.burst.plan import Cell, Load
from harness.explore import Exhaustive, Explorer, Options
from harness.model import Verdict
from harness.strategy.loader import find_scenario

if TYPE_CHECKING:
    from harness.explore import Exploration, Schedule
    from tests.explore.conftest import Stage

CELL = Cell("rate-limit", "replica-lag")


def explored(stage: Stage, *, reduce: bool = True) -> tuple[Exploration, Schedule]:
    """All of it, and the smallest schedule that breaks."""

    async def go() -> tuple[Exploration, Schedule]:
        async with Explorer(bind(CELL, Load()), stage.stores, Options(every=True)) as explorer:
            found = await explorer.explore(Exhaustive(reduce=reduce))
            assert found.first is not None
            return found, await explorer.shrunk(found.first)

    return stage.run(go())


def test_one_after_the_other(stage: Stage) -> None:
    """No two overlap in the smallest schedule: each looks, decides and counts before the next one looks."""
    found, smallest = explored(stage)
    assert (found.verdict, found.exhausted) == (Verdict.VIOLATED, True)
    assert smallest.says == "2 requests were let through, and the limit is 1"
    assert [caller for caller, _steps in groupby(step.caller for step in smallest.steps)] in (["A", "B"], ["B", "A"])


def test_who_puts_back_what_the_copy_said(stage: Stage) -> None:
    """Both are let through, and only one of them is counted: the next ones find room that there is not."""
    found, smallest = stage.explore("rate-limit", "replica-lag:put", Exhaustive, Options(), shrink=True)
    assert found.verdict is Verdict.VIOLATED
    assert smallest is not None
    assert smallest.says == "2 requests were let through, and the limit is 1"
    assert {value["count"] for value in (smallest.evidence.rest or {}).values()} == {1}
    _, other = stage.explore("rate-limit", "replica-lag", Exhaustive, Options(), shrink=True)
    assert other is not None
    assert {value["count"] for value in (other.evidence.rest or {}).values()} == {2}


def test_a_copy_that_has_caught_up_is_right(stage: Stage) -> None:
    """How far it is behind is a choice of the schedule: of one after the other the second is refused then."""
    found, _smallest = explored(stage)
    assert 0 < found.violated < found.schedules
    assert any("limited" in repr(outcome) and not outcome[-1] for outcome in found.outcomes)


def test_leaving_out_orders_leaves_out_nothing(stage: Stage) -> None:
    """The reduced search comes to what the full one does."""
    reduced, full = (explored(stage, reduce=reduce)[0] for reduce in (True, False))
    assert reduced.outcomes == full.outcomes
    assert reduced.schedules < full.schedules


def test_where_it_applies() -> None:
    """Every rule of rate-limit may be approximate; of others nobody has said so."""
    for scenario, rules in (("rate-limit", find_scenario("rate-limit").rules), ("counter", ("",))):
        kinds = {bind(Cell(scenario, "replica-lag", rule), Load()).claim.kind for rule in rules}
        assert kinds == {"breaks" if scenario == "rate-limit" else "not-applicable"}
