"""The namespace of a run: one key prefix and one schema, made, used and dropped; nothing else is touched.

Each is marked with its owner, so that a later run can remove what a killed one left and
nothing that lives: in Redis a key that expires unless the run renews it, in PostgreSQL an advisory
lock held as long as the run's own connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets

from harness.model import CommandRefused, StatementRefused, StoreFault, StoreUnavailable
from harness.stores.postgres import PostgresConnection
from harness.stores.redis import RedisConnection
from harness.stores.targets import PostgresTarget, RedisTarget

_OWNER_TTL_S = 60
_RENEW_S = 15
_BATCH = 1000
_RUN = re.compile(r"race:([0-9a-f]{8}):")
_LOCK_CLASS = 0x72616365  # "race"


def new_run_id() -> str:
    """Eight random hex digits."""
    return secrets.token_hex(4)


class RedisNamespace:
    """The keys of one run."""

    def __init__(self, target: RedisTarget, run_id: str) -> None:
        """Nothing is done yet."""
        self.prefix = f"race:{run_id}:"
        self._target = target
        self._renewing: asyncio.Task[None] | None = None

    async def create(self) -> None:
        """Mark the prefix as ours, sweep what dead runs left. Raises StoreUnavailable."""
        connection = await RedisConnection.open(self._target)
        try:
            await connection.execute("SET", f"{self.prefix}owner", "race", "EX", _OWNER_TTL_S)
            await self._sweep(connection)
        except CommandRefused as refused:
            raise StoreUnavailable(f"Redis at {self._target.shown} refuses to be used: {refused}") from None
        finally:
            await connection.close()
        self._renewing = asyncio.create_task(self._renew())

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(_RENEW_S)
            with contextlib.suppress(StoreFault):
                connection = await RedisConnection.open(self._target)
                await connection.execute("SET", f"{self.prefix}owner", "race", "EX", _OWNER_TTL_S)
                await connection.close()

    async def _sweep(self, connection: RedisConnection) -> None:
        runs: set[str] = set()
        async for keys in _scan(connection, "race:????????:*"):
            runs.update(found[1] for key in keys if (found := _RUN.match(key.decode(errors="replace"))))
        for run in runs:
            if not await connection.execute("EXISTS", f"race:{run}:owner"):
                await _remove(connection, f"race:{run}:")

    async def drop(self) -> None:
        """Remove every key below the prefix."""
        if self._renewing is not None:
            self._renewing.cancel()
        with contextlib.suppress(StoreFault):
            connection = await RedisConnection.open(self._target)
            await _remove(connection, self.prefix)
            await connection.close()


async def _scan(connection: RedisConnection, pattern: str):  # type: ignore[no-untyped-def]  # noqa: ANN202
    cursor: bytes | str = "0"
    while True:
        cursor, keys = await connection.execute("SCAN", cursor, "MATCH", pattern, "COUNT", _BATCH)
        if keys:
            yield keys
        if cursor == b"0":
            return


async def _remove(connection: RedisConnection, prefix: str) -> None:
    async for keys in _scan(connection, f"{prefix}*"):
        await connection.execute("UNLINK", *keys)


class PostgresNamespace:
    """The schema of one run."""

    def __init__(self, target: PostgresTarget, run_id: str) -> None:
        """Nothing is done yet."""
        self.schema = f"race_{run_id}"
        self._target = target
        self._owner: PostgresConnection | None = None

    async def create(self) -> None:
        """Make the schema, hold its lock, sweep what dead runs left. Raises StoreUnavailable."""
        self._owner = owner = await PostgresConnection.open(self._target)
        try:
            await owner.sql("SELECT pg_advisory_lock($1, hashtext($2))", _LOCK_CLASS, self.schema)
            await owner.script(f"CREATE SCHEMA {self.schema}")
        except StatementRefused as refused:
            raise StoreUnavailable(f"PostgreSQL at {self._target.shown} refuses a schema: {refused}") from None
        found = await owner.sql("SELECT nspname::text FROM pg_namespace WHERE nspname ~ '^race_[0-9a-f]{8}$'")
        for (schema,) in found.rows:
            if schema != self.schema:
                await self._sweep(owner, schema)

    async def _sweep(self, owner: PostgresConnection, schema: str) -> None:
        """Remove a schema whose run holds its lock no more, and that is ours to remove."""
        taken = await owner.sql("SELECT pg_try_advisory_lock($1, hashtext($2))", _LOCK_CLASS, schema)
        if taken.rows[0][0]:
            with contextlib.suppress(StatementRefused):
                await owner.script(f"DROP SCHEMA {schema} CASCADE")
            await owner.sql("SELECT pg_advisory_unlock($1, hashtext($2))", _LOCK_CLASS, schema)

    async def drop(self) -> None:
        """Drop the schema."""
        with contextlib.suppress(StoreFault):
            if self._owner is not None:
                await self._owner.close()
            self._owner = await PostgresConnection.open(self._target)
            await self._owner.script(f"SET lock_timeout = '5s'; DROP SCHEMA IF EXISTS {self.schema} CASCADE")
            await self._owner.close()
