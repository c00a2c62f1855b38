"""Order where the answers themselves say what came after what.

Gibbons & Korach, "Testing Shared Memories" (SIAM J. Comput. 26(4), 1997): where no value is written twice, every answer
names the write that it saw. What belongs to one value stands together in every order, and such stretches can be put in
order if any two of them can. That takes no search, however many callers overlap.

Which stretches there are, the specification says. An order is believed only once it has been gone through step by step;
that there is none rests on what the specification said.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from harness.judge.states import Entry, States
from harness.judge.unordered import Unordered, fewer
from harness.judge.wing_gong import Outcome
from harness.model import Stretches

_AT_REST = 1 << 80
"""After everything, in nanoseconds."""
_MOST_BYTES = 16 << 20


class _Placed(NamedTuple):
    """Entries in the order that the answers ask for, up to those in `wrong`, which contradict each other."""

    order: Sequence[int]
    free: Collection[int] = ()
    wrong: Collection[int] = ()


def told(entries: Sequence[Entry], states: States) -> Outcome:
    """Whether there is an order; unknown where the answers alone do not say it."""
    placed = _placed(entries, states)
    if placed is None:
        return "unknown"
    if placed.wrong:
        return "illegal"
    free = [place for place in placed.free if entries[place].returned_ns is not None]
    return "legal" if _gone_through(placed.order, free, entries, states) else "unknown"


def explain_told(entries: Sequence[Entry], states: States, seconds: float) -> Unordered:
    """What contradicts itself, of entries that have no order, made small for so many seconds."""
    until = time.monotonic() + seconds
    placed = _placed(entries, states)
    if seconds <= 0 or placed is None or not placed.wrong:
        return Unordered()

    def contradicts(places: Collection[int]) -> bool:
        bound = {*places}
        again = [
            entry if place in bound else entry._replace(reply=None, returned_ns=None)
            for place, entry in enumerate(entries)
        ]
        found = _placed(again, states)
        return found is not None and bool(found.wrong)

    core = [place for place in sorted(placed.wrong) if place < len(entries)]
    if not contradicts(core):
        core = [place for place, entry in enumerate(entries) if entry.returned_ns is not None]
    core = fewer(core, contradicts, until)
    core.sort(key=lambda place: entries[place].invoked_ns)
    longest = _before(core, entries, states)

    def named(places: Sequence[int]) -> tuple[str, ...]:
        return tuple(entries[place].id for place in places if place < len(entries))

    return Unordered(named(core), named(longest), time.monotonic() <= until)


def _before(core: Sequence[int], entries: Sequence[Entry], states: States) -> Sequence[int]:
    """An order of what was asked for before the last of these was answered, but for that one."""
    last = max(core, key=lambda place: _ended(entries[place]), default=-1)
    until = _ended(entries[last]) if core else _AT_REST
    places = [place for place, entry in enumerate(entries) if entry.invoked_ns <= until and place != last]
    placed = _placed([entries[place] for place in places], states.without_rest())
    return [places[place] for place in placed.order] if placed else []


def _placed(entries: Sequence[Entry], states: States) -> _Placed | None:
    """Everything that must have an order, in the one that the answers ask for; None where they do not say."""
    looks = states.look_at_rest()
    every = [*entries]
    if looks is not None:
        every.append(Entry("", *looks, _AT_REST, _AT_REST + 1, (0,)))
    found = states.stretches([(entry.request, entry.reply) for entry in every])
    if found is None:
        return None
    if found.wrong:
        return _Placed((), wrong=found.wrong)
    runs = _runs(found, every)
    order = [place for run in runs for place in run]
    latest = -1
    for at, place in enumerate(order):
        ended = every[place].returned_ns
        if latest >= 0 and ended is not None and ended < every[latest].invoked_ns:
            wrong = {one for run in runs if place in run or latest in run for one in run}
            return _Placed(order[:at], wrong=wrong)
        if latest < 0 or every[place].invoked_ns > every[latest].invoked_ns:
            latest = place
    if looks is not None and len(entries) in order:
        order.remove(len(entries))
    return _Placed(order, found.free)


def _runs(found: Stretches, entries: Sequence[Entry]) -> list[list[int]]:
    """The stretches, and whatever stands alone, one after the other.

    One comes before another that was still asked for a part of it when this one had its first answer. If it may, the
    sum of both times is less.
    """

    def when(run: Sequence[int]) -> int:
        first_end = min(_ended(entries[place]) for place in run)
        return first_end + max(entries[place].invoked_ns for place in run)

    runs = [
        [place for step in run for place in sorted(step, key=lambda one: entries[one].invoked_ns)] for run in found.runs
    ]
    within = {place for run in runs for place in run}.union(found.free)
    alone = [[place] for place, one in enumerate(entries) if one.returned_ns is not None and place not in within]
    return [runs[0], *sorted([*runs[1:], *alone], key=when)]


def _ended(entry: Entry) -> int:
    return _AT_REST if entry.returned_ns is None else entry.returned_ns


def _gone_through(order: Sequence[int], free: Sequence[int], entries: Sequence[Entry], states: States) -> bool:
    """Whether the specification agrees with every step, and those that are free, and change nothing, fit in between."""
    state, waiting, coming = states.start, list[int](), _coming(order, free, entries)
    for at, place in enumerate([*order, None]):
        earlier, last = coming[at]
        waiting = sorted({*waiting, *earlier}, key=lambda one: entries[one].invoked_ns)
        waiting = list(_left(waiting, state, entries, states))
        if not last.isdisjoint(waiting):
            return False
        if place is None:
            break
        after = states.after(place, state)
        if len(after) != 1:
            return False
        state = after[0]
        if states.size_bytes > _MOST_BYTES:
            states.forget_but((states.start, state))
    return not waiting and states.fits(state)


def _left(waiting: Sequence[int], state: int, entries: Sequence[Entry], states: States) -> Iterator[int]:
    """Those for whom it is too early: the state does not fit them, or somebody has to come before them."""
    left: list[int] = []
    for place in waiting:
        first = any(_ended(entries[one]) < entries[place].invoked_ns for one in left)
        if first or states.after(place, state) != (state,):
            left.append(place)
            yield place


def _coming(order: Sequence[int], free: Sequence[int], entries: Sequence[Entry]) -> list[tuple[list[int], set[int]]]:
    """For each place in an order: who may come from there on, who no later."""
    started = list(accumulate((entries[place].invoked_ns for place in order), max))
    ended = list(accumulate((_ended(entries[place]) for place in reversed(order)), min))[::-1]
    coming: list[tuple[list[int], set[int]]] = [([], set()) for _place in range(len(order) + 1)]
    for place in free:
        coming[bisect_left(ended, entries[place].invoked_ns)][0].append(place)
        coming[bisect_right(started, _ended(entries[place]))][1].add(place)
    return coming
