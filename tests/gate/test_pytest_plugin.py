"""The pytest plugin, as a user's project has it: in a process of its own, with real stores."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

from harness.gate import testing

RULES = """
import json
from pathlib import Path

import pytest
from harness import Claim, Outcome, Reply, Request, Scenario, Strategy


class Tickets(Scenario):
    initial_value = 0

    def rule(self, state, request, now_ms):
        number = state[request.key] + 1
        return Outcome({request.key: number}, Reply("sold", {"number": number}))

    def burst(self, rng, size):
        return [Request("buy", ("concert",))] * size


class Plain(Strategy):
    def claims(self, conditions):
        return Claim("breaks")

    async def apply(self, session, request, rule):
        key = session.key(request.key)
        read = self.values.parse(await session.redis("GET", key))
        outcome = await session.decide(rule, {request.key: read}, request)
        await session.redis("SET", key, outcome.changes[request.key])
        return outcome.reply
"""

FEW = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:xdist")
"""Fewer plugins: each of these processes loads them all."""


def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tests: str, **files: str) -> pytest.Pytester:
    """A folder with that test file, and no server but race's own."""
    for variable in ("RACE_REDIS_URL", "RACE_POSTGRES_URL", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(variable, raising=False)
    pytester.makepyfile(test_it=RULES + tests, **files)
    return pytester


def test_what_tests_say(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure is the counterexample with its reproduction; verdicts, markers and local classes do as told."""
    tests = """
def test_broken(race):
    race.explore(Tickets, Plain)

def test_right(race):
    assert race.explore(Tickets, "watch").verdict in {"bounded", "proved"}

def test_must_break(race):
    race.explore(Tickets, Plain, expect="violated")

def test_must_break_and_does_not(race):
    race.explore("counter", "lua", expect="violated")

@pytest.mark.race(size=3, bursts=9)
def test_marked(race):
    assert race.explore("counter", "lua", expect="proved").document["size"] == 3
    assert race.explore("counter", "lua", size=2).document["size"] == 2

def test_local(race):
    class Own(Plain):
        pass
    race.explore(Tickets, Own)

def test_unknown(race):
    race.explore(Tickets, "nave")

def test_no_scenario(race):
    race.explore(int, Plain)

class Endless(Tickets):
    def rule(self, state, request, now_ms):
        import signal
        for _ in range(12):  # the looks of some seconds
            signal.raise_signal(signal.SIGALRM)

def test_endless(race):
    race.explore(Endless, Plain)

def test_other_words(race):
    race.explore(Tickets, Plain, bursts=3)

def test_another_search(race):
    race.explore(Tickets, "watch", search="quick")

@pytest.mark.race(colour="red")
def test_marked_wrongly(race):
    pass

def test_again(race):
    (kept,) = Path(".race/failures").iterdir()
    other = {**json.loads(kept.read_text()), "strategy": "watch"}
    Path("other.json").write_text(json.dumps(other))
    race.replay(kept)

def test_misfit(race):
    race.replay("other.json")

def test_missing(race):
    race.replay("none.json")

def test_patched(race, monkeypatch):
    import sys, types
    patched = types.SimpleNamespace(is_module_patched=lambda name: name == "socket")
    monkeypatch.setitem(sys.modules, "gevent.monkey", patched)
    race.explore(Tickets, Plain)

def test_a_loop_that_runs(race):
    import asyncio
    async def within():
        return race.explore("counter", "naive", expect="violated").verdict
    assert asyncio.run(within()) == "violated"
"""
    ended = project(pytester, monkeypatch, tests).runpytest_subprocess(*FEW, "--strict-markers")
    ended.assert_outcomes(failed=12, passed=4, errors=1)
    text = ended.stdout.str()
    assert "test_it.py#Tickets under test_it.py#Plain is violated, not bounded\n" in text
    assert "   4  SET concert 1 -> OK  sold" in text
    assert "  Again    pytest test_it.py::test_broken" in text
    assert "counter under lua is proved, not violated" in text
    assert "race: unknown strategy 'nave'; did you mean naive?" in text
    assert "race: a scenario is given by its name, its script or its class, not by <class 'int'>" in text
    assert re.search(r"race: test_it\.py:\d+: still running after 10 s", text)
    assert "race: there is no bursts to choose; there are: rule, size, faults" in text
    assert "race: explore: `search` is one of exhaustive, random, pct; not 'quick'" in text
    assert "the marker race has no colour; it takes: budget, bursts" in text
    assert "  Again    pytest test_it.py::test_again" in text
    assert "  MISFIT  watch " in text
    assert "race: cannot read none.json" in text
    assert "race: gevent has patched sockets and threads here (Locust does)" in text
    assert "Traceback" not in text
    (kept,) = Path(".race/failures").iterdir()
    assert json.loads(kept.read_text())["strategy"] == "test_it.py#Plain"
    assert f"race replay\n           .race/failures/{kept.name}" in text


@pytest.mark.load
@pytest.mark.xdist_group("load")
def test_a_load_in_a_test_process_of_several(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under xdist, a class is found again by its file; a local one is refused in a line."""
    tests = """
def test_broken(race):
    race.run(Tickets, Plain, bursts=12)

def test_local(race):
    class Own(Plain):
        pass
    race.run(Tickets, Own)
"""
    ended = project(pytester, monkeypatch, tests).runpytest_subprocess("-n", "2", *FEW[:4])
    ended.assert_outcomes(failed=2)
    text = ended.stdout.str()
    assert "VIOLATED  no one-at-a-time order" in text
    assert "Own cannot be found by another process: define it at the top of a file" in text
    assert [path.name[:8] for path in Path(".race/failures").iterdir()] == ["test-it-"]


def test_beside_a_plugin_that_takes_host(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locust's, which is installed, takes --host; ours begin with --race-. Nothing starts until asked.

    A store that is not there is one line, without its password.
    """
    tests = """
import sys

def test_nothing(request):
    assert request.config.getoption("--host") == "x"
    assert not [name for name in sys.modules if name.startswith(("harness.gate", "harness.burst", "asyncpg"))]

def test_it(race):
    race.explore(Tickets, Plain)
"""
    options = ("--host", "x", "--race-redis-url", "redis://:secret@127.0.0.1:1")
    ended = project(pytester, monkeypatch, tests).runpytest_subprocess(*FEW, *options)
    ended.assert_outcomes(passed=1, failed=1)
    assert "race: Redis at 127.0.0.1:1 does not answer" in ended.stdout.str()
    assert "secret" not in ended.stdout.str().split("collected", 1)[1]
    told = pytester.runpytest_subprocess(*FEW, "--host", "x", "--help")
    told.stdout.fnmatch_lines(["*--race-redis-url=URL*", "*--race-seed=N*"])


def test_the_plugin_costs_nothing_until_used() -> None:
    """Pytest loads it wherever the package is installed: of ours, it brings nothing but itself."""
    import subprocess

    code = "import sys, pytest; import harness.pytest_plugin; print(*sorted(n for n in sys.modules if 'harness' in n))"
    environment = {**os.environ, "PYTHONPATH": ""}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert told.stdout.split() == ["harness", "harness.pytest_plugin"]


def test_a_script_is_named_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kept schedule is replayed on another machine: what lies below this folder does not begin with its own path."""
    monkeypatch.chdir(tmp_path)
    given = (tmp_path / "fixes" / "mine.py", Path("/elsewhere/fix.py"), "./fix.py", "lua")
    assert [testing._spec(one) for one in given] == ["fixes/mine.py", "/elsewhere/fix.py", "./fix.py", "lua"]
