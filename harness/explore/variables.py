"""What a daemon and the caller that began it tell each other by the variables of the function that it runs.

No step of the session shows it. Whether one of them looks there is not seen, so that each always does; whether one of
them has changed something is: what the variables hold is compared from one step to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import BuiltinFunctionType, CellType, FunctionType, MethodType
from typing import Any

from harness.explore.touch import Touch, reads, writes
from harness.model import Request
from harness.strategy import Scenario, Session, Strategy

_PLAIN = {int, float, complex, str, bytes, bool, type(None)}
_HOLDING = {list, set, tuple, frozenset}
_SEEN = (Session, Strategy, Scenario, Request, BuiltinFunctionType)
"""What is no secret between the two: its changes are steps, or are noticed elsewhere, or there are none."""
_DEEPEST = 20


class Variables:
    """Those of one daemon's function."""

    def __init__(self, name: str, work: Callable[..., Any]) -> None:
        """`name` is the caller's: what it shares with each of its daemons is one thing."""
        self._name = f"variables:{name}"
        self._work = work
        self._held = self._look()

    def touch(self) -> Touch:
        """What either of them has done there, now that its step is over."""
        before, self._held = self._held, self._look()
        return reads(self._name) if self._held is not None and self._held == before else writes(self._name)

    def ended(self) -> Touch:
        """What whoever ends the daemon has done to it: a step that it takes before it cannot take afterwards."""
        return writes(self._name)

    def _look(self) -> list[str] | None:
        """What they hold, as texts; None where that cannot be told."""
        found = [*_texts(self._work, set())]
        return None if None in found else [text for text in found if text is not None]


def _texts(value: Any, known: set[int], depth: int = 0) -> Iterator[str | None]:
    kind = type(value)
    if kind in _PLAIN:
        yield repr(value)
    elif depth > _DEEPEST:
        yield None
    elif not isinstance(value, _SEEN) and id(value) not in known:
        known.add(id(value))
        inner = _parts(kind, value)
        yield None if inner is None else f"{kind.__name__} of {len(inner)}"
        for one in inner or ():
            yield from _texts(one, known, depth + 1)


def _parts(kind: type, value: Any) -> Sequence[Any] | None:
    """What it is made of; None where that is not known."""
    if kind in _HOLDING:
        return [*value]
    if kind is dict:
        return [part for pair in value.items() for part in pair]
    if kind is MethodType:
        return [value.__self__]
    if kind is FunctionType:
        own = {**vars(value), **(value.__kwdefaults__ or {})}
        return [*(value.__closure__ or ()), *(value.__defaults__ or ()), *own.values()]
    if kind is CellType:
        try:
            return [value.cell_contents]
        except ValueError:  # nothing was assigned yet
            return []
    return None
