"""A `race serve` of one module's own, and a client that can let requests meet."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from tests.servers import until

ENVIRONMENT = {
    option: os.environ[test]
    for option, test in (("RACE_REDIS_URL", "RACE_TEST_REDIS_URL"), ("RACE_POSTGRES_URL", "RACE_TEST_POSTGRES_URL"))
    if test in os.environ
}


@dataclass(frozen=True)
class Answered:
    """A response: its status, its JSON, its headers."""

    status: int
    body: Any
    headers: dict[str, str]

    @property
    def interval(self) -> tuple[int, int]:
        """From arrival to return, as the server measured it, in nanoseconds."""
        return int(self.headers["race-arrived-ns"]), int(self.headers["race-returned-ns"])

    @property
    def worker(self) -> int:
        """The process that answered."""
        return int(self.headers["race-worker"])


class Connection:
    """A connection that stays open, to one worker."""

    def __init__(self, host: str, port: int) -> None:
        """Connect."""
        self._http = http.client.HTTPConnection(host, port, timeout=20)
        self._http.connect()
        assert isinstance(self._http.sock, socket.socket)
        self._http.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, method: str, path: str, args: Any = None, **headers: str) -> Answered:
        """One request; `Race_Attempt="7"` is a header."""
        body = None if args is None else json.dumps(args)
        self._http.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        return self._answer()

    def hold(self, path: str) -> None:
        """Send all of a POST but its last byte."""
        self._http.putrequest("POST", path)
        self._http.putheader("Content-Length", "2")
        self._http.endheaders(b"{")

    def release(self) -> None:
        """Send that."""
        self._http.send(b"}")

    def _answer(self) -> Answered:
        response = self._http.getresponse()
        text = response.read()
        is_json = response.headers["content-type"] == "application/json"
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answered(response.status, json.loads(text) if is_json and text else text.decode(), headers)

    def answer(self) -> Answered:
        """What came of a request that was released."""
        return self._answer()

    def close(self) -> None:
        """Close it."""
        self._http.close()


class Server:
    """`race serve` as a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """It has just been started; wait until it serves."""
        self.process = process
        assert process.stdout is not None
        text = ""
        while not text.endswith("\n}\n"):
            line = process.stdout.readline()
            assert line, process.stderr.read() if process.stderr is not None else "it ended"
            text += line
        self.told: dict[str, Any] = json.loads(text)
        parts = urlsplit(self.told["url"])
        assert parts.hostname is not None
        assert parts.port is not None
        self.place = parts.hostname, parts.port
        self._open = ExitStack()

    def connect(self) -> Connection:
        """One more connection."""
        connection = Connection(*self.place)
        self._open.callback(connection.close)
        return connection

    def connect_to(self, worker: int) -> Connection:
        """One that this worker serves: the kernel spreads them."""
        while True:
            connection = self.connect()
            if connection.ask("GET", "/").worker == worker:
                return connection
            connection.close()

    def ask(self, method: str, path: str, args: Any = None, **headers: str) -> Answered:
        """One request on a connection of its own."""
        connection = Connection(*self.place)
        try:
            return connection.ask(method, path, args, **headers)
        finally:
            connection.close()

    def family(self) -> list[psutil.Process]:
        """Itself, and all that it has started."""
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def close(self) -> None:
        """Close all connections."""
        self._open.close()

    def end(self, how: signal.Signals = signal.SIGINT) -> int:
        """Tell it to end; its exit code, once it and all that it has started are gone."""
        family = self.family()
        self.process.send_signal(how)
        code = self.process.wait(20)
        until(lambda: not any(alive(process) for process in family))
        return code


def alive(process: psutil.Process) -> bool:
    """Whether a process still runs."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def serving(folder: Path, *arguments: str, **environment: str) -> Iterator[Server]:
    """`race serve` on a free port, on others' servers with a small share of their connections."""
    if ENVIRONMENT and "--connections" not in arguments:
        arguments = (*arguments, "--connections", "8")
    with subprocess.Popen(
        [sys.executable, "-m", "harness", "serve", *arguments, "--port", "0", "--json"],
        cwd=folder,
        env={**os.environ, **ENVIRONMENT, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            server = Server(process)
            try:
                yield server
            finally:
                server.close()
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(20)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Everything bundled, on both stores."""
    with serving(tmp_path_factory.mktemp("serve")) as found:
        yield found


def meet(connections: Sequence[Connection], path: str) -> list[Answered]:
    """The same request on each connection at once: all but the last byte first, then the last bytes."""
    for connection in connections:
        connection.hold(path)
    for connection in connections:
        connection.release()
    return [connection.answer() for connection in connections]
