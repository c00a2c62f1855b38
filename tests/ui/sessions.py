"""race ui and race worker as processes of their own, that a test starts, watches and ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

RACE = (sys.executable, "-m", "harness")


class Session:
    """One of them, in its own group, as a terminal would start it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        """Start it."""
        self.folder = folder
        self.url = ""
        self.process = subprocess.Popen(
            [*RACE, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True, env={**os.environ, "NO_COLOR": "1"},
        )  # fmt: skip

    def line(self) -> str:
        """The next line on stderr."""
        assert self.process.stderr is not None
        return self.process.stderr.readline()

    def family(self) -> list[psutil.Process]:
        """All processes below it, and itself."""
        try:
            mine = psutil.Process(self.process.pid)
            return [mine, *mine.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def workers(self) -> list[psutil.Process]:
        """The processes of the load engine below it."""
        return [one for one in self.family() if "harness.burst.worker" in _command(one)]

    def worked_s(self) -> float:
        """Processor seconds that these have used: once it is more than any start takes, bursts are under way."""
        return float(sum(one.cpu_times().user for one in self.workers()))

    def ended(self, timeout_s: float = 90.0) -> tuple[int, str, str]:
        """Exit code, stdout and stderr, once it has ended by itself."""
        stdout, stderr = self.process.communicate(timeout=timeout_s)
        return self.process.returncode, stdout, stderr

    def interrupt(self) -> None:
        """Ctrl-C: to everything in the group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def close(self) -> None:
        """End it, however it is."""
        for process in self.family():
            if process.is_running():
                process.kill()
        self.process.communicate()

    @staticmethod
    def kept(folder: Path) -> list[dict[str, Any]]:
        """The results in a folder, in order."""
        paths = sorted((folder / "results" / "runs").glob("[0-9]*.json"))
        return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # it ends at this moment
        return []


def gone(processes: list[psutil.Process]) -> bool:
    """Whether none of them runs any more."""
    _gone, alive = psutil.wait_procs(processes, timeout=20)
    return not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
