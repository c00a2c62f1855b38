"""The engine as a whole: real processes on real stores, and what happens when something dies."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.burst import Cell, Load, Measurement, Progress, StoresOptions, compare, run
from harness.burst.plan import draw
from harness.model import Attempt, Claim, UsageError, Verdict
from harness.strategy.loader import find_scenario
from tests.servers import PrivateValkey

pytestmark = [pytest.mark.load, pytest.mark.xdist_group("load")]
SCRIPTS = {
    "calm": """
from harness import *
class Calm(Scenario):
    name = "calm"
    rule = lambda self, state, request, now_ms: Outcome({}, Reply("ok"))
    def burst(self, rng, size): return [Request("look", ("k",))] * size
""",
    "silent": """
import asyncio
from harness import *
class Silent(Strategy):
    name = "silent"
    def claims(self, conditions): return Claim("holds")
    async def apply(self, session, request, rule):
        await asyncio.sleep(60)
""",
    "shy": """
from harness import *
class Shy(Strategy):
    name = "shy"
    def claims(self, conditions): return Claim("holds")
    async def apply(self, session, request, rule):
        await session.redis("PING")
        return ABORTED
""",
    "letters": """
from harness import *
class Letters(Scenario):
    name = "letters"
    rule = lambda self, state, request, now_ms: Outcome({}, Reply("ok"))
    def burst(self, rng, size): return [Request("look", "concert")] * size
""",
    "plain": """
from harness import *
class Plain(Scenario):
    name = "plain"
    rule = lambda self, state, request, now_ms: {}
    def burst(self, rng, size): return [Request("look", ("k",))] * size
""",
    "bare": """
from harness import *
class Bare(Strategy):
    name = "bare"
    def claims(self, conditions): return "holds"
    async def apply(self, session, request, rule): return ABORTED
""",
    "wild": """
from harness import *
class Wild(Strategy):
    name = "wild"
    def claims(self, conditions): return Claim("holds")
    async def apply(self, session, request, rule):
        raise KeyError("where")
""",
}


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    """The path of one of the scripts above."""

    def write(name: str) -> str:
        path = tmp_path / f"{name}.py"
        path.write_text(SCRIPTS[name])
        return str(path)

    return write


def measure(scenario: str, strategy: str, **load: float | str) -> Measurement:
    """Run one cell."""
    return asyncio.run(run(Cell(scenario, strategy), Load(**load)))  # type: ignore[arg-type]


def test_a_rule_that_cannot_break_is_never_said_to_hold(script: Callable[[str], str]) -> None:
    """The control does not break, so nothing is known about the strategy."""
    found = measure(script("calm"), "watch", bursts=50)
    assert (found.verdict, found.broken_bursts) == (Verdict.INCONCLUSIVE, 0)
    assert "naive broke in only 0" in found.reason


def test_all_aborted_is_inconclusive(script: Callable[[str], str]) -> None:
    """A strategy that always gives up breaks nothing, and is not praised for it."""
    found = measure("double-submit", script("shy"), bursts=30)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.counts.by_decision == {"aborted": found.counts.requests}


def test_nobody_answered_is_stuck(script: Callable[[str], str]) -> None:
    """Requests that are not answered while their store lives are violations, and not `held`."""
    found = measure("double-submit", script("silent"), bursts=1, timeout_s=0.5)
    assert (found.verdict, found.counts.stuck) == (Verdict.VIOLATED, 2)


def test_a_load_that_waits_in_vain_ends_soon(script: Callable[[str], str]) -> None:
    """Each burst that nobody answers takes all the patience there is: three of them say as much as two hundred."""
    found = measure("double-submit", script("silent"), bursts=200, timeout_s=0.5)
    assert (found.verdict, found.broken_bursts, found.counts.stuck) == (Verdict.VIOLATED, 3, 6)
    assert found.counts.bursts == 3


def test_a_broken_script_is_one_line(script: Callable[[str], str]) -> None:
    """What a user's strategy raises comes back with its own place."""
    with pytest.raises(UsageError, match=r"wild\.py:7: KeyError: 'where'"):
        measure("double-submit", script("wild"), bursts=5)


@pytest.mark.parametrize(
    ("name", "says"),
    [("letters", r"a tuple: \('concert',\), not 'concert'"), ("plain", r"must return a harness\.Outcome, not \{\}")],
)
def test_a_first_scenario_s_mistakes_are_named(script: Callable[[str], str], name: str, says: str) -> None:
    """A forgotten comma and a rule that returns the changes only: everybody makes them."""
    with pytest.raises(UsageError, match=says):
        measure(script(name), "naive", bursts=5)


def test_a_claim_that_is_none_is_named(script: Callable[[str], str]) -> None:
    """A strategy that claims with a bare word is told what a claim is."""
    with pytest.raises(UsageError, match=r"bare\.py:5: claims must return a harness\.Claim, not 'holds'"):
        measure("counter", script("bare"), bursts=5)


def test_three_processes_more_callers_than_cores() -> None:
    """More processes than cores work, too."""
    found = measure("counter", "lua", bursts=40, size=5, processes=3)
    assert (found.verdict, found.broken_bursts) == (Verdict.HELD, 0)


def test_mutex_holds_in_one_process() -> None:
    """An in-process lock is right until there are two processes."""
    found = measure("double-submit", "mutex", bursts=60, processes=1)
    assert (found.claim.kind, found.verdict) == ("holds", Verdict.HELD)


def test_sustained_load_is_judged_and_timed() -> None:
    """A closed loop on hot keys: every operation is judged, latency and throughput are measured."""
    found = measure("double-submit", "atomic", mode="sustained", duration_s=0.5, connections=8, keys=4, work_us=0)
    assert found.verdict is Verdict.HELD
    assert found.counts.requests == found.counts.ok > 100
    assert 0 < found.latency_ms["p50"] <= found.latency_ms["p99"] <= found.latency_ms["max"]


def test_the_same_seed_draws_the_same_bursts() -> None:
    """Every process draws a burst by itself, from the seed and the burst's number."""
    scenario = find_scenario("double-submit")()
    first, second = (draw(scenario, 5, 17, 3) for _ in range(2))
    assert first == second == [Attempt(("user:17",))] * 3


def test_a_comparison_has_a_row_for_every_strategy_that_applies() -> None:
    """Strategies take turns; each row has its verdict and its cost."""
    found = asyncio.run(compare("counter", ["naive", "atomic"], [], Load(bursts=60, connections=4), budget_s=6))
    assert [(row.strategy, row.burst.verdict) for row in found.rows] == [
        ("naive", Verdict.VIOLATED),
        ("atomic", Verdict.HELD),
    ]
    assert all(row.sustained.commands > 0 for row in found.rows)
    assert found.rows[0].burst.claim == Claim("breaks", found.rows[0].burst.claim.reason)


def test_an_interrupt_while_the_orders_are_explored() -> None:
    """It strikes between two searches, while one connects, say: what was measured before stands."""

    async def interrupted(*_given: object) -> bool:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(60)
        return True

    load = Load(bursts=30, connections=4)
    compared = asyncio.run(compare("counter", ["naive", "atomic"], [], load, budget_s=2, then=interrupted))
    assert [row.strategy for row in compared.rows] == ["naive", "atomic"]
    assert not compared.complete
    found = asyncio.run(run(Cell("counter", "naive"), load, then=interrupted))
    assert (found.judged_bursts, found.complete) == (30, False)


@pytest.mark.long
def test_every_probe_is_asked_of_who_serves_its_strategy() -> None:
    """Owners and daemons of several strategies take turns; after a round each has its own back for its probes.

    A pause between check and write has the controls break on a busy machine, too.
    """
    ways = ["queue", "actor", "pg-queue", "actors"]
    found = asyncio.run(compare("double-submit", ways, [], Load(bursts=40, connections=4, think_ms=5), budget_s=8))
    assert [row.strategy for row in found.rows] == ways
    for row in found.rows:
        # Whether the control broke is the last of all doubts: who gives it has been answered every time.
        calm = row.burst.reason.startswith("the control ")
        expected = {Verdict.HELD, Verdict.INCONCLUSIVE} if calm else {Verdict.HELD}
        assert row.burst.invariants["free again"] in expected, (row.strategy, row.burst.reason)


def test_a_store_that_dies_under_a_comparison() -> None:
    """No row is violated or held, whenever it had its turn, and all give one reason."""
    with tempfile.TemporaryDirectory(prefix="rt-") as folder:
        server = PrivateValkey(Path(folder), ())

        def befalls() -> None:
            server.at_work()
            server.kill()

        thread = threading.Thread(target=befalls)
        thread.start()
        try:
            options = StoresOptions(redis_url=server.url)
            found = asyncio.run(compare("counter", ["atomic", "lua"], [], Load(), budget_s=6, stores_options=options))
        finally:
            thread.join()
    verdicts = {row.burst.verdict for row in found.rows}
    (reason,) = {row.burst.reason for row in found.rows}
    assert verdicts == {Verdict.INCONCLUSIVE}, reason
    assert reason.startswith("the run was disturbed")


def test_ctrl_c_while_the_control_is_loaded() -> None:
    """The load itself, which would come next, does not begin any more."""
    told: list[Progress] = []

    def progress(one: Progress) -> None:
        told.append(one)
        if len(told) == 2:
            signal.raise_signal(signal.SIGINT)

    load = Load(mode="sustained", duration_s=30, connections=8, keys=8)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are deaf to it
    try:
        found = asyncio.run(run(Cell("counter", "lua"), load, progress=progress))
    finally:
        signal.signal(signal.SIGINT, before)
    assert {one.what for one in told if one.unit == "s"} == {"naive"}, (found.reason, told)
    assert (found.complete, found.verdict, found.counts.requests) == (False, Verdict.INCONCLUSIVE, 0)


def test_kill_9_leaves_no_process_behind(tmp_path: Path) -> None:
    """Servers, workers and folders of a killed run go away by themselves."""
    command = [sys.executable, "-m", "harness", "run", "double-submit", "--strategy", "atomic", "--bursts", "100000"]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "RACE_RESULTS": str(tmp_path)}
    process = subprocess.Popen(
        [*command, "--results", str(tmp_path / "results")],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until(lambda: len(children(process.pid)) >= 4)
        family = children(process.pid)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    until(lambda: not any(alive(pid) for pid in family))
    until(lambda: not list(tmp_path.glob("race-*")))


def until(true: Callable[[], bool], patience_s: float = 20.0) -> None:
    """Wait for a condition."""
    give_up = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < give_up, "the condition never came true"
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    """Every process below one."""
    told = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, re.findall(r"\d+", line))) for line in told.splitlines()]
    found = [pid]
    for parent in found:
        found.extend(child for child, above in pairs if above == parent)
    return found[1:]


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    told = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(told.strip()) and not told.startswith("Z")
