"""The stores as the explorer uses them: warm connections, fresh keys for every schedule, time that can be moved."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.explore.blocking import either
from harness.explore.catalog import UNKNOWN, Catalog, Tables, look_at
from harness.explore.leases import FAR_MS, Leases
from harness.explore.leftovers import Leftovers
from harness.explore.touch import CommandKind, Touch
from harness.model import CommandRefused, ConnectionLost, StatementRefused, StoreFault
from harness.stores import (
    DirectConnection,
    PostgresConnection,
    PostgresTarget,
    RedisConnection,
    RedisTarget,
    Stores,
    connect,
    functions,
    refused_by_redis,
)
from harness.strategy import Strategy

BASE_MS = 4_102_444_800_000
"""When every schedule begins: 1 January 2100, UTC. The same each time, so that commands are, too."""
_BLOCKING = "SELECT p, pg_blocking_pids(p) || pg_safe_snapshot_blocking_pids(p) FROM unnest($1::int[]) AS p"
_SETTINGS = {"deadlock_timeout": "600s", "synchronous_commit": "off"}
"""Who is ended in a deadlock is the schedule's choice, so the server must not choose first."""
_WORLDS = itertools.count(1)
"""Worlds that share a namespace have keys of their own."""
OWNERS = 1_000
"""Places of owners begin here; those below are callers."""
_CATCH_UP_S = 10.0
_BATCH = 200
"""Rows are made for so many schedules at once."""


def unusable(fault: Exception) -> str:
    """Why a store cannot be explored on: it said no to the explorer, or it is gone."""
    match fault:
        case StatementRefused():
            return f"PostgreSQL refuses: {fault}"
        case CommandRefused():
            return refused_by_redis("Redis", fault)
        case _:
            return f"a store was lost: {fault}"


class World:
    """Connections to the stores of a run, one of each kind for each caller."""

    def __init__(self, stores: Stores, strategy: Strategy, base_keys: Sequence[str]) -> None:
        """`base_keys` are the keys of a burst before they are numbered."""
        self.stores = stores
        self.store = strategy.store
        self.scenario = strategy.scenario
        self.rows = strategy.rows
        self.values = strategy.values
        self._make_tables = strategy.make_tables
        self._leftovers = Leftovers(strategy.tables)
        self.base_keys = tuple(base_keys)
        self.prefix = stores.prefix
        self.number = 0
        self._own = next(_WORLDS)
        self._strays = Leftovers(strategy.rows.schema, f":{self._own}e")
        self.base_ms = BASE_MS
        self.catalog: Catalog | Tables = UNKNOWN
        self.kinds: dict[str, CommandKind | None] = {}
        self.seen: dict[tuple[str, ...], tuple[str, Touch, bool]] = {}
        """Commands without names of one schedule: the name, what it may touch, whether it goes by the clock."""
        self._guarded = strategy.guarded
        self._copied = strategy.lag_ms is not None
        self._replica: DirectConnection | RedisConnection | None = None
        self._caught_up = 0
        self._redis: dict[int, DirectConnection | RedisConnection] = {}
        self._postgres: dict[int, PostgresConnection] = {}
        self._second: dict[int, PostgresConnection] = {}
        self._monitor: PostgresConnection | None = None
        self._helper: DirectConnection | RedisConnection | None = None
        self._patient: dict[int, tuple[RedisConnection, int]] = {}
        """For commands that wait inside Redis, with the server's number of each connection."""
        self._digests: dict[str, bytes] = {}
        self._functions: set[str] = set()
        self._seeded = 0
        self._together = False

    async def open(self) -> None:
        """Connect what is needed first."""
        if self._guarded:
            await self.stores.admit(self.store)
        if self._copied:
            await self.stores.copied()
            assert self.stores.replica is not None
            assert self.stores.link is not None
            self._replica = await connect(self.stores.replica)
            self.stores.link.lag_ms = 0.0
            self.stores.link.hold()
        self.stores.keep_together(self.store)
        self._together = True
        if self.store == "postgres":
            assert self.stores.postgres is not None
            self._monitor = await PostgresConnection.open(self.stores.postgres, self.stores.schema)
            await self._make_tables(self._monitor.sql)
            await self._leftovers.remember(self._monitor.sql)
            await self._strays.remember(self._monitor.sql)
            self.catalog = await look_at(self._monitor.sql)
        else:
            assert self.stores.redis is not None
            self._helper = await connect(self.stores.redis)

    async def reconnect(self) -> None:
        """New connections for all, whatever became of the old ones."""
        await self.close()
        await self.open()

    async def close(self) -> None:
        """Close all connections."""
        if self._together:
            self._together = False
            self.stores.let_go()
        redis = [
            *self._redis.values(),
            *([self._helper] if self._helper else []),
            *(one for one, _ in self._patient.values()),
        ]
        postgres = [*self._postgres.values(), *self._second.values(), *([self._monitor] if self._monitor else [])]
        if self._replica is not None:
            redis.append(self._replica)
            self._replica = None
            if self.stores.link is not None:
                self.stores.link.release()
        closing = [*(one.close() for one in redis), *(one.close() for one in postgres)]
        await asyncio.gather(*closing, return_exceptions=True)
        self._redis, self._postgres, self._helper, self._monitor = {}, {}, None, None
        self._patient, self._second = {}, {}

    # Connections

    async def redis(self, number: int) -> DirectConnection | RedisConnection:
        """The Redis connection of a caller, or of an owner."""
        if number not in self._redis:
            self._redis[number] = await connect(self._redis_target(number))
        return self._redis[number]

    def _redis_target(self, number: int) -> RedisTarget:
        """With which login: an owner's, or that of callers who may not write."""
        target = self.stores.callers["redis"] if self._guarded and number < OWNERS else self.stores.redis
        assert isinstance(target, RedisTarget)
        return target

    async def postgres(self, number: int) -> PostgresConnection:
        """The PostgreSQL connection of a caller, or of an owner."""
        if number not in self._postgres:
            self._postgres[number] = await self._connected(number)
        return self._postgres[number]

    async def second(self, number: int) -> PostgresConnection:
        """The connection of a caller that it only reads from, beside its own."""
        if number not in self._second:
            self._second[number] = await (await self.postgres(number)).beside()
        return self._second[number]

    async def blocked_by(self, pids: Sequence[int]) -> dict[int, tuple[int, ...]]:
        """For each server process, those that it waits for."""
        assert self._monitor is not None
        found = await self._monitor.sql(_BLOCKING, list(pids))
        return {row[0]: tuple(row[1]) for row in found.rows}

    async def send(self, place: int, words: tuple[Any, ...]) -> asyncio.Future[Any]:
        """Send a command of a caller that may wait inside Redis: over a connection that does not wait with it."""
        if place not in self._patient:
            connection = await RedisConnection.open(self._redis_target(place))
            self._patient[place] = connection, await connection.execute("CLIENT", "ID")
        return self._patient[place][0].execute(*words)

    async def waits_inside(self, place: int, task: asyncio.Future[Any]) -> bool:
        """Whether a caller's command waits inside Redis; False once it is over."""
        _connection, client = self._patient[place]
        while True:
            over, listed = await either(task, lambda: self._aside.execute("CLIENT", "LIST", "ID", client))
            if over:
                return False
            flags = re.search(rb" flags=(\w+)", listed)
            if flags is None:  # its connection is gone, and the task is about to say so
                await asyncio.wait([task])
                return False
            if b"b" in flags[1]:
                return True

    async def would_wait(self, place: int, question: tuple[Any, ...], served: bytes) -> bool | None:
        """Whether a caller's command would wait inside Redis now, by `foreseen`; None where its key is something else.

        A caller with fewer rights than we is told by its own command.
        """
        if self._guarded and place < OWNERS:
            return False
        try:
            answer = await self._aside.execute(*question)
        except CommandRefused:
            return None
        if not served:
            return answer is None
        kind = answer if isinstance(answer, bytes) else str(answer).encode()
        return True if kind == b"none" else False if kind == served else None

    async def finds(self, place: int, words: tuple[Any, ...]) -> bool:
        """Whether a caller's SELECT would find something now; one with fewer rights than we is told by its own."""
        assert self._monitor is not None
        if self._guarded and place < OWNERS:
            return True
        try:
            return bool((await self._monitor.sql(*words)).rows)
        except StatementRefused:
            return True

    async def end_wait(self, place: int) -> None:
        """End what a caller waits for inside its server: a statement is cancelled, a command finds nothing."""
        if self.store == "redis":
            await self._aside.execute("CLIENT", "UNBLOCK", self._patient[place][1])
        else:
            assert self._monitor is not None
            await self._monitor.sql("SELECT pg_cancel_backend($1)", self.pid(place))

    async def copy_answer(self, *words: Any) -> Any:
        """What the replica answers."""
        assert self._replica is not None
        return await self._replica.execute(*words)

    async def catch_up(self) -> None:
        """Let the replica get all that its primary has done; a mark that arrives last tells when it has."""
        assert self._replica is not None
        assert self.stores.link is not None
        self._caught_up += 1
        mark, value = f"{self.prefix}{self._own}:caught-up", str(self._caught_up)
        await self._aside.execute("SET", mark, value)
        self.stores.link.release()
        give_up = time.monotonic() + _CATCH_UP_S
        while await self._replica.execute("GET", mark) != value.encode():
            if time.monotonic() > give_up:
                raise ConnectionLost("the replica does not catch up with its primary")
            await asyncio.sleep(0)
        self.stores.link.hold()

    async def digest(self, source: str) -> bytes:
        """The digest of a script that the server has."""
        known = self._digests.get(source)
        if known is None:
            connection = self._aside
            known = self._digests[source] = await connection.execute("SCRIPT", "LOAD", source)
        return known

    async def registered(self, source: str) -> str:
        """The name of a function that the server has."""
        assert self.stores.redis is not None
        begins = functions.library_prefix(self.prefix, self.stores.redis.database)
        name, code = functions.library_of(source, begins)
        if name not in self._functions:
            await functions.load(self._aside, code)
            self._functions.add(name)
        return name

    async def dump(self, stored: str) -> Any:
        """What lies under a name, whatever kind of value it is."""
        return await self._aside.execute("DUMP", stored)

    async def ends_at(self, stored: str) -> Any:
        """When a key ends, by the server's clock; what is equal to nothing where the server is too old to say."""
        try:
            return await self._aside.execute("PEXPIRETIME", stored)
        except CommandRefused:
            return object()

    async def learn(self, name: str) -> None:
        """Ask the server what a command does to keys."""
        connection = self._aside
        try:
            (found,) = await connection.execute("COMMAND", "INFO", name)
        except CommandRefused:
            found = None
        if found is None:
            self.kinds[name] = None
            return
        flags = {flag.decode() if isinstance(flag, bytes) else str(flag) for flag in found[2]}
        self.kinds[name] = CommandKind("readonly" in flags, found[3], found[4], found[5], "movablekeys" in flags)

    def pid(self, place: int) -> int:
        """The server process of a caller's connection; 0 where it has none."""
        return self._postgres[place].pid if place in self._postgres else 0

    async def renew(self, place: int) -> None:
        """Drop a caller's connection, and all that it held, for a new one."""
        if self.store == "postgres":
            await self.postgres(place)
            old = self._postgres[place]
            await self.unlock(place)  # at once, not whenever the server notices that it is gone
            fresh = await self._connected(place)
            await old.close()
            self._postgres[place] = fresh
        else:
            await self.redis(place)
            await self._redis[place].close()
            self._redis[place] = await connect(self._redis_target(place))
            if place in self._patient:
                await self._patient.pop(place)[0].close()

    async def unlock(self, place: int) -> None:
        """Give back the locks that a caller's connection holds beyond its transactions."""
        with contextlib.suppress(StoreFault):
            await self._postgres[place].sql("SELECT pg_advisory_unlock_all()")

    async def _connected(self, number: int) -> PostgresConnection:
        target = self.stores.callers["postgres"] if self._guarded and number < OWNERS else self.stores.postgres
        assert isinstance(target, PostgresTarget)
        connection = await PostgresConnection.open(target, self.stores.schema)
        for name, value in _SETTINGS.items():
            with contextlib.suppress(StatementRefused):  # no superuser: the server's own choice comes after a second
                await connection.sql("SELECT set_config($1, $2, false)", name, value)
        return connection

    @property
    def _aside(self) -> DirectConnection | RedisConnection:
        """A connection that is no caller's: those may be in the middle of something."""
        assert self._helper is not None
        return self._helper

    # State

    async def fresh(self) -> dict[str, str]:
        """Keys of their own for the next schedule, ready to be used: base name to name."""
        self.number += 1
        if self.store == "postgres" and self.number > self._seeded:
            await self._seed_rows()
        names = {key: f"{key}:{self.mark}" for key in self.base_keys}
        value = self.scenario.initial_value
        if self.store == "redis" and value is not None:
            connection = self._aside
            for name in names.values():
                words = self.values.write(self.prefix + name, value, self.base_ms)
                await connection.execute(*Leases(self.base_ms).sent(words, self.base_ms))
        return names

    async def forget(self, stored: Iterable[str], *, strayed: bool = False) -> None:
        """Remove what a schedule left under names that the next one would use, too: a lock for all, say.

        `strayed`: such names may be among those of the state's own rows.
        """
        if self._monitor is not None:
            await self._leftovers.clear(self._monitor.sql)
            if strayed:
                await self._strays.clear(self._monitor.sql)
        mark = f":{self.mark}"
        if left := [name for name in stored if name.startswith(self.prefix) and mark not in name]:
            await self._aside.execute("DEL", *left)

    @property
    def mark(self) -> str:
        """What the names of this schedule end in."""
        return f"{self._own}e{self.number}"

    async def _seed_rows(self) -> None:
        names = [f"{key}:{self._own}e{self._seeded + i}" for i in range(1, _BATCH + 1) for key in self.base_keys]
        assert self._monitor is not None
        await self.rows.seed(self._monitor.sql, names, self.scenario.initial_value)
        self._seeded += _BATCH

    async def rest(self, keys: Sequence[str]) -> Mapping[str, Any]:
        """The state at rest."""
        if self.store == "postgres":
            assert self._monitor is not None
            return await self.rows.at_rest(self._monitor.sql, keys)
        connection = self._aside
        found = await self.values.all(connection.execute, [self.prefix + key for key in keys])
        return dict(zip(keys, found, strict=True))

    # Time

    async def soonest(self, stored: Iterable[str], leases: Leases, now_ms: int) -> int | None:
        """In how many milliseconds the first key with a lease vanishes. `stored` are names in the store."""
        left = [await self._aside.execute("PTTL", name) for name in stored]
        return min((leases.left_ms(ms, now_ms) for ms in left if ms > 0), default=None)

    async def age(self, stored: Iterable[str], leases: Leases, now_ms: int, then_ms: int) -> None:
        """Time passes for the keys with a lease, from one instant to another."""
        for name in stored:
            left = await self._aside.execute("PTTL", name)
            if left < 0:
                continue
            end_ms = now_ms + leases.left_ms(left, now_ms)
            if end_ms <= then_ms:
                await self._aside.execute("DEL", name)
            elif left < FAR_MS:
                await self._aside.execute("PEXPIRE", name, leases.far(end_ms))

    async def put_off(self, stored: str, leases: Leases, queued_ms: int | None, end_ms: int | None) -> None:
        """A lease that was queued for one end gets another, if it is the one that the key has."""
        left = await self._aside.execute("PTTL", stored)
        if end_ms is not None and left >= FAR_MS and leases.end_of(left) == queued_ms:
            await self._aside.execute("PEXPIRE", stored, leases.far(end_ms))
