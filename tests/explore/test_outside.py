"""What no schedule decides is no proof: clocks, chance, files, what a process remembers, what servers run unseen."""

from __future__ import annotations

import gc
import time
from pathlib import Path

import pytest

from harness.explore import Exhaustive, Options
from harness.model import Verdict
from tests.explore.conftest import Stage

STRATEGY = """
import asyncio, random, threading, time, uuid
from datetime import datetime
from pathlib import Path
from harness import *
COUNT = {{}}
class Mine(Strategy):
    name = "mine"
    family = "mine"
    needs = {{"{store}": "6.2"}}
    tables = {tables}
    statements = frozenset({statements})
    def claims(self, conditions): return Claim("holds")
    async def apply(self, session, request, rule):
        key, redis = session.key(request.keys[0]), session.redis
        {body}
        return Reply("added", {{"value": value}})
"""
INCR = "value = await redis('INCR', key)"
RACY = "value = int(await redis('GET', key) or 0) + 1; await redis('SET', key, value)"
SELDOM = f"""
        if {{}}:
            {RACY}
        else:
            {INCR}"""
FUNCTION = """CREATE OR REPLACE FUNCTION {} RETURNS bigint LANGUAGE plpgsql AS $$ DECLARE n bigint; BEGIN
  SELECT coalesce(value, 0) + 1 INTO n FROM counters WHERE key = k; UPDATE counters SET value = n WHERE key = k;
  RETURN n;
END $$"""


def written(
    folder: Path, body: str, store: str = "redis", tables: tuple[str, ...] = (), statements: tuple[str, ...] = ()
) -> str:
    """A strategy of the user's own."""
    path = folder / "mine.py"
    path.write_text(STRATEGY.format(body=body, store=store, tables=tables, statements=statements))
    return str(path)


@pytest.mark.parametrize(
    ("seldom", "reason"),
    [
        ("random.random() < 1e-9", "draws numbers that no seed gives"),
        ("random.Random().random() < 1e-9", "draws numbers that no seed gives"),
        ("uuid.uuid4().int < 9", "draws numbers that no seed gives"),
        ("time.time() < 1", "asks time.time()"),
        ("datetime.now().year < 1900", "asks datetime.now()"),
        ("Path(__file__).read_text() == ''", "uses files"),
        ("threading.Thread(target=int).start()", "uses threads"),
        ("COUNT.update(n=COUNT.get('n', 0) + 1) or COUNT['n'] == 50", "COUNT of mine.py is kept from one schedule"),
        ("setattr(self, 'n', getattr(self, 'n', 0) + 1) or self.n == 50", "n of Mine is kept from one schedule"),
    ],
)
def test_what_a_program_takes_from_outside(stage: Stage, tmp_path: Path, seldom: str, reason: str) -> None:
    """It would break where the answer is another one, and no schedule shows it."""
    found, _ = stage.explore("counter", written(tmp_path, SELDOM.format(seldom)), Exhaustive, Options())
    assert found.verdict is Verdict.BOUNDED, found.reason
    assert reason in found.reason


def test_what_one_schedule_takes_from_outside(stage: Stage, tmp_path: Path) -> None:
    """Neither among the first nor the last one."""
    body = f"""
        mine = await redis("INCR", key + ":n")
        await redis("GET", key + ":b")
        others = int(await redis("GET", key + ":n"))
        await redis("SET", key + ":b", request.id)
        last = (await redis("GET", key + ":b")).decode()
        if mine == 1 and others == 2 and last == request.id == "r1" and random.random() < 1e-9:
            {RACY}
        else:
            {INCR}"""
    found, _ = stage.explore("counter", written(tmp_path, body), Exhaustive, Options())
    assert found.verdict is Verdict.BOUNDED, found.reason
    assert "draws numbers that no seed gives" in found.reason


def test_what_is_put_back(stage: Stage, tmp_path: Path) -> None:
    """A mark in the module, for as long as somebody is at work: to the callers of another process it is none."""
    body = f"""
        if COUNT:
            return ABORTED
        COUNT["busy"] = 1
        {RACY}
        COUNT.clear()"""
    found, _ = stage.explore("counter", written(tmp_path, body), Exhaustive, Options())
    assert found.verdict is Verdict.BOUNDED, found.reason
    assert "COUNT of mine.py is changed by a program, and other processes do not see that" in found.reason


@pytest.mark.parametrize(
    "body",
    [
        INCR,
        f"import logging; logging.warning('added'); {INCR}",
        f"import json; json.loads('1'); random.Random(7).random(); {INCR}",
    ],
)
def test_what_is_the_same_each_time(stage: Stage, tmp_path: Path, body: str) -> None:
    """Is no reason for doubt."""
    found, _ = stage.explore("counter", written(tmp_path, body), Exhaustive, Options())
    assert found.verdict is Verdict.PROVED, found.reason


def test_whoever_looks_on(stage: Stage, tmp_path: Path) -> None:
    """Somebody else's callback, when memory is collected meanwhile, is no part of the program."""

    def look(_phase: str, _info: object) -> None:
        time.perf_counter()

    often, threshold = f"[[] for _ in range(3_000)]; {INCR}", gc.get_threshold()
    gc.callbacks.append(look)
    gc.set_threshold(10)
    try:
        found, _ = stage.explore("counter", written(tmp_path, often), Exhaustive, Options())
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(look)
    assert found.verdict is Verdict.PROVED, found.reason


@pytest.mark.parametrize(
    ("made", "statement"),
    [
        (FUNCTION.format("lower(k text, i int)"), "SELECT lower($1, 1)"),
        (FUNCTION.format('"Bump"(k text)'), 'SELECT "Bump"($1)'),
    ],
)
def test_a_function_by_another_name(stage: Stage, tmp_path: Path, made: str, statement: str) -> None:
    """It may do anything, though it is called as one that does nothing."""
    body = f"value = (await session.sql({statement!r}, request.keys[0])).rows[0][0]"
    path = written(tmp_path, body, "postgres", (made,), (statement,))
    found, _ = stage.explore("counter", path, Exhaustive, Options())
    assert found.verdict is not Verdict.PROVED, found.reason


def test_the_servers_clock(stage: Stage, tmp_path: Path) -> None:
    """In a statement that says what it touches."""
    add = (
        "UPDATE counters SET value = coalesce(value, 0) + CASE WHEN CURRENT_DATE > $2::date THEN 1 ELSE 9 END"
        " WHERE key = $1 RETURNING value"
    )
    body = f"value = (await session.sql({add!r}, request.keys[0], datetime(2000, 1, 1).date())).rows[0][0]"
    found, _ = stage.explore("counter", written(tmp_path, body, "postgres", (), (add,)), Exhaustive, Options())
    assert found.verdict is Verdict.BOUNDED, found.reason
    assert "current_date" in found.reason


def test_the_stores_own_clock(stage: Stage, tmp_path: Path) -> None:
    """What ends by it does not when the schedule says so."""
    body = f"""{INCR}
        await redis("HSET", key + ":h", "f", 1)
        await redis("HPEXPIRE", key + ":h", 5_000, "FIELDS", 1, "f")"""
    found, _ = stage.explore("counter", written(tmp_path, body), Exhaustive, Options())
    assert found.verdict is Verdict.BOUNDED, found.reason
    assert "by the store's own clock" in found.reason


@pytest.mark.parametrize(
    ("seldom", "reason"),
    [
        ("await redis('SRANDMEMBER', own) == b'7'", "what SRANDMEMBER draws is no choice"),
        ("await redis('EVAL', \"return redis.call('SPOP', KEYS[1])\", 1, own) == b'7'", "what SPOP draws is no choice"),
        ("await redis('OBJECT', 'IDLETIME', own) > 9", "how long something has lain idle goes by the"),
        ("await redis('CLIENT', 'ID') == 7", "what CLIENT tells is no choice"),
    ],
)
def test_what_the_server_draws_or_tells_of_itself(stage: Stage, tmp_path: Path, seldom: str, reason: str) -> None:
    """It would break where the answer is another one, and no schedule shows it."""
    many = "own = key + request.id; await redis('SADD', own, *range(1000))"
    found, _ = stage.explore("counter", written(tmp_path, f"{many}{SELDOM.format(seldom)}"), Exhaustive, Options())
    assert found.verdict is not Verdict.PROVED, found.reason
    assert reason in found.reason or "does not do the same" in found.reason


def test_a_script_that_says_what_a_command_is_called(stage: Stage, tmp_path: Path) -> None:
    """And does not run it."""
    body = "value = await session.script(\"redis.call('HSET', KEYS[2], 'info', 1) return redis.call('INCR', KEYS[1])\","
    found, _ = stage.explore("counter", written(tmp_path, f"{body} (key, key + 'h'))"), Exhaustive, Options())
    assert found.verdict is Verdict.PROVED, found.reason
