"""Linearizability: is there an order of the operations that explains every reply?

Wing & Gong, "Testing and Verifying Concurrent Objects" (JPDC 1993), with the memory of visited
configurations of Lowe, "Testing for Linearizability" (CCPE 2017). As in Lowe's just-in-time
search, an operation is ordered only when somebody's return asks for it: at each return, those
configurations go on in which the returning operation has been ordered by then.

A configuration is (ordered, used, state): which open operations have been ordered already
(bits, reused once an operation has returned), which operations of unknown outcome have been
used (bits), and the number of the state. The search goes breadth first from return to
return while few configurations are possible: memory then stays at one frontier, and a quiescent point is
a frontier like any other. Where the frontier becomes too wide it goes on depth first.

Three reductions keep it small; none of them changes an answer:

* Of two configurations that differ only in the unknown operations used, the one that used
  fewer stands for both.
* An operation that changes nothing (a read, a refusal) is ordered as soon as it can be.
* Of unknown operations that ask for the same, the first is used first.

The specification is a black box, so the latter two are taken on trust, and every state in
which they were relied on is checked. Where one turns out to have changed something after
all, or two turn out to differ, this is remembered in `Traits` and the search starts again.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from heapq import heappop, heappush
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from harness.model import Request

from harness.judge.states import Entry, States, freeze

Outcome = Literal["legal", "illegal", "unknown"]
Configuration = tuple[int, int, int]
_Look = tuple[int, int, list[Request], dict[int, bool]]

_STRIDE = 64
_CHECKPOINT = 32
_EARLY_COST = 3
_FORESIGHT, _LOOKS = 64, 4
_BREADTH, _BREADTH_PER_LEVEL = 4_000, 24
_SEEN_BYTES, _STACK_BYTES, _ASKED_BYTES = 260, 200, 100
_LIVE_STATES = 4_096
_FLAGS = (True, False, None)
_NEVER = 1 << 62


@dataclass(slots=True)
class Traits:
    """What is known of a specification's operations. Share it between partitions.

    `kinds` numbers what operations are likely to have in common: their name and their answer.
    `changing` tells for each kind whether it has changed a state. `distinct` names operations
    whose unknown requests differ from each other.
    """

    kinds: dict[tuple[str, str], int] = field(default_factory=dict)
    changing: list[bool] = field(default_factory=list)
    distinct: set[str] = field(default_factory=set)

    def kind_of(self, entry: Entry) -> int:
        """The kind of an entry: of its values, only yes, no and nothing count."""
        reply = entry.reply
        answer = ""
        if reply is not None:
            answer = reply.decision
            if reply.values:
                flags = [f"{key}={value}" for key, value in reply.values.items() if value in _FLAGS]
                answer = " ".join([answer, *flags])
        return self.number((entry.request.operation, answer))

    def number(self, kind: tuple[str, str]) -> int:
        """A kind's number; a new kind has changed nothing yet."""
        number = self.kinds.get(kind)
        if number is None:
            number = self.kinds[kind] = len(self.changing)
            self.changing.append(False)
        return number


_Key = TypeVar("_Key")


def _keep(sets: dict[_Key, tuple[int, ...]], key: _Key, used: int) -> bool:
    """Add a set of used unknown operations, unless a smaller one is there; drop larger ones."""
    known = sets.get(key)
    if known is None:
        sets[key] = (used,)
        return True
    for other in known:
        if other & used == other:
            return False
    sets[key] = (*[other for other in known if other & used != used], used)
    return True


class _MistrustedError(Exception):
    """A reduction was relied on that this specification does not support."""


class Timeline:
    """Entries in the order of their events, as levels: one for each return.

    `levels[n]` is (the entry that returns, the entries invoked since the level before). With
    `rest`, a last level asks for the state at rest: its entry is the number of entries.
    """

    def __init__(self, entries: Sequence[Entry], *, rest: bool) -> None:
        """An entry that returns at the instant at which another is invoked overlaps it."""
        self.entries = entries
        count = len(entries)
        self.bits = [0] * (count + 1)
        self.ranks = [_NEVER] * (count + 1)
        self.opened_at = [_NEVER] * (count + 1)
        self.optional = [entry.returned_ns is None for entry in entries]
        self.optional.append(False)
        self.levels: list[tuple[int, tuple[int, ...]]] = []
        events = [(entry.invoked_ns, 0, place) for place, entry in enumerate(entries)]
        events += [
            (entry.returned_ns, 1, place) for place, entry in enumerate(entries) if entry.returned_ns is not None
        ]
        events.sort()
        opened: list[int] = []
        free: list[int] = []
        used = unknown = 0
        for _time_ns, returns, place in events:
            if returns:
                self.ranks[place] = len(self.levels)
                self.levels.append((place, tuple(opened)))
                opened = []
                free.append(self.bits[place])
            else:
                opened.append(place)
                self.opened_at[place] = len(self.levels)
                if self.optional[place]:
                    self.bits[place] = 1 << unknown
                    unknown += 1
                elif free:
                    self.bits[place] = free.pop()
                else:
                    self.bits[place] = 1 << used
                    used += 1
        # Whatever was ordered before an entry, none of it was invoked after that entry's return.
        self.late_from = []
        latest = 0
        for place, _opened in self.levels:
            self.late_from.append(latest)
            latest = max(latest, self.opened_at[place])
        if rest:
            self.late_from.append(latest)
            self.bits[count] = 1 << used
            self.ranks[count] = self.opened_at[count] = len(self.levels)
            self.levels.append((count, (*opened, count)))


class Search:
    """The search for one order. `run` is a generator, so that partitions can take turns."""

    def __init__(
        self,
        timeline: Timeline,
        states: States,
        traits: Traits,
        *,
        start: Sequence[Configuration] = (),
        traced: bool = False,
        limit_bytes: int = 256 << 20,
    ) -> None:
        """`start` are the configurations to begin with; `traced` remembers how each was reached.

        Past `limit_bytes` (an estimate) the search forgets where it could turn back to: it may
        still find an order, but no longer say that there is none.
        """
        self.timeline = timeline
        self.states = states
        self.traits = traits
        self.stuck_level = 0
        self.checkpoint: tuple[int, list[Configuration]] = (0, [])
        self.parents: dict[tuple[int, Configuration], tuple[int, Configuration] | None] = {}
        self.limit_bytes = limit_bytes
        self.size_bytes = 0
        self.forgetful = False
        self._traced = traced
        self._foresees = states.foresees
        self._start = list(start) or [(0, 0, states.start)]
        self._reset()

    def _reset(self) -> None:
        entries = self.timeline.entries
        self._caches: list[dict[int, tuple[int, ...]] | None] = [None] * (len(entries) + 1)
        self._kinds = [*map(self.traits.kind_of, entries), self.traits.number(("", "at rest"))]
        self._trusted: set[int] = set()
        self._pending: list[int] = []
        self._late: deque[int] = deque()
        self._unknown: list[int] = []
        self._twins: dict[int, list[int]] = {}
        self._twin_of: dict[int, int] = {}
        self._groups: dict[Any, int] = {}
        self._agreed: set[int] = set()
        self._looks: list[_Look] | None = None
        self._level = -1
        self._asked = 0
        self.forgetful = False
        self.stuck_level = 0
        self.parents.clear()

    def run(self) -> Generator[int, None, Outcome]:
        """Search. Yields the steps taken since the last time, every few hundred."""
        while True:
            try:
                return (yield from self._run())
            except _MistrustedError:
                self.states.guessed = False
                self._reset()

    def _run(self) -> Generator[int, None, Outcome]:
        level, frontier = yield from self._breadth()
        if frontier and (level == len(self.timeline.levels) or (yield from self._best(level, frontier))):
            return "legal"
        return "unknown" if self.states.guessed or self.forgetful else "illegal"

    def changes(self, place: int) -> bool:
        """Whether operations of an entry's kind are known to have changed a state."""
        return self.traits.changing[self._kinds[place]]

    # What may follow

    def _after(self, place: int, state: int) -> tuple[int, ...]:
        """The states that an entry may lead to, asked once."""
        cache = self._caches[place]
        if cache is None:
            cache = self._caches[place] = {}
        found = cache.get(state)
        if found is None:
            if place == len(self.timeline.entries):
                found = (state,) if self.states.fits(state) else ()
            else:
                found = self.states.after(place, state)
            cache[state] = found
            self._asked += 1
        return found

    def _settle(self, places: Iterable[int], ordered: int, state: int) -> int:
        """Order what changes nothing here; check what was ordered so before."""
        kinds, bits, caches, changing = self._kinds, self.timeline.bits, self._caches, self.traits.changing
        for place in places:
            kind = kinds[place]
            if changing[kind]:
                continue
            cache = caches[place]
            found = cache.get(state) if cache is not None else None
            if found is None:
                found = self._after(place, state)
            if not found:
                continue
            if len(found) > 1 or found[0] != state:
                self._distrust(kind)
            elif not ordered & bits[place]:
                ordered |= bits[place]
                self._trusted.add(kind)
        if self._trusted and places is self._pending:
            self._check_late(state)
        return ordered

    def _check_late(self, state: int) -> None:
        """Check those that were ordered early and have returned, where they might have been ordered.

        Just in time, what came before an entry in some order may be ordered only after that entry's return,
        until something is ordered that was invoked later.
        """
        kinds, caches, changing = self._kinds, self._caches, self.traits.changing
        for place in self._late:
            if not changing[kinds[place]]:
                cache = caches[place]
                found = cache.get(state) if cache is not None else None
                if found is None:
                    found = self._after(place, state)
                if found and (len(found) > 1 or found[0] != state):
                    self._distrust(kinds[place])

    def _distrust(self, kind: int) -> None:
        self.traits.changing[kind] = True
        if kind in self._trusted:
            raise _MistrustedError

    def _agree(self, state: int) -> None:
        """Check that unknown operations taken to be the same are the same in this state."""
        if state in self._agreed:
            return
        self._agreed.add(state)
        for group in self._twins.values():
            if len(group) > 1:
                first = self._after(group[0], state)
                if any(self._after(other, state) != first for other in group):
                    request = self.timeline.entries[group[0]].request
                    self.traits.distinct.add(request.operation)
                    raise _MistrustedError

    def _expand(self, level: int, configuration: Configuration) -> list[tuple[int, Configuration]]:
        """What may be ordered next, the most urgent first, in a level that waits for a return."""
        ordered, used, state = configuration
        if self._foresees and not self._within_reach(ordered, state):
            return []
        bits, caches = self.timeline.bits, self._caches
        pending = self._pending
        waiting = bits[pending[0]]
        moves: list[tuple[int, Configuration]] = []
        for place in pending:
            bit = bits[place]
            if ordered & bit:
                continue
            cache = caches[place]
            found = cache.get(state) if cache is not None else None
            if found is None:
                found = self._after(place, state)
            for next_state in found:
                after = ordered | bit
                if next_state != state:
                    after = self._settle(pending, after, next_state)
                if after & waiting:
                    moves.append((level + 1, (after ^ waiting, used, next_state)))
                else:
                    moves.append((level, (after, used, next_state)))
        if self._unknown:
            offered = set()
            for place in self._unknown:
                bit, twin = bits[place], self._twin_of[place]
                if used & bit or twin in offered:
                    continue
                offered.add(twin)
                for next_state in self._after(place, state):
                    if next_state != state:
                        after = self._settle(pending, ordered, next_state)
                        if after & waiting:
                            move = (level + 1, (after ^ waiting, used | bit, next_state))
                        else:
                            move = (level, (after, used | bit, next_state))
                        moves.append(move)
            if len(self._twins) < len(self._unknown):
                for _level, (_ordered, _used, next_state) in moves:
                    self._agree(next_state)
        return moves

    def _within_reach(self, ordered: int, state: int) -> bool:
        """Ask the specification whether the next look at the state can still see what it saw."""
        if self._looks is None:
            self._looks = self._next_looks()
        for place, bit, between, answers in self._looks:
            if not ordered & bit:
                answer = answers.get(state)
                if answer is None:
                    answer = answers[state] = self.states.within_reach(state, place, between)
                    if not answer:  # what is out of reach is what there is no order for
                        self.stuck_level = max(self.stuck_level, self.timeline.ranks[place])
                return answer
        return True

    def _next_looks(self) -> list[_Look]:
        """The next returns of what changes nothing, each with all that may be ordered before it."""
        levels, timeline, entries = self.timeline.levels, self.timeline, self.timeline.entries
        before = [*self._pending, *self._unknown]
        looks: list[_Look] = []
        for level in range(self._level, min(len(levels), self._level + _FORESIGHT)):
            place, opened = levels[level]
            if level > self._level:
                before += opened
            if place < len(entries) and not self.changes(place):
                bit = timeline.bits[place] if timeline.opened_at[place] <= self._level else 0
                between = [entries[other].request for other in before if other != place and other < len(entries)]
                looks.append((place, bit, between, {}))
                if not bit or len(looks) == _LOOKS:
                    break
        return looks

    # Moving along the levels

    def _go(self, level: int) -> None:
        """Open and close operations until those open at `level` are pending."""
        levels, ranks, before = self.timeline.levels, self.timeline.ranks, self._level
        while self._level < level:
            if self._level >= 0:
                self._pending.pop(0)
            self._level += 1
            for place in levels[self._level][1]:
                if self.timeline.optional[place]:
                    self._open_unknown(place)
                else:
                    insort(self._pending, place, key=ranks.__getitem__)
        while self._level > level:
            for place in levels[self._level][1]:
                if self.timeline.optional[place]:
                    self._close_unknown(place)
                else:
                    self._pending.remove(place)
            self._level -= 1
            self._pending.insert(0, levels[self._level][0])
        if level != before:
            self._looks = None
        late_from = self.timeline.late_from[level]
        if level == before + 1:
            if level:
                returned = levels[level - 1][0]
                if self.changes(returned):
                    self._caches[returned] = None
                else:
                    self._late.append(returned)
            while self._late and ranks[self._late[0]] < late_from:
                self._caches[self._late.popleft()] = None
        elif level != before:
            self._late = deque(levels[earlier][0] for earlier in range(late_from, level))

    def _open_unknown(self, place: int) -> None:
        entry = self.timeline.entries[place]
        request = entry.request
        group: Any = place
        if request.operation not in self.traits.distinct:
            reply = (entry.reply.decision, freeze(entry.reply.values)) if entry.reply else None
            group = (request.operation, request.keys, freeze(request.args), request.role, reply)
        twin = self._groups.setdefault(group, place)
        self._twin_of[place] = twin
        self._twins.setdefault(twin, []).append(place)
        self._unknown.append(place)
        self._agreed.clear()

    def _close_unknown(self, place: int) -> None:
        self._unknown.remove(place)
        group = self._twins[self._twin_of[place]]
        group.remove(place)
        if not group:
            del self._twins[self._twin_of[place]]
            self._groups = {key: twin for key, twin in self._groups.items() if twin in self._twins}

    def _enter(self, level: int, configuration: Configuration) -> Configuration:
        """Settle the operations that were invoked since the level before."""
        opened = self.timeline.levels[level][1]
        if not opened:
            return configuration
        ordered, used, state = configuration
        optional = self.timeline.optional
        required = [place for place in opened if not optional[place]]
        if len(required) < len(opened) and len(self._twins) < len(self._unknown):
            self._agree(state)
        return (self._settle(required, ordered, state), used, state)

    # Breadth first

    def _breadth(self) -> Generator[int, None, tuple[int, list[Configuration]]]:
        """The level reached and its frontier: empty where no order exists, too wide before the last."""
        levels, bits = self.timeline.levels, self.timeline.bits
        frontier = list(self._start)
        traced = self._traced
        if traced:
            self._trace(0, frontier, None)
        self.checkpoint = newest = (0, frontier)
        spent = 0
        for level, (returning, _opened) in enumerate(levels):
            self._go(level)
            waiting = bits[returning]
            passed: dict[tuple[int, int], tuple[int, ...]] = {}
            waits: list[Configuration] = []
            seen: dict[tuple[int, int], tuple[int, ...]] = {}
            for configuration in frontier:
                ordered, used, state = entered = self._enter(level, configuration)
                if traced:
                    self._trace(level, [entered], (level, configuration))
                if not ordered & waiting:
                    waits.append(entered)
                elif _keep(passed, (ordered ^ waiting, state), used) and traced:
                    self._trace(level + 1, [(ordered ^ waiting, used, state)], (level, entered))
            before = spent
            for configuration in waits:
                moves = self._expand(level, configuration)
                spent += 1
                for next_level, move in moves:
                    ordered, used, state = move
                    if next_level > level:
                        kept = _keep(passed, (ordered, state), used)
                    else:
                        kept = _keep(seen, (ordered, state), used)
                        if kept:
                            waits.append(move)
                    if kept and traced:
                        self._trace(next_level, [move], (level, configuration))
                if not spent % _STRIDE:
                    yield _STRIDE
                    if spent - before > _BREADTH or spent > _BREADTH + _BREADTH_PER_LEVEL * level:
                        return level, frontier
            if not passed:
                self.stuck_level = max(self.stuck_level, level)
                return level, []
            frontier = [(ordered, used, state) for (ordered, state), sets in passed.items() for used in sets]
            since = level - newest[0]
            if since >= 8 * _CHECKPOINT or (since >= _CHECKPOINT and len(self._pending) == 1):
                self.checkpoint, newest = newest, (level + 1, frontier)
            if not level % _STRIDE:
                yield _STRIDE
                if len(self.states) > _LIVE_STATES + 4 * len(frontier):
                    self._forget([*newest[1], *frontier])
        return len(levels), frontier

    def _trace(
        self,
        level: int,
        configurations: Iterable[Configuration],
        parent: tuple[int, Configuration] | None,
    ) -> None:
        """Remember how configurations were reached."""
        for configuration in configurations:
            if (level, configuration) != parent:
                self.parents.setdefault((level, configuration), parent)

    def _forget(self, frontier: Sequence[Configuration]) -> None:
        """Keep the states of the frontier only."""
        kept = (*self._start, *self.checkpoint[1], *frontier)
        self.states.forget_but(state for _ordered, _used, state in kept)
        self._agreed.clear()
        self._caches = [None] * len(self._caches)
        self._asked = 0

    # Best first

    def _best(self, start: int, frontier: Sequence[Configuration]) -> Generator[int, None, bool]:
        """Whether an order exists that begins with one of these configurations.

        Deepest first, but an operation ordered before its return asks for it counts
        against a configuration: a wrong guess is given up before all that could follow it was tried.
        """
        levels, bits, last = self.timeline.levels, self.timeline.bits, len(self.timeline.levels)
        heap = [(0, 0, start, configuration) for configuration in frontier]
        seen: dict[tuple[int, int, int], tuple[int, ...]] = {}
        spent = count = 0
        while heap:
            cost, _count, level, configuration = heappop(heap)
            self._go(level)
            ordered, used, state = self._enter(level, configuration)
            waiting = bits[levels[level][0]]
            if ordered & waiting:
                moves = [(level + 1, (ordered ^ waiting, used, state))]
            else:
                moves = self._expand(level, (ordered, used, state))
            for next_level, (ordered, used, state) in moves:
                if next_level == last:
                    return True
                if _keep(seen, (next_level, ordered, state), used):
                    count += 1
                    step = -1 if next_level > level else _EARLY_COST
                    heappush(heap, (cost + step, -count, next_level, (ordered, used, state)))
            self.stuck_level = max(self.stuck_level, level)
            spent += 1
            if not spent % _STRIDE:
                size = len(seen) * _SEEN_BYTES + len(heap) * _STACK_BYTES + self._asked * _ASKED_BYTES
                self.size_bytes = size + self.states.size_bytes
                if self.size_bytes > self.limit_bytes:
                    heap.sort()
                    del heap[len(heap) // 2 :]
                    seen.clear()
                    self.forgetful = True
                    self._forget([configuration for *_rank, configuration in heap])
                yield _STRIDE
        return False
