"""Keeping our own servers on a core: that of this thread, or one that the workers of a load leave to them.

Waking somebody on another core that sleeps costs several times what a command does; on the same
core it is a switch from one process to the next. For work in which nothing happens at the same
time that is what is wanted. A load needs all cores, and there it is what is not: the system likes to wake a
server where it was asked, in the middle of a worker's turn.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

_THREAD = Path("/proc/thread-self/stat")
_CORE = 36
"""Its place in that file behind the name of the program (proc(5), `processor`)."""


class OneCore:
    """What was kept where, so that it can be let go. Where the system knows no such thing, nothing is done."""

    def __init__(self) -> None:
        """Nothing is kept anywhere yet."""
        self._users = 0
        self._before: dict[int, set[int]] = {}

    def keep(self, servers: Iterable[int]) -> None:
        """Keep the calling thread, and the processes of these numbers, where the thread is now; their children too."""
        self._users += 1
        if self._users > 1 or not hasattr(os, "sched_setaffinity"):
            return
        with contextlib.suppress(OSError, ValueError, IndexError):
            core = int(_THREAD.read_text().rpartition(")")[2].split()[_CORE])
            self._move((0, *servers), core)

    def keep_apart(self, servers: Iterable[int], workers: int) -> None:
        """Keep the processes of these numbers on the last core, where so many workers leave one free."""
        self._users += 1
        if self._users > 1 or not hasattr(os, "sched_setaffinity"):
            return
        with contextlib.suppress(OSError):
            cores = os.sched_getaffinity(0)
            if len(cores) > workers:
                self._move(servers, max(cores))

    def _move(self, processes: Iterable[int], core: int) -> None:
        for process in processes:
            before = os.sched_getaffinity(process)
            os.sched_setaffinity(process, {core})
            self._before[process] = before

    def let_go(self) -> None:
        """Undo it, once as often as it was done. Never raises."""
        self._users = max(0, self._users - 1)
        if self._users:
            return
        for process, cores in self._before.items():
            with contextlib.suppress(OSError):  # a server that has ended
                os.sched_setaffinity(process, cores)
        self._before = {}
