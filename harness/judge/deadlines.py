"""A second try at an order, where many callers overlap: who is answered first is ordered first.

Earliest deadline first, depth first with Lowe's memory of visited configurations (CCPE 2017), as `depth_first`; but
what changes nothing is ordered as soon as it can be, and where somebody is going to be told a whole text or list, the
state has to grow towards it. That is what logs, texts and lists do; of a state that does something else nothing is
found so, and it is tried once more without. Where the instants of decisions were recorded, the earliest decision is
ordered first before that: of a window that slides nothing else tells. It never says that there is no order: it is given
up after some steps.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any

from harness.judge.depth_first import Events
from harness.judge.states import Entry, States

_STEPS_EACH, _STEPS_MORE, _MOST_STEPS = 100, 256, 300_000
_LOOK_EVERY = 256
_MOST_BYTES = 64 << 20

_Way = list[tuple[Iterator[int], int, int]]
"""At each step what else could have been ordered, what was, and the state before it."""


def met_by_deadline(entries: Sequence[Entry], states: States, until: float) -> bool:
    """Whether an order was met; False where it was given up. `until` is monotonic, in seconds."""
    if any(entry.guessed for entry in entries):
        return False
    looks = _looks(entries)
    tries = [_Try(entries, states, looks)] if looks else []
    if len({entry.instants for entry in entries}) > 1:
        tries.append(_Try(entries, states, [], dated=True))
    tries.append(_Try(entries, states, []))
    return any(one.meets(until) for one in tries)


class _Try:
    """One walk from the start. `looks` are the answers that states have to grow towards, the first due first.

    `dated`: not who is answered first is ordered first, but who decided first, as recorded.
    """

    def __init__(
        self, entries: Sequence[Entry], states: States, looks: Sequence[tuple[int, Any]], *, dated: bool = False
    ) -> None:
        self._entries = entries
        self._states = states
        self._looks = looks
        self._dated = dated
        self._events = Events(entries)
        self._done = bytearray(len(entries))
        # Of one state only: of all that were seen, times all that wait in them, it would be a gigabyte.
        self._asked: dict[int, tuple[int, ...]] = {}
        self._asked_of = -1

    def meets(self, until: float) -> bool:
        """Whether it comes to the end, where nothing that was answered is left."""
        events, states, done = self._events, self._states, self._done
        draw = Random(0).getrandbits
        marks = [draw(62) for _entry in self._entries]
        visited: set[tuple[int, int]] = set()
        way: _Way = []
        state, ordered, looks = states.start, 0, [0]
        left = sum(entry.returned_ns is not None for entry in self._entries)
        others = self._next(state)
        for step in range(min(_STEPS_EACH * len(self._entries) + _STEPS_MORE, _MOST_STEPS)):
            if not step % _LOOK_EVERY and (time.monotonic() > until or states.size_bytes > _MOST_BYTES):
                return False
            if not left and states.fits(state):
                return True
            at = next(others, None)
            if at is None:
                if not way:
                    return False
                others, at, state = way.pop()
                looks.pop()
                place = events.place(at)
                ordered ^= marks[place]
                events.put_back(at)
                done[place] = False
                left += at >= 0
                continue
            place = events.place(at)
            found = self._after(place, state)
            if len(found) != 1 or (ordered ^ marks[place], found[0]) in visited:
                continue
            due = self._due(looks[-1])
            if found[0] != state and not self._grows(found[0], due):
                continue
            way.append((others, at, state))
            looks.append(due)
            ordered, state = ordered ^ marks[place], found[0]
            visited.add((ordered, state))
            events.take(at)
            done[place] = True
            left -= at >= 0
            others = self._next(state)
        return False

    def _after(self, place: int, state: int) -> tuple[int, ...]:
        if state != self._asked_of:
            self._asked, self._asked_of = {}, state
        found = self._asked.get(place)
        if found is None:
            found = self._asked[place] = self._states.after(place, state)
        return found

    def _next(self, state: int) -> Iterator[int]:
        """What may be ordered next, the first due first; what changes nothing at once, and nothing in its place."""
        waiting = self._events.waiting()
        if self._dated:
            waiting.sort(key=lambda at: self._entries[self._events.place(at)].instants)
        for at in waiting:
            if at >= 0 and self._after(self._events.place(at), state) == (state,):
                return iter((at,))
        return iter(waiting)

    def _due(self, first: int) -> int:
        """The next look that is still to come, from number `first` on."""
        while first < len(self._looks) and self._done[self._looks[first][0]]:
            first += 1
        return first

    def _grows(self, state: int, look: int) -> bool:
        if look >= len(self._looks):
            return True
        seen = self._looks[look][1]
        grown = [one for value in self._states.state(state).values() for one in _sequences(value)]
        return not grown or any(type(one) is type(seen) and seen[: len(one)] == one for one in grown)


def _looks(entries: Sequence[Entry]) -> list[tuple[int, Any]]:
    """Who is told more than one letter or thing, and what; the first answered first."""
    told = [
        (entry.returned_ns, place, one)
        for place, entry in enumerate(entries)
        if entry.reply is not None and entry.returned_ns is not None
        for one in _sequences(entry.reply.values)
        if len(one) > 1
    ]
    return [(place, one) for _returned_ns, place, one in sorted(told, key=lambda look: look[:2])]


def _sequences(value: Any) -> Iterator[str | list[Any]]:
    """The texts and lists in it, or itself."""
    if isinstance(value, Mapping):
        for one in value.values():
            if isinstance(one, str | list | tuple):
                yield one if isinstance(one, str) else list(one)
    elif isinstance(value, str | list | tuple):
        yield value if isinstance(value, str) else list(value)
