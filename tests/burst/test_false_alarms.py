"""What befalls a machine, tried for real, is never said to be the strategy's fault.

A store that restarts, fails over or evicts, connections that drop, a machine that stalls: unknown
outcomes, overruns or `inconclusive`, never `violated`.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.burst import Cell, Load, Measurement, Progress, StoresOptions, run
from harness.model import Verdict
from harness.stores import PostgresConnection, PostgresTarget, Stores
from tests.servers import PrivatePostgres, PrivateValkey, Proxy, free_port, until

pytestmark = [pytest.mark.load, pytest.mark.long, pytest.mark.xdist_group("load")]

ROOT = Path(__file__).resolve().parents[2]
BURSTS: dict[str, Any] = {"bursts": 4000, "size": 4, "connections": 4}
SUSTAINED: dict[str, Any] = {"mode": "sustained", "duration_s": 1.0, "connections": 8, "keys": 4, "work_us": 0}
DISTURBED = "the run was disturbed"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for a socket."""
    path = Path(tempfile.mkdtemp(prefix="rt-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def valkey(folder: Path) -> Iterator[PrivateValkey]:
    """A Valkey of this test."""
    server = PrivateValkey(folder, ("--appendonly", "no"))
    yield server
    server.kill()


@pytest.fixture(scope="module")
def postgres() -> Iterator[PrivatePostgres]:
    """A PostgreSQL of these tests."""
    server = PrivatePostgres()
    yield server
    server.close()


def measure(
    scenario: str, strategy: str, load: dict[str, Any], befalls: Callable[[Mischief], None], **urls: str
) -> Measurement:
    """Run one cell while something befalls it, in a thread that is told how the run gets on."""
    mischief = Mischief()
    thread = threading.Thread(target=befalls, args=(mischief,))
    thread.start()
    try:
        cell, options = Cell(scenario, strategy), StoresOptions(**urls)  # type: ignore[arg-type]
        # A control would be loaded first for as long, and might be what it befalls.
        control = load.get("mode") != "sustained"
        return asyncio.run(run(cell, Load(**load), stores_options=options, control=control, progress=mischief.progress))
    finally:
        mischief.over.set()
        thread.join()


class Mischief:
    """What the thread that does it knows: whether bursts were judged, whether the run is over."""

    def __init__(self) -> None:
        """Nothing happened yet."""
        self.judged = threading.Event()
        self.over = threading.Event()

    def progress(self, _progress: Progress) -> None:
        """Bursts were judged."""
        self.judged.set()

    def goes_on(self, pause_s: float) -> bool:
        """After a pause, whether the run still goes on."""
        return not self.over.wait(pause_s)


def sql(target: PostgresTarget, statement: str) -> Any:
    """One statement on a connection of its own."""

    async def work() -> Any:
        connection = await PostgresConnection.open(target)
        try:
            return await connection.sql(statement)
        finally:
            await connection.close()

    return asyncio.run(work())


def told(found: Measurement) -> str:
    """Everything that helps to understand a wrong verdict."""
    return f"{found.verdict} ({found.reason}); order {found.order}, {found.invariants}; {found.counts}"


def inconclusive(found: Measurement, reason: str) -> None:
    """No violation, and the reason."""
    assert (found.verdict, found.broken_bursts) == (Verdict.INCONCLUSIVE, 0), told(found)
    assert reason in found.reason, told(found)


# Stores


@pytest.mark.parametrize(
    ("scenario", "load"), [("counter", BURSTS), ("double-submit", SUSTAINED)], ids=["bursts", "sustained"]
)
def test_a_valkey_that_restarts(valkey: PrivateValkey, scenario: str, load: dict[str, Any]) -> None:
    """Killed and started again on the same socket: it forgot everything, which is no lost update."""

    def befalls(_mischief: Mischief) -> None:
        valkey.at_work()
        valkey.kill()
        valkey.start()

    found = measure(scenario, "atomic", load, befalls, redis_url=valkey.url)
    inconclusive(found, DISTURBED)
    if load is SUSTAINED:  # nothing of it was judged, and all of it counted
        assert (found.judged_bursts, found.counts.requests > 0) == (0, True), told(found)


def test_a_valkey_that_restarts_while_it_is_judged(valkey: PrivateValkey, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be held any more: the judge stops there and then, and what it has judged stands."""
    monkeypatch.setattr("harness.burst.bench._LOOK_S", 0.0)
    restarted: list[float] = []

    def progress(now: Progress) -> None:
        if now.what == "judging" and not restarted:
            restarted.append(now.done)
            valkey.kill()
            valkey.start()

    load = Load(**{**SUSTAINED, "keys": 100})
    options = StoresOptions(redis_url=valkey.url)
    found = asyncio.run(run(Cell("counter", "atomic"), load, stores_options=options, control=False, progress=progress))
    inconclusive(found, "restarted or failed over")
    assert restarted == [found.judged_bursts], told(found)


def test_a_postgres_that_restarts(postgres: PrivatePostgres) -> None:
    """It recovers and forgets nothing, but what was open is gone."""

    def befalls(mischief: Mischief) -> None:
        mischief.judged.wait(20)
        postgres.restart()

    found = measure("counter", "pg-for-update", BURSTS, befalls, postgres_url=postgres.url)
    inconclusive(found, DISTURBED)


def test_a_failover(folder: Path) -> None:
    """The primary dies, its replica is promoted behind the same address: acknowledged writes may be gone."""
    (folder / "a").mkdir()
    (folder / "b").mkdir()
    primary = PrivateValkey(folder / "a", ("--repl-diskless-sync-delay", "0"), free_port())
    replica = PrivateValkey(folder / "b", ("--replicaof", "127.0.0.1", str(primary.port)))
    proxy = Proxy(primary.socket)

    def befalls(_mischief: Mischief) -> None:
        primary.at_work()
        primary.kill()
        replica.execute("REPLICAOF", "NO", "ONE")
        proxy.point_to(replica.socket)

    try:
        until(lambda: b"master_link_status:up" in replica.execute("INFO", "replication"))
        inconclusive(measure("counter", "atomic", BURSTS, befalls, redis_url=proxy.url), DISTURBED)
    finally:
        proxy.close()
        primary.kill()
        replica.kill()


@pytest.mark.parametrize(
    ("load", "dies", "back"),
    [
        pytest.param(BURSTS, True, False, id="it-died"),
        pytest.param(SUSTAINED, False, True, id="both-live-and-back"),
    ],
)
def test_a_standby_that_is_promoted(load: dict[str, Any], *, dies: bool, back: bool) -> None:
    """It had not heard of what was written last; nor has the first one of what was written there, when all come back.

    A script asks for the rows that it put there: that it finds none is none of its mistakes.
    """
    server = PrivatePostgres()
    proxy = Proxy(server.socket)

    def befalls(_mischief: Mischief) -> None:
        server.at_work()
        if dies:
            server.stop()
        server.promote()
        proxy.point_to(server.standby_socket)
        if back:
            time.sleep(0.2)  # it is what happens, nothing is waited for
            proxy.point_to(server.socket)

    try:
        server.start_standby()
        found = measure(
            "counter", "pg-for-update", {**load, "duration_s": 3.0}, befalls, postgres_url=proxy.postgres_url
        )
        inconclusive(found, DISTURBED)
    finally:
        proxy.close()
        server.close()


FORGOTTEN = """
from harness import *
class Forgotten(Strategy):
    name = "forgotten"
    family = "redis"
    def claims(self, conditions): return Claim("holds")
    async def apply(self, session, request, rule):
        count = await session.redis("INCR", session.key("n:" + request.key))
        assert (await session.redis("GET", session.key("n:" + request.key))) is not None
        return Reply("added", {"value": count})
"""


def test_a_script_that_relies_on_what_was_forgotten(tmp_path: Path, valkey: PrivateValkey) -> None:
    """It is told of the store that was emptied, not of a mistake of its own."""
    script = tmp_path / "forgotten.py"
    script.write_text(FORGOTTEN)

    def befalls(mischief: Mischief) -> None:
        valkey.at_work()
        while mischief.goes_on(0.001):
            valkey.execute("FLUSHALL")

    found = measure("counter", str(script), SUSTAINED, befalls, redis_url=valkey.url)
    inconclusive(found, "removed the keys of this run")


@pytest.mark.parametrize("back", [False, True], ids=["for-good", "for-a-while"])
def test_another_server_behind_the_address(folder: Path, *, back: bool) -> None:
    """Nobody died, but who answers is somebody else; perhaps only for a moment, of which nothing tells later."""
    (folder / "a").mkdir()
    (folder / "b").mkdir()
    first, second = PrivateValkey(folder / "a", ()), PrivateValkey(folder / "b", ())
    proxy = Proxy(first.socket)

    def befalls(_mischief: Mischief) -> None:
        first.at_work()
        proxy.point_to(second.socket)
        if back:
            time.sleep(0.2)  # it is what happens, nothing is waited for
            proxy.point_to(first.socket)

    try:
        found = measure("counter", "atomic", {**SUSTAINED, "duration_s": 2.0}, befalls, redis_url=proxy.url)
        inconclusive(found, "" if back else "restarted or failed over")
    finally:
        proxy.close()
        first.kill()
        second.kill()


def test_a_valkey_that_evicts(valkey: PrivateValkey) -> None:
    """Somebody lets it evict while it is in use: keys vanish, and nobody wrote."""

    def befalls(_mischief: Mischief) -> None:
        valkey.at_work()
        valkey.execute("CONFIG", "SET", "maxmemory-policy", "allkeys-lru", "maxmemory", "1mb")

    found = measure("counter", "atomic", SUSTAINED, befalls, redis_url=valkey.url)
    assert int(valkey.execute("INFO", "stats").split(b"evicted_keys:")[1].split()[0]) > 0
    inconclusive(found, DISTURBED)


# Connections


@pytest.mark.parametrize(
    ("scenario", "strategy", "load"),
    [
        ("counter", "watch", {**BURSTS, "bursts": 200}),
        ("double-submit", "lua", {**BURSTS, "bursts": 200}),
        ("double-submit", "atomic", {**SUSTAINED, "duration_s": 1.0}),
    ],
    ids=lambda one: one if isinstance(one, str) else one.get("mode", "burst"),
)
def test_connections_that_break_off_in_the_middle_of_a_reply(
    valkey: PrivateValkey, scenario: str, strategy: str, load: dict[str, Any]
) -> None:
    """What was asked may have been done: the caller cannot know."""
    unknown = 0
    # The cut may fall on what is asked between two bursts, which nobody's request is unknown for: tried again then.
    for seed in range(1, 6):
        proxy = Proxy(valkey.socket, after=60, seed=seed)
        try:
            found = measure(scenario, strategy, load, lambda _mischief: None, redis_url=proxy.url)
            assert proxy.cuts > 0
        finally:
            proxy.close()
        inconclusive(found, "")
        unknown += found.counts.unknown
        if unknown:
            return
    pytest.fail(f"no request's outcome was unknown: {told(found)}")


@pytest.mark.parametrize(("scenario", "strategy"), [("double-submit", "watch")])
def test_clients_killed_in_a_loop(valkey: PrivateValkey, scenario: str, strategy: str) -> None:
    """CLIENT KILL of somebody who is in the middle of things, again and again."""

    def befalls(mischief: Mischief) -> None:
        killed = 0
        while mischief.goes_on(0.02):
            clients = [dict(pair.split("=", 1) for pair in line.split() if "=" in pair)
                       for line in valkey.execute("CLIENT", "LIST").decode().splitlines()]  # fmt: skip
            busy = [client["id"] for client in clients if int(client.get("tot-cmds", 0)) > 100]
            if busy:
                killed += 1
                valkey.execute("CLIENT", "KILL", "ID", busy[killed % len(busy)])

    found = measure(scenario, strategy, {**BURSTS, "bursts": 300}, befalls, redis_url=valkey.url)
    inconclusive(found, "")
    assert found.counts.unknown > 0, told(found)


@pytest.mark.parametrize(
    ("scenario", "strategy"),
    [("double-submit", "pg-conditional"), ("counter", "pg-serializable")],
)
def test_backends_ended_in_a_loop(postgres: PrivatePostgres, scenario: str, strategy: str) -> None:
    """pg_terminate_backend of one that works: a COMMIT without an answer may have been done."""

    def befalls(mischief: Mischief) -> None:
        mischief.judged.wait(20)
        while mischief.goes_on(0.03):
            sql(
                postgres.target,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'race\\__%'"
                " AND state <> 'idle' ORDER BY random() LIMIT 1",
            )

    found = measure(scenario, strategy, {**BURSTS, "bursts": 300}, befalls, postgres_url=postgres.url)
    inconclusive(found, "")
    assert found.counts.unknown > 0, told(found)


# Clocks and stalls


def short_lease(folder: Path, lease_ms: int, slack_ms: int = 50) -> str:
    """The double-submit scenario with a lease that a test can outlast."""
    text = (ROOT / "scenarios" / "double_submit.py").read_text()
    path = folder / "short_lease.py"
    shutil.copy(ROOT / "scenarios" / "double_submit.sql", path.with_suffix(".sql"))
    text = text.replace("LEASE_MS = 2_000", f"LEASE_MS = {lease_ms}")
    path.write_text(text.replace("SLACK_MS = 50", f"SLACK_MS = {slack_ms}"))
    return str(path)


def workers() -> Iterator[psutil.Process]:
    """The worker processes of the run."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "harness.burst.worker" in child.cmdline():
                yield child


def stall(seconds: float, at_most: int) -> int:
    """Let workers stand still; how many did."""
    stopped = list(islice(workers(), at_most))
    for child in stopped:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.suspend()
    time.sleep(seconds)  # it is what happens, nothing is waited for
    for child in stopped:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.resume()
    return len(stopped)


STALLED_BURSTS: dict[str, Any] = {**BURSTS, "bursts": 100}
STALLED_SUSTAINED: dict[str, Any] = {**SUSTAINED, "keys": 2, "duration_s": 2.0}


@pytest.mark.parametrize(
    ("load", "strategy", "whole"),
    [
        pytest.param(STALLED_BURSTS, "atomic", False, id="bursts-atomic-process"),
        pytest.param(STALLED_SUSTAINED, "redis-lock", True, id="sustained-redis-lock-machine"),
    ],
)
def test_a_stall_past_the_lease(
    tmp_path: Path, valkey: PrivateValkey, load: dict[str, Any], strategy: str, *, whole: bool
) -> None:
    """Workers stand still for longer than the lease of what they hold, then go on: overruns, and no violation."""
    stalls = 0

    def befalls(mischief: Mischief) -> None:
        nonlocal stalls
        valkey.at_work(300)
        while mischief.goes_on(0.15):
            stalls += stall(0.3, at_most=2 if whole else 1)

    load = {**load, "work_us": 2_000}
    found = measure(short_lease(tmp_path, 150), strategy, load, befalls, redis_url=valkey.url)
    assert stalls > 0
    assert (found.verdict is Verdict.VIOLATED, found.broken_bursts) == (False, 0), told(found)


TWICE = """
from harness import *
class Twice(Strategy):
    name = "twice"
    family = "redis"
    def claims(self, conditions): return Claim("holds")
    async def apply(self, session, request, rule):
        token, lock = session.token(), session.key("lock:" + request.key)
        async for _ in session.retries(400):
            if await session.redis("SET", lock, token, "NX", "PX", 20_000):
                break
        now_ms = await session.now_ms()
        state = await self.values.load(session, request.keys)
        outcome = rule(state, request, now_ms)
        await self.values.save(session, outcome.changes, now_ms)
        await session.sleep_ms(40 * (int(token, 16) % 2))
        await session.now_ms()
        await session.redis("DEL", lock)
        return outcome.reply
"""
SET_BACK = """
import os, time
from harness import *
from harness.strategy.loader import find_strategy
clock, switch = time.time_ns, {switch!r}
time.time_ns = lambda: clock() - (300_000_000 if os.path.exists(switch) else 0)
class SetBack(find_strategy("atomic")[0]):
    name = "set-back"
    def claims(self, conditions): return Claim("holds")
"""


def test_a_clock_that_is_asked_twice(tmp_path: Path) -> None:
    """Of a strategy that looks at the clock again when it is done, nobody can tell by which look it decided."""
    script = tmp_path / "twice.py"
    script.write_text(TWICE)
    load = {**SUSTAINED, "keys": 2, "duration_s": 3.0, "work_us": 40_000}
    found = measure(short_lease(tmp_path, 60, slack_ms=2), str(script), load, lambda _mischief: None)
    assert found.counts.overruns > 0, told(found)
    assert (found.verdict is Verdict.VIOLATED, found.broken_bursts) == (False, 0), told(found)


def test_a_clock_that_is_set_back(tmp_path: Path, valkey: PrivateValkey, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases seem to live again that the store has forgotten; every process that loads the script sees it."""
    script, switch = tmp_path / "set_back.py", tmp_path / "switch"
    script.write_text(SET_BACK.format(switch=str(switch)))
    monkeypatch.setattr(time, "time_ns", time.time_ns)  # what the script puts in its place is taken away again

    def befalls(_mischief: Mischief) -> None:
        valkey.at_work(250)
        switch.touch()

    load = {**SUSTAINED, "work_us": 80_000}
    found = measure(short_lease(tmp_path, 60), str(script), load, befalls, redis_url=valkey.url)
    inconclusive(found, "clock was set back by ")


def test_what_lasts_for_a_moment_is_seen_meanwhile(valkey: PrivateValkey, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is set, and set back before the end, would have let every lease run out, and nothing would tell."""
    asked: list[float] = []
    lost = Stores.lost

    async def asking(stores: Stores) -> str | None:
        asked.append(time.monotonic())
        return await lost(stores)

    monkeypatch.setattr(Stores, "lost", asking)
    found = measure("counter", "atomic", {**SUSTAINED, "duration_s": 2.0}, lambda _it: None, redis_url=valkey.url)
    assert (found.verdict, len(asked) > 4) == (Verdict.INCONCLUSIVE, True), asked  # no control ran
