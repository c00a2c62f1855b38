"""A first try at an order: depth first, what was invoked first is ordered first.

Wing & Gong (JPDC 1993) with Lowe's memory of visited configurations (CCPE 2017). Most histories have an order and
this meets one after few wrong turns, for a fraction of what the search of `wing_gong` costs; where it does not, it
is given up after some steps. It never says that there is none: of what was ordered only a hash is remembered.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from random import Random
from typing import Any

from harness.judge.states import Entry, States, twin_key

_STEPS_EACH, _STEPS_MORE, _MOST_STEPS = 30, 256, 300_000
_LOOK_EVERY = 1_024
_MOST_STATES = 4_096
_MOST_LOST, _TURNS_EACH = 64, 16


def met_depth_first(entries: Sequence[Entry], states: States, until: float) -> bool:
    """Whether an order was met; False where it was given up.

    That is at once where the instant of a decision is not known, or many outcomes, and soon where any is not: then
    wrong turns are many. `until` is monotonic, in seconds.
    """
    events = Events(entries)
    if len(events.lost) > _MOST_LOST or any(entry.guessed for entry in entries):
        return False
    places, after_it = events.places, events.after_it
    draw = Random(0).getrandbits
    marks = [draw(62) for _entry in entries]
    left = min(_STEPS_EACH * len(entries) + _STEPS_MORE, _MOST_STEPS)
    turns = _TURNS_EACH * len(entries) if events.lost else left
    state, ordered, at = states.start, 0, after_it[0]
    asked: list[dict[int, tuple[int, ...]]] = [{} for _entry in entries]
    visited: set[tuple[int, int]] = set()
    way: list[tuple[int, int]] = []
    while left and turns and (left % _LOOK_EVERY or not _too_much(states, until)):
        place = places[at] if at >= 0 else events.lost[~at]
        if place >= 0:  # an invocation, before any return that is left
            left -= 1
            answers = asked[place]
            found = answers.get(state)
            if found is None:
                found = answers[state] = states.after(place, state)
            if len(found) == 1 and (reached := (ordered ^ marks[place], found[0])) not in visited:
                visited.add(reached)
                way.append((at, state))
                ordered, state = reached
                events.take(at)
                at = after_it[0]
            else:
                at = events.following(at)
            continue
        if at == len(places) - 1 and states.fits(state):
            return True
        at = events.next_lost(at)
        while at == 0:
            if not way:
                return False
            turns -= 1
            at, state = way.pop()
            ordered ^= marks[events.place(at)]
            events.put_back(at)
            at = events.following(at)
    return False


class Events:
    """What happened at each point in time, as a list that points can be taken out of, and put back into.

    `places` names of each point the entry invoked there, or -1 where one returns; then there are the next point and the
    one before; of each entry the point of its return in `ends`. The first and the last point are nobody's. Those that
    never return, `lost`, are not in the list: they are tried where nothing else is possible.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        """In a history a point is its number, and one of those that never return ~ its number among them."""
        events = [(entry.invoked_ns, 0, place) for place, entry in enumerate(entries)]
        events += [(entry.returned_ns, 1, at) for at, entry in enumerate(entries) if entry.returned_ns is not None]
        events.sort()
        self.ends = [0] * len(entries)
        self.places = [-1]
        self.lost: list[int] = []
        self._lost_from: list[int] = []
        self._kinds: list[Any] = []
        self._used: set[int] = set()
        for _at_ns, returns, place in events:
            if returns:
                self.ends[place] = len(self.places)
                self.places.append(-1)
            elif entries[place].returned_ns is not None:
                self.places.append(place)
            else:
                self.lost.append(place)
                self._lost_from.append(len(self.places))
                self._kinds.append(twin_key(entries[place]))
        self.places.append(-1)
        self.after_it = list(range(1, len(self.places) + 1))
        self.before_it = list(range(-1, len(self.places) - 1))

    def take(self, at: int) -> None:
        """Order what is invoked at a point."""
        after_it, before_it = self.after_it, self.before_it
        if at < 0:
            self._used.add(~at)
            return
        for gone in (at, self.ends[self.places[at]]):
            after_it[before_it[gone]], before_it[after_it[gone]] = after_it[gone], before_it[gone]

    def put_back(self, at: int) -> None:
        """Take that back."""
        after_it, before_it = self.after_it, self.before_it
        if at < 0:
            self._used.remove(~at)
            return
        for back in (self.ends[self.places[at]], at):
            after_it[before_it[back]] = before_it[after_it[back]] = back

    def place(self, at: int) -> int:
        """The entry that is invoked at a point."""
        return self.places[at] if at >= 0 else self.lost[~at]

    def waiting(self) -> list[int]:
        """The points of all that may be ordered next: the first to return first, then those that never do."""
        found, at = [], self.after_it[0]
        while self.places[at] >= 0:
            found.append(at)
            at = self.after_it[at]
        found.sort(key=lambda one: self.ends[self.places[one]])
        lost = (number for number, since in enumerate(self._lost_from) if since <= at and number not in self._used)
        return [*found, *(~number for number in lost)]

    def following(self, at: int) -> int:
        """What may be tried after this one; 0: nothing."""
        return self.after_it[at] if at >= 0 else self.next_lost(at)

    def next_lost(self, at: int) -> int:
        """The next that never returns, invoked before the first return. Of those that ask for the same the first."""
        stop, number = at, 0
        if at < 0:
            stop, number = self.after_it[0], ~at + 1
            while self.places[stop] >= 0:
                stop = self.after_it[stop]
        while number < len(self.lost) and self._lost_from[number] <= stop:
            earlier = (self._kinds[one] for one in range(number) if one not in self._used)
            if number not in self._used and self._kinds[number] not in earlier:
                return ~number
            number += 1
        return 0


def _too_much(states: States, until: float) -> bool:
    return len(states) > _MOST_STATES or time.monotonic() > until
