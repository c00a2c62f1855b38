"""Why there is no order: the fewest operations that cannot be ordered, and the longest order found.

To leave an operation out would change what the others may have seen, so operations are not
left out but set free: a freed one may have taken effect at any time after its invocation, or
never, with any answer. What cannot be ordered with all others set free is what contradicts itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from harness.judge.states import Entry, Rest, States
from harness.judge.timeline import Timeline, Traits
from harness.judge.wing_gong import Configuration, Outcome, Search
from harness.model import Spec

_BREADTH, _TRACED_BREADTH = 64, 1_000
_PATIENCE, _MOST_STEPS = (256, 4_096), 65_536
_WIDEST = 512
"""Operations that are looked at together, in up to a second; in more time more."""
_CANDIDATES = 256


class Unordered(NamedTuple):
    """Ids of operations: those that cannot be ordered, and the longest order of what comes before.

    A long history is explained from the last point at which its state was certain. `fewest`: it was tried to do with
    fewer, to the end.
    """

    operations: tuple[str, ...] = ()
    longest: tuple[str, ...] = ()
    fewest: bool = False


class _Window:
    """The part of a history between a checkpoint and the return that cannot be explained."""

    def __init__(self, search: Search, spec: Spec, rest: Rest | None, traits: Traits) -> None:
        timeline = search.timeline
        self.stuck = search.stuck_level
        self.level, self.frontier = search.checkpoint
        self.search = search
        self.spec = spec
        self.traits = traits
        levels = timeline.levels
        self.last = levels[self.stuck][0]
        self.rest = rest if self.last == len(timeline.entries) else None
        opened = [place for _returns, places in levels[: self.stuck + 1] for place in places]
        self.places = sorted(
            place for place in opened if timeline.ranks[place] >= self.level and place < len(timeline.entries)
        )
        self.known = [place for place in self.places if not timeline.optional[place]]

    def again(self, bound: Collection[int], *, traced: bool = False) -> Search:
        """The search of this window in which all but the `bound` operations are set free."""
        timeline = self.search.timeline
        entries = [self._entry(place, free=place not in bound) for place in self.places]
        part = Timeline(entries, rest=self.rest is not None)
        states = States(self.spec, self.search.states.keys, entries, {}, self.rest)
        start: list[Configuration] = []
        for ordered, used, state in self.frontier:
            done = [0, 0]
            for place, entry in enumerate(self.places):
                was = used if timeline.optional[entry] else ordered
                # Bits are reused: those of the frontier belong to what was open at the checkpoint.
                if was & timeline.bits[entry] and self._open_then(entry):
                    done[part.optional[place]] |= part.bits[place]
            start.append((done[0], done[1], states.number(self.search.states.state(state))))
        breadth = _TRACED_BREADTH if traced else _BREADTH
        return Search(part, states, self.traits, start=start, traced=traced, breadth=breadth)

    def _open_then(self, place: int) -> bool:
        return self.search.timeline.opened_at[place] < self.level

    def _entry(self, place: int, *, free: bool) -> Entry:
        entry = self.search.timeline.entries[place]
        if free:
            return entry._replace(reply=None, returned_ns=None)
        if self.search.timeline.ranks[place] > self.stuck:
            return entry._replace(returned_ns=None)  # whether it ever returns does not matter here
        return entry


def explain_illegal(search: Search, spec: Spec, rest: Rest | None, traits: Traits, seconds: float) -> Unordered:
    """Make the contradiction small, for about so many seconds; `search` has found no order.

    In no time, what no order got past.
    """
    if seconds <= 0:
        place = search.timeline.levels[search.stuck_level][0]
        return Unordered(tuple(entry.id for entry in search.timeline.entries[place : place + 1]))
    until = time.monotonic() + seconds
    window = _Window(search, spec, rest, traits)
    entries = search.timeline.entries
    last = () if window.rest else (window.last,)
    if len(window.known) > _WIDEST * max(1.0, seconds):
        return Unordered(tuple(entries[place].id for place in last))
    whole = window.again(window.known, traced=True)
    if _outcome(whole, _MOST_STEPS, until) != "illegal":
        return Unordered(tuple(entries[place].id for place in last))
    longest = _longest(whole)
    core = [place for place in window.known if place not in last]
    for steps in _PATIENCE:

        def contradicts(places: Collection[int], steps: int = steps) -> bool:
            return _outcome(window.again({*places, *last}), steps, until) == "illegal"

        core = fewer(core, contradicts, until)
    places = sorted({*core, *last}, key=lambda place: entries[place].invoked_ns)
    return Unordered(tuple(entries[place].id for place in places), longest, time.monotonic() <= until)


def fewer(core: list[int], contradicts: Callable[[list[int]], bool], until: float) -> list[int]:
    """Set free what can be, first many at a time, then fewer (delta debugging)."""
    size = max(1, len(core) // 2)
    while True:
        start = 0
        while start < len(core):
            rest = core[:start] + core[start + size :]
            if time.monotonic() > until:
                return core
            if contradicts(rest):
                core = rest
            else:
                start += size
        if size == 1:
            return core
        size //= 2


def _outcome(search: Search, steps: int, until: float) -> Outcome:
    """Run a small search to its end; past so many steps, or too late, the answer is unknown."""
    running, spent = search.run(), 0
    try:
        while spent < steps and time.monotonic() < until:
            spent += next(running)
    except StopIteration as done:
        outcome: Outcome = done.value
        return outcome
    return "unknown"


def _longest(search: Search) -> tuple[str, ...]:
    """The longest order that a traced search came upon."""
    timeline, parents = search.timeline, search.parents
    reached = [key for key in parents if key[0] == search.stuck_level][-_CANDIDATES:]
    best: Sequence[int] = ()
    for key in reached:
        order: list[int] = []
        child: tuple[int, Configuration] | None = key
        while child is not None:
            parent = parents[child]
            if parent is not None:
                order += reversed(_between(search, parent, child))
            child = parent
        if len(order) > len(best):
            best = order
    entries = timeline.entries
    return tuple(entries[place].id for place in reversed(best) if place < len(entries))


def _between(search: Search, parent: tuple[int, Configuration], child: tuple[int, Configuration]) -> list[int]:
    """The entries ordered in one move: first the one that was chosen, then those that change nothing."""
    timeline = search.timeline
    level, (ordered_before, used_before, _state) = parent
    next_level, (ordered, used, _next) = child
    if next_level > level:
        ordered |= timeline.bits[timeline.levels[level][0]]
    new_ordered, new_used = ordered & ~ordered_before, used & ~used_before
    chosen: list[int] = []
    settled: list[int] = []
    for place, bit in enumerate(timeline.bits):
        if not timeline.opened_at[place] <= level <= timeline.ranks[place]:
            continue
        if timeline.optional[place]:
            if bit & new_used:
                chosen.append(place)
        elif bit & new_ordered:
            (chosen if search.changes(place) else settled).append(place)
    return chosen + settled
