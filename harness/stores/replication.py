"""A replica of the embedded Valkey that lags: all that its primary tells it goes through a link that we hold up.

The link is a socket of ours between the two servers. Under load every byte of the primary waits for so many
milliseconds; a scheduler holds everything, and lets it through when it chooses. What the replica answers to its
primary passes at once. Only the replica that was started for this run may connect: whoever comes first, once.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque

_MOST_BYTES = 1 << 16
_LOOPBACK = "127.0.0.1"


class Link:
    """The way from a primary, on a unix socket, to its replica. Works in threads of its own: no event loop delays it.

    `lag_ms` may be changed at any time, for what comes after. `open` and `close` once each.
    """

    def __init__(self, primary: str) -> None:
        """`primary` is the path of its socket. Listens at once."""
        self.lag_ms = 0.0
        self._primary = primary
        self._listening = socket.create_server((_LOOPBACK, 0), backlog=1)
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._held = False
        self._changed = threading.Condition()
        self._closed = False
        self._ends: list[socket.socket] = []
        self.broken = False
        threading.Thread(target=self._serve, name="race-replication", daemon=True).start()

    @property
    def port(self) -> int:
        """Where the replica connects to, on loopback."""
        return int(self._listening.getsockname()[1])

    def hold(self) -> None:
        """Let nothing more through."""
        with self._changed:
            self._held = True

    def release(self) -> None:
        """Let through what has come and what comes, after its lag."""
        with self._changed:
            self._held = False
            self._changed.notify_all()

    def close(self) -> None:
        """End it: from now on it is broken. Never raises."""
        with self._changed:
            self._closed = self.broken = True
            self._changed.notify_all()
        for end in (self._listening, *self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _serve(self) -> None:
        try:
            replica, _address = self._listening.accept()
        except OSError:  # closed before anybody came
            return
        self._listening.close()
        primary = socket.socket(socket.AF_UNIX)
        self._ends = [replica, primary]
        try:
            primary.connect(self._primary)
            replica.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            self.broken = True
            return
        threading.Thread(target=self._upwards, args=(replica, primary), daemon=True).start()
        threading.Thread(target=self._downwards, args=(replica,), daemon=True).start()
        self._collect(primary)

    def _upwards(self, replica: socket.socket, primary: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := replica.recv(_MOST_BYTES):
                primary.sendall(data)
        self._end()

    def _collect(self, primary: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := primary.recv(_MOST_BYTES):
                with self._changed:
                    self._waiting.append((time.monotonic() + self.lag_ms / 1000, data))
                    self._changed.notify_all()
        self._end()

    def _downwards(self, replica: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while (data := self._due()) is not None:
                replica.sendall(data)
        self._end()

    def _due(self) -> bytes | None:
        """What is to go next, once its time has come; None when there is nothing more to do."""
        with self._changed:
            while not self._closed:
                if self._held or not self._waiting:
                    self._changed.wait()
                    continue
                left_s = self._waiting[0][0] - time.monotonic()
                if left_s <= 0:
                    return self._waiting.popleft()[1]
                self._changed.wait(left_s)
        return None

    def _end(self) -> None:
        """One way has ended, so both do: the replica would go on with what it has, which nobody asked for."""
        self.close()
