"""A caller's way to a service: a connection that is opened when it is needed, in the version that both speak."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from harness.http.calls import Answer, Call
from harness.http.one import HttpOne
from harness.http.place import Place
from harness.http.two import HttpTwo
from harness.http.wire import Wire
from harness.model import ConnectionLost

Connection = HttpOne | HttpTwo


class Held:
    """A request that is sent but for its end."""

    def __init__(self, connection: Connection, inner: Any, anew: Callable[[], Awaitable[Held]] | None = None) -> None:
        """Of this connection. `anew` sends it over another one, where this one may be closed for having been idle."""
        self.connection = connection
        self._inner = inner
        self._anew = anew
        self._renewed: asyncio.Event | None = None
        self.sent_ns = 0

    def end(self) -> None:
        """Complete this one alone, at once."""
        release(prepared([self]))

    async def answer(self) -> Answer:
        """The whole answer, once it was completed. Raises ConnectionLost.

        A service may hang up on an idle connection just as a request begins: what had no end had no effect.
        """
        try:
            return await self.connection.answer(self._inner)
        except ConnectionLost:
            if self.sent_ns or self._anew is None:
                raise
        self._renewed, anew, self._anew = asyncio.Event(), self._anew, None
        try:
            held = await anew()
            self.connection, self._inner = held.connection, held.inner
        finally:
            self._renewed.set()
        return await self.connection.answer(self._inner)

    async def renewed(self) -> bool:
        """Whether it had to be sent anew; waits until it was."""
        if self._renewed is None:
            return False
        await self._renewed.wait()
        return True

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


class Shared:
    """The HTTP/2 connection of a process, which all its callers use, once there is one."""

    def __init__(self) -> None:
        """None yet."""
        self.two: HttpTwo | None = None
        self.opening = asyncio.Lock()

    async def close(self) -> None:
        """Hang up."""
        if self.two is not None:
            two, self.two = self.two, None
            await two.close()


class Line:
    """The connection of one caller, or of all callers of a process where it speaks HTTP/2."""

    def __init__(self, place: Place, context: ssl.SSLContext | None, shared: Shared) -> None:
        """`shared` is the process's."""
        self.place = place
        self._context = context
        self._shared = shared
        self._own: HttpOne | None = None

    def _at_hand(self) -> Connection | None:
        """One that is open."""
        two = self._shared.two
        if two is not None and two.usable:
            return two
        return self._own if self._own is not None and self._own.usable else None

    async def connection(self) -> Connection:
        """One that can be used. Raises ConnectionLost where the service takes none."""
        if (open_already := self._at_hand()) is not None:
            return open_already
        if not self.place.may_be_two:
            return await self._open()
        async with self._shared.opening:  # callers who come together share one, or a burst would not be one packet
            return self._at_hand() or await self._open()

    async def _open(self) -> Connection:
        await self.drop()
        wire = await Wire(self.place, self._context).open()
        if wire.protocol == "h2":
            self._shared.two = await HttpTwo(wire).open()
            return self._shared.two
        self._own = HttpOne(wire)
        return self._own

    async def hold(self, call: Call, *, head: bool = False) -> Held:
        """Send a request but for its end. Raises ConnectionLost."""
        idle = self._at_hand()
        connection = await self.connection()
        anew = (lambda: self.hold(call, head=head)) if connection is idle and not head else None
        try:
            inner = await connection.hold(call, head=head)
        except ConnectionLost:
            if anew is None or connection.usable:  # over another one it would be no better
                raise
            return await anew()
        return Held(connection, inner, anew)

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
        if self._shared.two is not None and not self._shared.two.usable:
            await self._shared.close()
