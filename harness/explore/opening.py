"""A cell explored on stores of its own: opened for it, refused where they cannot carry it, and looked at afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from harness.burst import Progress, StoresOptions
from harness.burst.cells import Bound
from harness.burst.plan import Load
from harness.explore.brief import Brief, explore_briefly
from harness.explore.engine import Exploration, Explorer, Schedule, searching
from harness.explore.options import Options
from harness.model import RaceError, Verdict
from harness.stores import StoreInfo, Stores, require, require_connections

_SPARE = 8
"""Connections beside those of the callers: owners, twins, who asks at the end, who looks on."""


@asynccontextmanager
async def opened(bound: Bound, stores: StoresOptions, options: Options) -> AsyncIterator[tuple[Stores, Explorer]]:
    """The one store that a cell needs, and an explorer on it. Raises RaceError, also where there is too little room."""
    async with stores.stores({bound.strategy.store}) as there:
        for info in there.infos:
            require(info, bound.strategy.needs, bound.cell.strategy)
            require_connections(info, options.size + _SPARE, "use a smaller --size" if options.size > 2 else "")
        async with Explorer(bound, there, options) as explorer:
            yield there, explorer


async def explore_alone(
    bound: Bound, stores: StoresOptions, options: Options, progress: Callable[[Progress], None]
) -> tuple[Exploration, Schedule | None, list[StoreInfo]]:
    """What exploring found, the smallest schedule that breaks, and the stores. Raises RaceError."""
    began = time.monotonic()

    def tell(schedules: int, broken: int) -> None:
        share = max(schedules / options.most_schedules, (time.monotonic() - began) / options.budget_s)
        progress(Progress(bound.strategy.title, schedules, 0, "schedules", broken, min(1.0, share)))

    async with opened(bound, stores, options) as (there, explorer):
        found, smallest = await explorer.smallest(await explorer.explore(searching(options, bound.claim), tell))
        lost = await there.lost()
        found = found if lost is None else found.lost(lost)
        return found, smallest if found.verdict is Verdict.VIOLATED else None, list(there.infos)


async def explore_briefly_alone(bound: Bound, stores: StoresOptions, load: Load, budget_s: float) -> Brief:
    """As `explore_briefly`, on stores of its own. Nothing is raised; cancelled, it is not complete."""
    try:
        async with stores.stores({bound.strategy.store}) as there:
            for info in there.infos:
                require(info, bound.strategy.needs, bound.cell.strategy)
            return await explore_briefly(bound, there, load, budget_s)
    except RaceError as error:
        return Brief(Verdict.INCONCLUSIVE, str(error), Options())
    except asyncio.CancelledError:  # Ctrl-C: what was found before stands
        return Brief(Verdict.INCONCLUSIVE, "interrupted", Options(), complete=False)
