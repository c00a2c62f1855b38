"""A connection to Redis or Valkey that adds next to nothing to a command.

hiredis packs and parses; a future waits for each reply. redis-py's asynchronous client costs
more than half of a fast command's time, which would be measured as the store's.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import Any

import hiredis

from harness.model import CommandRefused, ConnectionLost
from harness.stores.targets import RedisTarget

_PATIENCE_S = 5.0


class RedisConnection(asyncio.Protocol):
    """One connection. Replies come in the order of the commands; bulk strings are bytes."""

    def __init__(self) -> None:
        """Use `open`."""
        self._reader = hiredis.Reader()
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._lost: str | None = None
        self._transport: asyncio.Transport
        self._write: Any
        self._future: Any = asyncio.get_running_loop().create_future

    @classmethod
    async def open(cls, target: RedisTarget) -> RedisConnection:
        """Connect, authenticate, choose the database. Raises ConnectionLost, CommandRefused."""
        loop = asyncio.get_running_loop()
        connecting: Any
        if target.path:
            connecting = loop.create_unix_connection(cls, target.path)
        else:
            secure = ssl.create_default_context() if target.tls else None
            connecting = loop.create_connection(cls, target.host, target.port, ssl=secure)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                _transport, connection = await connecting
                if target.password:
                    await connection.execute("AUTH", *filter(None, (target.user, target.password)))
                if target.database:
                    await connection.execute("SELECT", target.database)
        except TimeoutError:
            raise ConnectionLost("no answer within 5 s") from None
        except OSError as error:
            raise ConnectionLost(error.strerror or str(error)) from None
        opened: RedisConnection = connection
        return opened

    def execute(self, *command: str | float | bytes) -> asyncio.Future[Any]:
        """Send a command; the future gives its reply, or raises CommandRefused or ConnectionLost."""
        future: asyncio.Future[Any] = self._future()
        if self._lost is not None:
            future.set_exception(ConnectionLost(self._lost))
            return future
        self._waiting.append(future)
        self._write(hiredis.pack_command(command))
        return future

    async def close(self) -> None:
        """Close at once."""
        self._lost = self._lost or "closed"
        self._transport.close()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]
        self._write = self._transport.write

    def data_received(self, data: bytes) -> None:
        """Called by the event loop: hand each whole reply to who waits for it."""
        reader = self._reader
        reader.feed(data)
        waiting = self._waiting
        while waiting:
            reply = reader.gets()
            if reply is False:  # not whole yet; RESP2 has no false
                return
            future = waiting.popleft()
            if future.done():
                continue
            if isinstance(reply, hiredis.ReplyError):
                text = str(reply)
                future.set_exception(CommandRefused(text.split(" ", 1)[0], text))
            else:
                future.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop: nobody will be answered any more."""
        self._lost = self._lost or (str(exc) if exc else "the server closed the connection")
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(ConnectionLost(self._lost))
                future.exception()  # whoever was cancelled will not look
