"""race explore and race replay, as processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import harness.cli.output  # noqa: F401 - by now it has the real write_file, which a test below takes away for a while
from harness.model import UsageError
from harness.results.schema import schema_text


def race(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command on embedded stores."""
    return subprocess.run(
        [sys.executable, "-m", "harness", *words], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )


def test_explore_and_replay(tmp_path: Path) -> None:
    """A violation is drawn and saved; the file plays it again; the right strategy is proved."""
    ended = race("explore", "counter", "--strategy", "naive", "--seed", "1", "--save", "it.json", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (1, "")
    assert "VIOLATED  2 adds were acknowledged but the counter shows 1" in ended.stdout
    assert all(len(line) <= 80 for line in ended.stdout.splitlines())
    played = race("replay", "it.json", cwd=tmp_path)
    assert (played.returncode, played.stderr) == (1, "")
    saved = json.loads((tmp_path / "it.json").read_text())
    (tmp_path / "it.json").write_text(json.dumps({**saved, "strategy": "atomic"}))
    assert race("replay", "it.json", cwd=tmp_path).returncode == 3
    proved = race("explore", "counter", "--strategy", "lua", "--seed", "1", cwd=tmp_path)
    assert (proved.returncode, proved.stdout.split()[0]) == (0, "PROVED")


def test_json(tmp_path: Path) -> None:
    """One document, as its schema says."""
    ended = race("explore", "counter", "--strategy", "naive", "--all", "--size", "3", "--json", cwd=tmp_path)
    document = json.loads(ended.stdout)
    Draft202012Validator(json.loads(schema_text("exploration"))).validate(document)
    assert (document["verdict"], document["exhausted"]) == ("violated", True)
    assert document["counterexample"]["context_switches"] == 2


def test_two_faults_in_a_schedule(race: Callable[..., Any]) -> None:
    """What one dead owner sent arrives after its successor's, whose caller dies too: with one fault it is proved."""
    words = ["explore", "double-submit", "--strategy", "actor", "--faults", "crash", "--seed", "1"]
    once = race(*words).stdout
    assert once.split()[0] == "PROVED"
    assert "neither shown nor refuted; so few do not show it: --size 3, --max-faults 2" in " ".join(once.split())
    twice = race(*words, "--max-faults", "2")
    assert (twice.code, twice.stdout.split()[0]) == (1, "VIOLATED")
    assert "faults: crash, at most 2 in a schedule" in twice.stdout
    assert "--faults crash --max-faults 2 --seed 1" in " ".join(twice.stdout.split())


def test_not_shown_in_that_time(race: Callable[..., Any]) -> None:
    """What claims to break, and has not yet, is told apart from what holds."""
    words = ["explore", "double-submit", "--strategy", "redis-lock:steal", "--faults", "crash", "--budget", "0.1"]
    told = " ".join(race(*words).stdout.split())
    assert "but not under crash: neither shown nor refuted in that time; a longer --budget may" in told


def test_a_disk_filled_meanwhile(race: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found is shown, though its schedule cannot be saved."""

    def full(path: Path, _text: str) -> None:
        raise UsageError(f"cannot write {path}: No space left on device")

    monkeypatch.setattr("harness.results.save.write_file", full)
    ended = race("explore", "counter", "--strategy", "naive", "--seed", "1", "--save", "it.json")
    assert (ended.code, ended.stdout[:10], ended.stderr.count("\n")) == (2, "  VIOLATED", 1)


def test_bad_input(tmp_path: Path) -> None:
    """One line, exit 2."""
    (tmp_path / "no.json").write_text("{}")
    for words in (
        ("explore", "counter", "--strategy", "naive", "--faults", "flood"),
        ("explore", "counter", "--strategy", "nave"),
        ("explore", "counter", "--strategy", "naive", "--size", "1"),
        ("replay", "no.json"),
        ("replay", "missing.json"),
    ):
        ended = race(*words, cwd=tmp_path)
        assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1), words
