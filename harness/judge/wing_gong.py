"""Linearizability: whether there is an order of the operations that explains every reply.

Wing & Gong, "Testing and Verifying Concurrent Objects" (JPDC 1993), with the memory of visited
configurations of Lowe, "Testing for Linearizability" (CCPE 2017). As in Lowe's just-in-time
search, an operation is ordered only when somebody's return asks for it: at each return, those
configurations go on in which the returning operation has been ordered by then.

A configuration is (ordered, used, state): which open operations have been ordered already,
which operations of unknown outcome have been used (both as bits), and the number of the state.
The search goes breadth first from return to return while few configurations are possible:
memory then stays at one frontier, and a quiescent point is a frontier like any other. Where the
frontier becomes too wide it goes on best first.

Reductions keep it small; none of them changes an answer:

* Of two configurations that differ only in the unknown operations used, the one that used
  fewer stands for both.
* An operation that changes nothing (a read, a refusal) is ordered as soon as it can be.
* Of unknown operations that ask for the same, the first is used first.
* Where the specification can tell that an answer is out of reach, that branch ends.

The specification is a black box, so the second and the third are taken on trust, and every
state in which they were relied on is checked. Where an operation turns out to have changed
something after all, or two turn out to differ, `Traits` remembers and the search starts again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from heapq import heappop, heappush
from typing import Literal, TypeVar

from harness.judge.states import States
from harness.judge.timeline import Timeline, Traits, Window
from harness.model import Request

Outcome = Literal["legal", "illegal", "unknown"]
Configuration = tuple[int, int, int]
Reached = tuple[int, Configuration]
"""A level and a configuration in it."""
_Look = tuple[int, int, list[Request], dict[int, bool]]

_STRIDE = 64
_CHECKPOINT, _CHECKPOINT_BUSY = 32, 256
_EARLY_COST = 3
_FORESIGHT, _LOOKS = 64, 4
_BREADTH, _BREADTH_PER_LEVEL = 1_000, 16
_SEEN_BYTES, _HEAP_BYTES, _ASKED_BYTES = 260, 200, 100
_LIVE_STATES = 4_096

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


class Search:
    """The search for one order. `run` is a generator, so that partitions can take turns.

    Afterwards `outcome` is set, `stuck_level` is the first return that nothing explains, and `checkpoint` a level
    some way before it with its frontier.
    """

    def __init__(
        self,
        timeline: Timeline,
        states: States,
        traits: Traits,
        *,
        start: Sequence[Configuration] = (),
        traced: bool = False,
        limit_bytes: int = 256 << 20,
        breadth: int = _BREADTH,
        hope: Callable[[], bool] | None = None,
    ) -> None:
        """`start` are the configurations to begin with; `traced` remembers how each was reached.

        More than `breadth` steps in one level are too wide for a search breadth first. `hope`, asked then, may know
        that there is an order.

        Past `limit_bytes` (an estimate) the search forgets where it could turn back to: it may
        still find an order, but no longer say that there is none.
        """
        self.timeline = timeline
        self.states = states
        self.traits = traits
        self.checkpoint: tuple[int, list[Configuration]] = (0, [])
        self.limit_bytes = limit_bytes
        self.outcome: Outcome | None = None
        self.parents: dict[Reached, Reached | None] = {}
        self._traced = traced
        self._most = breadth
        self._hope = hope
        self._foresees = states.foresees
        self._start = list(start) or [(0, 0, states.start)]
        self._reset()

    def _reset(self) -> None:
        entries = self.timeline.entries
        self.forgetful = False
        self.states.guessed = False
        self.stuck_level = 0
        self.parents.clear()
        self._caches: list[dict[int, tuple[int, ...]] | None] = [None] * (len(entries) + 1)
        self._asked = 0
        self._kinds = [*map(self.traits.kind_of, entries), self.traits.number(("", "at rest"))]
        # Its own: what was trusted here is looked at again here, whatever other partitions have found out meanwhile.
        self._changing = self.traits.changing.copy()
        self._trusted: set[int] = set()
        self._agreed: set[int] = set()
        self._forget_level()
        self._looks: list[_Look] | None = None
        self._window = Window(self.timeline, self.traits.distinct)
        self._window.late_from = self._late_from()

    def run(self) -> Generator[int, None, Outcome]:
        """Search. Yields the number of steps taken, every now and then."""
        while True:
            try:
                self.outcome = yield from self._run()
            except _MistrustedError:
                self._reset()
            else:
                return self.outcome

    def _run(self) -> Generator[int, None, Outcome]:
        level, frontier = yield from self._breadth()
        if frontier and level < len(self.timeline.levels):
            legal = (self._hope is not None and self._hope()) or (yield from self._best(level, frontier))
        else:
            legal = bool(frontier)
        if legal:
            return "legal"
        return "unknown" if self.states.guessed or self.forgetful else "illegal"

    def changes(self, place: int) -> bool:
        """Whether operations of an entry's kind are known to have changed a state."""
        return self._changing[self._kinds[place]]

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
        kinds, bits, changing = self._kinds, self.timeline.bits, self._changing
        for place in places:
            kind = kinds[place]
            if changing[kind]:
                continue
            found = self._after(place, state)
            if not found:
                continue
            if len(found) > 1 or found[0] != state:
                self._distrust(kind)
            elif not ordered & bits[place]:
                ordered |= bits[place]
                self._trusted.add(kind)
        return ordered

    def _arrive(self, ordered: int, state: int) -> int:
        """Settle everything pending in a new state, and check those that have returned.

        Just in time, what came before an operation in some order may be ordered only after
        that operation has returned, until something is ordered that was invoked later still.
        """
        bits = self._arrived.get(state)
        if bits is None:
            bits = self._settle(self._window.pending, 0, state)
            kinds, changing = self._kinds, self._changing
            for place in self._window.late:
                if not changing[kinds[place]]:
                    found = self._after(place, state)
                    if found and (len(found) > 1 or found[0] != state):
                        self._distrust(kinds[place])
            if self._window.has_twins:
                self._agree(state)
            self._arrived[state] = bits
        return ordered | bits

    def _distrust(self, kind: int) -> None:
        self.traits.changing[kind] = self._changing[kind] = True
        if kind in self._trusted:
            raise _MistrustedError
        self._window.late_from = self._late_from()

    def _late_from(self) -> list[int]:
        """For each level, the first one whose return may have to come after something that is ordered only there.

        Only what is never settled tells: something before it in some order has been ordered before it here, too.
        """
        timeline, found = self.timeline, [0]
        for place, _opened in timeline.levels:
            found.append(max(found[-1], timeline.opened_at[place]) if self.changes(place) else found[-1])
        return found

    def _agree(self, state: int) -> None:
        """Check that unknown operations taken to be the same are the same in this state."""
        if state in self._agreed:
            return
        self._agreed.add(state)
        for group in self._window.twins.values():
            if len(group) > 1:
                first = self._after(group[0], state)
                if any(self._after(other, state) != first for other in group):
                    request = self.timeline.entries[group[0]].request
                    self.traits.distinct.add(request.operation)
                    raise _MistrustedError

    def _expand(self, level: int, configuration: Configuration) -> list[Reached]:
        """What may be ordered next, the most urgent first, in a level that waits for a return."""
        ordered, used, state = configuration
        if self._foresees and not self._within_reach(ordered, state):
            return []
        window, bits = self._window, self.timeline.bits
        waiting = bits[window.pending[0]]
        moves: list[Reached] = []
        for place in window.pending:
            bit = bits[place]
            if ordered & bit:
                continue
            for following in self._after(place, state):
                after = ordered | bit
                if following != state:
                    after = self._arrive(after, following)
                if after & waiting:
                    moves.append((level + 1, (after ^ waiting, used, following)))
                else:
                    moves.append((level, (after, used, following)))
        if window.unknown:
            for bit, following in self._unknown_moves(used, state):
                after = self._arrive(ordered, following)
                if after & waiting:
                    moves.append((level + 1, (after ^ waiting, used | bit, following)))
                else:
                    moves.append((level, (after, used | bit, following)))
        return moves

    def _unknown_moves(self, used: int, state: int) -> list[tuple[int, int]]:
        """The bits of unknown operations that may be used here, with the states they lead to."""
        window, bits = self._window, self.timeline.bits
        offered: set[int] = set()
        moves = []
        for place in window.unknown:
            twin = window.twin_of[place]
            if not used & bits[place] and twin not in offered:
                offered.add(twin)
                moves += [(bits[place], following) for following in self._after(place, state) if following != state]
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
        timeline, here = self.timeline, self._window.level
        entries, levels = timeline.entries, timeline.levels
        before = [*self._window.pending, *self._window.unknown]
        looks: list[_Look] = []
        for level in range(here, min(len(levels), here + _FORESIGHT)):
            place, opened = levels[level]
            if level > here:
                before += opened
            if place == len(entries) or self.changes(place):
                continue
            bit = timeline.bits[place] if timeline.opened_at[place] <= here else 0
            between = [entries[other].request for other in before if other != place and other < len(entries)]
            looks.append((place, bit, between, {}))
            if not bit or len(looks) == _LOOKS:
                break
        return looks

    # From level to level

    def _forget_level(self) -> None:
        """Forget what is ordered at once in a state: that depends on what is open, which a level decides."""
        self._arrived: dict[int, int] = {}
        self._entered: dict[int, int] = {}

    def _go(self, level: int) -> None:
        """Move the window to a level."""
        if level == self._window.level:
            return
        self._forget_level()
        known = len(self._window.unknown)
        for place in self._window.go(level):
            self._caches[place] = None
        self._looks = None
        if len(self._window.unknown) != known:
            self._agreed.clear()

    def _enter(self, level: int, configuration: Configuration) -> Configuration:
        """Settle the operations that were invoked since the level before."""
        opened = self.timeline.levels[level][1]
        if not opened:
            return configuration
        ordered, used, state = configuration
        bits = self._entered.get(state)
        if bits is None:
            if self._window.has_twins:
                self._agree(state)
            optional = self.timeline.optional
            bits = self._settle([place for place in opened if not optional[place]], 0, state)
            self._entered[state] = bits
        return (ordered | bits, used, state)

    def _trace(self, child: Reached, parent: Reached | None) -> None:
        """Remember how a configuration was reached."""
        if child != parent:
            self.parents.setdefault(child, parent)

    def _forget(self, live: Iterable[Configuration]) -> None:
        """Keep only the states of these configurations, and of those to start from again."""
        kept = (*self._start, *self.checkpoint[1], *live)
        self.states.forget_but(state for _ordered, _used, state in kept)
        self._agreed.clear()
        self._looks = None
        self._caches = [None] * len(self._caches)
        self._asked = 0

    # Breadth first

    def _breadth(self) -> Generator[int, None, tuple[int, list[Configuration]]]:
        """The level reached and its frontier: empty: no order; before the last level: too wide."""
        levels = self.timeline.levels
        frontier = list(self._start)
        for configuration in frontier:
            self._trace((0, configuration), None)
        self.checkpoint = newest = (0, frontier)
        spent = 0
        for level in range(len(levels)):
            self._go(level)
            most = min(self._most, self._most + _BREADTH_PER_LEVEL * level - spent)
            following, steps = self._cross(level, frontier, most)
            spent += steps
            if following is None:
                return level, frontier
            if not following:
                self.stuck_level = max(self.stuck_level, level)
                return level, []
            frontier = following
            since = level - newest[0]
            quiet = len(self._window.pending) == 1
            if since >= _CHECKPOINT_BUSY or (quiet and since >= _CHECKPOINT):
                self.checkpoint, newest = newest, (level + 1, frontier)
            if steps > _STRIDE or not level % _STRIDE:
                yield steps + _STRIDE
                if len(self.states) > _LIVE_STATES + 4 * len(frontier):
                    self._forget([*newest[1], *frontier])
        return len(levels), frontier

    def _cross(
        self, level: int, frontier: Sequence[Configuration], most: int
    ) -> tuple[list[Configuration] | None, int]:
        """The frontier after a level's return, None after too many steps; the steps taken."""
        traced = self._traced
        waiting = self.timeline.bits[self.timeline.levels[level][0]]
        passed: dict[tuple[int, int], tuple[int, ...]] = {}
        seen: dict[tuple[int, int], tuple[int, ...]] = {}
        waits: list[Configuration] = []
        for configuration in frontier:
            ordered, used, state = entered = self._enter(level, configuration)
            if traced:
                self._trace((level, entered), (level, configuration))
            if not ordered & waiting:
                waits.append(entered)
            elif _keep(passed, (ordered ^ waiting, state), used) and traced:
                self._trace((level + 1, (ordered ^ waiting, used, state)), (level, entered))
        steps = 0
        for configuration in waits:
            steps += 1
            if steps > most:
                return None, steps
            for move in self._expand(level, configuration):
                next_level, (ordered, used, state) = move
                kept = _keep(passed if next_level > level else seen, (ordered, state), used)
                if kept and next_level == level:
                    waits.append(move[1])
                if kept and traced:
                    self._trace(move, (level, configuration))
        following = [(ordered, used, state) for (ordered, state), sets in passed.items() for used in sets]
        return following, steps

    # Best first

    def _best(self, start: int, frontier: Sequence[Configuration]) -> Generator[int, None, bool]:
        """Whether an order exists that begins with one of these configurations.

        Deepest first, but an operation ordered before its return asks for it counts against a
        configuration: a wrong guess is given up before all that could follow it was tried.
        """
        levels, bits = self.timeline.levels, self.timeline.bits
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
                if next_level == len(levels):
                    return True
                if _keep(seen, (next_level, ordered, state), used):
                    count += 1
                    step = -1 if next_level > level else _EARLY_COST
                    heappush(heap, (cost + step, -count, next_level, (ordered, used, state)))
            self.stuck_level = max(self.stuck_level, level)
            spent += 1
            if not spent % _STRIDE:
                if self._size_bytes(len(seen), len(heap)) > self.limit_bytes:
                    heap.sort()
                    del heap[len(heap) // 2 :]
                    seen.clear()
                    self.forgetful = True
                    self._forget([configuration for *_rank, configuration in heap])
                yield _STRIDE
        return False

    def _size_bytes(self, seen: int, heap: int) -> int:
        """About how much memory this search takes."""
        own = seen * _SEEN_BYTES + heap * _HEAP_BYTES + self._asked * _ASKED_BYTES
        return own + self.states.size_bytes
