"""Times to live: the store's clock is real, the schedule's is not, so a schedule must be over before one ends."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import inf

_UNITS = {"EXPIRE": 1_000, "PEXPIRE": 1, "SETEX": 1_000, "PSETEX": 1}
_OPTIONS = {"EX": 1_000, "PX": 1}
_COARSE_MS = 50
_MOST_DIGITS = 8
_NUMBER = re.compile(r"\d+")
"""Also within a text: what a script is told may be commands."""


class Leases:
    """What the commands of one schedule have set."""

    def __init__(self) -> None:
        """None yet."""
        self._ends: set[int] = set()
        self._shortest_ms: float = inf

    def set_by(self, words: Sequence[str], now_ms: int) -> None:
        """A command is sent."""
        ttl_ms = lease_ms(words)
        if ttl_ms is not None:
            self._ends.add(now_ms + ttl_ms)
            self.left(ttl_ms)

    def set_by_script(self, ttl_ms: int, args: Iterable[object], now_ms: int) -> None:
        """A script is run: it may set what it likes, the longest being known, and probably what it is told."""
        told = (int(word) for arg in args for word in _NUMBER.findall(str(arg)) if len(word) <= _MOST_DIGITS)
        self._ends.update(now_ms + ms for ms in (ttl_ms, *told) if ms)
        self.left(ttl_ms)

    def left(self, ttl_ms: int | None) -> None:
        """A key vanishes so soon, if nothing happens."""
        if ttl_ms is not None:
            self._shortest_ms = min(self._shortest_ms, ttl_ms)

    def nominal(self, left_ms: int, now_ms: int, elapsed_ms: float) -> int:
        """What the store says is left, as it would be if no real time had passed: the same in every run."""
        ends = [end - now_ms for end in self._ends if left_ms <= end - now_ms <= left_ms + elapsed_ms + 1]
        return min(ends) if ends else -(-left_ms // _COARSE_MS) * _COARSE_MS

    def outlasted_by(self, elapsed_ms: float) -> bool:
        """Whether so long a schedule may have met a key that really vanished."""
        return elapsed_ms >= self._shortest_ms / 2


def lease_ms(words: Sequence[str]) -> int | None:
    """How long a key may live after this command, in milliseconds; None where it sets no time to live."""
    name = words[0].upper()
    try:
        if name in _UNITS:
            return int(words[2]) * _UNITS[name]
        for option, value in pairwise(words[2:]):
            unit = _OPTIONS.get(option.upper())
            if unit is not None and name in {"SET", "GETEX"}:
                return int(value) * unit
    except (IndexError, ValueError):  # the server refuses it
        return None
    return None
