"""HTTP/1.1: one request at a time on a connection, with its end held back.

What is held back is the last byte of the whole request, after which the service may begin; or, for a service that
begins as soon as it has the head, everything from the head's last byte on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import h11

from harness.http.calls import Answer, Call
from harness.http.wire import Wire
from harness.model import ConnectionLost

MOST_BODY = 1 << 20
"""Bytes of an answer that are read at most."""


def cookies_of(headers: Iterable[tuple[bytes | str, bytes | str]]) -> tuple[str, ...]:
    """The Set-Cookie headers: of all headers the one that must not be joined."""
    told = ((part if isinstance(part, bytes) else part.encode("latin-1") for part in pair) for pair in headers)
    return tuple(value.decode("latin-1") for name, value in told if name.lower() == b"set-cookie")


class HttpOne:
    """A connection that speaks HTTP/1.1."""

    def __init__(self, wire: Wire) -> None:
        """The wire is open."""
        self.wire = wire
        self._protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_BODY)

    @property
    def usable(self) -> bool:
        """Whether another request can be sent."""
        return not self.wire.gone() and self._protocol.our_state is h11.IDLE

    async def hold(self, call: Call, *, head: bool) -> object:
        """Send all of a request but its end; `end` gives that. `head`: nothing from the head's last byte on."""
        headers = [("host", self.wire.place.authority), *call.headers]
        if call.body or call.method in {"POST", "PUT", "PATCH"}:
            headers.append(("content-length", str(len(call.body))))
        send = self._protocol.send
        try:
            first = (
                send(h11.Request(method=call.method, target=self.wire.place.base + call.path, headers=headers)) or b""
            )
            rest = (send(h11.Data(data=call.body)) or b"") if call.body else b""
            rest += send(h11.EndOfMessage()) or b""
        except h11.LocalProtocolError:  # its text repeats headers, and so secrets
            raise ConnectionLost("what is to be sent is no HTTP request") from None
        whole = first + rest
        place = len(first) - 1 if head else len(whole) - 1
        await self.wire.send(self.wire.sealed(whole[:place]))
        self._held = whole[place:]
        return self

    def end(self, _held: Any) -> bytes:
        """The sealed end of the request that is held."""
        held, self._held = self._held, b""
        return self.wire.sealed(held)

    async def answer(self, _held: Any) -> Answer:
        """The whole answer. Raises ConnectionLost."""
        status, headers, body = 0, {}, bytearray()
        cookies: tuple[str, ...] = ()
        while not isinstance(event := await self._event(), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                status = event.status_code
                headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
                cookies = cookies_of(event.headers)
            elif isinstance(event, h11.Data):
                body += event.data
            if isinstance(event, h11.ConnectionClosed) or len(body) > MOST_BODY:
                raise self._lost("the answer is longer than 1 MiB" if body else "it was closed without an answer")
        if self._protocol.our_state is h11.DONE and self._protocol.their_state is h11.DONE:
            self._protocol.start_next_cycle()
        else:
            self.wire.close()
        return Answer(status, headers, bytes(body), cookies)

    async def _event(self) -> Any:
        """What the service says next."""
        data = b"anything"
        while True:
            try:
                event = self._protocol.next_event()
            except h11.RemoteProtocolError:
                says = "the answer is no HTTP" if data else "it was closed in the middle of an answer"
                raise self._lost(says) from None
            if event is not h11.NEED_DATA:
                return event
            data = await self.wire.receive()
            if not data and self._protocol.their_state is h11.SEND_RESPONSE:
                raise self._lost("it was closed without an answer")
            self._protocol.receive_data(data)

    def _lost(self, why: str) -> ConnectionLost:
        self.wire.close()
        return ConnectionLost(why)

    async def close(self) -> None:
        """Hang up."""
        self.wire.close()
