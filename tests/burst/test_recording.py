"""A history that a run wrote gets the verdict of the run, whatever it was."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.load, pytest.mark.xdist_group("load")]


def race(folder: Path, *words: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, document and stderr of `race` as a process of its own."""
    ended = subprocess.run(
        [sys.executable, "-m", "harness", *words, "--json"],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return ended.returncode, json.loads(ended.stdout or "{}"), ended.stderr


@pytest.mark.parametrize(
    ("scenario", "strategy", "load"),
    [
        ("double-submit", "naive", ("--bursts", "60")),
        ("register", "pg-conditional", ("--bursts", "60")),
        ("double-submit", "atomic", ("--mode", "sustained", "--duration", "0.5")),
    ],
)
def test_verify_gives_the_verdict_of_the_run(
    scenario: str, strategy: str, load: tuple[str, ...], tmp_path: Path
) -> None:
    """Of order, rule and all together, for the same reason, over the same pieces."""
    history = "h.jsonl.gz" if "sustained" in load else "h.jsonl"
    code, run, told = race(tmp_path, "run", scenario, "--strategy", strategy, *load, "--history", history)
    assert told == f"history saved in {history}\n"
    again, found, stderr = race(tmp_path, "verify", history)
    assert (again, stderr) == (code, "")
    same = ("scenario", "rule", "verdict", "reason", "order", "invariants")
    assert {name: found[name] for name in same} == {name: run[name] for name in same}
    assert (found["violations"]["pieces"], found["violations"]["judged"]) == (
        run["violations"]["bursts"], run["violations"]["judged"],
    )  # fmt: skip
    assert found["violations"]["by_invariant"] == {
        name: count for name, count in run["violations"]["by_invariant"].items() if count
    }
    assert found["counts"]["operations"] == run["counts"]["requests"]
    assert "--history" not in run["reproduce"]


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    """Exit 2, before any load."""
    code, _document, stderr = race(tmp_path, "run", "counter", "--strategy", "lua", "--history", "/dev/full")
    says = "race: cannot write history /dev/full: No space left on device; --history chooses another\n"
    assert (code, stderr) == (2, says)
