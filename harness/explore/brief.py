"""Exploring in passing: a few seconds beside a load, for the smallest schedule or a second verdict."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from harness.burst.cells import Bound
from harness.burst.plan import Load
from harness.explore.engine import Exploration, Explorer, Options, Schedule, searching
from harness.explore.world import unusable
from harness.model import RaceError, StoreFault, Verdict
from harness.stores import Stores


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


async def explore_briefly(
    bound: Bound, stores: Stores, load: Load, budget_s: float, sizes: Sequence[int] = (2, 3)
) -> Brief:
    """Bursts of so many requests, the fewest first, until one breaks or `budget_s` have passed.

    The last one that was begun is given. Nothing is raised: what fails is `inconclusive`, with the reason.
    """
    until = time.monotonic() + budget_s
    brief = Brief(Verdict.INCONCLUSIVE, "nothing ran", Options())
    for size in sizes:
        left_s = until - time.monotonic()
        if left_s <= 0:
            break
        options = Options(size=size, processes=load.processes, seed=load.seed, budget_s=left_s)
        try:
            brief = await _explored(bound, stores, options)
        except StoreFault as fault:
            return Brief(Verdict.INCONCLUSIVE, unusable(fault), options)
        except RaceError as error:
            return Brief(Verdict.INCONCLUSIVE, str(error), options)
        if brief.verdict is not Verdict.PROVED or not brief.complete:
            break
    return brief


async def _explored(bound: Bound, stores: Stores, options: Options) -> Brief:
    async with Explorer(bound, stores, options) as explorer:
        found: Exploration = await explorer.explore(searching(options))
        smallest = None if found.first is None else await explorer.shrunk(found.first)
        return Brief(found.verdict, found.reason, options, found.schedules, smallest, found.complete)
