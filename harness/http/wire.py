"""One connection to a service: a socket whose bytes are made before the moment at which they are sent.

TLS is done in memory, so that at a release nothing is left to do but to hand a few finished bytes to the kernel.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time

from harness.http.place import Place
from harness.model import ConnectionLost
from harness.stores.network import why

_CHUNK = 1 << 16
_OPEN_S = 5.0


class Wire:
    """A connected socket, with TLS where the place wants it. Every failure is a ConnectionLost."""

    def __init__(self, place: Place, context: ssl.SSLContext | None) -> None:
        """Call `open` before use."""
        self.place = place
        self.round_trip_s = 0.0
        self.protocol = "http/1.1"
        self.closed = False
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = (
            None
            if context is None
            else context.wrap_bio(
                self._in, self._out, server_hostname=None if _is_address(place, context) else place.host
            )
        )

    async def open(self) -> Wire:
        """Connect and shake hands."""
        try:
            async with asyncio.timeout(_OPEN_S):
                await self._connect()
                await self._shake_hands()
        except TimeoutError:
            self.close()
            raise ConnectionLost("no answer in time") from None
        except (OSError, ssl.SSLError) as error:
            self.close()
            raise ConnectionLost(why(error)) from None
        return self

    async def _connect(self) -> None:
        found = await self._loop.getaddrinfo(self.place.host, self.place.port, type=socket.SOCK_STREAM)
        failure: OSError | None = None
        for family, kind, protocol, _name, address in found:
            self._socket = socket.socket(family, kind, protocol)
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            began = time.monotonic()
            try:
                await self._loop.sock_connect(self._socket, address)
            except OSError as error:
                self._socket.close()
                failure = error
                continue
            self.round_trip_s = time.monotonic() - began
            return
        raise failure or OSError("there is no such host")

    async def _shake_hands(self) -> None:
        if self._tls is None:
            self.protocol = "h2" if self.place.version == "2" else "http/1.1"
            return
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                if not (data := await self._loop.sock_recv(self._socket, _CHUNK)):
                    raise ConnectionLost("closed while shaking hands") from None
                self._in.write(data)
            else:
                break
        await self._flush()
        self.protocol = self._tls.selected_alpn_protocol() or "http/1.1"
        if self.place.version == "2" and self.protocol != "h2":
            raise ConnectionLost("it does not speak HTTP/2")

    async def _flush(self) -> None:
        if data := self._out.read():
            await self._loop.sock_sendall(self._socket, data)

    def sealed(self, data: bytes) -> bytes:
        """What these bytes are on the wire. They have to be sent in the order in which they were sealed."""
        if self._tls is None:
            return data
        self._tls.write(data)
        return self._out.read()

    async def send(self, sealed: bytes) -> None:
        """Send sealed bytes, all of them."""
        try:
            await self._loop.sock_sendall(self._socket, sealed)
        except OSError as error:
            self.close()
            raise ConnectionLost(why(error)) from None

    def send_now(self, sealed: bytes) -> int:
        """Hand them to the kernel at once; the instant before, in monotonic ns. What fails, the answer tells."""
        at = time.monotonic_ns()
        with contextlib.suppress(OSError):
            sent = self._socket.send(sealed)
            if sent < len(sealed):  # a few bytes into an idle connection: the kernel takes them whole
                self._loop.create_task(self._loop.sock_sendall(self._socket, sealed[sent:]))
        return at

    async def receive(self) -> bytes:
        """The next bytes; empty at the end."""
        while True:
            try:
                if self._tls is not None and (opened := self._opened()) is not None:
                    return opened
                data = await self._loop.sock_recv(self._socket, _CHUNK)
            except (OSError, ssl.SSLError) as error:
                self.close()
                raise ConnectionLost(why(error)) from None
            if self._tls is None or not data:
                return data
            self._in.write(data)

    def _opened(self) -> bytes | None:
        assert self._tls is not None
        try:
            return self._tls.read(_CHUNK)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLZeroReturnError:
            return b""

    def gone(self) -> bool:
        """Whether the other side has hung up meanwhile: an idle connection has nothing to be read."""
        if self.closed:
            return True
        try:
            return self._socket.recv(1, socket.MSG_PEEK) == b""
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True

    def close(self) -> None:
        """Hang up."""
        self.closed = True
        with contextlib.suppress(AttributeError, OSError):
            self._socket.close()


def _is_address(place: Place, context: ssl.SSLContext) -> bool:
    """Whether there is no name to ask for: nobody is to be verified, and an address is no server name."""
    return not context.check_hostname and all(one.isdigit() or one in ".:" for one in place.host)
