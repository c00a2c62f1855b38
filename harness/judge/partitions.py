"""Judging a whole history: partitions that have no key in common, in turns, within a budget.

A history is linearizable if and only if its parts per object are (Herlihy & Wing, TOPLAS 1990);
Horn & Kroening, "Faster linearizability checking via P-compositionality" (FORTE 2015) search
them one by one. One after the other would let a partition that explodes hide one that is
plainly illegal, so they take turns that grow.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from harness.judge.connected import Connected
from harness.judge.deadlines import met_by_deadline
from harness.judge.depth_first import met_depth_first
from harness.judge.few import few_have_order
from harness.judge.foresight import Foreseeing
from harness.judge.states import Entry, Rest, States, entries_of
from harness.judge.stretches import explain_told, told
from harness.judge.timeline import Timeline, Traits
from harness.judge.unordered import Unordered, explain_illegal
from harness.judge.wing_gong import Outcome, Search
from harness.model import Operation, Spec

_FIRST_TURN, _GROWTH = 2_048, 4
_EXPLAINED_STEPS, _STRIDE = 8_192, 64
_SMALLEST_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Budget:
    """How long and how large a search may be. Past it the answer is `unknown`.

    `seconds` for the whole search, `memory_bytes` (an estimate) for all partitions that are
    open at a time, `explain_s` for making the explanation of an illegal history small.
    """

    seconds: float = 20.0
    memory_bytes: int = 256 << 20
    explain_s: float = 0.05


@dataclass(frozen=True, slots=True)
class OrderFound:
    """Whether an order exists. `why` says what was not enough where the outcome is unknown."""

    outcome: Outcome
    unordered: tuple[str, ...] = ()
    longest: tuple[str, ...] = ()
    fewest: bool = False
    why: str = ""
    keys: tuple[str, ...] = ()
    partitions: int = 0


class _Open:
    """A partition whose search has begun: ahead, where the specification foresees, then from return to return."""

    def __init__(self, keys: tuple[str, ...], states: States, entries: Sequence[Entry], rest: Rest | None) -> None:
        self.keys = keys
        self.rest = rest
        self.limit_bytes = 0
        self.search: Search | None = None
        self.illegal = False
        self.stuck = ""
        self._states = states
        self._entries = entries
        self._until = 0.0
        self._running: Generator[int, None, Outcome] | None = None

    def turn(self, steps: int, until: float, traits: Traits, *, explain: bool) -> Outcome | None:
        """Search for a number of steps; None while there is no answer."""
        self._until = until
        if self._running is None:
            self._running = self._run(traits, explain=explain)
        try:
            while steps > 0:
                steps -= next(self._running)
                if time.monotonic() > until:
                    return None
        except StopIteration as done:
            outcome: Outcome = done.value
            return outcome
        return None

    def _run(self, traits: Traits, *, explain: bool) -> Generator[int, None, Outcome]:
        known: Outcome = "unknown"
        if self._states.looks_ahead:
            ahead = Foreseeing(self._entries, self._states)
            known = yield from self._limited(ahead)
            self.illegal = known == "illegal"  # whether or not the other search finds out why
            self.stuck = ahead.stuck
            if known == "legal" or (known == "illegal" and not explain):
                return known
            del ahead
            self._states = self._states.anew()
        timeline = Timeline(self._entries, rest=self.rest is not None)
        search = self.search = Search(timeline, self._states, traits, hope=self._hope)
        if known == "unknown":
            return (yield from self._limited(search))
        # Only the reason is asked for.
        running, spent = search.run(), 0
        with suppress(StopIteration):
            while spent < _EXPLAINED_STEPS:
                spent += next(running)
                yield _STRIDE
        return known

    def _hope(self) -> bool:
        return met_by_deadline(self._entries, self._states.anew(), _soon(self._until))

    def _limited(self, search: Search | Foreseeing) -> Generator[int, None, Outcome]:
        running = search.run()
        while True:
            search.limit_bytes = self.limit_bytes
            try:
                spent = next(running)
            except StopIteration as done:
                outcome: Outcome = done.value
                return outcome
            yield spent


_Part = tuple[tuple[str, ...], list[Operation]]


def partition(operations: Iterable[Operation]) -> dict[tuple[str, ...], list[Operation]]:
    """Operations by the connected keys that they name; keys in order."""
    named: dict[tuple[str, ...], list[Operation]] = {}
    for operation in operations:
        keys = operation.request.keys
        group = named.get(keys)
        if group is None:
            named[keys] = [operation]
        else:
            group.append(operation)
    connected = Connected()
    for keys in named:
        connected.join(keys)
    groups = connected.groups()
    found: dict[tuple[str, ...], list[Operation]] = {}
    for keys, group in named.items():
        whole = groups[connected.root(keys[0])] if keys else ()
        if whole in found:
            found[whole] += group
        else:
            found[whole] = group
    return found


def check_order(
    operations: Iterable[Operation],
    spec: Spec,
    initial: Mapping[str, Any],
    rest: Rest | None = None,
    budget: Budget | None = None,
    *,
    unix_ns: int = 0,
    traits: Traits | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> OrderFound:
    """Search for an order that explains every reply, and the state at rest where it is given.

    `unix_ns` added to a monotonic time gives Unix time. `progress` is told how many partitions of how
    many are done. Whatever the specification raises goes through to the caller.
    """
    budget = budget or Budget()
    until = time.monotonic() + budget.seconds
    traits = traits or Traits()
    parts = partition(operations)
    _add_untouched(parts, rest)
    waiting: list[_Open | _Part] = list(parts.items())
    unknown: _Open | None = None
    turn, total = _FIRST_TURN, len(parts)
    while waiting:
        again: list[_Open | _Part] = []
        share = max(_SMALLEST_BYTES, budget.memory_bytes // len(waiting))
        for number, item in enumerate(waiting):
            opened = item if isinstance(item, _Open) else _begun(*item, spec, initial, rest, unix_ns, budget, until)
            if isinstance(opened, _Open):
                opened.limit_bytes = share
                outcome = opened.turn(turn, until, traits, explain=budget.explain_s > 0)
            else:
                outcome = opened.outcome
            late = time.monotonic() > until
            if outcome == "illegal" or (late and isinstance(opened, _Open) and opened.illegal):
                return (
                    _illegal(opened, spec, traits, budget, total)
                    if isinstance(opened, _Open)
                    else replace(opened, partitions=total)
                )
            if isinstance(opened, _Open) and outcome is None:
                again.append(opened)
            elif isinstance(opened, _Open) and outcome == "unknown":
                unknown = unknown or opened
            if late and (again or number + 1 < len(waiting)):
                why = f"no answer within {budget.seconds:g} s"
                return OrderFound("unknown", why=why, keys=opened.keys, partitions=total)
            if progress is not None and turn == _FIRST_TURN:
                progress(number + 1, total)
        waiting = again
        turn *= _GROWTH
    if unknown is not None:
        return OrderFound("unknown", why=_why(unknown), keys=unknown.keys, partitions=total)
    return OrderFound("legal", partitions=total)


def _add_untouched(parts: dict[tuple[str, ...], list[Operation]], rest: Rest | None) -> None:
    """Keys that were seen at rest but that no operation names must still be as they were."""
    named = {key for keys in parts for key in keys}
    for key in rest.values if rest else ():
        if key not in named:
            parts[key,] = []


def _begun(
    keys: tuple[str, ...],
    operations: Sequence[Operation],
    spec: Spec,
    initial: Mapping[str, Any],
    rest: Rest | None,
    unix_ns: int,
    budget: Budget,
    until: float,
) -> _Open | OrderFound:
    """A partition whose search can begin; the answer, where the operations are few and nobody asks why."""
    end_ms = rest.at_ms if rest else 0
    if unix_ns and not end_ms:
        last_ns = max((operation.returned_ns or operation.invoked_ns for operation in operations), default=0)
        end_ms = (last_ns + unix_ns) // 1_000_000
    entries: list[Entry] = entries_of(operations, unix_ns, end_ms)
    ordered = few_have_order(keys, entries, spec, initial, rest)
    if ordered:
        return OrderFound("legal", keys=keys)
    if ordered is False and budget.explain_s <= 0:
        return OrderFound("illegal", keys=keys)
    states = States(spec, keys, entries, initial, rest)
    said = told(entries, states) if ordered is None else "unknown"
    if said == "illegal":
        found = explain_told(entries, states, budget.explain_s)
        return OrderFound("illegal", *found, keys=keys)
    if said == "legal":
        return OrderFound("legal", keys=keys)
    if len(states) > 1:
        states = states.anew()
    if ordered is None and not states.looks_ahead and met_depth_first(entries, states, _soon(until)):
        return OrderFound("legal", keys=keys)
    return _Open(keys, states, entries, rest)


def _soon(until: float) -> float:
    """A quarter of the time that is left: the search that can say no needs the rest."""
    now = time.monotonic()
    return now + (until - now) / 4


UNDATED = "the order depends on an instant that nobody knows"
"""Of an operation whose outcome is not known, or that was delivered twice: more time would not help."""


def _why(opened: _Open) -> str:
    if opened.search is not None and opened.search.states.guessed:
        return UNDATED
    return "no answer within the memory allowed"


def _illegal(opened: _Open, spec: Spec, traits: Traits, budget: Budget, total: int) -> OrderFound:
    found = Unordered((opened.stuck,) if opened.stuck else ())
    if opened.search is not None and opened.search.outcome == "illegal":
        found = explain_illegal(opened.search, spec, opened.rest, traits, budget.explain_s)
    return OrderFound("illegal", *found, keys=opened.keys, partitions=total)
