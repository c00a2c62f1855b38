"""A caller's way to a service: a connection that is opened when it is needed, in the version that both speak."""

from __future__ import annotations

import ssl
from typing import Any

from harness.http.calls import Answer, Call
from harness.http.one import HttpOne
from harness.http.place import Place
from harness.http.two import HttpTwo
from harness.http.wire import Wire

Connection = HttpOne | HttpTwo


class Held:
    """A request that is sent but for its end."""

    def __init__(self, connection: Connection, inner: Any) -> None:
        """Of this connection."""
        self.connection = connection
        self._inner = inner
        self.sent_ns = 0

    def end(self) -> None:
        """Complete this one alone, at once."""
        release(prepared([self]))

    async def answer(self) -> Answer:
        """The whole answer, once it was completed. Raises ConnectionLost."""
        return await self.connection.answer(self._inner)

    @property
    def inner(self) -> Any:
        """As its connection has it."""
        return self._inner


Part = tuple[Connection, bytes, list[Held]]


def prepared(held: list[Held]) -> list[Part]:
    """The sealed ends of requests, those on one connection together: for HTTP/2 that is one packet."""
    parts: list[Part] = []
    shared: dict[HttpTwo, list[Held]] = {}
    for one in held:
        if isinstance(one.connection, HttpTwo):
            shared.setdefault(one.connection, []).append(one)
        else:
            parts.append((one.connection, one.connection.end(one.inner), [one]))
    parts += [(connection, connection.end([one.inner for one in ones]), ones) for connection, ones in shared.items()]
    return parts


def release(parts: list[Part]) -> None:
    """Send the prepared ends, one connection right after the other."""
    for connection, sealed, ones in parts:
        at = connection.wire.send_now(sealed)
        for one in ones:
            one.sent_ns = at


class Line:
    """The connection of one caller, or of all callers of a process where it speaks HTTP/2."""

    def __init__(self, place: Place, context: ssl.SSLContext | None, shared: dict[str, HttpTwo]) -> None:
        """`shared` holds the process's HTTP/2 connection, once there is one."""
        self.place = place
        self._context = context
        self._shared = shared
        self._own: HttpOne | None = None

    async def connection(self) -> Connection:
        """One that can be used. Raises ConnectionLost where the service takes none."""
        two = self._shared.get("h2")
        if two is not None and two.usable:
            return two
        if self._own is not None and self._own.usable:
            return self._own
        await self.drop()
        wire = await Wire(self.place, self._context).open()
        if wire.protocol == "h2":
            opened = self._shared["h2"] = await HttpTwo(wire).open()
            return opened
        self._own = HttpOne(wire)
        return self._own

    async def hold(self, call: Call, *, head: bool = False) -> Held:
        """Send a request but for its end. Raises ConnectionLost."""
        connection = await self.connection()
        return Held(connection, await connection.hold(call, head=head))

    async def ask(self, call: Call) -> Answer:
        """Send a request and wait for its answer. Raises ConnectionLost."""
        held = await self.hold(call)
        held.end()
        return await held.answer()

    async def drop(self) -> None:
        """Hang up what is the caller's own, and the shared one where it can no longer be used."""
        if self._own is not None:
            await self._own.close()
            self._own = None
        two = self._shared.get("h2")
        if two is not None and not two.usable:
            del self._shared["h2"]
            await two.close()
