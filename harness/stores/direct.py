"""A connection to Redis or Valkey for one command at a time: its reply is waited for on the spot.

Where steps are granted one by one nobody else has anything to do meanwhile, and going through the
event loop takes as long as the command itself. What takes longer than a moment is awaited there.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

import hiredis

from harness.model import CommandRefused, ConnectionLost
from harness.stores.network import why
from harness.stores.redis import RedisConnection, greet
from harness.stores.targets import RedisTarget

_PATIENCE_S = 4.0
_MOMENT_US = 5_000
_MOST_BYTES = 1 << 16


class DirectConnection:
    """One connection without TLS. Bulk strings are bytes."""

    def __init__(self, connected: socket.socket) -> None:
        """Use `connect`."""
        self._socket = connected
        self._reader = hiredis.Reader()
        self._lost: str | None = None

    async def execute(self, *command: str | float | bytes) -> Any:
        """Send a command; its reply. Raises CommandRefused, ConnectionLost. One at a time."""
        if self._lost is not None:
            raise ConnectionLost(self._lost)
        packed = hiredis.pack_command(command)  # type: ignore[arg-type] # its stub says one word
        answered = False
        try:
            reply = await self._reply(packed)
            answered = True
        except OSError as error:
            self._lost = why(error)
        except hiredis.ProtocolError:
            self._lost = "what answers there is no Redis"
        finally:
            if not answered:  # what still arrives would be taken for the next command's reply
                self._lost = self._lost or "the server closed the connection"
                self._socket.close()
        if self._lost is not None:
            raise ConnectionLost(self._lost)
        if isinstance(reply, hiredis.ReplyError):
            text = str(reply)
            raise CommandRefused(text.split(" ", 1)[0], text)
        return reply

    async def _reply(self, packed: bytes) -> Any:
        connected, reader = self._socket, self._reader
        connected.sendall(packed)
        while True:
            try:
                data = connected.recv(_MOST_BYTES)
            except BlockingIOError:  # not within a moment
                connected.setblocking(False)
                data = await asyncio.get_running_loop().sock_recv(connected, _MOST_BYTES)
                connected.setblocking(True)
            if not data:
                raise ConnectionResetError("the server closed the connection")
            reader.feed(data)
            reply = reader.gets()
            if reply is not False:  # RESP2 has no false
                return reply

    async def close(self) -> None:
        """Close at once."""
        self._lost = self._lost or "closed"
        self._socket.close()


async def connect(target: RedisTarget) -> DirectConnection | RedisConnection:
    """For one command at a time; through the event loop where there is TLS. Raises ConnectionLost, CommandRefused."""
    if target.tls:
        return await RedisConnection.open(target)
    connecting = asyncio.ensure_future(asyncio.to_thread(_connected, target))
    try:
        connection = DirectConnection(await asyncio.shield(connecting))
    except asyncio.CancelledError:  # the thread goes on, and nobody would close what it brings
        connecting.add_done_callback(lambda done: None if done.exception() else done.result().close())
        raise
    except OSError as error:
        raise ConnectionLost(why(error)) from None
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await greet(connection, target)
    except TimeoutError:
        raise ConnectionLost(f"no answer within {_PATIENCE_S:.0f} s") from None
    except BaseException:
        await connection.close()
        raise
    return connection


def _connected(target: RedisTarget) -> socket.socket:
    if target.path:
        connected = socket.socket(socket.AF_UNIX)
        connected.settimeout(_PATIENCE_S)
        try:
            connected.connect(target.path)
        except BaseException:
            connected.close()
            raise
    else:
        connected = socket.create_connection((target.host, target.port), _PATIENCE_S)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setblocking(True)
    # The kernel ends a wait: asking it first whether there is something to read would be one call more.
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, _MOMENT_US))
    return connected
