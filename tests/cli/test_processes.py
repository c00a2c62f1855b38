"""The command line as a process of its own, on real stores: from a prompt, a pipe, another folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from jsonschema import validate

from harness.results import schema_text

ROOT = Path(__file__).resolve().parents[2]
RACE = (sys.executable, "-m", "harness")

SERVERS = {
    option: os.environ[test]
    for option, test in (("RACE_REDIS_URL", "RACE_TEST_REDIS_URL"), ("RACE_POSTGRES_URL", "RACE_TEST_POSTGRES_URL"))
    if test in os.environ
}
"""The servers to use, where the tests are to run on servers that are there already."""

RULE = """
from harness import Outcome, Reply, Request, Scenario

class MyRule(Scenario):
    initial_value = 0

    def rule(self, state, request, now_ms):
        if state[request.key] >= 1:
            return Outcome({}, Reply("full"))
        return Outcome({request.key: state[request.key] + 1}, Reply("taken"))

    def burst(self, rng, size):
        return [Request("take", ("seat",))] * size
"""

FIX = """
from harness import Claim, Strategy

class MyFix(Strategy):
    def claims(self, conditions):
        return Claim("breaks", "it is no fix")

    async def apply(self, session, request, rule):
        state = await self.values.load(session, request.keys)
        outcome = await session.decide(rule, state, request)
        await self.values.save(session, outcome.changes, session.now_at_ms)
        return outcome.reply
"""


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `race` in a folder."""
    return subprocess.run(
        [*RACE, *arguments],
        cwd=cwd,
        env={**os.environ, **SERVERS, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """A folder far from race with a rule and a fix of the user's own."""
    (tmp_path / "my_rule.py").write_text(RULE)
    (tmp_path / "my_fix.py").write_text(FIX)
    return tmp_path


@pytest.mark.stores
def test_naive_breaks(tmp_path: Path) -> None:
    """The main example: a document that follows its schema, exit 1."""
    ended = run("run", "double-submit", "--strategy", "naive", "--bursts", "100", "--json", cwd=tmp_path)
    document = json.loads(ended.stdout)
    validate(document, json.loads(schema_text("result")))
    assert (ended.returncode, document["verdict"], document["as_claimed"]) == (1, "violated", True)


@pytest.mark.stores
def test_own_scripts_from_another_folder(scripts: Path) -> None:
    """A rule of fifteen lines runs at once, and what it says again can be said again."""
    arguments = ("run", "./my_rule.py", "--strategy", "./my_fix.py", "--bursts", "100", "--seed", "3")
    ended = run(*arguments, cwd=scripts)
    assert (ended.returncode, ended.stderr) == (1, "")
    assert f"  Again    race {' '.join(arguments)}\n" in ended.stdout


def test_a_folder_with_modules_of_the_same_names(tmp_path: Path) -> None:
    """Whoever has a `queue.py` and a folder `harness`, as one may, is not asked for ours."""
    (tmp_path / "queue.py").write_text("raise RuntimeError")
    (tmp_path / "harness").mkdir()
    (tmp_path / "harness" / "__init__.py").touch()
    command = [sys.executable, "-P", "-m", "harness", "run", "counter", "--strategy", "naive", "--bursts", "50"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (1, "")


@pytest.mark.stores
def test_ctrl_c_keeps_what_was_measured(tmp_path: Path) -> None:
    """Exit 130, one JSON document that says it is incomplete, saved too."""
    with subprocess.Popen(
        [*RACE, "run", "double-submit", "--strategy", "lua", "--bursts", "1000000", "--json"],
        cwd=tmp_path,
        env={**os.environ, **SERVERS},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        wait_for_load(process)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to everything in the group
        stdout, stderr = process.communicate(timeout=30)
    document = json.loads(stdout)
    (saved,) = (tmp_path / "results" / "runs").glob("0001-*.json")
    assert (process.returncode, document["complete"], stderr) == (130, False, "")
    assert json.loads(saved.read_text()) == document


def wait_for_load(process: subprocess.Popen[str]) -> None:
    """Until workers have used more processor time than any start takes: then bursts are under way."""
    import psutil

    parent = psutil.Process(process.pid)
    while process.poll() is None:
        workers = [child for child in parent.children(recursive=True) if "harness.burst.worker" in child.cmdline()]
        if workers and sum(child.cpu_times().user for child in workers) > 2.5:
            return
        time.sleep(0.05)


def test_a_reader_that_leaves(tmp_path: Path) -> None:
    """`race list | head -1` is no failure."""
    ended = subprocess.run(
        ["bash", "-c", f"{' '.join(RACE)} list | head -1; echo ${{PIPESTATUS[0]}}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.stdout, ended.stderr) == ("Scenarios, by what goes wrong\n0\n", "")


def test_ctrl_c_before_anything_has_begun() -> None:
    """Heard while race itself is still being read: one line, no trace of it."""
    code = """
import sys
class Interrupting:
    def find_spec(self, name, *_more):
        if name == "harness.cli.entry":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupting())
from harness.cli import main
main(["list"])
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "race: interrupted\n")


def test_help_starts_quickly() -> None:
    """`race --help` imports neither the engine nor rich: that is what keeps it fast."""
    code = "import sys; from harness.cli import main; main(['--help'])"
    checked = f"import atexit, sys; atexit.register(lambda: print(sorted(sys.modules), file=sys.stderr)); {code}"
    ended = subprocess.run([sys.executable, "-c", checked], capture_output=True, text=True, check=True)
    modules: list[Any] = json.loads(ended.stderr.replace("'", '"'))
    heavy = {"rich", "asyncpg", "uvloop", "hdrh", "asyncio", "harness.burst", "harness.stores", "harness.judge"}
    assert heavy & set(modules) == set()
