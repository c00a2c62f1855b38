"""From the workers' records to evidence that the judge can weigh: per burst, or per group of keys."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.burst.record import EFFECT, PROBE, Reading
from harness.model import NOTHING, Effect, Evidence, Operation, Step

_WORKER_BITS = 10
_STEP_NS = 10_000_000


def monotonic_to_unix_ns() -> int:
    """What to add to a monotonic time of this machine to get Unix time, in nanoseconds."""
    return time.time_ns() - time.monotonic_ns()


class Clock:
    """Notices when somebody sets this machine's clock, or the machine sleeps: leases end by a clock."""

    def __init__(self) -> None:
        """Remember how the clock stands now."""
        self._offset_ns = monotonic_to_unix_ns()

    def set_by(self) -> str | None:
        """Why instants of a run so far cannot be compared; None where they can."""
        # Whoever is interrupted between the two readings of an offset looks again; slewing moves both clocks alike.
        moved_ns = min((monotonic_to_unix_ns() - self._offset_ns for _try in range(3)), key=abs)
        if abs(moved_ns) <= _STEP_NS:
            return None
        where = "forward" if moved_ns > 0 else "back"
        return f"this machine's clock was set {where} by {round(abs(moved_ns) / 1e6)} ms"


@dataclass(slots=True)
class BurstRecord:
    """Everything written about one burst."""

    operations: list[Operation] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    probes: list[Operation] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)


def by_burst(readings: Sequence[Reading], spans: Iterable[tuple[int, int]]) -> dict[int, BurstRecord]:
    """What the workers wrote in `spans`, grouped by burst number."""
    bursts: dict[int, BurstRecord] = {}
    for reading, (start, stop) in zip(readings, spans, strict=True):
        for number, entry in reading.entries(start, stop):
            record = bursts.setdefault(entry.burst, BurstRecord())
            if entry.kind == EFFECT:
                record.effects.append(reading.effect(entry))
            elif entry.kind == PROBE:
                record.probes.append(reading.operation(number, entry))
            else:
                record.operations.append(reading.operation(number, entry))
    return bursts


def released_apart_us(operations: Sequence[Operation], sent_ns: Mapping[str, int] = NOTHING) -> float | None:
    """How far apart the processes of a burst sent their first requests; None for one process.

    With the instants `sent_ns` at which held requests were let go, by id: how far apart those were.
    """
    let_go = [sent_ns[one.request.id] for one in operations if one.request.id in sent_ns] if sent_ns else []
    if let_go:
        return (max(let_go) - min(let_go)) / 1000
    first: dict[str, int] = {}
    for operation in operations:
        process = operation.caller.split(".", 1)[0]
        first[process] = min(first.get(process, operation.invoked_ns), operation.invoked_ns)
    return (max(first.values()) - min(first.values())) / 1000 if len(first) > 1 else None


def steps_from(lines: Iterable[list[Any]]) -> Iterator[tuple[int, Step]]:
    """Traced steps as they lie in the workers' files."""
    for burst, caller, request, kind, command, reply, sent_ns, received_ns, reads, writes in lines:
        yield burst, Step(caller, request, kind, tuple(command), reply, sent_ns, received_ns, reads, writes)


class Groups:
    """Sustained load: which entries concern which group of keys that requests connect.

    Only numbers are kept, eight bytes for each entry; operations are made one group at a time.
    """

    def __init__(self, readings: Sequence[Reading], spans: Sequence[tuple[int, int]]) -> None:
        """Read every entry once."""
        self._readings = readings
        self._parent: dict[str, str] = {}
        places: dict[tuple[str, ...], array[int]] = {}
        for worker, (reading, (start, stop)) in enumerate(zip(readings, spans, strict=True)):
            mine: dict[int, array[int]] = {}
            for number, entry in reading.entries(start, stop):
                place = mine.get(entry.keys)
                if place is None:
                    keys = reading.keys(entry.keys)
                    place = mine[entry.keys] = places.setdefault(keys, array("Q"))
                    self._join(keys)
                place.append(number << _WORKER_BITS | worker)
        self._members: dict[str, tuple[set[str], list[array[int]]]] = {}
        for keys, place in places.items():
            names, arrays = self._members.setdefault(self._root(keys[0]), (set(), []))
            names.update(keys)
            arrays.append(place)

    def _root(self, key: str) -> str:
        while (parent := self._parent.setdefault(key, key)) != key:
            key = parent
        return key

    def _join(self, keys: tuple[str, ...]) -> None:
        first = self._root(keys[0])
        for key in keys[1:]:
            self._parent[self._root(key)] = first

    @property
    def keys(self) -> list[str]:
        """All keys that were named."""
        return sorted(self._parent)

    def __len__(self) -> int:
        """How many groups there are."""
        return len(self._members)

    def evidence(self, initial_value: Any, rest: Mapping[str, Any] | None, rest_ms: int) -> Iterator[Evidence]:
        """One group after the other."""
        offset = monotonic_to_unix_ns()
        mask = (1 << _WORKER_BITS) - 1
        for name, (names, arrays) in self._members.items():
            operations: list[Operation] = []
            effects: list[Effect] = []
            for place in arrays:
                for packed in place:
                    reading, number = self._readings[packed & mask], packed >> _WORKER_BITS
                    entry = reading.entry(number)
                    if entry.kind == EFFECT:
                        effects.append(reading.effect(entry))
                    else:
                        operations.append(reading.operation(number, entry))
            keys = tuple(sorted(names))
            yield Evidence(
                name=name,
                keys=keys,
                operations=operations,
                effects=effects,
                initial=dict.fromkeys(keys, initial_value),
                rest=None if rest is None else {key: rest[key] for key in keys},
                rest_ms=rest_ms,
                monotonic_to_unix_ns=offset,
            )
