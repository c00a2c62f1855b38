"""What the parent knows for all workers: which cells are open, in which namespaces, and which keys were used."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Any, Self

from harness.burst import Cell, Load, StoresOptions
from harness.burst.cells import Bound, bind
from harness.burst.serving import connected
from harness.burst.session import LoadSession, VirtualProcess
from harness.burst.state import seed
from harness.model import RaceError, StoreFault, UsageError, described
from harness.serve.catalogue import Catalogue
from harness.serve.pool import Home, Pool
from harness.serve.refused import Refused
from harness.stores import Stores, Targets, require

_CONNECTIONS = 4
"""Of the parent to each store, for making keys."""


@dataclass(slots=True)
class Opened:
    """A cell with a namespace of its own: the same key under another strategy is another thing."""

    number: int
    bound: Bound
    stores: Stores
    home: Home
    used: set[str] = field(default_factory=set)
    making: asyncio.Lock = field(default_factory=asyncio.Lock)


class Registry:
    """As an async context: leaving it removes every namespace."""

    def __init__(
        self,
        catalogue: Catalogue,
        options: StoresOptions,
        workers: int,
        tell: Callable[[dict[str, Any]], None],
        own: Callable[[Opened], Awaitable[None]],
    ) -> None:
        """`tell` reaches every worker; `own` gives a cell its owners and daemons."""
        self._catalogue = catalogue
        self._options = options
        self._workers = workers
        self._tell = tell
        self._own = own
        self._stack = AsyncExitStack()
        self._opening: dict[Cell, asyncio.Task[Opened]] = {}
        self._opened: dict[int, Opened] = {}
        self._numbers = count()
        self._lag_ms: float | None = None
        self._schemas = 0
        self.most_schemas = 0
        self._pools = {kind: Pool(_CONNECTIONS) for kind in ("redis", "postgres")}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_how: object) -> None:
        for task in self._opening.values():
            task.cancel()
        await asyncio.gather(*self._opening.values(), return_exceptions=True)
        await self._stack.aclose()

    async def answer(self, line: dict[str, Any]) -> dict[str, Any]:
        """What a worker is told that asks. Raises Refused."""
        if line["what"] == "open":
            opened = await self._open(self._catalogue.cell(line["scenario"], line["strategy"], line["rule"]))
            return {"number": opened.number}
        opened, keys = self._opened[line["cell"]], list(dict.fromkeys(line["keys"]))
        if line["what"] == "unused":
            return {"unused": [key for key in keys if key not in opened.used]}
        if line["what"] == "used":
            opened.used.update(keys)
            self._tell({"tell": "known", "cell": opened.number, "keys": keys})
            return {}
        await self._make(opened, keys, fresh=line["what"] == "fresh")
        return {}

    # Cells

    async def _open(self, cell: Cell) -> Opened:
        task = self._opening.get(cell)
        if task is None:
            task = self._opening[cell] = asyncio.create_task(self._open_now(cell))
        try:
            return await asyncio.shield(task)
        except Refused:
            self._opening.pop(cell, None)  # it may be otherwise the next time
            raise

    async def _open_now(self, cell: Cell) -> Opened:
        try:
            bound = bind(cell, Load(processes=self._workers))
            if bound.claim.kind == "not-applicable":
                why = f"{bound.strategy.title} does not apply to {bound.scenario.name}: {bound.claim.reason}"
                raise Refused(404, why)  # noqa: TRY301 - told like any other
            stores = await self._stores(bound)
            for info in stores.infos:
                require(info, bound.strategy.needs, bound.strategy.title)
            await self._admit(bound, stores)
            opened = self._place(bound, stores)
            if bound.strategy.serving:
                await self._own(opened)
        except UsageError as error:
            raise Refused(404, str(error)) from None
        except (RaceError, StoreFault, OSError) as error:
            raise Refused(503, str(error)) from None
        except Refused:
            raise
        except Exception as error:  # a script is the user's
            raise Refused(500, described(error)) from None
        self._opened[opened.number] = opened
        self._tell({"tell": "cell", "number": opened.number, "cell": asdict(bound.cell), "stores": stores.describe()})
        return opened

    async def _stores(self, bound: Bound) -> Stores:
        """A namespace for this cell; each in PostgreSQL is held by a connection. Raises Refused, RaceError."""
        held = bound.strategy.store == "postgres"
        if held and self._schemas >= self.most_schemas:
            why = f"PostgreSQL has no connection left to hold one more cell, beside the {self._schemas} that are open"
            raise Refused(503, f"{why}: start race serve again, or raise max_connections")
        self._schemas += held  # before it is: others open theirs meanwhile
        try:
            return await self._stack.enter_async_context(self._options.stores({bound.strategy.store}))
        except BaseException:
            self._schemas -= held
            raise

    async def _admit(self, bound: Bound, stores: Stores) -> None:
        """Logins for callers who may not write, a replica for those who read from one. Raises RaceError, Refused."""
        strategy = bound.strategy
        if strategy.guarded:
            await stores.admit(strategy.store)
        if (lag_ms := strategy.lag_ms) is None:
            return
        if self._lag_ms not in {None, lag_ms}:
            other = f"a replica that is {self._lag_ms:g} ms behind is in use, and there is one: start another server"
            raise Refused(409, f"{strategy.title} needs one that is {lag_ms:g} ms behind; {other}")
        await stores.copied()
        assert stores.link is not None
        stores.link.lag_ms = self._lag_ms = lag_ms

    def _place(self, bound: Bound, stores: Stores) -> Opened:
        targets = Targets.from_description(stores.describe())
        store = bound.strategy.store

        async def connect() -> LoadSession:
            redis, postgres = await connected(targets, store)
            return LoadSession("parent", targets.prefix, VirtualProcess(), redis=redis, postgres=postgres)

        return Opened(next(self._numbers), bound, stores, self._pools[store].home(connect))

    # Keys

    async def _make(self, opened: Opened, keys: Sequence[str], *, fresh: bool) -> None:
        """Give keys what they begin with, and tell every worker."""
        async with opened.making:
            new = [key for key in keys if key not in opened.used]
            if fresh and len(new) < len(keys):
                used = next(key for key in keys if key in opened.used)
                raise Refused(409, f"{used} was used before, and there is no way back: take another name")
            if new:
                await self._seed(opened, new)
            opened.used.update(new)
        self._tell({"tell": "known", "cell": opened.number, "keys": list(keys)})

    async def _seed(self, opened: Opened, keys: Sequence[str]) -> None:
        strategy = opened.bound.strategy
        pool = self._pools[strategy.store]
        try:
            session = await pool.take(opened.home)
            try:
                await seed(session, strategy, keys)
            except BaseException:
                session.lost = True
                raise
            finally:
                await pool.give(opened.home, session)
        except StoreFault as fault:
            raise Refused(503, f"the key cannot be made: {fault}", {"code": fault.code}) from None
        except Exception as error:  # a layout is the user's
            raise Refused(500, described(error)) from None
