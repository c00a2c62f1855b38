"""Logins of callers and libraries of functions belong to a whole server: they go with their run, or are swept."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from harness.model import CommandRefused, StatementRefused, StoreUnavailable
from harness.stores import PostgresConnection, RedisConnection, functions
from harness.stores.namespace import PostgresNamespace, RedisNamespace, new_run_id
from harness.strategy import OWN

if TYPE_CHECKING:
    from harness.stores import PostgresTarget, RedisTarget


WRITES = "return redis.call('SET', KEYS[1], 'x')"


async def redis_answer(connection: RedisConnection, *words: Any) -> Any:
    """The answer to a command, or the code of its refusal."""
    try:
        return await connection.execute(*words)
    except CommandRefused as refused:
        return refused.code


async def sql_answer(connection: PostgresConnection, statement: str) -> Any:
    """The rows of a statement, or the code of its refusal."""
    try:
        return (await connection.sql(statement)).rows
    except StatementRefused as refused:
        return refused.code


async def redis_left(target: RedisTarget, namespace: RedisNamespace) -> tuple[list[bytes], list[bytes]]:
    """Users and libraries of a run; others may be at work on the same server."""
    connection = await RedisConnection.open(target)
    users = [name for name in await connection.execute("ACL", "USERS") if name.startswith(namespace.prefix.encode())]
    begins = functions.library_prefix(namespace.prefix, target.database)
    found = await connection.execute("FUNCTION", "LIST", "LIBRARYNAME", f"{begins}*")
    libraries = [library[library.index(b"library_name") + 1] for library in found]
    await connection.close()
    return users, libraries


async def roles_left(target: PostgresTarget, namespace: PostgresNamespace) -> list[str]:
    """Roles of a run."""
    connection = await PostgresConnection.open(target)
    found = await connection.sql("SELECT rolname::text FROM pg_roles WHERE starts_with(rolname, $1)", namespace.schema)
    await connection.close()
    return [row[0] for row in found.rows]


async def used_redis(target: RedisTarget) -> tuple[RedisNamespace, list[Any]]:
    """A namespace with a login and a function; what the login may do."""
    namespace = RedisNamespace(target, new_run_id())
    await namespace.create()
    caller = await RedisConnection.open(await namespace.admit())
    owner = await RedisConnection.open(target)
    begins = functions.library_prefix(namespace.prefix, target.database)
    name, code = functions.library_of(WRITES, begins)
    await functions.load(owner, code)
    key, own = f"{namespace.prefix}user", f"{namespace.prefix}{OWN}queue"
    answers = [
        await redis_answer(owner, "FCALL", name, 1, key),
        await redis_answer(caller, "GET", key),
        await redis_answer(caller, "SET", key, "y"),
        await redis_answer(caller, "EVAL", "return redis.pcall('SET', KEYS[1], 'y')", 1, key),
        await redis_answer(caller, "FCALL", name, 1, key),
        await redis_answer(caller, "GET", "somebody:else"),
        await redis_answer(owner, "GET", key),
        await redis_answer(caller, "RPUSH", own, "y"),
        await redis_answer(caller, "COPY", own, key, "REPLACE"),
        await redis_answer(caller, "EVAL", "return redis.call('SET', KEYS[2], 'y')", 2, own, key),
        await redis_answer(caller, "EVAL", f"return redis.call('SET', '{key}', 'y')", 1, own),
        await redis_answer(caller, "RENAME", own, key),
        await redis_answer(owner, "GET", key),
    ]
    await caller.close()
    await owner.close()
    return namespace, answers


def test_callers_of_redis_may_read_and_nothing_else(redis: RedisTarget) -> None:
    """A script or a function runs with the rights of who calls it. The end of the run leaves nothing.

    What is a strategy's own they may write, a queue, but not by way of it anything else.
    """

    async def work() -> tuple[list[Any], Any]:
        namespace, answers = await used_redis(redis)
        await namespace.drop()
        return answers, await redis_left(redis, namespace)

    answers, left = asyncio.run(work())
    assert ["NOPERM" if answer == "ERR" else answer for answer in answers] == [
        b"OK",
        b"x",
        "NOPERM",
        "NOPERM",
        "NOPERM",
        "NOPERM",
        b"x",
        1,
        "NOPERM",
        "NOPERM",
        "NOPERM",
        "NOPERM",
        b"x",
    ]
    assert left == ([], [])


def test_what_a_killed_run_left_in_redis_is_swept(redis: RedisTarget) -> None:
    """Once it lives no longer; one that lives keeps its own."""

    async def work() -> list[int]:
        namespace, _answers = await used_redis(redis)
        namespace.abandon()
        counts = []
        for dead in (False, True):
            if dead:
                connection = await RedisConnection.open(redis)
                await connection.execute("DEL", f"{namespace.prefix}alive")
                await connection.close()
            other = RedisNamespace(redis, new_run_id())
            await other.create()
            await other.drop()
            counts += map(len, await redis_left(redis, namespace))
        return counts

    assert asyncio.run(work()) == [1, 1, 0, 0]


async def used_postgres(target: PostgresTarget) -> tuple[PostgresNamespace, list[Any]]:
    """A namespace with a login, a table and a function; what the login may do."""
    namespace = PostgresNamespace(target, new_run_id())
    await namespace.create()
    login = await namespace.admit()
    owner = await PostgresConnection.open(target, namespace.schema)
    await owner.script("CREATE TABLE t (n int); INSERT INTO t VALUES (1)")
    for name, rights in (("plain", ""), ("guarding", "SECURITY DEFINER SET search_path FROM CURRENT")):
        await owner.script(f"CREATE FUNCTION {name}() RETURNS void LANGUAGE sql {rights} AS 'UPDATE t SET n = n + 1'")
    caller = await PostgresConnection.open(login, namespace.schema)
    answers = [
        await sql_answer(caller, statement)
        for statement in (
            "SELECT n FROM t", "UPDATE t SET n = 7", "DELETE FROM t", "SELECT n FROM t FOR UPDATE", "SELECT plain()",
            "CREATE TABLE own (n int)", "SELECT guarding()", "SELECT n FROM t",
        )
    ]  # fmt: skip
    await caller.close()
    await owner.close()
    return namespace, answers


def test_callers_of_postgres_may_read_and_call(postgres: PostgresTarget) -> None:
    """A function with the rights of its maker is the one way to write. The end of the run leaves no role."""

    async def work() -> tuple[list[Any], list[str]]:
        namespace, answers = await used_postgres(postgres)
        await namespace.drop()
        return answers, await roles_left(postgres, namespace)

    answers, left = asyncio.run(work())
    assert [((1,),), *["42501"] * 5, ((None,),), ((2,),)] == answers
    assert left == []


def test_what_a_killed_run_left_in_postgres_is_swept(postgres: PostgresTarget) -> None:
    """Once nobody holds its lock; one that lives keeps its role."""

    async def work() -> list[int]:
        namespace, _answers = await used_postgres(postgres)
        counts = []
        for dead in (False, True):
            if dead:
                namespace.abandon()
                await asyncio.sleep(0.2)  # until the server has seen it
            other = PostgresNamespace(postgres, new_run_id())
            await other.create()
            await other.drop()
            counts.append(len(await roles_left(postgres, namespace)))
        return counts

    assert asyncio.run(work()) == [1, 0]


def test_a_server_that_gives_no_logins_says_so(redis: RedisTarget, postgres: PostgresTarget) -> None:
    """One line, with what to do."""

    async def work() -> list[str]:
        first, second = RedisNamespace(redis, new_run_id()), PostgresNamespace(postgres, new_run_id())
        await first.create()
        await second.create()
        lines = []
        for poor in (
            RedisNamespace(await first.admit(), first.prefix[5:13]),
            PostgresNamespace(dataclasses.replace(await second.admit()), second.schema[5:]),
        ):
            if isinstance(poor, PostgresNamespace):
                poor._owner = await PostgresConnection.open(poor._target)
            with pytest.raises(StoreUnavailable) as refused:
                await poor.admit()
            lines.append(str(refused.value))
            poor.abandon()
        await first.drop()
        await second.drop()
        return lines

    of_redis, of_postgres = asyncio.run(work())
    assert "no login for callers can be made (NOPERM" in of_redis
    assert of_redis.endswith("grant +acl, or use the embedded server")
    assert "no login for callers can be made (permission denied to create role" in of_postgres
    assert "CREATEROLE, or use the embedded server" in of_postgres
