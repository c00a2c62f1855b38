"""The session of the load engine: every step is done at once, and timed where a burst is traced."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from random import Random
from types import TracebackType
from typing import Any

from harness.burst.closed_loop import LentConnection
from harness.burst.plan import slow
from harness.burst.shown import reply as shown_reply
from harness.burst.shown import word as shown_word
from harness.model import (
    PASSED_ON,
    CommandRefused,
    ConnectionLost,
    Outcome,
    Reply,
    Request,
    Rule,
    State,
    Step,
    StoreFault,
    UsageError,
    no_outcome,
)
from harness.stores import PostgresConnection, RedisConnection, functions
from harness.strategy import OWN, Isolation, Rows, Scenario, Session, Transaction

Answer = tuple[Reply, int, int]
"""A reply, and the interval of the instant (Unix ms) at which it was decided."""
Asking = Callable[[Request, str], Awaitable[Answer]]
"""How the owner of a key is asked."""


class VirtualProcess:
    """What callers of one process share: memory and in-process locks."""

    def __init__(self) -> None:
        """Empty memory, no locks, no connection that is shared or pooled until somebody asks for it."""
        self.memory: dict[Any, Any] = {}
        self.mutexes: dict[str, asyncio.Lock] = {}
        self.pools: dict[int, asyncio.Semaphore] = {}
        self.shared: asyncio.Future[RedisConnection] | None = None


class LoadSession(Session):
    """One caller's session over connections of its own.

    `steps` collects the trace while it is a list. `now_ms` and `now_max_ms` are the instant
    of the last decision; `changed` tells whether anything may have taken effect in a store;
    `lost` that the connection can no longer be used.
    """

    def __init__(
        self,
        caller: str,
        prefix: str,
        process: VirtualProcess,
        *,
        redis: RedisConnection | LentConnection | None = None,
        postgres: PostgresConnection | None = None,
        replica: RedisConnection | None = None,
        rng: Random | None = None,
        think_ms: float = 0.0,
    ) -> None:
        """`prefix` is the run's key prefix; the connections are those that the strategy needs."""
        self.caller = caller
        self.memory = process.memory
        self.commands = 0
        self.retried = 0
        self.steps: list[Step] | None = None
        self.request = ""
        self.changed = False
        self.lost = False
        self.connects = False
        self.now_at_ms = 0
        self.now_max_ms = 0
        self.think_ms = think_ms
        self.slow_ms = 0.0
        self.lock_lease_ms = Scenario.lock_lease_ms
        self.slow: Callable[[Request], float] | None = None
        self._prefix = prefix
        self._process = process
        self._redis = redis
        self._replica = replica
        self.postgres = postgres
        self._second: PostgresConnection | None = None
        self.asks: Asking | None = None
        self.tells: Callable[[Request, str], None] | None = None
        self._rng = rng or Random()
        self._loaded: dict[str, bytes] = {}
        self.flow: Any = None

    async def close(self) -> None:
        """Close the connections."""
        for connection in (self._redis, self._replica):
            if connection is not None:
                await connection.close()
        if (shared := self._process.shared) is not None:
            self._process.shared = None
            with contextlib.suppress(StoreFault):
                await (await shared).close()
        for one in (self.postgres, self._second):
            if one is not None:
                await one.close()

    def lend(self) -> LentConnection | None:
        """Use the connection to Redis by hand from now on; None where there is none that can be."""
        if self.connects or not isinstance(self._redis, RedisConnection) or (end := self._redis.lend()) is None:
            return None
        self._redis = lent = LentConnection(self._redis, end)
        return lent

    def take_back(self) -> None:
        """Use it as before."""
        if isinstance(self._redis, LentConnection):
            self._redis = self._redis.give_back()

    # Redis

    def key(self, name: str) -> str:
        """The stored name of a key."""
        return self._prefix + name

    def own_key(self, name: str) -> str:
        """The stored name of what is the strategy's own."""
        return f"{self._prefix}{OWN}{name}"

    def redis(self, *command: str | float | bytes) -> Awaitable[Any]:
        """Send one command."""
        self.commands += 1
        self.changed = True
        assert self._redis is not None
        if self.steps is None:
            return self._redis.send(command)
        return self._timed("redis", command, self._redis.execute(*command))

    def read_copy(self, *command: str | float | bytes) -> Awaitable[Any]:
        """Ask the replica."""
        self.commands += 1
        assert self._replica is not None
        if self.steps is None:
            return self._replica.execute(*command)
        return self._timed("redis", ("REPLICA", *command), self._replica.execute(*command))

    async def shared(self, *commands: tuple[str | float | bytes, ...]) -> Any:
        """Send commands over the connection of this process, which whoever is first opens."""
        self.commands += len(commands)
        self.changed = True
        if self._process.shared is None:
            self._process.shared = asyncio.ensure_future(self._another())
        connection = await asyncio.shield(self._process.shared)
        sent = [connection.send(command) for command in commands]  # all of them before anybody else is heard
        told: list[Awaitable[Any]] = [*sent]
        if self.steps is not None:
            told = [self._timed("redis", words, answer) for words, answer in zip(commands, sent, strict=True)]
        replies = await asyncio.gather(*told, return_exceptions=True)
        for reply in replies:
            if isinstance(reply, ConnectionLost):
                self._process.shared = None
            if isinstance(reply, BaseException):
                raise reply
        return replies[-1]

    async def reconnect(self) -> None:
        """Close this caller's connection; open another one."""
        fresh = await self._another()
        assert self._redis is not None
        await self._redis.close()
        self._redis = fresh
        self._loaded.clear()

    async def _another(self) -> RedisConnection:
        assert isinstance(self._redis, RedisConnection)
        return await RedisConnection.open(self._redis.target)

    def script(self, source: str, keys: tuple[str, ...], *args: str | float | bytes) -> Awaitable[Any]:
        """Run a script by its digest; this connection loads it before it first does."""
        self.commands += 1
        self.changed = True
        digest = self._loaded.get(source)
        running: Awaitable[Any]
        if digest is None:
            running = self._load_and_run(source, keys, args)
        else:
            assert self._redis is not None
            running = self._redis.send(("EVALSHA", digest, len(keys), *keys, *args))
        if self.steps is None:
            return running
        return self._timed("redis", ("LUA", *keys, *args), running)

    async def _load_and_run(self, source: str, keys: tuple[str, ...], args: tuple[str | float | bytes, ...]) -> Any:
        assert self._redis is not None
        digest = self._loaded[source] = await self._redis.execute("SCRIPT", "LOAD", source)
        return await self._redis.execute("EVALSHA", digest, len(keys), *keys, *args)

    def function(self, source: str, keys: tuple[str, ...], *args: str | float) -> Awaitable[Any]:
        """Call a function by its name; whoever first finds it missing registers it."""
        self.commands += 1
        self.changed = True
        assert self._redis is not None
        begins = functions.library_prefix(self._prefix, self._redis.database)
        name, code = functions.library_of(source, begins)
        running = self._call(("FCALL", name, len(keys), *keys, *args), code)
        if self.steps is None:
            return running
        return self._timed("redis", ("FCALL", *keys, *args), running)

    async def _call(self, command: tuple[Any, ...], code: str) -> Any:
        assert self._redis is not None
        try:
            return await self._redis.execute(*command)
        except CommandRefused as refused:
            if not functions.unknown(refused):
                raise
        await functions.load(self._redis, code)
        return await self._redis.execute(*command)

    # PostgreSQL

    def transaction(self, isolation: Isolation) -> AbstractAsyncContextManager[Transaction]:
        """A transaction on this caller's connection."""
        return _LoadTransaction(self, isolation)

    async def sql(self, statement: str, *args: Any) -> Rows:
        """One statement, committed by itself."""
        rows = await self.statement(statement, args)
        self.changed = True
        return rows

    async def statement(self, statement: str, args: tuple[Any, ...]) -> Rows:
        """One statement, in whatever transaction is open."""
        self.commands += 1
        assert self.postgres is not None
        if self.steps is None:
            return await self.postgres.sql(statement, *args)
        running = self.postgres.sql(statement, *args)
        rows: Rows = await self._timed("sql", (statement, *args), running)
        return rows

    def second(self) -> Transaction:
        """A connection that is opened when it is first used."""
        return _SecondConnection(self)

    async def read_beside(self, statement: str, args: tuple[Any, ...]) -> Rows:
        """One statement on the second connection."""
        self.commands += 1
        if self._second is None:
            assert self.postgres is not None
            self._second = await self.postgres.beside()
        if self.steps is None:
            return await self._second.sql(statement, *args)
        rows: Rows = await self._timed("sql", (statement, *args), self._second.sql(statement, *args))
        return rows

    async def control(self, word: str, running: Awaitable[Any]) -> None:
        """BEGIN, COMMIT or ROLLBACK."""
        self.commands += 1
        if self.steps is None:
            await running
        else:
            await self._timed("sql", (word,), running, shows=False)

    # Time, locks, owners

    def mutex(self, name: str) -> AbstractAsyncContextManager[Any]:
        """A lock of this process."""
        lock = self._process.mutexes.get(name)
        if lock is None:
            lock = self._process.mutexes[name] = asyncio.Lock()
        return lock

    def pooled(self, size: int) -> AbstractAsyncContextManager[Any]:
        """One of so many for this process: no more connections are in use at once."""
        pool = self._process.pools.get(size)
        if pool is None:
            pool = self._process.pools[size] = asyncio.Semaphore(size)
        return pool

    @contextlib.asynccontextmanager
    async def beside(
        self,
        name: str,
        work: Callable[[Session], Coroutine[Any, Any, None]],
        *,
        apart: bool = False,  # noqa: ARG002 - nobody dies under load
    ) -> AsyncIterator[None]:
        """A task of this process, over this connection: it ends with the block either way."""
        own = LoadSession(f"{self.caller} {name}", self._prefix, self._process, redis=self._redis, rng=self._rng)
        own.lock_lease_ms = self.lock_lease_ms
        task = asyncio.create_task(work(own))
        try:
            yield
        finally:
            task.cancel()
            (error,) = await asyncio.gather(task, return_exceptions=True)
            self.commands += own.commands
            if isinstance(error, Exception) and not isinstance(error, StoreFault):
                raise error

    async def ask(self, request: Request, of: str = "") -> Reply:
        """Ask an owner."""
        self.changed = True
        if self.asks is None:
            raise ConnectionLost("no owner runs")
        if self.steps is None:
            answer = await self.asks(request, of)
        else:
            shown = ("ASK", "owner", request.operation, *request.keys)
            answer = await self._timed("ask", shown, self.asks(request, of))
        reply, self.now_at_ms, self.now_max_ms = answer
        return reply

    async def tell(self, request: Request, of: str) -> Reply:
        """Tell another owner."""
        if self.tells is None:
            raise UsageError("only the owner of a key may tell another to answer in its place")
        self.tells(request, of)
        return PASSED_ON

    async def now_ms(self) -> int:
        """This machine's clock. Asked more than once, the instant of the decision lies anywhere in between."""
        now = time.time_ns() // 1_000_000
        first = self.now_at_ms
        if not first:
            self.now_at_ms = self.now_max_ms = now
        elif self.now_max_ms >= 0:  # else it lies between the first reading and the answer already
            self.now_at_ms = min(first, now)
            self.now_max_ms = max(self.now_max_ms, now)
        return now

    def decided_at(self, now_ms: int) -> None:
        """By the clock of whoever decided, which is this machine's."""
        self.now_at_ms = self.now_max_ms = now_ms

    async def instant_ms(self) -> int:
        """This machine's clock, where the store's may decide until the answer is there."""
        now = time.time_ns() // 1_000_000
        first = self.now_at_ms
        self.now_at_ms = now if not first or now < first else first
        self.now_max_ms = -1
        return now

    async def sleep_ms(self, ms: float) -> None:
        """Sleep, while other callers go on."""
        await asyncio.sleep(ms / 1000)

    def token(self) -> str:
        """128 random bits."""
        return f"{self._rng.getrandbits(128):032x}"

    async def retries(self, limit: int = 100) -> AsyncIterator[int]:
        """Count tries, pausing between them for a random time that grows to 16 ms."""
        for number in range(limit):
            if number:
                self.retried += 1
                await asyncio.sleep(self._rng.random() * min(16, 2**number) / 1000)
            yield number

    async def polls(self) -> AsyncIterator[None]:
        """Again after a random time that grows to 16 ms."""
        number = 0
        while True:
            yield
            number += 1
            await asyncio.sleep(self._rng.random() * min(16, 2**number / 4) / 1000)

    async def decide(self, rule: Rule, state: State, request: Request) -> Outcome:
        """Read the clock, apply the rule, think."""
        now = time.time_ns() // 1_000_000
        self.now_at_ms = self.now_max_ms = now
        outcome = rule(state, request, now)
        if wrong := no_outcome(rule, request, outcome):
            raise UsageError(wrong)
        if self.steps is not None:
            at = time.monotonic_ns()
            self.steps.append(
                Step(
                    self.caller,
                    self.request,
                    "decide",
                    (request.operation,),
                    outcome.reply.decision,
                    at,
                    at,
                    dict(state),
                    dict(outcome.changes),
                )
            )
        if self.slow is not None and (work_ms := self.slow(request)):
            await asyncio.sleep(work_ms / 1000)
        if self.think_ms:
            await asyncio.sleep(self.think_ms / 1000)
        if self.slow_ms and slow(request.key):
            await asyncio.sleep(self.slow_ms / 1000)
        return outcome

    def serve(self, scenario: Scenario) -> None:
        """Take over what the scenario says of leases and of work."""
        self.lock_lease_ms, self.slow = scenario.lock_lease_ms, scenario.slow

    # The trace

    def note(self, *, reads: State | None = None, writes: State | None = None) -> None:
        """Add to the last store step of this trace what it saw or made visible."""
        if self.steps:
            last = self.steps[-1]
            self.steps[-1] = last._replace(
                reads={**(last.reads or {}), **reads} if reads is not None else last.reads,
                writes={**(last.writes or {}), **writes} if writes is not None else last.writes,
            )

    async def _timed(self, kind: str, command: tuple[Any, ...], running: Awaitable[Any], *, shows: bool = True) -> Any:
        request = self.request
        steps = self.steps
        sent = time.monotonic_ns()
        shown = tuple(self._shown(part) for part in command)
        try:
            reply = await running
        except BaseException as error:
            if steps is not None:
                what = f"! {getattr(error, 'code', type(error).__name__)}"
                steps.append(Step(self.caller, request, kind, shown, what, sent, time.monotonic_ns()))
            raise
        if steps is not None:
            text = shown_reply(reply) if shows else ""
            steps.append(Step(self.caller, request, kind, shown, text, sent, time.monotonic_ns()))
        return reply

    def _shown(self, part: Any) -> str:
        return shown_word(part).replace(f"{self._prefix}{OWN}", "").replace(self._prefix, "")


class _LoadTransaction(Transaction):
    """BEGIN at a named level; COMMIT on leaving, ROLLBACK on an exception."""

    def __init__(self, session: LoadSession, isolation: Isolation) -> None:
        self._session = session
        self._isolation: Isolation = isolation
        self._writes: dict[str, Any] = {}

    async def __aenter__(self) -> Transaction:
        connection = self._session.postgres
        assert connection is not None
        await self._session.control(f"BEGIN {self._isolation}", connection.begin(self._isolation))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session = self._session
        connection = session.postgres
        assert connection is not None
        if kind is None:
            try:
                await session.control("COMMIT", connection.commit())
            except ConnectionLost:
                session.changed = True  # a COMMIT without an answer may have been done
                raise
            session.changed = True
            if self._writes:
                session.note(writes=self._writes)
        elif not issubclass(kind, ConnectionLost | asyncio.CancelledError):
            await session.control("ROLLBACK", connection.rollback())

    async def sql(self, statement: str, *args: Any) -> Rows:
        return await self._session.statement(statement, args)

    def note(self, *, reads: State | None = None, writes: State | None = None) -> None:
        """What a statement saw; what it wrote shows at COMMIT."""
        if self._session.steps is not None:
            if reads is not None:
                self._session.note(reads=reads)
            self._writes.update(writes or {})


class _SecondConnection(Transaction):
    """Statements on it are by themselves."""

    def __init__(self, session: LoadSession) -> None:
        self._session = session

    async def sql(self, statement: str, *args: Any) -> Rows:
        return await self._session.read_beside(statement, args)

    def note(self, *, reads: State | None = None, writes: State | None = None) -> None:
        self._session.note(reads=reads, writes=writes)
