"""A connection to PostgreSQL: asyncpg, with the isolation level always named and errors as ours."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg

from harness.model import ConnectionLost, StatementRefused
from harness.stores.network import why
from harness.stores.targets import PostgresTarget
from harness.strategy import Isolation, Rows

_BEGIN = {
    "read committed": "BEGIN ISOLATION LEVEL READ COMMITTED",
    "repeatable read": "BEGIN ISOLATION LEVEL REPEATABLE READ",
    "serializable": "BEGIN ISOLATION LEVEL SERIALIZABLE",
}
_PATIENCE_S = 4.0
_GONE = ("08", "57P")
"""SQLSTATE classes that tell of a lost connection or a server going down."""
_MOST_PREPARED = 500


@contextmanager
def _faults(connection: asyncpg.Connection[Any] | None = None) -> Iterator[None]:
    """Turn asyncpg's errors into ours; messages of the server hold no password."""
    try:
        yield
    except asyncpg.PostgresError as error:
        code = error.sqlstate or "XX000"
        says = " ".join(str(error).splitlines())  # DETAIL and HINT are lines of their own
        if code.startswith(_GONE):
            raise ConnectionLost(says) from None
        raise StatementRefused(code, says) from None
    except asyncpg.InterfaceError as error:
        # On a sound connection it is a misuse, such as an argument of the wrong type: a script's mistake.
        if connection is not None and not connection.is_closed():
            raise
        raise ConnectionLost(str(error)) from None
    except asyncpg.InternalClientError as error:
        raise ConnectionLost(str(error)) from None
    except OSError as error:
        raise ConnectionLost(why(error)) from None


class PostgresConnection:
    """One connection; each statement is prepared once."""

    def __init__(self, connection: asyncpg.Connection[Any], target: PostgresTarget, schema: str) -> None:
        """Use `open`."""
        self._connection = connection
        self._target, self._schema = target, schema
        self._prepared: dict[str, Any] = {}

    @classmethod
    async def open(cls, target: PostgresTarget, schema: str = "", *, reads: bool = False) -> PostgresConnection:
        """Connect; unqualified tables then lie in `schema`. Raises ConnectionLost, StatementRefused.

        `reads`: the server refuses there whatever writes, or locks rows (25006).
        """
        settings = {"application_name": schema or "race", "default_transaction_isolation": "read committed"}
        if schema:
            settings["search_path"] = schema
        if reads:
            settings["default_transaction_read_only"] = "on"
        # Whatever is given apart from the dsn goes before what the dsn says.
        secure = "sslmode=disable" if target.host.startswith("/") else target.tls
        try:
            # asyncpg's own limit does not end a handshake that a stopped server leaves open.
            async with asyncio.timeout(_PATIENCE_S):
                with _faults():
                    connection = await asyncpg.connect(
                        f"postgresql://?{secure}", host=target.host, port=target.port, database=target.database,
                        user=target.user, password=target.password or None, server_settings=settings,
                        timeout=_PATIENCE_S,
                    )  # fmt: skip
        except TimeoutError:
            raise ConnectionLost(f"no answer within {_PATIENCE_S:.0f} s") from None
        return cls(connection, target, schema)

    async def beside(self) -> PostgresConnection:
        """Another one to the same place, with the same login, to read from. Raises ConnectionLost, StatementRefused."""
        return await self.open(self._target, self._schema, reads=True)

    @property
    def pid(self) -> int:
        """The server process behind this connection."""
        return int(self._connection.get_server_pid())

    @property
    def closed(self) -> bool:
        """Whether the connection is known to be gone."""
        return bool(self._connection.is_closed())

    async def begin(self, isolation: Isolation) -> None:
        """BEGIN at this level."""
        with _faults(self._connection):
            await self._connection.execute(_BEGIN[isolation])

    async def commit(self) -> None:
        """COMMIT. Raises StatementRefused where the server rolled back instead."""
        with _faults(self._connection):
            answer = await self._connection.execute("COMMIT")
        if answer != "COMMIT":
            raise StatementRefused("25P02", "the transaction was rolled back")

    async def rollback(self) -> None:
        """ROLLBACK."""
        with _faults(self._connection):
            await self._connection.execute("ROLLBACK")

    async def sql(self, statement: str, *args: Any) -> Rows:
        """Run one statement; its rows, and how many rows it touched."""
        with _faults(self._connection):
            prepared = self._prepared.get(statement)
            if prepared is None:
                if len(self._prepared) >= _MOST_PREPARED:  # statements with values written into them
                    self._prepared.clear()
                prepared = self._prepared[statement] = await self._connection.prepare(statement)
            found = await prepared.fetch(*args)
            tag = prepared.get_statusmsg().rsplit(" ", 1)[-1]
        return Rows(tuple(map(tuple, found)), int(tag) if tag.isdigit() else 0)

    async def script(self, statements: str) -> None:
        """Run several statements without arguments, in one transaction: schema changes."""
        with _faults(self._connection):
            await self._connection.execute(statements)

    def abort(self) -> None:
        """Close at once, without a word."""
        self._connection.terminate()

    async def close(self) -> None:
        """Close; at once where the server does not answer."""
        try:
            await asyncio.wait_for(self._connection.close(), 1.0)
        except Exception:
            self._connection.terminate()
