"""Exploring in passing: a few seconds beside a load, for the smallest schedule or a second verdict."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from harness.burst.cells import Bound
from harness.burst.plan import Load
from harness.explore.engine import Explorer, Schedule, searching
from harness.explore.options import Options
from harness.explore.random_walk import RandomWalk
from harness.explore.shrink import switches
from harness.explore.world import unusable
from harness.model import ABORTED, RaceError, Status, StoreFault, Verdict
from harness.stores import Stores

_DRAWN = 24
"""So many schedules are drawn for one in which callers meet."""
_MEETING = 3
"""So many switches between callers show how they meet; more are harder to read."""


@dataclass(frozen=True, slots=True)
class Brief:
    """What was found, and of how many requests. `smallest`: the smallest schedule that breaks, where one does.

    `complete`: nobody interrupted it.
    """

    verdict: Verdict
    reason: str
    options: Options
    schedules: int = 0
    smallest: Schedule | None = None
    complete: bool = True
    order: Verdict = Verdict.INCONCLUSIVE
    """Of the order alone; known where every schedule was run, or one broke it."""


async def explore_briefly(
    bound: Bound, stores: Stores, load: Load, budget_s: float, sizes: Sequence[int] = (2, 3), *, every: bool = False,
    crash: bool = False,
) -> Brief:  # fmt: skip
    """Bursts of so many requests, the fewest first, until one breaks or `budget_s` have passed.

    The last one that was begun is given. `every`: go on after the first that breaks, for the order alone. `crash`: one
    of them dies. Nothing is raised: what fails is `inconclusive`, with the reason.
    """
    until = time.monotonic() + budget_s
    brief = Brief(Verdict.INCONCLUSIVE, "nothing ran", Options())
    for size in sizes:
        left_s = until - time.monotonic()
        if left_s <= 0:
            break
        # What a killed worker was not told is asked again: delivered twice.
        faults = ("crash",) if crash else ("duplicate",) if load.kills else ()
        options = Options(
            size=size, processes=load.processes, seed=load.seed, budget_s=left_s, faults=faults, every=every
        )
        try:
            brief = await explore_with(bound, stores, options)
        except StoreFault as fault:
            return Brief(Verdict.INCONCLUSIVE, unusable(fault), options)
        except RaceError as error:
            return Brief(Verdict.INCONCLUSIVE, str(error), options)
        if brief.verdict is not Verdict.PROVED or not brief.complete:
            break
    return brief


def wrong_in_order(bound: Bound) -> bool:
    """Whether what breaks is the rule, so that its order is a question of its own."""
    scenario, rule = bound.scenario, bound.cell.rule
    return rule in scenario.wrong or rule in scenario.split or bool(scenario.forgetful)


async def explore_with(bound: Bound, stores: Stores, options: Options) -> Brief:
    """What exploring with these options found, and the smallest schedule that breaks. Raises RaceError, StoreFault."""
    async with Explorer(bound, stores, options) as explorer:
        found, smallest = await explorer.smallest(await explorer.explore(searching(options, bound.claim)))
        return Brief(found.verdict, found.reason, options, found.schedules, smallest, found.complete, found.order)


async def overlapping(bound: Bound, stores: Stores, options: Options) -> Schedule | None:
    """Of some schedules drawn by the seed one in which callers meet most, and which is told in the fewest steps.

    Everybody is answered in it; where one of them breaks, that one. None where there is none such. Raises RaceError.
    """
    search = RandomWalk(options.seed, _DRAWN)
    best: Schedule | None = None
    async with Explorer(bound, stores, options) as explorer:
        more = True
        while more:
            found = await explorer.steady(search)
            if found is not None and found.says:
                return found
            if found is not None and _answered(found) and (best is None or _rank(found) > _rank(best)):
                best = found
            more = search.finished([])
    return best


def _answered(schedule: Schedule) -> bool:
    return all(one.status is Status.OK and one.reply != ABORTED for one in schedule.evidence.operations)


def _rank(schedule: Schedule) -> tuple[int, int]:
    """Whether callers meet at all, twice even; then the fewer steps the better."""
    return min(switches(schedule.choices), _MEETING), -len(schedule.steps)
