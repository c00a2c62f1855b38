"""A history in memory: operations lie packed until the keys that they name are judged.

A packed operation takes a fifth of the room of one made of objects: of a million, about 150 MB.
"""

from __future__ import annotations

import marshal
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.judge.connected import Connected
from harness.judge.findings import Kind
from harness.judge.history import Closing, Header, Left, MalformedError
from harness.model import NOTHING, Effect, Evidence, Operation, Reply, Request, Status

Keys = tuple[str, ...]


class _Words:
    """Packs operations; what many of them have in common becomes a number."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, ...], int] = {}
        self._words: list[tuple[str, ...]] = []

    def pack(self, operation: Operation) -> bytes:
        request, caller, invoked_ns, returned_ns, status, reply, now_ms, now_max_ms, error = operation
        decision = "" if reply is None else reply.decision
        common = (request.operation, caller, request.role, status.value, error, decision)
        number = self._numbers.get(common)
        if number is None:
            number = self._numbers[common] = len(self._words)
            self._words.append(common)
        args = dict(request.args) if request.args else None
        values = None if reply is None else dict(reply.values)
        return marshal.dumps(
            (number, request.id, request.attempt, invoked_ns, returned_ns, now_ms, now_max_ms, args, values), 2
        )

    def unpack(self, packed: bytes, keys: Keys) -> Operation:
        number, name, attempt, invoked_ns, returned_ns, now_ms, now_max_ms, args, values = marshal.loads(packed)  # noqa: S302 - packed above
        operation, caller, role, status, error, decision = self._words[number]
        request = Request(operation, keys, args or NOTHING, name, attempt, role)
        reply = None if values is None else Reply(decision, values or NOTHING)
        return Operation(request, caller, invoked_ns, returned_ns, _STATUSES[status], reply, now_ms, now_max_ms, error)


_STATUSES = {status.value: status for status in Status}


@dataclass(slots=True)
class Piece:
    """What is judged together: a burst, or all that was done to connected keys.

    `left` says how its keys were left; None where nobody looked, or, in a run's file, where the
    run was cut short before it had written all of this piece.
    """

    name: str
    burst: int | None
    words: _Words
    keys: Keys = ()
    packed: list[tuple[Keys, list[bytes]]] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    probes: list[Operation] = field(default_factory=list)
    left: Left | None = None

    @property
    def kind(self) -> Kind:
        """How invariants are asked of it."""
        return "sustained" if self.burst is None else "burst"

    def __len__(self) -> int:
        """How many operations there are."""
        return sum(len(packed) for _keys, packed in self.packed)

    def operations(self) -> list[Operation]:
        """The operations, made anew."""
        unpack = self.words.unpack
        return [unpack(one, keys) for keys, packed in self.packed for one in packed]

    def evidence(self, initial_value: Any) -> Evidence:
        """All that is known, to be judged."""
        left = self.left
        return Evidence(
            name=self.name,
            keys=self.keys,
            operations=self.operations(),
            effects=self.effects,
            initial=dict.fromkeys(self.keys, initial_value),
            rest=None if left is None else left.values,
            rest_ms=0 if left is None else left.at_ms,
            monotonic_to_unix_ns=0 if left is None else left.unix_ns,
        )


@dataclass(slots=True)
class History:
    """A whole history. `closing` is None where no run wrote one, or none to its end.

    `unfinished` counts the pieces that a run was cut short of writing: they are not judged.
    """

    header: Header | None
    closing: Closing | None
    pieces: list[Piece]
    statuses: Mapping[str, int]
    effects: int
    unfinished: int


class Collector:
    """Takes operations, effects and states at rest in any order, and makes pieces of them."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._words = _Words()
        self._names: set[str] = set()
        self._packed: dict[tuple[int | None, Keys], list[bytes]] = {}
        self._effects: list[tuple[Effect, int | None, int]] = []
        self._probes: dict[int, list[Operation]] = {}
        self._left: list[tuple[Left, int | None, int]] = []
        self._statuses: Counter[str] = Counter()

    def operation(self, operation: Operation, burst: int | None, *, probe: bool) -> None:
        """Add an operation. Raises MalformedError for an id that was there before."""
        name, keys = operation.request.id, operation.request.keys
        if name in self._names:
            raise MalformedError(f"'op' {name} was there before")
        self._names.add(name)
        if probe:
            if burst is None:
                raise MalformedError("'burst' is missing: a probe is one of a burst")
            self._probes.setdefault(burst, []).append(operation)
            return
        self._statuses[operation.status.value] += 1
        place = self._packed.get((burst, keys))
        if place is None:
            place = self._packed[burst, keys] = []
        place.append(self._words.pack(operation))

    def effect(self, effect: Effect, burst: int | None, number: int) -> None:
        """Add an effect, from line `number`."""
        self._effects.append((effect, burst, number))

    def left(self, left: Left, burst: int | None, number: int) -> None:
        """Add how keys were left, from line `number`."""
        self._left.append((left, burst, number))

    def history(self, header: Header | None, closing: Closing | None) -> History:
        """Everything in pieces. Raises LateError for a line that turns out wrong only now."""
        self._names.clear()
        effects = list(self._with_keys())
        connected = self._connected(effects)
        pieces: dict[int | str, Piece] = {}

        def piece_of(burst: int | None, keys: Keys) -> Piece:
            name = connected.root(keys[0]) if burst is None else burst
            return pieces.setdefault(name, Piece(str(name), burst, self._words))

        for (burst, keys), packed in self._packed.items():
            piece_of(burst, keys).packed.append((keys, packed))
        for effect, burst in effects:
            piece_of(burst, effect.keys).effects.append(effect)
        for left, burst, number in self._left:
            piece = piece_of(burst, left.keys)
            if piece.left is not None:
                raise LateError("how these keys were left was said before", number)
            piece.left = left
        for burst, probes in self._probes.items():
            pieces.setdefault(burst, Piece(str(burst), burst, self._words)).probes = probes
        for piece in pieces.values():
            named = {key for keys, _packed in piece.packed for key in keys}
            named.update(key for effect in piece.effects for key in effect.keys)
            piece.keys = piece.left.keys if piece.left is not None else tuple(sorted(named))
        whole = list(pieces.values())
        if header is not None and closing is None:
            whole = [piece for piece in whole if piece.left is not None]
        return History(header, closing, whole, self._statuses, len(effects), len(pieces) - len(whole))

    def _connected(self, effects: list[tuple[Effect, int | None]]) -> Connected:
        """Connect the keys of what belongs to no burst."""
        connected = Connected()
        for burst, keys in self._packed:
            if burst is None:
                connected.join(keys)
        for effect, burst in effects:
            if burst is None:
                connected.join(effect.keys)
        for left, burst, _number in self._left:
            if burst is None:
                connected.join(left.keys)
        return connected

    def _with_keys(self) -> Iterator[tuple[Effect, int | None]]:
        """Effects with the keys of their attempts, where they name none."""
        wanted = {effect.attempt for effect, _burst, _number in self._effects if not effect.keys}
        keys_of: dict[str, Keys] = {}
        if wanted:
            for (_burst, keys), packed in self._packed.items():
                for one in packed:
                    attempt = self._words.unpack(one, keys).request.attempt
                    if attempt in wanted:
                        keys_of.setdefault(attempt, keys)
        for effect, burst, number in self._effects:
            if effect.keys:
                yield effect, burst
            elif effect.attempt in keys_of:
                yield effect._replace(keys=keys_of[effect.attempt]), burst
            else:
                raise LateError("'keys' is missing, and no operation is of this effect's attempt", number)


class LateError(ValueError):
    """A line that turns out wrong only when all have been read."""

    def __init__(self, says: str, number: int) -> None:
        """`number` is the line's."""
        super().__init__(says)
        self.number = number
