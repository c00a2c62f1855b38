"""An order found by looking ahead, where the specification says which operations look and what they can still see.

Wing & Gong (JPDC 1993) depth first, with Lowe's memory of visited configurations (CCPE 2017), guided by what will be
answered next: who sees a whole text says with it in which order its parts came.

What nobody looks at before something else is put in its place need not be told apart: it is hidden. Then an operation
that asks nothing is ordered only when its return comes, and whoever was under way when the new value came may count as
having come just before it, which changes nothing. That, too, is decided only when its return comes.

None of this leaves an order out, so that there is none where everything has been tried. It rests on what the
specification says of its operations; `wing_gong` does without.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator, Iterator, Sequence
from random import Random
from typing import NamedTuple

from harness.judge.states import Entry, States, twin_key
from harness.judge.wing_gong import Outcome
from harness.model import Request

_STRIDE, _STEP_COST = 16, 4
_VISIT_BYTES, _NODE_BYTES = 300, 1_500
_HIDDEN = -1
_MARK_BITS = 128
"""What has been ordered is remembered as a sum of random marks: two that are the same are rarer than broken memory."""


class _Move(NamedTuple):
    """To order an entry, and to be in a state then; `since`: whoever was invoked before that point may come free."""

    place: int
    state: int
    since: int


class _Node(NamedTuple):
    """Where the search has been: what was ordered last, and what else could have been."""

    moved: _Move | None
    ordered: int
    looks: int
    others: Iterator[_Move]


class Foreseeing:
    """The events of a history as a list that what has been ordered is taken out of, and put back into.

    `run` is a generator, so that partitions can take turns. Past `limit_bytes` (an estimate) it gives up.
    """

    def __init__(self, entries: Sequence[Entry], states: States) -> None:
        """Of one partition. `states` must foresee."""
        self.limit_bytes = 256 << 20
        self._entries = entries
        self._states = states
        self._looking = [entry.request.operation in states.looking for entry in entries]
        # Whether what an entry leaves behind is the same whatever was there; None where its answer may tell.
        self._replaces = [states.blind.get(entry.request.operation) for entry in entries]
        events = [(entry.invoked_ns, 0, place) for place, entry in enumerate(entries)]
        events += [(entry.returned_ns, 1, at) for at, entry in enumerate(entries) if entry.returned_ns is not None]
        events.sort()
        self._starts = [0] * len(entries)
        self._ends = [0] * len(entries)
        # Of each point in time: an entry that is invoked there, or, as ~entry, returns. The first and the last are
        # nobody's; those that never return are kept apart.
        self._events = [len(entries)]
        self._unknown: list[int] = []
        self._unknown_from: list[int] = []
        self._looks: list[int] = []
        for _at_ns, returns, place in events:
            point = len(self._events)
            if returns:
                self._ends[place] = point
                if self._looking[place]:
                    self._looks.append(place)
            else:
                self._starts[place] = point
                if entries[place].returned_ns is None and not self._looking[place]:
                    self._unknown.append(place)
                    self._unknown_from.append(point)
            self._events.append(~place if returns else place)
        last = len(self._events)
        self._events.append(len(entries))
        self._after_it = list(range(1, last + 2))
        self._before_it = list(range(-1, last))
        for place, entry in enumerate(entries):
            if entry.returned_ns is None:
                self._take(self._starts[place])
        self._left = sum(entry.returned_ns is not None for entry in entries)
        self._done = [False] * len(entries)
        self._hidden = False
        self._furthest = 0
        self._visited: set[tuple[int, int, int]] = set()
        draw = Random(0).getrandbits
        self._marks = [draw(_MARK_BITS) for _entry in entries]

    def run(self) -> Generator[int, None, Outcome]:
        """Search. Yields what was spent, in steps of the other search, every now and then."""
        start = _Move(len(self._entries), self._states.start, 0)
        if not self._within_reach(start.state, 0):
            return "illegal"
        if self._ends_here(start.state):
            return "legal"
        way = [_Node(None, 0, 0, self._moves(start))]
        spent = 0
        while way:
            spent += 1
            if not spent % _STRIDE:
                yield _STRIDE * _STEP_COST
                size = self._states.size_bytes + len(self._visited) * _VISIT_BYTES + len(way) * _NODE_BYTES
                if size > self.limit_bytes:
                    return "unknown"
            node = way[-1]
            move = next(node.others, None)
            if move is None:
                way.pop()
                if node.moved is not None:
                    self._undo(node.moved.place)
                continue
            self._do(move.place)
            following = self._arrived(node, move)
            if following is None:
                self._undo(move.place)
            elif self._ends_here(move.state):
                return "legal"
            else:
                way.append(following)
        return "unknown" if self._states.guessed else "illegal"

    def _ends_within_reach(self, state: int) -> bool:
        """Whether what was found at rest can still come about: that is the last look."""
        if not self._states.looks_at_rest:
            return True
        between = [self._entries[place].request for place, done in enumerate(self._done) if not done]
        return self._states.rest_within_reach(state, between)

    @property
    def stuck(self) -> str:
        """The id of the operation that looked and that no order came past; empty where none looked."""
        return self._entries[self._looks[self._furthest]].id if self._furthest < len(self._looks) else ""

    def _arrived(self, node: _Node, move: _Move) -> _Node | None:
        """Where a move leads to; None where that is out of reach, or has been tried."""
        looks = node.looks
        while looks < len(self._looks) and self._done[self._looks[looks]]:
            looks += 1
        if looks == node.looks and self._looking[move.place]:
            self._hidden = False  # it has just been seen; for the next who looks nothing has changed
        elif not self._within_reach(move.state, looks):
            self._furthest = max(self._furthest, looks)
            return None
        ordered = node.ordered ^ self._marks[move.place]
        reached = (ordered, _HIDDEN if self._hidden else move.state, move.since)
        if reached in self._visited:
            return None
        self._visited.add(reached)
        return _Node(move, ordered, looks, self._moves(move))

    def _ends_here(self, state: int) -> bool:
        return self._left == 0 and self._states.fits(state)

    def _take(self, point: int) -> None:
        before, after = self._before_it[point], self._after_it[point]
        self._after_it[before], self._before_it[after] = after, before

    def _put_back(self, point: int) -> None:
        before, after = self._before_it[point], self._after_it[point]
        self._after_it[before] = self._before_it[after] = point

    def _do(self, place: int) -> None:
        self._done[place] = True
        if self._ends[place]:
            self._left -= 1
            self._take(self._starts[place])
            self._take(self._ends[place])

    def _undo(self, place: int) -> None:
        self._done[place] = False
        if self._ends[place]:
            self._left += 1
            self._put_back(self._ends[place])
            self._put_back(self._starts[place])

    def _moves(self, here: _Move) -> Iterator[_Move]:
        """What may come next: taken one after the other, each time with the list of events as it is now."""
        events, after_it, ask, hidden = self._events, self._after_it, self._states.after, self._hidden
        _place, state, since = here
        pending: list[int] = []
        at = after_it[0]
        while 0 <= (place := events[at]) < len(self._entries):
            if not self._looking[place]:
                pending.append(place)
            elif not hidden and ask(place, state):
                # What changes nothing comes as soon as it can: there is nothing else to try.
                yield _Move(place, state, since)
                return
            at = after_it[at]
        pending.sort(key=self._ends.__getitem__)
        if pending and place == ~pending[0] and self._comes_free(pending[0], since, hidden=hidden):
            yield _Move(pending[0], state, since)
        unknown = [one for one in self._unknown[: bisect_left(self._unknown_from, at)] if not self._done[one]]
        tried: list[int] = []
        for place in [*pending, *unknown]:
            if hidden and not self._replaces[place]:
                continue
            if tried and any(self._twins(place, other, since) for other in tried):
                continue  # of those that ask for the same the first to return comes first
            tried.append(place)
            for following in ask(place, state):
                if following != state or self._ends[place]:
                    yield _Move(place, following, at if self._replaces[place] else since)

    def _comes_free(self, place: int, since: int, *, hidden: bool) -> bool:
        """Whether an entry may be ordered without a trace: nobody looks here, or something came in its place since."""
        replaces = self._replaces[place]
        return replaces is not None and (self._starts[place] < since or (hidden and not replaces))

    def _twins(self, place: int, other: int, since: int) -> bool:
        """Whether two entries may change places."""
        one, two = self._entries[place], self._entries[other]
        if one.request.operation != two.request.operation or one.request.args != two.request.args:
            return False
        if self._replaces[place] is None:
            if one.instants != two.instants:
                return False
        elif (self._starts[place] < since) != (self._starts[other] < since):
            return False
        return bool(twin_key(one) == twin_key(two))

    def _within_reach(self, state: int, looks: int) -> bool:
        """Whether the next who looks may still see what it saw; notes whether anybody sees this state."""
        self._hidden = False
        if looks == len(self._looks):
            return self._ends_within_reach(state)
        entries, events, after_it, within_reach = self._entries, self._events, self._after_it, self._states.within_reach
        between: list[Request] = []
        seers: list[int] = []
        at, look = after_it[0], ~self._looks[looks]
        while (place := events[at]) != look:
            if place >= 0:
                if self._looking[place]:
                    seers.append(place)
                else:
                    between.append(entries[place].request)
            at = after_it[at]
        if self._unknown:
            unknown = self._unknown[: bisect_left(self._unknown_from, at)]
            between += [entries[one].request for one in unknown if not self._done[one]]
        if not within_reach(state, ~look, between):
            return False
        blind = self._states.blind
        keeping = [request for request in between if not blind.get(request.operation)]
        # Before the state is replaced, which is before this one is answered, who else might see it?
        self._hidden = len(keeping) < len(between) and not any(within_reach(state, seer, keeping) for seer in seers)
        return True
