"""A connection to Redis or Valkey that adds next to nothing to a command.

hiredis packs and parses; a future waits for each reply. redis-py's asynchronous client costs
more than half of a fast command's time, which would be measured as the store's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections import deque
from collections.abc import Awaitable
from typing import Any, Protocol

import hiredis

from harness.model import CommandRefused, ConnectionLost
from harness.stores.network import why
from harness.stores.targets import RedisTarget

_PATIENCE_S = 4.0


class Commands(Protocol):
    """Whatever sends commands."""

    def execute(self, *command: str | float | bytes) -> Awaitable[Any]:
        """Send one; its reply."""
        ...


class RedisConnection(asyncio.Protocol):
    """One connection. Replies come in the order of the commands; bulk strings are bytes."""

    database: int = 0
    """Which one it chose."""
    target: RedisTarget
    """Where it leads."""

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
        connection: RedisConnection | None = None
        whole = False
        try:
            async with asyncio.timeout(_PATIENCE_S):
                if target.path:
                    _transport, connection = await loop.create_unix_connection(cls, target.path)
                else:
                    _transport, connection = await loop.create_connection(
                        cls, target.host, target.port, ssl=_secure(target) if target.tls else None
                    )
                await greet(connection, target)
            connection.database, connection.target = target.database, target
            whole = True
        except TimeoutError:
            raise ConnectionLost(f"no answer within {_PATIENCE_S:.0f} s") from None
        except OSError as error:
            raise ConnectionLost(why(error)) from None
        finally:
            if connection is not None and not whole:
                await connection.close()
        return connection

    def execute(self, *command: str | float | bytes) -> asyncio.Future[Any]:
        """Send a command; the future gives its reply, or raises CommandRefused or ConnectionLost."""
        return self.send(command)

    def send(self, command: tuple[str | float | bytes, ...]) -> asyncio.Future[Any]:
        """The same for who has the words in a tuple already."""
        future: asyncio.Future[Any] = self._future()
        if self._lost is not None:
            future.set_exception(ConnectionLost(self._lost))
            return future
        packed = hiredis.pack_command(command)  # type: ignore[arg-type] # its stub says one word
        self._waiting.append(future)  # only now: what cannot be packed raises, and nobody answers it
        self._write(packed)
        return future

    async def close(self) -> None:
        """Close at once."""
        self._lost = self._lost or "closed"
        self._transport.abort()

    def lend(self) -> socket.socket | None:
        """Its socket, for who reads and writes it himself until `take_back`. None: TLS, or something is under way."""
        if self._lost is not None or self._waiting or self._transport.get_extra_info("ssl_object") is not None:
            return None
        end = self._transport.get_extra_info("socket")
        if end is None:
            return None
        self._transport.pause_reading()
        return socket.socket(fileno=os.dup(end.fileno()))

    def take_back(self, lost: str | None) -> None:
        """Look at the socket again; `lost` says why it can no longer be used."""
        if lost is not None:
            self._lost = self._lost or lost
            self._transport.abort()
        else:
            with contextlib.suppress(RuntimeError):  # closed meanwhile, and about to say so
                self._transport.resume_reading()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = transport  # type: ignore[assignment] # uvloop's is of no class of asyncio's
        self._write = self._transport.write

    def data_received(self, data: bytes) -> None:
        """Called by the event loop: hand each whole reply to who waits for it."""
        reader = self._reader
        reader.feed(data)
        waiting = self._waiting
        try:
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
        except hiredis.ProtocolError:
            self._lost = "what answers there is no Redis"
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop: nobody will be answered any more."""
        if self._lost is None:
            self._lost = self._last_words() or (why(exc) if exc else "the server closed the connection")
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(ConnectionLost(self._lost))
                future.exception()  # whoever was cancelled will not look

    def _last_words(self) -> str | None:
        """What a server without room says before it hangs up, though it was not asked anything."""
        try:
            reply = self._reader.gets()
        except hiredis.ProtocolError:
            return None
        return str(reply) if isinstance(reply, hiredis.ReplyError) else None


async def greet(connection: Commands, target: RedisTarget) -> None:
    """Authenticate, choose the database, and see that the server answers. Raises ConnectionLost, CommandRefused."""
    if target.password:
        await connection.execute("AUTH", *filter(None, (target.user, target.password)))
    if target.database:
        await connection.execute("SELECT", target.database)
    # The kernel connects to a server that is stopped or out of connections, too.
    await connection.execute("PING")


def _secure(target: RedisTarget) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=target.tls_roots or None)
    if target.tls_certificate:
        context.load_cert_chain(target.tls_certificate, target.tls_key or None)
    if not target.tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
