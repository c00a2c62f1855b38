"""A fleet on real servers, kept warm while one cell after the other is loaded and judged."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from harness.burst import Cell, Load, Measurement
from harness.burst.bench import Bench
from harness.burst.cells import bind, control_of
from harness.burst.engine import measured
from harness.burst.fleet import Fleet
from harness.burst.tally import Tally
from harness.model import Claim, Verdict
from harness.stores import Stores

SIZE = 4
"""Requests in a burst: on a busy machine two of them miss each other too often, of four some always meet."""
SLICE = 20
"""Bursts made at a time: a mutant breaks within the first few, a control within the first dozen."""
ENOUGH = 40
"""Bursts without a violation after which a cell may be said to hold."""
MOST = 400
"""Bursts after which a load that has shown nothing will not show anything."""
THINK_MS = 5.0
"""A pause between check and write, which has controls break on a busy machine, too."""


class Loads:
    """Stores, fleet and bench of one number of processes."""

    def __init__(self, processes: int) -> None:
        """Call `open` before use."""
        self.load = Load(processes=processes, size=SIZE, connections=SIZE)
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._stores: Stores
        self._bench: Bench

    def open(self, need: set[str], owners: int) -> None:
        """Start servers and processes."""
        self._run(self._open(need, owners))

    def close(self) -> None:
        """End them."""
        self._run(self._stack.aclose())
        self._runner.close()

    def claim(self, cell: Cell) -> Claim:
        """What the cell's strategy says of itself under this load."""
        return bind(cell, self.load).claim

    def judge(self, cell: Cell) -> Measurement:
        """Bursts until there is something to be said: a violation, or enough bursts without one.

        Other tests of the same run pull bursts apart, and what did not overlap proves nothing;
        so a cell that is expected to break is given more bursts, never one that broke. Where the
        control did not break often enough, both are loaded again with a pause in which others come.
        """
        return self._run(self._judge(cell))

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(work)

    async def _open(self, need: set[str], owners: int) -> None:
        self._stores = await self._stack.enter_async_context(Stores(need=need))
        for store in need:
            await self._stores.admit(store)
        await self._stores.copied()
        fleet = Fleet(self._stores, self.load.processes, owners=owners)
        self._bench = Bench(self._stores, await self._stack.enter_async_context(fleet), lambda _progress: None)

    async def _judge(self, cell: Cell) -> Measurement:
        found = await self._judged(cell, self.load)
        if found.verdict is Verdict.INCONCLUSIVE:
            found = await self._judged(cell, replace(self.load, think_ms=THINK_MS))
        return found

    async def _judged(self, cell: Cell, load: Load) -> Measurement:
        bound = bind(cell, load)
        tally = Tally(bound, control_of(bound, load))
        holds = bound.claim.kind == "holds"
        bursts = 0
        while True:
            await self._bench.bursts(tally, load, SLICE)
            bursts += SLICE
            found = self._conclude(tally, load)
            enough = found.verdict is Verdict.HELD and holds and tally.judged >= ENOUGH
            if enough or found.verdict is Verdict.VIOLATED or tally.failures or bursts >= MOST:
                break
        if holds:
            await self._bench.probe(tally, load)
        return measured(tally, load, self._stores.infos, await self._stores.lost(), "", tally.elapsed_s, complete=True)

    def _conclude(self, tally: Tally, load: Load) -> Measurement:
        return measured(tally, load, self._stores.infos, None, "", tally.elapsed_s, complete=True)


@pytest.fixture(scope="module")
def loads() -> Iterator[Loads]:
    """Two processes and two owners, on both stores."""
    loads = Loads(processes=2)
    loads.open({"redis", "postgres"}, owners=2)
    yield loads
    loads.close()


@pytest.fixture(scope="module")
def alone() -> Iterator[Loads]:
    """One process, on Valkey."""
    loads = Loads(processes=1)
    loads.open({"redis"}, owners=0)
    yield loads
    loads.close()
