"""race new: what it writes runs at once, under every strategy, and passes its own test."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.model import UsageError

Race = Callable[..., Any]


def test_what_is_written_runs_at_once(race: Race) -> None:
    """The rule breaks without protection and holds under the fix; both tests pass."""
    assert race("new", "scenario", "SeatBooking").stdout.startswith(
        "wrote seat_booking.py and test_seat_booking.py; next"
    )
    assert race("new", "strategy", "swap-it").stdout.startswith("wrote swap_it.py and test_swap_it.py; next")
    rule, fix = "./seat_booking.py", "./swap_it.py"
    broken = race("explore", rule, "--strategy", "naive")
    assert (broken.code, "2 were accepted, and there is 1 seat" in broken.stdout) == (1, True)
    assert race("explore", rule, "--strategy", fix).stdout.startswith("  PROVED")
    quick = ("-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:xdist")
    ended = subprocess.run([sys.executable, "-m", "pytest", *quick], capture_output=True, text=True, check=False)
    assert (ended.returncode, "5 passed" in ended.stdout) == (0, True), ended.stdout


@pytest.mark.parametrize("kind", ["scenario", "strategy"])
def test_what_is_written_is_formatted(race: Race, kind: str) -> None:
    """As the projects that it goes into are; the placeholders are gone; every line says what it is."""
    race("new", kind, "a-longer-name-than-most")
    ended = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--check", "--isolated", "--line-length", "120", "."], check=False
    )
    texts = [path.read_text() for path in Path().glob("*.py")]
    assert (ended.returncode, len(texts)) == (0, 2)
    assert all(ast.get_docstring(ast.parse(text)) for text in texts)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("scenario", "json"), "a script json.py would hide the module json from its test: choose another name"),
        (("scenario", "a/b"), "'a/b' is no name for a script: use letters, digits and dashes, as in seat-booking"),
        (("scenario", "ünder"), "'ünder' is no name for a script: use letters, digits and dashes, as in seat-booking"),
        (("rule", "x"), "invalid value for '{scenario|strategy}': 'rule' is not one of 'scenario', 'strategy'"),
    ],
)
def test_refused(race: Race, words: tuple[str, str], says: str) -> None:
    """In one line; nothing is written."""
    ended = race("new", *words)
    assert (ended.code, ended.stderr.split("; see")[0].strip()) == (2, f"race: {says}")
    assert list(Path().iterdir()) == []


def test_nothing_is_overwritten(race: Race) -> None:
    """Neither the script nor its test."""
    Path("test_mine.py").write_text("")
    ended = race("new", "strategy", "mine")
    assert (ended.code, ended.stderr) == (
        2, "race: test_mine.py is there already: choose another name, or remove it first\n",
    )  # fmt: skip
    assert not Path("mine.py").exists()


def test_a_full_disk_leaves_no_half(race: Race, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither file is in the way of the next try."""

    def full(path: Path, text: str) -> None:
        if path.name.startswith("test_"):
            raise UsageError(f"cannot write {path}: No space left on device")
        path.write_text(text)

    monkeypatch.setattr("harness.cli.new_command.write_file", full)
    ended = race("new", "scenario", "seat-booking")
    assert (ended.code, ended.stderr) == (2, "race: cannot write test_seat_booking.py: No space left on device\n")
    assert list(Path().iterdir()) == []
