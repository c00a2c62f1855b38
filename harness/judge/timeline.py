"""The events of one partition as levels, and a window that moves along them."""

from __future__ import annotations

from bisect import insort
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.judge.states import Entry, freeze

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
                flags = [
                    f"{key}={value}" for key, value in reply.values.items() if value is None or type(value) is bool
                ]
                answer = " ".join([answer, *flags])
        return self.number((entry.request.operation, answer))

    def number(self, kind: tuple[str, str]) -> int:
        """A kind's number; a new kind has changed nothing yet."""
        number = self.kinds.get(kind)
        if number is None:
            number = self.kinds[kind] = len(self.changing)
            self.changing.append(False)
        return number


class Timeline:
    """Entries in the order of their events, as levels: one for each return.

    `levels[n]` is (the entry that returns, the entries invoked since the level before). With
    `rest`, a last level asks for the state at rest: its entry is the number of entries.
    `bits` are those of open operations, used again once an operation has returned; entries that are
    `optional` (they never return) have bits of their own. `ranks` and `opened_at` are the
    levels of an entry's return and invocation.
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
        free: list[int] = []
        opened: list[int] = []
        used = unknown = 0
        for _time_ns, returns, place in self._events():
            if returns:
                self.ranks[place] = len(self.levels)
                self.levels.append((place, tuple(opened)))
                opened = []
                free.append(self.bits[place])
                continue
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
        if rest:
            self.bits[count] = 1 << used
            self.ranks[count] = self.opened_at[count] = len(self.levels)
            self.levels.append((count, (*opened, count)))

    def _events(self) -> list[tuple[int, int, int]]:
        events = [(entry.invoked_ns, 0, place) for place, entry in enumerate(self.entries)]
        events += [
            (entry.returned_ns, 1, place) for place, entry in enumerate(self.entries) if entry.returned_ns is not None
        ]
        events.sort()
        return events


class Window:
    """What is open at one level.

    `pending` must be ordered, the next to return first; `unknown` may be. `late` have returned, but may
    have to come after something that is ordered only now: those since the level that `late_from` gives for
    this one. `twins` groups unknown entries that ask for the same, `twin_of` gives each one's group.
    """

    def __init__(self, timeline: Timeline, distinct: Collection[str]) -> None:
        """Before the first level. Operations in `distinct` have no twins."""
        self.level = -1
        self.pending: list[int] = []
        self.late_from = [0] * (len(timeline.levels) + 1)
        self._gone = 0
        self.unknown: list[int] = []
        self.twins: dict[int, list[int]] = {}
        self.twin_of: dict[int, int] = {}
        self._timeline = timeline
        self._distinct = distinct
        self._groups: dict[Any, int] = {}

    @property
    def has_twins(self) -> bool:
        """Whether any unknown entries ask for the same."""
        return len(self.twins) < len(self.unknown)

    def go(self, level: int) -> list[int]:
        """Move to a level, forwards or backwards; the entries that nobody will ask about again."""
        gone = range(0)
        if self.level == level - 1:
            gone = range(self._gone, self.late_from[level])
            self._gone = max(self._gone, self.late_from[level])
        while self.level < level:
            self._forward()
        while self.level > level:
            self._backward()
        return [self._timeline.levels[earlier][0] for earlier in gone]

    @property
    def late(self) -> Iterator[int]:
        """The entries that have returned but may have to come late."""
        levels = self._timeline.levels
        return (levels[earlier][0] for earlier in range(self.late_from[self.level], self.level))

    def _forward(self) -> None:
        timeline = self._timeline
        if self.level >= 0:
            del self.pending[0]
        self.level += 1
        for place in timeline.levels[self.level][1]:
            if timeline.optional[place]:
                self._open_unknown(place)
            else:
                insort(self.pending, place, key=timeline.ranks.__getitem__)

    def _backward(self) -> None:
        timeline = self._timeline
        for place in timeline.levels[self.level][1]:
            if timeline.optional[place]:
                self._close_unknown(place)
            else:
                self.pending.remove(place)
        self.level -= 1
        self.pending.insert(0, timeline.levels[self.level][0])

    def _open_unknown(self, place: int) -> None:
        entry = self._timeline.entries[place]
        request = entry.request
        group: Any = place
        if request.operation not in self._distinct:
            reply = (entry.reply.decision, freeze(entry.reply.values)) if entry.reply else None
            group = (request.operation, request.keys, freeze(request.args), request.role, reply)
        twin = self._groups.setdefault(group, place)
        self.twin_of[place] = twin
        self.twins.setdefault(twin, []).append(place)
        self.unknown.append(place)

    def _close_unknown(self, place: int) -> None:
        self.unknown.remove(place)
        twin = self.twin_of[place]
        self.twins[twin].remove(place)
        if not self.twins[twin]:
            del self.twins[twin]
            self._groups = {key: one for key, one in self._groups.items() if one in self.twins}
