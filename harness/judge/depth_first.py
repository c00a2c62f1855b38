"""A first try at an order: depth first, what was invoked first is ordered first.

Wing & Gong (JPDC 1993) with Lowe's memory of visited configurations (CCPE 2017). Most histories have an order and
this meets one after few wrong turns, for a fraction of what the search of `wing_gong` costs; where it does not, it
is given up after some steps. It never says that there is none: of what was ordered only a hash is remembered.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from random import Random

from harness.judge.states import Entry, States

_STEPS_EACH, _STEPS_MORE, _MOST_STEPS = 30, 256, 300_000
_LOOK_EVERY = 1_024
_MOST_STATES = 4_096


def met_depth_first(entries: Sequence[Entry], states: States, until: float) -> bool:
    """Whether an order was met; False where it was given up.

    That is at once where an outcome, or the instant of a decision, is not known. `until` is monotonic, in seconds.
    """
    if any(entry.returned_ns is None or entry.guessed for entry in entries):
        return False
    places, after_it, before_it, ends = _events(entries)
    draw = Random(0).getrandbits
    marks = [draw(62) for _entry in entries]
    last = len(places) - 1
    left = min(_STEPS_EACH * len(entries) + _STEPS_MORE, _MOST_STEPS)
    state, ordered, at = states.start, 0, after_it[0]
    visited: set[tuple[int, int]] = set()
    way: list[tuple[int, int]] = []
    while left and (left % _LOOK_EVERY or not _too_much(states, until)):
        place = places[at]
        if place >= 0:  # an invocation, before any return that is left
            left -= 1
            found = states.after(place, state)
            if len(found) == 1 and (reached := (ordered ^ marks[place], found[0])) not in visited:
                visited.add(reached)
                way.append((at, state))
                ordered, state = reached
                for gone in (at, ends[place]):
                    after_it[before_it[gone]], before_it[after_it[gone]] = after_it[gone], before_it[gone]
                at = after_it[0]
            else:
                at = after_it[at]
            continue
        if at == last and states.fits(state):
            return True
        if not way:
            return False
        at, state = way.pop()
        ordered ^= marks[places[at]]
        for back in (ends[places[at]], at):
            after_it[before_it[back]] = before_it[after_it[back]] = back
        at = after_it[at]
    return False


def _events(entries: Sequence[Entry]) -> tuple[list[int], list[int], list[int], list[int]]:
    """What happened at each point in time, as a list that points can be taken out of, and put back into.

    Of each point: the entry invoked there, or -1 where one returns; the next point; the one before. Then of each
    entry the point of its return. The first and the last point are nobody's.
    """
    events = [(entry.invoked_ns, 0, place) for place, entry in enumerate(entries)]
    events += [(entry.returned_ns or 0, 1, place) for place, entry in enumerate(entries)]
    events.sort()
    ends = [0] * len(entries)
    places = [-1]
    for point, (_at_ns, returns, place) in enumerate(events, start=1):
        if returns:
            ends[place] = point
            places.append(-1)
        else:
            places.append(place)
    places.append(-1)
    return places, list(range(1, len(places) + 1)), list(range(-1, len(places) - 1)), ends


def _too_much(states: States, until: float) -> bool:
    return len(states) > _MOST_STATES or time.monotonic() > until
