"""HTTP/2: all requests of a burst on one connection, completed by frames that leave in one packet.

Of a request with a body everything but its last byte is sent before; of one without, nothing: some services begin as
soon as they have the headers. (J. Kettle, "Smashing the state machine", 2023, section "Single-packet attack".)
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

from harness.http.calls import Answer, Call
from harness.http.one import MOST_BODY, cookies_of
from harness.http.wire import Wire
from harness.model import ConnectionLost

_OWN = frozenset({"host", "connection", "transfer-encoding", "keep-alive", "upgrade"})
"""Headers that HTTP/2 has other ways for."""


@dataclass(eq=False)
class _Stream:
    call: Call
    whole: bool
    """Whether nothing of it was sent yet."""
    number: int = 0
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    cookies: tuple[str, ...] = ()
    body: bytearray = field(default_factory=bytearray)
    done: asyncio.Future[Answer] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class HttpTwo:
    """A connection that speaks HTTP/2; many requests at a time."""

    def __init__(self, wire: Wire) -> None:
        """The wire is open; call `open` before use."""
        self.wire = wire
        self._protocol = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding="latin-1")
        )
        self._streams: dict[int, _Stream] = {}
        self._reading: asyncio.Task[None]
        self._left = False

    async def open(self) -> HttpTwo:
        """Say hello; answers are read from now on."""
        self._protocol.initiate_connection()
        await self._flush()
        self._reading = asyncio.create_task(self._read())
        return self

    @property
    def usable(self) -> bool:
        """Whether another request can be sent."""
        return not (self.wire.closed or self._left or self._reading.done())

    async def hold(self, call: Call, *, head: bool) -> _Stream:
        """Send all of a request but its end, as far as that is safe. Raises ConnectionLost."""
        stream = _Stream(call, whole=head or not call.body)
        if not stream.whole:
            self._begin(stream)
            self._data(stream, call.body[:-1], end=False)
            await self._flush()
        return stream

    def end(self, held: list[_Stream]) -> bytes:
        """The sealed frames that complete all these requests."""
        for stream in held:
            if stream.whole:
                self._begin(stream)
            self._data(stream, stream.call.body if stream.whole else stream.call.body[-1:], end=True)
        return self.wire.sealed(self._protocol.data_to_send())

    def _begin(self, stream: _Stream) -> None:
        place, call = self.wire.place, stream.call
        headers = [
            (":method", call.method),
            (":authority", place.authority),
            (":scheme", "https" if place.tls else "http"),
            (":path", place.base + call.path),
            *((name, value) for name, value in call.headers if name not in _OWN),
        ]
        if call.body:
            headers.append(("content-length", str(len(call.body))))
        try:
            stream.number = self._protocol.get_next_available_stream_id()
            self._protocol.send_headers(stream.number, headers, end_stream=not call.body)
        except (h2.exceptions.ProtocolError, UnicodeError):  # its text may repeat headers, and so secrets
            raise ConnectionLost("what is to be sent is no HTTP/2") from None
        self._streams[stream.number] = stream

    def _data(self, stream: _Stream, data: bytes, *, end: bool) -> None:
        if not stream.call.body:
            return
        try:
            size = self._protocol.max_outbound_frame_size
            parts = [data[at : at + size] for at in range(0, len(data), size)] or [b""]
            for part in parts:
                self._protocol.send_data(stream.number, part, end_stream=end and part is parts[-1])
        except h2.exceptions.ProtocolError:
            raise ConnectionLost("HTTP/2: the service takes no body of that length") from None

    async def _flush(self) -> None:
        if data := self._protocol.data_to_send():
            await self.wire.send(self.wire.sealed(data))

    async def answer(self, held: _Stream) -> Answer:
        """The whole answer. Raises ConnectionLost."""
        return await held.done

    async def _read(self) -> None:
        """Read until the connection ends."""
        reason = "the connection was closed without an answer"
        try:
            while data := await self.wire.receive():
                for event in self._protocol.receive_data(data):
                    self._take(event)
                await self._flush()
        except ConnectionLost as lost:
            reason = str(lost)
        except h2.exceptions.ProtocolError:
            reason = "the answer is no HTTP/2"
        finally:
            self.wire.close()
            for number in list(self._streams):
                self._fail(number, reason)

    def _take(self, event: h2.events.Event) -> None:
        stream = self._streams.get(getattr(event, "stream_id", 0) or 0)
        match event:
            case h2.events.ResponseReceived() if stream is not None:
                stream.headers = {_text(name).lower(): _text(value) for name, value in event.headers or ()}
                stream.cookies = cookies_of(event.headers or ())
                stream.status = int(stream.headers.pop(":status", "0"))
            case h2.events.DataReceived():
                length = event.flow_controlled_length or 0
                if length:
                    self._protocol.acknowledge_received_data(length, event.stream_id or 0)
                if stream is not None:
                    stream.body += event.data or b""
                    if len(stream.body) > MOST_BODY:
                        self._fail(stream.number, "the answer is longer than 1 MiB")
            case h2.events.StreamEnded() if stream is not None:
                del self._streams[stream.number]
                if not stream.done.done():
                    stream.done.set_result(Answer(stream.status, stream.headers, bytes(stream.body), stream.cookies))
            case h2.events.StreamReset() if stream is not None:
                self._fail(stream.number, "the request was reset without an answer")
            case h2.events.ConnectionTerminated():
                self._left = True

    def _fail(self, number: int, reason: str) -> None:
        stream = self._streams.pop(number)
        if not stream.done.done():
            stream.done.set_exception(ConnectionLost(reason))
            stream.done.exception()  # whoever waited may be gone

    async def close(self) -> None:
        """Hang up."""
        self._reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reading
        self.wire.close()


def _text(raw: bytes | str) -> str:
    return raw.decode("latin-1") if isinstance(raw, bytes) else raw
