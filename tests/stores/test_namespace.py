"""A run's own keys and schema: nothing else is touched, dead runs are swept, living ones are not."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from harness.model import StoreUnavailable
from harness.stores import PostgresConnection, PostgresTarget, RedisConnection, RedisTarget, Stores
from harness.stores.namespace import PostgresNamespace, RedisNamespace, new_run_id


async def _keys(target: RedisTarget, *names: str) -> list[bool]:
    """Which of these keys exist."""
    connection = await RedisConnection.open(target)
    found = [bool(await connection.execute("EXISTS", name)) for name in names]
    await connection.close()
    return found


async def _redis(target: RedisTarget, *command: str) -> Any:
    connection = await RedisConnection.open(target)
    try:
        return await connection.execute(*command)
    finally:
        await connection.close()


async def _sql(target: PostgresTarget, *statements: str) -> None:
    connection = await PostgresConnection.open(target)
    for statement in statements:
        await connection.script(statement)
    await connection.close()


async def _schemas(target: PostgresTarget, *names: str) -> list[bool]:
    """Which of these schemas exist."""
    connection = await PostgresConnection.open(target)
    found = [(await connection.sql("SELECT to_regnamespace($1) IS NOT NULL", name)).rows[0][0] for name in names]
    await connection.close()
    return found


def test_own_keys_go_and_others_stay(redis: RedisTarget) -> None:
    """Dropping removes the prefix and nothing that looks like it."""
    run = new_run_id()
    foreign = [f"race:{run}x:winner", f"xrace:{run}:winner", f"race:{run}"]

    async def work() -> list[bool]:
        namespace = RedisNamespace(redis, run)
        await namespace.create()
        for name in (*foreign, *(f"{namespace.prefix}key:{number}" for number in range(2500))):
            await _redis(redis, "SET", name, "x") if name in foreign else None
        connection = await RedisConnection.open(redis)
        await asyncio.gather(*(connection.execute("SET", f"{namespace.prefix}{n}", "x") for n in range(2500)))
        await namespace.drop()
        left = [key async for key in _scanned(connection, f"{namespace.prefix}*")]
        await connection.close()
        kept = await _keys(redis, *foreign)
        await _redis(redis, "DEL", *foreign)
        return [not left, *kept]

    assert asyncio.run(work()) == [True] * 4


async def _scanned(connection: RedisConnection, pattern: str) -> Any:
    cursor = b"0"
    while True:
        cursor, keys = await connection.execute("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
        for key in keys:
            yield key
        if cursor == b"0":
            return


def test_prefix_is_no_pattern(redis: RedisTarget) -> None:
    """A prefix is taken literally, even one that means something to SCAN."""
    foreign = f"race:{secrets.token_hex(4)}:winner"

    async def work() -> list[bool]:
        await _redis(redis, "SET", foreign, "x")
        namespace = RedisNamespace(redis, "????????")
        await namespace.create()
        await namespace.drop()
        kept = await _keys(redis, foreign, f"{namespace.prefix}alive", f"{namespace.prefix}made-by-race")
        await _redis(redis, "DEL", foreign)
        return kept

    assert asyncio.run(work()) == [True, False, False]


async def _another_redis_run(target: RedisTarget) -> None:
    namespace = RedisNamespace(target, new_run_id())
    await namespace.create()
    await namespace.drop()


def test_keys_of_a_dead_run_are_swept(redis: RedisTarget) -> None:
    """What a killed run left goes once it was silent for long; it finds out should it only have slept."""

    async def work() -> tuple[list[bool], str | None, str | None]:
        namespace = RedisNamespace(redis, new_run_id())
        await namespace.create()
        name = f"{namespace.prefix}user:17"
        await _redis(redis, "SET", name, "x")
        await _another_redis_run(redis)
        kept, alive = await _keys(redis, name), await namespace.lost()
        await _redis(redis, "DEL", f"{namespace.prefix}alive")  # as if its time had run out
        slept = await namespace.lost()
        await _another_redis_run(redis)
        gone, swept = await _keys(redis, name), await namespace.lost()
        await namespace.drop()
        return [*kept, *gone, alive is None, slept is None], None, swept

    found, _none, swept = asyncio.run(work())
    assert found == [True, False, True, True]
    assert "somebody removed the keys of this run" in (swept or "")


def test_unmarked_keys_are_nobodys(redis: RedisTarget) -> None:
    """Keys that only look like a run's are somebody's own: without race's own mark they stay."""
    name = f"race:{secrets.token_hex(4)}:winner"
    marked = f"race:{secrets.token_hex(4)}:made-by-race"

    async def work() -> list[bool]:
        await _redis(redis, "MSET", name, "x", marked, "somebody else's")
        await _another_redis_run(redis)
        kept = await _keys(redis, name, marked)
        await _redis(redis, "DEL", name, marked)
        return kept

    assert asyncio.run(work()) == [True, True]


async def _another_postgres_run(target: PostgresTarget) -> None:
    namespace = PostgresNamespace(target, new_run_id())
    await namespace.create()
    await namespace.drop()


def test_schema_of_a_dead_run_is_swept(postgres: PostgresTarget) -> None:
    """A schema goes when the run that made it is gone, and stays while it lives."""

    async def work() -> list[Any]:
        namespace = PostgresNamespace(postgres, new_run_id())
        await namespace.create()
        await _another_postgres_run(postgres)
        kept, lost = await _schemas(postgres, namespace.schema), await namespace.lost()
        namespace.abandon()  # as kill -9 does
        gone = kept
        for _ in range(200):  # the server notices in its own time
            await _another_postgres_run(postgres)
            gone = await _schemas(postgres, namespace.schema)
            if gone == [False]:
                break
        return [*kept, lost, *gone]

    assert asyncio.run(work()) == [True, None, False]


def test_schema_without_a_mark_is_nobodys(postgres: PostgresTarget) -> None:
    """A schema of somebody's own stays, whatever its name."""
    schema = f"race_{new_run_id()}"

    async def work() -> list[bool]:
        await _sql(postgres, f"CREATE SCHEMA {schema}")
        await _another_postgres_run(postgres)
        kept = await _schemas(postgres, schema)
        await _sql(postgres, f"DROP SCHEMA {schema}")
        return kept

    assert asyncio.run(work()) == [True]


def test_schema_is_dropped_though_a_caller_holds_it(postgres: PostgresTarget) -> None:
    """A transaction left open by a killed caller does not keep the schema."""

    async def work() -> list[bool]:
        namespace = PostgresNamespace(postgres, new_run_id())
        await namespace.create()
        caller = await PostgresConnection.open(postgres, namespace.schema)
        await caller.script("CREATE TABLE t (k int)")
        await caller.begin("read committed")
        await caller.sql("SELECT * FROM t")
        await namespace.drop()
        await caller.close()
        return await _schemas(postgres, namespace.schema)

    assert asyncio.run(work()) == [False]


@pytest.mark.parametrize("doing", ["drop schema", "end connection"])
def test_lost_schema_is_noticed(postgres: PostgresTarget, doing: str) -> None:
    """A run whose schema or own connection went away says so."""

    async def work() -> str | None:
        namespace = PostgresNamespace(postgres, new_run_id())
        await namespace.create()
        if doing == "drop schema":
            await _sql(postgres, f"DROP SCHEMA {namespace.schema}")
        else:
            assert namespace._owner is not None
            await _sql(postgres, f"SELECT pg_terminate_backend({namespace._owner.pid})")
        lost = await namespace.lost()
        await namespace.drop()
        return lost

    expected = "somebody removed the schema" if doing == "drop schema" else "ended the connections"
    assert expected in (asyncio.run(work()) or "")


def test_runs_side_by_side(valkey: Callable[..., Any], postgres: PostgresTarget) -> None:
    """Several runs on the same servers come and go without disturbing each other."""
    url = valkey().url

    def stores() -> Stores:
        made = Stores(redis_url=url, need={"redis", "postgres"}, postgres_url="postgresql://127.0.0.1")
        made.postgres = postgres
        return made

    async def work() -> list[str | None]:
        async with stores() as first:
            assert first.redis is not None
            await _redis(first.redis, "SET", f"{first.prefix}user:17", "x")
            async with stores() as second, stores():
                inner = await second.lost()
            return [inner, await first.lost(), *map(str, await _keys(first.redis, f"{first.prefix}user:17"))]

    assert asyncio.run(work()) == [None, None, "True"]


@pytest.mark.parametrize(
    ("then", "expected"),
    [("restart", "restarted or failed over"), ("kill", "does not answer"), ("flush", "somebody removed the keys")],
)
def test_lost_redis(valkey: Callable[..., Any], then: str, expected: str) -> None:
    """What befell a server during a run is told apart, and leaving goes on."""
    server = valkey()

    async def work() -> str | None:
        async with Stores(redis_url=server.url, need={"redis"}) as stores:
            if then == "flush":
                await _redis(server.target(), "FLUSHALL")
            else:
                server.kill()
            if then == "restart":
                server.start()
            return await stores.lost()

    assert expected in (asyncio.run(work()) or "")


def test_gone_before_it_was_made(valkey: Callable[..., Any]) -> None:
    """A server that goes between a look and the first write is refused in one line."""
    server = valkey()
    namespace = RedisNamespace(server.target(), new_run_id())
    server.kill()

    async def within(doing: Awaitable[None]) -> None:
        async with asyncio.timeout(10):
            await doing

    with pytest.raises(StoreUnavailable, match="does not answer any more"):
        asyncio.run(within(namespace.create()))
    asyncio.run(within(namespace.drop()))
