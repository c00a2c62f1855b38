"""Real servers for these tests, started once, or those that the environment names."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from contextlib import AsyncExitStack
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from harness.burst.serving import connected
from harness.burst.session import LoadSession, VirtualProcess
from harness.model import PASSED_ON, UsageError
from harness.stores import PostgresConnection, RedisConnection, StoreInfo, Stores, Targets
from harness.stores.health import require

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator

    from harness import Outcome, Reply, Request, Rule, Scenario, State, Strategy


class Interrupted(LoadSession):
    """A session in which something else happens between its first decision and its write."""

    between: Callable[[], Awaitable[None]] | None = None

    async def decide(self, rule: Rule, state: State, request: Request) -> Outcome:
        """Decide; then let somebody else go first, once."""
        outcome = await super().decide(rule, state, request)
        between, self.between = self.between, None
        if between is not None:
            await between()
        return outcome


class World:
    """Both servers, one session on each, and the state of any key as it lies there."""

    def __init__(self) -> None:
        """Call `open` before use."""
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.numbers = itertools.count()
        self.tables: set[str] = set()
        self.sessions: dict[str, Interrupted] = {}
        self.targets: Targets
        self.infos: dict[str, StoreInfo]

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run to its end."""
        return self.runner.run(work)

    async def open(self) -> None:
        """Start both servers, or take those that RACE_TEST_REDIS_URL and RACE_TEST_POSTGRES_URL name; connect."""
        named = (os.environ.get(f"RACE_TEST_{kind}_URL") for kind in ("REDIS", "POSTGRES"))
        stores = await self.stack.enter_async_context(Stores(*named))
        self.infos = {info.kind: info for info in stores.infos}
        self.targets = targets = Targets.from_description(stores.describe())
        for name in ("one", "other", "owner"):
            session = Interrupted(
                name,
                targets.prefix,
                VirtualProcess(),
                redis=await RedisConnection.open(targets.redis),
                postgres=await PostgresConnection.open(targets.postgres, targets.schema),
                replica=await RedisConnection.open(targets.redis),  # a copy that is never behind
                rng=Random(name),
            )
            self.stack.push_async_callback(session.close)
            self.sessions[name] = session

    @property
    def one(self) -> Interrupted:
        """The session that most is done with. `other` is in another virtual process."""
        return self.sessions["one"]

    @property
    def owner(self) -> Interrupted:
        """The session of the owner process."""
        return self.sessions["owner"]

    async def seed(self, scenario: Scenario, strategy: Strategy) -> str:
        """A key that nobody has used, with its row where it needs one."""
        try:
            require(self.infos[strategy.store], strategy.needs)
        except UsageError as older:
            pytest.skip(str(older))
        key = f"thing:{next(self.numbers)}"
        value = scenario.initial_value
        if strategy.store == "postgres":
            for statement in strategy.schema:
                if statement not in self.tables:
                    self.tables.add(statement)
                    await self.one.sql(statement)
            await strategy.rows.seed(self.one.sql, [key], value)
        elif value is not None:
            await self.put(strategy, key, value)
        return key

    async def put(self, strategy: Strategy, key: str, value: Any) -> None:
        """Leave a value there, behind the strategy's back."""
        self.owner.memory.clear()
        if strategy.store == "postgres":
            before = {key: await self.look(strategy, key)}
            async with self.one.transaction("read committed") as tx:
                await strategy.rows.save(tx, before, {key: value})
        else:
            command = strategy.values.write(self.owner.key(key), value, 0)
            await self.one.redis(*command)

    async def look(self, strategy: Strategy, key: str) -> Any:
        """The value that lies there."""
        if strategy.store == "postgres":
            return (await strategy.rows.at_rest(self.one.sql, [key]))[key]
        return (await strategy.values.all(self.one.redis, [self.owner.key(key)]))[0]

    async def apply(self, strategy: Strategy, request: Request, rule: Rule, by: str = "one") -> Reply:
        """One request, through the owner where there is one."""
        session = self.sessions[by]
        session.now_at_ms = session.now_max_ms = 0
        request = request._replace(id=request.id or f"request {next(self.numbers)}")

        told: list[Request] = []

        async def ask(request: Request, of: str) -> tuple[Reply, int, int]:
            reply = await strategy.own(self.owner, request, rule)
            while reply is PASSED_ON:
                reply = await strategy.own(self.owner, told.pop(), rule)
            return reply, self.owner.now_at_ms, self.owner.now_at_ms

        session.asks = self.owner.asks = ask
        self.owner.tells = lambda request, _of: told.append(request)
        async with self.running(strategy, rule):
            return await strategy.apply(session, request, rule)

    @contextlib.asynccontextmanager
    async def running(self, strategy: Strategy, rule: Rule) -> AsyncIterator[None]:
        """The strategy's daemons, on connections of their own."""
        sessions, tasks = [], []
        for name, daemon in strategy.daemons().items():
            redis, postgres = await connected(self.targets, strategy.store)
            sessions.append(LoadSession(name, self.targets.prefix, VirtualProcess(), redis=redis, postgres=postgres))
            tasks.append(asyncio.create_task(daemon(sessions[-1], rule)))
        try:
            yield
            while strategy.title == "queue:no-dedupe" and await self.one.redis(
                "XLEN", self.owner.own_key(strategy.title)
            ):
                pass  # a message may end after its answer
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for session in sessions:
                await session.close()

    def decided_ms(self, strategy: Strategy) -> int:
        """The instant of the last decision."""
        return (self.owner if strategy.owned else self.one).now_at_ms


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """Servers, connections and a loop to use them from."""
    world = World()
    with world.runner:
        world.run(world.open())
        yield world
        world.run(world.stack.aclose())
