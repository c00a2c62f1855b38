"""Progress: one line on a terminal, gone at the end; nothing anywhere else."""

from __future__ import annotations

import io
import sys

import pytest

from harness.burst import Progress
from harness.cli.progress import shown


class Terminal(io.StringIO):
    """What is written, as if to a terminal."""

    def isatty(self) -> bool:
        """It claims to be one."""
        return True


def drawn(monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO, *told: Progress, quiet: bool = False) -> str:
    """All that was drawn."""
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    with shown("counter", quiet=quiet) as progress:
        for one in told:
            progress(one)
    return stderr.getvalue()


def test_how_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of how many, where that is known; how many broke."""
    assert "counter: lua" in drawn(monkeypatch, Terminal(), Progress("lua", 40, 1000))
    assert "40 of 1,000 bursts" in drawn(monkeypatch, Terminal(), Progress("lua", 40, 1000))
    explored = Progress("watch", 1234, 0, "schedules", 3, share=0.25)
    assert "1,234 schedules, 3 broken" in drawn(monkeypatch, Terminal(), explored)


def test_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe is told nothing, nor is somebody who asked for quiet."""
    assert drawn(monkeypatch, io.StringIO(), Progress("lua", 40, 1000)) == ""
    assert drawn(monkeypatch, Terminal(), Progress("lua", 40, 1000), quiet=True) == ""
