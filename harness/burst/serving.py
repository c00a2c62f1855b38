"""A process that serves all callers: an owner with its mailbox, or a daemon of a strategy that runs beside them."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from harness.burst.owner import Owner
from harness.burst.plan import Cell
from harness.burst.session import LoadSession, VirtualProcess
from harness.model import RaceError, Rule, StoreFault, UsageError, described
from harness.stores import PostgresConnection, RedisConnection, Targets, meet_again
from harness.strategy import Daemon, Scenario, Strategy
from harness.strategy.loader import find_scenario, find_strategy

_PAUSE_S = 0.1
"""Before a daemon that lost its store is started again."""


class Cells:
    """Scripts loaded once for each cell."""

    def __init__(self) -> None:
        """Empty."""
        self._loaded: dict[Cell, tuple[Scenario, Strategy, Any]] = {}

    def load(self, cell: Cell) -> tuple[Scenario, Strategy, Any]:
        """Scenario, strategy and rule of a cell. Raises UsageError."""
        if cell not in self._loaded:
            scenario = find_scenario(cell.scenario)()
            kind, variant = find_strategy(cell.strategy)
            rules = scenario.all_rules()
            name = cell.rule or next(iter(rules))
            scenario = scenario.under(name)
            self._loaded[cell] = scenario, kind(scenario, variant), rules[name]
        return self._loaded[cell]


async def connected(
    targets: Targets, store: str, as_caller: bool = False
) -> tuple[RedisConnection | None, PostgresConnection | None]:
    """A connection to one of the stores. Raises StoreFault."""
    connection: RedisConnection | PostgresConnection
    if store == "redis":
        redis = targets.redis_caller if as_caller else targets.redis
        assert redis is not None
        connection = await RedisConnection.open(redis)
    else:
        postgres = targets.postgres_caller if as_caller else targets.postgres
        assert postgres is not None
        connection = await PostgresConnection.open(postgres, targets.schema)
    incarnation = targets.incarnations.get(store)
    if incarnation is not None and not (as_caller and store == "redis"):  # such a login may not ask for INFO
        try:
            await meet_again(connection, incarnation)
        except StoreFault:
            await connection.close()
            raise
    return (connection, None) if isinstance(connection, RedisConnection) else (None, connection)


class Background:
    """The daemon that this process runs, if any: started again where its store was lost, and never for nothing."""

    def __init__(self, number: int, targets: Targets) -> None:
        """`number`: of the daemons of a strategy, this process runs that one."""
        self.number = number
        self.broken: Exception | None = None
        self._targets = targets
        self._running: asyncio.Task[None] | None = None
        self._session: LoadSession | None = None
        self._commands = 0
        self._think_ms = self._slow_ms = 0.0

    async def bind(self, strategy: Strategy, rule: Rule, think_ms: float, slow_ms: float = 0.0) -> None:
        """Run this strategy's from now on. Raises StoreFault."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
        await self._forget()
        self.broken = self._running = None
        self._think_ms, self._slow_ms = think_ms, slow_ms
        daemons = list(strategy.daemons().items())
        if self.number < len(daemons):
            name, daemon = daemons[self.number]
            await self._connect(name, strategy)
            self._running = asyncio.create_task(self._run(name, daemon, strategy, rule))

    async def ended(self) -> None:
        """Wait until the daemon has ended: at once where there is none. What was `broken` says why."""
        if self._running is not None:
            await asyncio.wait([self._running])

    def commands(self) -> int:
        """Store commands sent since this was last asked. Raises what the script did wrong."""
        if self.broken is not None:
            raise self.broken
        count, self._commands = self._commands, 0
        if self._session is not None:
            count, self._session.commands = count + self._session.commands, 0
        return count

    async def _connect(self, name: str, strategy: Strategy) -> None:
        redis, postgres = await connected(self._targets, strategy.store)
        process = VirtualProcess()
        prefix = self._targets.prefix
        self._session = LoadSession(name, prefix, process, redis=redis, postgres=postgres, think_ms=self._think_ms)
        self._session.slow_ms = self._slow_ms
        self._session.serve(strategy.scenario)

    async def _run(self, name: str, daemon: Daemon, strategy: Strategy, rule: Rule) -> None:
        try:
            while True:
                try:
                    if self._session is None:
                        await self._connect(name, strategy)
                    assert self._session is not None
                    await daemon(self._session, rule)
                except StoreFault:
                    await self._forget()
                    await asyncio.sleep(_PAUSE_S)
                else:
                    raise UsageError(f"a daemon runs for ever, and {name} of {strategy.title} has ended")
        except RaceError as error:
            self.broken = error
        except Exception as error:  # the script is the user's
            self.broken = UsageError(described(error))

    async def _forget(self) -> None:
        if self._session is not None:
            self._commands += self._session.commands
            await self._session.close()
            self._session = None


async def serve(hello: dict[str, Any]) -> Callable[[str], Awaitable[dict[str, Any]]]:
    """Be the owner, or run the daemon, of whatever cell an order names."""
    targets = Targets.from_description(hello["stores"])
    owner = Owner(f"owner {hello['owner']}", targets.prefix)
    background = Background(hello["owner"], targets)
    ends = [socket.socket(fileno=fd) for fd in hello["owner_fds"]]
    tasks = [asyncio.create_task(owner.listen(end)) for end in ends]
    cells = Cells()
    connections: dict[str, tuple[RedisConnection | None, PostgresConnection | None]] = {}

    async def carry_out(order: dict[str, Any]) -> dict[str, Any]:
        if order["do"] == "count":
            return {"commands": owner.commands() + background.commands()}
        _scenario, strategy, rule = cells.load(Cell(**order["cell"]))
        think_ms, slow_ms = order["load"]["think_ms"], order["load"]["slow_ms"]
        await background.bind(strategy, rule, think_ms, slow_ms)
        if strategy.owned:
            if strategy.store not in connections:
                connections[strategy.store] = await connected(targets, strategy.store)
            owner.bind(strategy, rule, *connections[strategy.store], think_ms, slow_ms)
        return {"tasks": len(tasks)}

    return lambda line: carry_out(json.loads(line))
