"""The namespace of a run: one key prefix and one schema, made, used and dropped; nothing else is touched.

Each bears a mark, so that a later run can remove what a killed one left, and nothing that
is somebody else's or lives. In Redis the mark is a key, beside another that expires unless the run
renews it; in PostgreSQL it is a comment on the schema, beside an advisory lock that lasts as long as
the run's own connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import time
from collections.abc import AsyncIterator

from harness.model import CommandRefused, StatementRefused, StoreFault, StoreUnavailable
from harness.stores import functions, logins
from harness.stores.postgres import PostgresConnection
from harness.stores.redis import RedisConnection
from harness.stores.targets import PostgresTarget, RedisTarget

MARK = "made by race"
ALIVE_S = 60
_RENEW_S = 15
_ANSWER_S = 4.0
_SWEEP_S = 1.0
_DROP_S = 8.0
_BATCH = 1000
NO_ROOM = "max number of clients"
_MARKED = re.compile(rb"race:([0-9a-f]{8}):made-by-race")
_LOCK_CLASS = 0x72616365  # "race"
_DEAD = """
SELECT nspname::text FROM pg_namespace
WHERE nspname ~ '^race_[0-9a-f]{8}$' AND obj_description(oid, 'pg_namespace') = $1
  AND pg_has_role(nspowner, 'USAGE') AND nspname <> $2
"""
_END_CONNECTIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1 AND usename = current_user
"""


def new_run_id() -> str:
    """Eight random hex digits."""
    return secrets.token_hex(4)


class RedisNamespace:
    """The keys of one run."""

    def __init__(self, target: RedisTarget, run_id: str) -> None:
        """Nothing is done yet."""
        self.prefix = f"race:{run_id}:"
        self._target = target
        self._where = f"Redis at {target.shown}"
        self._mark = f"{self.prefix}made-by-race"
        self._alive = f"{self.prefix}alive"
        self._renewing: asyncio.Task[None] | None = None

    async def create(self) -> None:
        """Sweep what dead runs left, mark the prefix as ours. Raises StoreUnavailable."""
        try:
            async with asyncio.timeout(_ANSWER_S), _redis(self._target) as connection:
                # What removes comes before what writes: who may not do the one leaves nothing behind by the other.
                await connection.execute("UNLINK", self._alive)
                await self._sweep(connection)
                await logins.sweep_redis(connection, self._target)
                await functions.sweep(connection, self._target)
                await connection.execute("SET", self._alive, MARK, "EX", ALIVE_S)
                await connection.execute("SET", self._mark, MARK)
        except CommandRefused as refused:
            raise StoreUnavailable(refused_by_redis(self._where, refused)) from None
        except StoreFault as lost:
            raise StoreUnavailable(f"{self._where} does not answer any more ({lost})") from None
        except TimeoutError:
            raise StoreUnavailable(f"{self._where} does not answer within {_ANSWER_S:.0f} s") from None
        self._renewing = asyncio.create_task(self._renew())

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(_RENEW_S)
            with contextlib.suppress(StoreFault, TimeoutError):
                async with asyncio.timeout(_ANSWER_S), _redis(self._target) as connection:
                    if await connection.execute("GET", self._alive) in {None, MARK.encode()}:
                        await connection.execute("SET", self._alive, MARK, "EX", ALIVE_S)

    async def admit(self) -> RedisTarget:
        """A login for callers, who may then read and write nothing. Raises StoreUnavailable."""
        try:
            async with asyncio.timeout(_ANSWER_S), _redis(self._target) as connection:
                return await logins.admit_to_redis(connection, self._target, self.prefix)
        except (StoreFault, TimeoutError) as lost:
            why = str(lost) or "no answer in time"
            raise StoreUnavailable(f"{self._where} does not answer any more ({why})") from None

    async def lost(self) -> str | None:
        """Whether somebody removed what the run wrote. Raises StoreFault, TimeoutError."""
        async with asyncio.timeout(_ANSWER_S), _redis(self._target) as connection:
            mark, alive = await connection.execute("MGET", self._mark, self._alive)
        if mark != MARK.encode() or alive not in {None, MARK.encode()}:
            return f"{self._where}: somebody removed the keys of this run"
        return None

    async def _sweep(self, connection: RedisConnection) -> None:
        """Remove what dead runs left. Somebody's keys may be many: what is not found in time is left for later."""
        until = time.monotonic() + _SWEEP_S
        async for keys in _scan(connection, "race:????????:made-by-race", until):
            for run in filter(None, map(_MARKED.fullmatch, keys)):
                prefix = f"race:{run[1].decode()}:"
                # Taking a dead run's place first: one that only slept finds out, and says so.
                if await connection.execute("GET", run[0]) == MARK.encode() and await connection.execute(
                    "SET", f"{prefix}alive", "swept", "NX", "EX", ALIVE_S
                ):
                    await _remove(connection, prefix, until)

    def abandon(self) -> None:
        """Do nothing more for these keys: they go with their server."""
        if self._renewing is not None:
            self._renewing.cancel()

    async def drop(self) -> None:
        """Remove every key below the prefix. Never raises; what it cannot remove, a later run does."""
        self.abandon()
        with contextlib.suppress(StoreFault, TimeoutError):
            async with asyncio.timeout(_DROP_S), _redis(self._target) as connection:
                await logins.dismiss_from_redis(connection, logins.redis_user(self.prefix, self._target))
                await functions.remove(connection, functions.library_prefix(self.prefix, self._target.database))
                await _remove(connection, self.prefix, time.monotonic() + _DROP_S)


@contextlib.asynccontextmanager
async def _redis(target: RedisTarget) -> AsyncIterator[RedisConnection]:
    connection = await RedisConnection.open(target)
    try:
        yield connection
    finally:
        await connection.close()


async def _scan(connection: RedisConnection, pattern: str, until: float) -> AsyncIterator[list[bytes]]:
    cursor = b"0"
    while True:
        cursor, keys = await connection.execute("SCAN", cursor, "MATCH", pattern, "COUNT", _BATCH)
        if keys:
            yield keys
        if cursor == b"0" or time.monotonic() > until:
            return


async def _remove(connection: RedisConnection, prefix: str, until: float) -> None:
    """Everything below a prefix, its mark last: if time runs out, a later run goes on."""
    own = {f"{prefix}{name}".encode() for name in ("made-by-race", "alive")}
    pattern = re.sub(r"([\\*?\[\]^-])", r"\\\1", prefix) + "*"
    async for keys in _scan(connection, pattern, until):
        if below := [key for key in keys if key not in own]:
            await connection.execute("UNLINK", *below)
    if time.monotonic() <= until:
        await connection.execute("UNLINK", *own)


def no_room(where: str) -> str:
    """A server that takes no more connections, and what to do."""
    return f"{where} hangs up: raise its maxclients, or end other clients"


_REFUSALS = {
    "WRONGPASS": "refuses the user or password: put the right ones into --redis-url",
    "NOAUTH": "refuses the user or password: put the right ones into --redis-url",
    "READONLY": "is read-only: give the address of its primary",
    "OOM": "is full: raise its maxmemory, or use another one",
    "MISCONF": "refuses writes because it cannot save: make room on its disk",
    "MOVED": "is a cluster: race needs a single server",
    "CROSSSLOT": "is a cluster: race needs a single server",
    "CLUSTERDOWN": "is a cluster: race needs a single server",
}


def refused_by_redis(where: str, refused: CommandRefused) -> str:
    """Why a server that answers cannot be used, and what to do."""
    match refused.code:
        case code if code in _REFUSALS:
            return f"{where} {_REFUSALS[code]}"
        case "ERR" if "AUTH" in str(refused).upper():
            return f"{where} takes no password: leave it out of --redis-url"
        case "ERR" if "DB index" in str(refused):
            return f"{where} has no such database: put another number at the end of --redis-url"
        case "ERR" if NO_ROOM in str(refused):
            return no_room(where)
        case "NOPERM":
            return f"{where}: this user lacks rights ({refused}): give it +@all -@admin +info ~race:*"
        case "LOADING" | "BUSY":
            return f"{where} is busy ({refused}): try again when it is done"
        case _:
            return f"{where} refuses to be used: {refused}"


class PostgresNamespace:
    """The schema of one run."""

    def __init__(self, target: PostgresTarget, run_id: str) -> None:
        """Nothing is done yet."""
        self.schema = f"race_{run_id}"
        self._target = target
        self._where = f"PostgreSQL at {target.shown}"
        self._owner: PostgresConnection | None = None
        self._oid = 0

    async def create(self) -> None:
        """Make the schema, hold its lock, sweep what dead runs left. Raises StoreUnavailable."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                self._owner = owner = await PostgresConnection.open(self._target)
                # A server may end connections that do nothing; this one has nothing to do but be there.
                await owner.script("SET idle_session_timeout = 0; SET lock_timeout = '1s'")
                await owner.sql("SELECT pg_advisory_lock($1, hashtext($2))", _LOCK_CLASS, self.schema)
                await owner.script(f"CREATE SCHEMA {self.schema}; COMMENT ON SCHEMA {self.schema} IS '{MARK}'")
                self._oid = await self._place(owner)
                for (schema,) in (await owner.sql(_DEAD, MARK, self.schema)).rows:
                    await self._sweep(owner, schema)
                for schema in await logins.left_in_postgres(owner):
                    await self._sweep(owner, schema)
        except StatementRefused as refused:
            raise StoreUnavailable(f"{self._where} refuses a schema: {refused}") from None
        except StoreFault as lost:
            raise StoreUnavailable(f"{self._where} does not answer any more ({lost})") from None
        except TimeoutError:
            raise StoreUnavailable(f"{self._where} does not answer within {_ANSWER_S:.0f} s") from None

    async def admit(self) -> PostgresTarget:
        """A login for callers, who may then read and call functions, and write nothing. Raises StoreUnavailable."""
        assert self._owner is not None
        try:
            async with asyncio.timeout(_ANSWER_S):
                return await logins.admit_to_postgres(self._owner, self._target, self.schema)
        except (StoreFault, TimeoutError) as lost:
            why = str(lost) or "no answer in time"
            raise StoreUnavailable(f"{self._where} does not answer any more ({why})") from None

    async def _place(self, connection: PostgresConnection) -> int:
        found = await connection.sql("SELECT coalesce(to_regnamespace($1)::oid, 0::oid)::bigint", self.schema)
        return int(found.rows[0][0])

    async def _sweep(self, owner: PostgresConnection, schema: str) -> None:
        """Remove a marked schema whose run holds its lock no more."""
        taken = await owner.sql("SELECT pg_try_advisory_lock($1, hashtext($2))", _LOCK_CLASS, schema)
        if taken.rows[0][0]:
            with contextlib.suppress(StatementRefused):  # another run was faster, or its callers still hold locks
                await owner.script(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
                await logins.dismiss_from_postgres(owner, schema)
            await owner.sql("SELECT pg_advisory_unlock($1, hashtext($2))", _LOCK_CLASS, schema)

    async def lost(self) -> str | None:
        """Whether the schema, or the connection that guards it, went away. Raises StoreFault, TimeoutError."""
        assert self._owner is not None
        try:
            async with asyncio.timeout(_ANSWER_S):
                place = await self._place(self._owner)
        except StoreFault:
            # A crash of one server process ends all connections, but not the server.
            return f"{self._where} ended the connections of this run"
        return None if place == self._oid else f"{self._where}: somebody removed the schema of this run"

    def abandon(self) -> None:
        """Do nothing more for this schema: it goes with its server."""
        if self._owner is not None:
            self._owner.abort()

    async def drop(self) -> None:
        """Drop the schema. Never raises; what it cannot drop, a later run does."""
        owner, self._owner = self._owner, None
        with contextlib.suppress(StoreFault, TimeoutError):
            try:
                async with asyncio.timeout(_DROP_S):
                    if owner is None or owner.closed:
                        owner = await PostgresConnection.open(self._target)
                    await self._drop(owner)
            finally:
                if owner is not None:
                    await owner.close()

    async def _drop(self, owner: PostgresConnection) -> None:
        dropping = f"SET lock_timeout = '1s'; DROP SCHEMA IF EXISTS {self.schema} CASCADE"
        try:
            await owner.script(dropping)
        except StatementRefused:
            # A caller was killed while its statement waited: the server has not noticed yet.
            await owner.sql(_END_CONNECTIONS, self.schema)
            await owner.script(dropping)
        await logins.dismiss_from_postgres(owner, self.schema)
