"""Fixtures for all tests: the command line in this process, and snapshots of what users read."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.burst.measurement import StoresOptions
from harness.cli.entry import run
from harness.stores import Embedded, Stores

SNAPSHOTS = Path(__file__).parent / "snapshots"
UNDER_TEST = {"stores": {"redis", "postgres"}, "strategies": {"world"}}
"""Folder to the fixtures of its tests that give the servers named by the environment, where it names some."""


def pytest_configure() -> None:
    """A shell starts what it runs in the background deaf to Ctrl-C; what is tested here is not."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What asks for a server under test is to be tried on others, too."""
    for item in items:
        if isinstance(item, pytest.Function) and UNDER_TEST.get(item.path.parent.name, set()) & {*item.fixturenames}:
            item.add_marker(pytest.mark.stores)


@dataclass(frozen=True)
class Ended:
    """How a command ended and what it printed."""

    code: int
    stdout: str
    stderr: str


Race = Callable[..., Ended]


@pytest.fixture
def race(in_process: Race) -> Race:
    """Run `race` on servers of its own; modules that only look at what is printed put `quick` in its place."""
    return in_process


@pytest.fixture
def in_process(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Race]:
    """Run `race` in an empty folder: `race("run", "counter", "--strategy", "naive")`."""
    monkeypatch.chdir(tmp_path)
    for variable in ("RACE_REDIS_URL", "RACE_POSTGRES_URL", "RACE_TRACEBACK"):
        monkeypatch.delenv(variable, raising=False)
    before = signal.getsignal(signal.SIGTERM)

    def ended(*arguments: str) -> Ended:
        code = run(arguments)
        printed = capsys.readouterr()
        return Ended(code, printed.out, printed.err)

    yield ended
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def embedded() -> Iterator[Embedded]:
    """Servers that stay, started as somebody needs them."""
    servers = Embedded.open()
    yield servers
    servers.close()


@pytest.fixture
def quick(in_process: Race, embedded: Embedded, monkeypatch: pytest.MonkeyPatch) -> Race:
    """`race` on servers that are there already: to start them for each command takes longer than most commands."""

    def stores(options: StoresOptions, need: Any) -> Stores:
        return Stores(options.redis_url, options.postgres_url, options.allow_hosts, need, embedded)

    monkeypatch.setattr(StoresOptions, "stores", stores)
    return in_process


@pytest.fixture
def snapshot() -> Callable[[str, str], None]:
    """Compare a text with tests/snapshots/NAME; RACE_SNAPSHOTS=write remakes the file."""

    def compare(name: str, text: str) -> None:
        path = SNAPSHOTS / name
        if os.environ.get("RACE_SNAPSHOTS") == "write":
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")

    return compare
