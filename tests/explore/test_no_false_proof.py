"""No proof where nobody was answered, the judge gave up, or something happened that no choice explains."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from harness.burst.cells import bind
from harness.burst.plan import Cell, Load
from harness.explore import Exhaustive, Exploration, Explorer, Options
from harness.explore.leases import Leases
from harness.model import UsageError, Verdict
from harness.stores import Stores
from tests.explore.conftest import Stage
from tests.servers import PrivateValkey, Proxy

STRATEGY = """
import itertools, time
from harness import *
run = itertools.count()
class Mine(Strategy):
    name = "mine"
    family = "redis"
    def claims(self, conditions): return Claim("holds")
    async def apply(self, session, request, rule):
        {body}
"""
LOCKED = """
        lock, value = session.key("lock"), session.key(request.keys[0])
        async for _ in session.retries(1):
            if await session.redis("SET", lock, 1, "NX"{lease}):
                break
        else:
            return ABORTED
        number = int(await session.redis("GET", value) or 0) + 1
        await session.redis("SET", value, number)
        await session.redis("DEL", lock)
        return Reply("added", {{"value": number}})
"""
SCENARIO = """
from harness import *
from harness.strategy.loader import find_scenario
class Mine(find_scenario("counter")):
    name = "mine"
    {body}
"""


def written(path: Path, text: str) -> str:
    """A script."""
    path.write_text(text)
    return str(path)


def strategy(folder: Path, body: str) -> str:
    """One of the user's own for Redis."""
    return written(folder / "strategy.py", STRATEGY.format(body=body.strip()))


def scenario(folder: Path, body: str) -> str:
    """The counter, changed."""
    return written(folder / "scenario.py", SCENARIO.format(body=body))


def inconclusive(found: Exploration, reason: str) -> None:
    """Nothing is claimed, and it is said why."""
    assert found.verdict is Verdict.INCONCLUSIVE, found
    assert reason in found.reason


def test_somebody_is_answered(stage: Stage, tmp_path: Path) -> None:
    """The forms below are proved where nothing is wrong with them."""
    right = LOCKED.format(lease="").replace("retries(1)", "retries(9)")
    found, _ = stage.explore("counter", strategy(tmp_path, right), Exhaustive, Options())
    assert found.verdict is Verdict.PROVED, found


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('await session.redis("PING"); return ABORTED', "no caller asked its store"),
        ('await session.redis("GET", session.key("k")); return ABORTED', "every request was aborted, or nobody"),
        ('return Reply("accepted", {"count": 1})', "no caller asked its store"),
        ('await session.redis("GET", session.key(f"k{next(run)}")); return Reply("accepted")', "not do the same each"),
    ],
    ids=["pings", "aborts", "no-step", "differs"],
)
def test_nothing_is_shown(stage: Stage, tmp_path: Path, body: str, reason: str) -> None:
    """Strategies of which no schedule shows anything. The rule takes every answer."""
    lax = scenario(tmp_path, "def invariants(self): return ()\n    def allowed(self, state, *_): return [state]")
    inconclusive(stage.explore(lax, strategy(tmp_path, body), Exhaustive, Options())[0], reason)


def test_a_step_more_now_and_then(stage: Stage, tmp_path: Path) -> None:
    """A program that stops where it went on before."""
    lax = scenario(tmp_path, "def invariants(self): return ()\n    def allowed(self, state, *_): return [state]")
    body = """
        for _ in range(1 + next(run) % 5):
            await session.redis("APPEND", session.key("k"), 1)
        return Reply("accepted")"""
    inconclusive(stage.explore(lax, strategy(tmp_path, body), Exhaustive, Options())[0], "not do the same each time")


def test_a_violation_that_does_not_come_again(stage: Stage, tmp_path: Path) -> None:
    """It was seen, but no schedule explains it."""
    body = """
        value = await session.redis("INCR", session.key(request.keys[0]))
        return Reply("added", {"value": value if next(run) else 7})"""
    found, _ = stage.explore("counter", strategy(tmp_path, body), Exhaustive, Options())
    inconclusive(found, "did not break when it was run again")


def test_tries_that_run_out(stage: Stage, tmp_path: Path) -> None:
    """What would have happened at the next try is not known."""
    found, _ = stage.explore("counter", strategy(tmp_path, LOCKED.format(lease="")), Exhaustive, Options())
    assert (found.verdict, found.caps) == (Verdict.BOUNDED, ("a caller's tries ran out",))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('def invariants(self): return [Invariant("ratio", "it is asked", lambda _: 1 / 0)]', "ZeroDivisionError"),
        ("def allowed(self, *_): raise KeyError('where')", "KeyError"),
    ],
)
def test_a_judge_that_fails(stage: Stage, tmp_path: Path, body: str, reason: str) -> None:
    """Its failure is no praise."""
    inconclusive(stage.explore(scenario(tmp_path, body), "atomic", Exhaustive, Options())[0], reason)


@pytest.mark.parametrize("body", ["def burst(self, rng, size): return [1 / 0]",
                                  "def burst(self, rng, size): return [Request('add', 'user')] * size"])  # fmt: skip
def test_a_burst_that_fails(stage: Stage, tmp_path: Path, body: str) -> None:
    """One line, and the place."""
    with pytest.raises(UsageError, match=r"scenario\.py:|the keys of a request are a tuple"):
        stage.explore(scenario(tmp_path, body), "atomic", Exhaustive, Options())


# Stores


def explored(url: str, change: asyncio.Event | None = None) -> Exploration:
    """The counter of three under a lock, on a server of this test."""

    async def go() -> Exploration:
        options = Options(size=3, every=True)
        bound = bind(Cell("counter", "redis-lock"), Load())
        async with Stores(redis_url=url, need={"redis"}) as stores, Explorer(bound, stores, options) as explorer:
            found = await explorer.explore(Exhaustive())
            lost = await stores.lost()
            return found if lost is None else found.lost(lost)

    return asyncio.run(go())


def test_connections_that_break_off() -> None:
    """A reply that is lost by itself is no `lost-reply` of the schedule."""
    with tempfile.TemporaryDirectory(prefix="rt-") as folder:
        server = PrivateValkey(Path(folder), ("--appendonly", "no"))
        proxy = Proxy(server.socket, after=60)
        try:
            found = explored(proxy.url)
            assert proxy.cuts > 0
            assert found.verdict in {Verdict.PROVED, Verdict.INCONCLUSIVE}, found
            assert found.verdict is Verdict.PROVED or "broke off" in found.reason or "lost" in found.reason
        finally:
            proxy.close()
            server.kill()


def test_a_server_that_dies(tmp_path: Path) -> None:
    """One line and exit 3, from an exploration and from a replay."""
    with tempfile.TemporaryDirectory(prefix="rt-") as folder:
        server = PrivateValkey(Path(folder), ("--appendonly", "no"))
        words = ["explore", "counter", "--strategy", "redis-lock", "--size", "4", "--redis-url", server.url]
        running = subprocess.Popen(
            [sys.executable, "-m", "harness", *words],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        server.at_work(500)
        server.kill()
        out, err = running.communicate(timeout=30)
        assert (running.returncode, "Traceback" in err) == (3, False), out + err
        assert "INCONCLUSIVE" in out


# Leases


BEGAN, NOW = 100_000, 101_000


@pytest.mark.parametrize(
    ("words", "end_ms"),
    [
        ("SET k v", None), ("SET k v NX PX 40", NOW + 40), ("set k v ex 2", NOW + 2_000), ("GETEX k PX 7", NOW + 7),
        ("PEXPIRE k 12 NX", NOW + 12), ("EXPIRE k 3", NOW + 3_000), ("PSETEX k 5 v", NOW + 5), ("SETEX k x v", None),
        ("SET k PX", None), ("SET k v PXAT 101040", 101_040), ("EXPIREAT k 102", 102_000), ("SET k v EX 0", None),
        ("SETEX k 0 v", None), ("GETEX k PERSIST", None), ("SET k PX 40", None),
    ],
)  # fmt: skip
def test_when_a_key_ends(words: str, end_ms: int | None) -> None:
    """By the schedule's clock, whatever a command says it in."""
    assert Leases(BEGAN).end_set(words.split(), NOW) == end_ms


@pytest.mark.parametrize("words", ["EXPIREAT k 100", "PEXPIREAT k 101000", "SET k v PXAT 7"])
def test_what_has_ended_already(words: str) -> None:
    """Is gone at once, by the store's clock, too."""
    assert int(Leases(BEGAN).sent(words.split(), NOW)[-1]) in {0, 1}


ENDS = """
    redis.call('SET', KEYS[1], 1, 'PX', 1500)
    redis.call('EXPIRE', KEYS[1], 1, 'GT')
    redis.call('PEXPIRE', KEYS[1], 1700, 'GT')
    return {redis.call('TTL', KEYS[1]), redis.call('PTTL', KEYS[1])}
"""


def test_who_asks_is_told_the_schedules_time(stage: Stage, tmp_path: Path) -> None:
    """By a command, in a script, in a transaction: to the millisecond, as if no real time had passed."""
    lax = scenario(tmp_path, "def invariants(self): return ()\n    def allowed(self, state, *_): return [state]")
    body = f"""
        k, r = session.key("k"), session.redis
        seen = [await session.script({ENDS!r}, (k,)), await r("PTTL", k), await r("EXPIRE", k, 3, "LT")]
        await session.sleep_ms(200)
        seen += [await r("PTTL", k), await r("TTL", k), await r("PEXPIRETIME", k) - await session.now_ms()]
        await r("MULTI"), await r("SET", k, 2, "PX", 900), await r("PTTL", k), await r("TIME")
        seen += [(await r("EXEC"))[1]]
        seen += [await r("EVAL", "return redis.call('PTTL', KEYS[1])", 1, k)]
        await session.sleep_ms(901)
        return Reply("accepted", {{"seen": repr([*seen, await r("PTTL", k)])}})"""
    explorer = stage.explorer(lax, strategy(tmp_path, body), Options(size=1))

    async def go() -> str:
        async with explorer:
            found = await explorer.play(Exhaustive())
            assert found is not None
            (told,) = found.evidence.operations
            assert told.reply is not None
            return str(told.reply.values["seen"])

    assert stage.run(go()) == repr([[2, 1_700], 1_700, 0, 1_499, 1, 1_499, 900, 900, -2])


def test_keys_that_a_script_does_not_declare(stage: Stage, tmp_path: Path) -> None:
    """It reads in one, writes in another, and says that they touch what is nobody else's."""
    body = """
        own, value = session.key(f"own:{request.id}"), session.key(request.keys[0])
        await session.redis("GET", own)
        number = int(await session.script("return redis.call('GET', ARGV[1])", (own,), value) or 0) + 1
        await session.script("redis.call('SET', ARGV[1], ARGV[2])", (own,), value, number)
        await session.redis("GET", own)
        return Reply("added", {"value": number})"""
    found, _ = stage.explore("counter", strategy(tmp_path, body), Exhaustive, Options())
    assert found.verdict is Verdict.VIOLATED, found.reason


TABLES = """
from harness import *
COME = "INSERT INTO came VALUES ('all') ON CONFLICT DO NOTHING RETURNING name"
LEAVE = "UPDATE came SET name = name || '!' WHERE name = 'none'"
class Mine(Strategy):
    name = "mine"
    family = "sql"
    needs = {"postgres": "14"}
    tables = (
        "CREATE TABLE IF NOT EXISTS came (name text PRIMARY KEY)",
        "INSERT INTO came VALUES ('none') ON CONFLICT DO NOTHING",
    )
    statements = frozenset({COME, LEAVE})
    def claims(self, conditions): return Claim("holds")
    async def apply(self, session, request, rule):
        first = (await session.sql(COME)).rows and (await session.sql(LEAVE)).count
        async with session.transaction("read committed") as tx:
            state = await self.rows.load(tx, request.keys, lock="none" if first else "rows")
            outcome = await session.decide(rule, state, request)
            await self.rows.save(tx, state, outcome.changes)
            return outcome.reply
"""


def test_a_row_that_is_left(stage: Stage, tmp_path: Path) -> None:
    """Every schedule finds a strategy's own tables as they were made: what lies there, and what does not."""
    options = Options(budget_s=60)
    found, _ = stage.explore("counter", written(tmp_path / "mine.py", TABLES), Exhaustive, options)
    assert found.verdict is Verdict.VIOLATED, found.reason
    assert found.first is not None
    assert found.first.says == "2 adds were acknowledged but the counter shows 1"
