"""Connections to PostgreSQL."""

from __future__ import annotations

import asyncio
from typing import Any, get_args

import asyncpg
import pytest

from harness.model import ConnectionLost, StatementRefused
from harness.stores import PostgresConnection, PostgresTarget
from harness.strategy import Isolation, Rows


def test_rows_and_counts(postgres: PostgresTarget) -> None:
    """Rows are tuples; the count is of rows touched."""

    async def ask() -> list[Rows]:
        connection = await PostgresConnection.open(postgres)
        await connection.script("CREATE TEMP TABLE t (k text, n int); INSERT INTO t VALUES ('a', 1), ('b', NULL)")
        answers = [
            await connection.sql("SELECT * FROM t ORDER BY k"),
            await connection.sql("UPDATE t SET n = $1", 7),
            await connection.sql("UPDATE t SET n = 8 WHERE k = $1 RETURNING n", "a"),
            await connection.sql("DELETE FROM t WHERE n = 9"),
        ]
        await connection.close()
        return answers

    expected = [Rows((("a", 1), ("b", None)), 2), Rows((), 2), Rows(((8,),), 1), Rows((), 0)]
    assert expected == asyncio.run(ask())


@pytest.mark.parametrize("isolation", get_args(Isolation))
def test_isolation_level_is_set(postgres: PostgresTarget, isolation: Isolation) -> None:
    """A transaction runs at the level named, though the session's default is another."""

    async def ask() -> Any:
        connection = await PostgresConnection.open(postgres)
        default = "serializable" if isolation == "read committed" else "read committed"
        await connection.script(f"SET default_transaction_isolation = '{default}'")
        await connection.begin(isolation)
        found = await connection.sql("SHOW transaction_isolation")
        await connection.commit()
        await connection.close()
        return found.rows[0][0]

    assert isolation == asyncio.run(ask())


def test_autocommit_is_read_committed(postgres: PostgresTarget) -> None:
    """A statement of its own is not at the server's default level."""

    async def ask() -> Any:
        connection = await PostgresConnection.open(postgres)
        found = await connection.sql("SHOW transaction_isolation")
        await connection.close()
        return found.rows[0][0]

    assert asyncio.run(ask()) == "read committed"


def test_commit_of_a_failed_transaction(postgres: PostgresTarget) -> None:
    """COMMIT that rolled back is no success."""

    async def ask() -> list[str]:
        connection = await PostgresConnection.open(postgres)
        codes = []
        await connection.begin("read committed")
        for doing in (connection.sql("SELECT 1 / 0"), connection.sql("SELECT 1"), connection.commit()):
            try:
                await doing
            except StatementRefused as refused:
                codes.append(refused.code)
        await connection.close()
        return codes

    assert asyncio.run(ask()) == ["22012", "25P02", "25P02"]


def test_dropped_connection(postgres: PostgresTarget) -> None:
    """A statement under way when its server process ends, and any later one, raise ConnectionLost."""

    async def ask() -> list[type[BaseException]]:
        connection, other = await PostgresConnection.open(postgres), await PostgresConnection.open(postgres)
        sleeping = asyncio.create_task(connection.sql("SELECT pg_sleep(60)"))
        await asyncio.sleep(0)
        await other.sql("SELECT pg_terminate_backend($1)", connection.pid)
        outcomes = await asyncio.gather(sleeping, return_exceptions=True)
        outcomes += await asyncio.gather(connection.begin("serializable"), return_exceptions=True)
        await connection.close()
        await other.close()
        return [type(outcome) for outcome in outcomes]

    assert [ConnectionLost, ConnectionLost] == asyncio.run(ask())


def test_a_refusal_is_one_line(postgres: PostgresTarget) -> None:
    """With the server's hint in it, which is a line of its own there."""

    async def work() -> str:
        connection = await PostgresConnection.open(postgres)
        try:
            await connection.sql("SELECT no_such_function(1)")
        except StatementRefused as refused:
            return str(refused)
        finally:
            await connection.close()
        return ""

    told = asyncio.run(work())
    assert ("HINT" in told, told.splitlines()) == (True, [told])


def test_misuse_is_no_lost_connection(postgres: PostgresTarget) -> None:
    """A script that forgets an argument is told so, not that the store is gone."""

    async def ask() -> None:
        connection = await PostgresConnection.open(postgres)
        try:
            await connection.sql("SELECT $1::int")
        finally:
            await connection.close()

    with pytest.raises(asyncpg.InterfaceError, match="expects 1 argument"):
        asyncio.run(ask())


def test_many_statements(postgres: PostgresTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statements with values written into them do not pile up."""
    monkeypatch.setattr("harness.stores.postgres._MOST_PREPARED", 3)

    async def ask() -> list[Any]:
        connection = await PostgresConnection.open(postgres)
        found = [(await connection.sql(f"SELECT {number}")).rows[0][0] for number in range(8)]
        kept = len(connection._prepared)
        await connection.close()
        return [found, kept <= 3]

    assert [list(range(8)), True] == asyncio.run(ask())
