"""race run: once a load has broken something, the smallest schedule that does is found and saved."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from harness.results.schema import schema_text

pytestmark = [pytest.mark.load, pytest.mark.xdist_group("load")]

LATER = """
from harness import *
from harness.strategy.loader import find_strategy
class Later(find_strategy("naive")[0]):
    name = "later"
    asked = 0
    async def apply(self, session, request, rule):
        Later.asked += 1
        if Later.asked > 400:
            return await super().apply(session, request, rule)
        value = await session.redis("INCR", session.key(request.key))
        return Reply("added", {"value": value})
"""


def race(*words: str, cwd: Path, code: int = 1) -> Any:
    """Run a command on embedded stores; its document."""
    ended = subprocess.run(
        [sys.executable, "-m", "harness", *words, "--json"],
        cwd=cwd, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (code, "")
    document = json.loads(ended.stdout)
    Draft202012Validator(json.loads(schema_text("result"))).validate(document)
    return document


@pytest.mark.parametrize(
    ("strategy", "load"),
    [
        ("naive", ("--bursts", "40", "--size", "4")),
        ("mutex", ("--mode", "sustained", "--duration", "0.5")),
        pytest.param("pg-read-committed", ("--bursts", "40"), marks=pytest.mark.long),
    ],
)
def test_the_smallest_schedule_is_shown(tmp_path: Path, strategy: str, load: tuple[str, ...]) -> None:
    """Two requests however many the load took; what the load met is kept; the file plays it again."""
    document = race("run", "counter", "--strategy", strategy, *load, cwd=tmp_path)
    found, explored = document["counterexample"], document["exploration"]
    assert (explored["verdict"], explored["size"]) == ("violated", 2)
    assert (len(found["columns"]), found["context_switches"], found["fits"]) == (2, 2, True)
    assert found["observed"]["says"]
    assert found["says"] == "2 adds were acknowledged but the counter shows 1"
    played = subprocess.run(
        [sys.executable, "-m", "harness", "replay", found["file"]],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (played.returncode, played.stdout.split()[0]) == (1, "VIOLATED")


def test_what_exploring_cannot_reproduce_is_said(tmp_path: Path) -> None:
    """It breaks only once its process has been asked often: what the load met stays, with what exploring says."""
    (tmp_path / "later.py").write_text(LATER)
    document = race("run", "counter", "--strategy", "./later.py", "--bursts", "600", cwd=tmp_path)
    assert "observed" not in document["counterexample"]
    assert document["counterexample"]["steps"]
    assert (document["exploration"]["verdict"], document["exploration"]["size"]) == ("bounded", 2)


def test_what_held_is_not_explored(tmp_path: Path) -> None:
    """Nothing broke: there is nothing to make small."""
    document = race("run", "counter", "--strategy", "atomic", "--bursts", "40", cwd=tmp_path, code=0)
    assert (document["counterexample"], document["exploration"]) == (None, None)
