"""How much of the machine others use: our own work, and that of what we started, is not theirs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.burst import others
from harness.burst.others import Others

STAT = "cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 0\n"


def write(folder: Path, pid: int, parent: int, ticks: int) -> None:
    """A process with an awkward name."""
    (folder / str(pid)).mkdir(exist_ok=True)
    numbers = " ".join(["0"] * 9)
    (folder / str(pid) / "stat").write_text(f"{pid} (a) b) S {parent} {numbers} {ticks} 0 0 0 20\n")


def test_the_family_is_not_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 200 ticks 150 were busy, 100 of them ours or our grandchild's: a quarter was others'."""
    monkeypatch.setattr(others, "_PROC", tmp_path)
    monkeypatch.setattr(others.os, "getpid", lambda: 10)
    for pid, parent in ((10, 1), (11, 10), (12, 11), (99, 1)):
        write(tmp_path, pid, parent, 5)
    (tmp_path / "stat").write_text(STAT.format(busy=1000, idle=1000))
    counted = Others()
    write(tmp_path, 10, 1, 45)
    write(tmp_path, 12, 11, 65)
    write(tmp_path, 99, 1, 55)
    (tmp_path / "stat").write_text(STAT.format(busy=1150, idle=1050))
    assert counted.share() == 0.25


def test_nobody_knows_without_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere than on Linux."""
    monkeypatch.setattr(others, "_PROC", tmp_path)
    assert Others().share() is None


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="counts by /proc, which is not here")
def test_on_this_machine() -> None:
    """A share is a share, and a child that works is ours."""
    counted = Others()
    subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
    share = counted.share()
    assert share is not None
    assert 0 <= share <= 1
