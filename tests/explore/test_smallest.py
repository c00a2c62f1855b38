"""Of the smallest schedule nothing can be dropped: played without each thing, it holds, or there is no less to read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.explore import FAULTS, Options, Schedule, searching
from harness.results.claims import breaks
from harness.strategy.loader import strategies
from tests.explore.conftest import Stage
from tests.explore.dropping import droppable

pytestmark = pytest.mark.stores
ALL = {"faults": FAULTS, "most_faults": 2, "size": 3, "most_schedules": 300, "budget_s": 60.0}
TYPICAL = [
    ("counter", "naive", Options(size=3)),
    ("counter", "redis-lock", Options(faults=("pause",))),
    ("counter", "pg-read-committed", Options(faults=("lost-reply",), search="random")),
    ("double-submit", "atomic", Options(faults=("duplicate",), search="pct", size=3)),
    ("last-owner", "pg-read-committed", Options()),
    ("team-move", "pg-read-committed", Options(faults=("lost-reply",))),  # its reply need not be lost
    ("counter", "actors:resumed-unfenced", Options(search="pct", **ALL)),  # type: ignore[arg-type] # each has its own
    ("double-submit", "actor:reentrant", Options(search="random", **ALL)),  # type: ignore[arg-type]
]
MORE = ("last-owner", "booking", "lock-lease", "team-move", "credits", "six-writers")
ANYWHERE = [
    (scenario, fault)
    for scenario in ("double-submit", "counter", *MORE)
    for fault in ("", *FAULTS)
    # A second delivery breaks nearly every strategy, and what is to be dropped of it is the same under each rule.
    if fault != "duplicate" or scenario in {"double-submit", "counter", "last-owner"}
]
DRAWN = [
    ("double-submit", "redis-lock-renewed:too-late", "random"),
    ("counter", "pg-queue:ack-first", "pct"),
    ("counter", "pg-queue:skip-locked", "random"),
    ("double-submit", "redis-lock:no-token", "pct"),
    ("double-submit", "redis-lock:no-token", "random"),
]
BESIDE = {("double-submit", "crash"), ("last-owner", "duplicate"), ("team-move", ""), ("lock-lease", "pause")}
"""One of each kind."""
TITLES = [kind.name for kind in strategies()]


def left_over(stage: Stage, scenario: str, strategy: str, options: Options) -> tuple[Schedule | None, list[str]]:
    """The smallest schedule that breaks, and what it need not have."""

    async def go() -> tuple[Schedule | None, list[str]]:
        async with stage.explorer(scenario, strategy, options) as explorer:
            found = await explorer.explore(searching(options, explorer.bound.claim))
            if found.first is None:
                return None, []
            explorer.options = replace(options, budget_s=100)
            smallest = await explorer.shrunk(found.first)
            return smallest, await droppable(explorer, smallest)

    return stage.run(go())


@pytest.mark.parametrize(("scenario", "strategy", "options"), TYPICAL, ids=[f"{one}-{two}" for one, two, _ in TYPICAL])
def test_nothing_can_be_dropped(stage: Stage, scenario: str, strategy: str, options: Options) -> None:
    """No request, no fault, no switch, no step; nor are two neighbours exchanged for less."""
    smallest, more = left_over(stage, scenario, strategy, options)
    assert smallest is not None
    assert more == []


@pytest.mark.parametrize(
    ("scenario", "fault"),
    [pytest.param(*one, marks=pytest.mark.long if one in BESIDE else pytest.mark.matrix) for one in ANYWHERE],
)
def test_nothing_can_be_dropped_anywhere(stage: Stage, scenario: str, fault: str) -> None:
    """Under every strategy that claims to break there."""
    options = Options(faults=(fault,) if fault else (), budget_s=1.0)
    found = {}
    for title in TITLES:
        claim = stage.explorer(scenario, title, options).bound.claim
        if claim.kind != "not-applicable" and breaks(claim, options.faults):
            _, found[title] = left_over(stage, scenario, title, options)
    assert {title: more for title, more in found.items() if more} == {}


@pytest.mark.matrix
@pytest.mark.parametrize(("scenario", "title", "search"), DRAWN)
def test_nothing_can_be_dropped_of_what_was_drawn(stage: Stage, scenario: str, title: str, search: str) -> None:
    """Three requests and any two faults: there is much to drop at first."""
    options = Options(search=search, **ALL)  # type: ignore[arg-type] # each has its own
    smallest, more = left_over(stage, scenario, title, options)
    assert smallest is not None
    assert more == []
