"""How much of this machine other programs used meanwhile: whether its figures are those of the load."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_PARENT, _TIMES = 1, slice(11, 15)
"""Places in /proc/PID/stat behind the name: the parent, and the times of a process and of children waited for."""
_IDLE, _WAITING = 3, 4


class _Spent(NamedTuple):
    """Clock ticks of all processors together: what there were, what was not idle, what we used."""

    every: int
    busy: int
    own: int


class Others:
    """Counts from its making; on Linux, elsewhere nobody knows."""

    def __init__(self) -> None:
        """Look at the clocks."""
        self._began = _spent()

    def share(self) -> float | None:
        """The part of all processors' time that was used by none of our processes, from 0 to 1; None if unknown."""
        began, now = self._began, _spent()
        if began is None or now is None or now.every <= began.every:
            return None
        others = (now.busy - began.busy) - (now.own - began.own)
        return round(min(1.0, max(0.0, others / (now.every - began.every))), 3)


def _spent() -> _Spent | None:
    try:
        ticks = [int(word) for word in (_PROC / "stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
        every = sum(ticks)
        return _Spent(every, every - ticks[_IDLE] - ticks[_WAITING], sum(_own()))
    except (OSError, ValueError, IndexError):
        return None


def _own() -> Iterator[int]:
    """The ticks of this process and all below it."""
    below: defaultdict[int, list[int]] = defaultdict(list)
    spent: dict[int, int] = {}
    for path in _PROC.glob("[0-9]*/stat"):
        try:
            fields = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        pid = int(path.parent.name)
        below[int(fields[_PARENT])].append(pid)
        spent[pid] = sum(map(int, fields[_TIMES]))
    family = [os.getpid()]
    for pid in family:
        family += below[pid]
        yield spent.get(pid, 0)
