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

_HELLO_S = 5.0
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
        self._greeted = False
        self._moved = asyncio.Event()
        self._why = "the connection was closed without an answer"

    async def open(self) -> HttpTwo:
        """Say hello, and wait for that of the other side: it says how much may be sent. Raises ConnectionLost."""
        self._protocol.initiate_connection()
        await self._flush()
        self._reading = asyncio.create_task(self._read())
        try:
            async with asyncio.timeout(_HELLO_S):
                while not self._greeted:
                    self._moved.clear()
                    await self._news()
        except TimeoutError:
            await self.close()
            raise ConnectionLost("it does not greet as HTTP/2 does") from None
        return self

    async def _news(self) -> None:
        """Until the other side says something, since `_moved` was cleared. Raises ConnectionLost."""
        if self.wire.closed:
            raise ConnectionLost(self._why)
        await self._moved.wait()

    @property
    def usable(self) -> bool:
        """Whether another request can be sent."""
        return not (self.wire.closed or self._left or self._reading.done())

    async def hold(self, call: Call, *, head: bool) -> _Stream:
        """Send all of a request but its end, as far as that is safe. Raises ConnectionLost."""
        stream = _Stream(call, whole=head or not call.body)
        if not stream.whole:
            self._begin(stream)
            await self._most(stream)
        return stream

    async def _most(self, stream: _Stream) -> None:
        """All of a body but its last byte, as fast as the service takes it, and until it takes that byte, too."""
        data = stream.call.body[:-1]
        while True:
            await self._flush()
            self._moved.clear()
            room = self._room(stream)
            if not data and room:
                return
            if part := data[:room]:
                self._data(stream, part, end=False)
                data = data[len(part) :]
            else:
                await self._news()

    def _room(self, stream: _Stream) -> int:
        """How much the service takes of this body now."""
        try:
            return max(0, self._protocol.local_flow_control_window(stream.number))
        except h2.exceptions.ProtocolError:
            raise ConnectionLost("the request was reset without an answer") from None

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
        except h2.exceptions.TooManyStreamsError:
            most = self._protocol.remote_settings.max_concurrent_streams
            raise ConnectionLost(
                f"it takes {most} at a time over a connection of HTTP/2; --http 1.1 gives each its own"
            ) from None
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
        try:
            while data := await self.wire.receive():
                for event in self._protocol.receive_data(data):
                    self._take(event)
                    self._greeted = self._greeted or isinstance(event, h2.events.RemoteSettingsChanged)
                await self._flush()
                self._moved.set()
        except ConnectionLost as lost:
            self._why = str(lost)
        except h2.exceptions.ProtocolError:
            self._why = "the answer is no HTTP/2"
        finally:
            self.wire.close()
            self._moved.set()
            for number in list(self._streams):
                self._fail(number, self._why)

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
