"""Workers that are killed in the middle of bursts: when, what they left open, and what became of it.

A worker is ended by SIGKILL and replaced. What it had asked and not heard of is asked again by the next one, with the
same request ids, as a queue or a client would: whoever had been applied, and did not live to say so, must not be
applied twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from harness.burst.evidence import BurstRecord
from harness.burst.plan import Load, is_control
from harness.burst.record import OPERATION, Reading
from harness.model import ABORTED, Operation, Reply, Request, Status
from harness.strategy import Strategy

AGAIN = "+"
"""Behind the id of a request: its second delivery, where that is an operation of its own."""

_LONGEST_US = 2_000
_SHORTEST_US = 40
"""What a kill waits at most: half of the last time where that came to nothing, since the burst was over by then."""
_MISSES = 3
"""So many kills that find no request open count as one that does."""
_FEWEST = 8
"""Bursts of an order in which a worker is killed."""


@dataclass(frozen=True, slots=True)
class Kill:
    """Worker `slot` is killed so long after the requests of the meeting of that number, from 1 on, were released."""

    slot: int
    meeting: int
    delay_us: int


class Kills:
    """The kills of a load, drawn from its seed."""

    def __init__(self, load: Load) -> None:
        """As many as the load asks for."""
        self._rng = Random(f"{load.seed}:kills")
        self._processes = load.processes
        self._most = max(_FEWEST, load.bursts // (2 * max(1, load.kills)))
        self.left = load.kills
        self._longest_us, self._missed = _LONGEST_US, 0

    def most(self, number: int) -> int:
        """So many of `number` bursts are ordered at a time at most."""
        return min(number, self._most) if self.left else number

    def draw(self, first: int, number: int, *, control: bool) -> Kill | None:
        """The kill in an order of `number` bursts from `first` on: in none of the control's, where there is one.

        Not in the last quarter, whose end would be faster; an order without a kill is followed by one with it.
        """
        ours = [place for place in range(number - number // 4) if not (control and is_control(first + place))]
        if not self.left or not ours:
            return None
        rng = self._rng
        place, slot = rng.choice(ours), rng.randrange(self._processes)
        return Kill(slot, place + 1, int(rng.random() ** 2 * self._longest_us))

    def struck(self, requests: int) -> None:
        """So many requests a killed worker had open: without any it is tried again, and sooner."""
        self._missed = 0 if requests else self._missed + 1
        if requests or self._missed == _MISSES:
            self.left, self._missed = self.left - 1, 0
        if not requests:
            self._longest_us = max(_SHORTEST_US, self._longest_us // 2)


def most_killed(kills: int) -> int:
    """How many workers may have to be replaced for so many kills."""
    return _MISSES * kills


@dataclass(frozen=True, slots=True)
class Left:
    """What a killed worker left: requests without an answer, by burst, and the bursts that it did not end."""

    open: Mapping[int, Sequence[Operation]]
    cut: frozenset[int]


def left_by(reading: Reading, span: tuple[int, int], bursts: Sequence[int]) -> Left:
    """Read it from the record that outlives the worker; `bursts` are those of the order."""
    open_: dict[int, list[Operation]] = {}
    last = min(bursts, default=0)
    for number, entry in reading.entries(*span):
        last = max(last, entry.burst)
        if entry.kind == OPERATION:
            operation = reading.operation(number, entry)
            if operation.returned_ns is None and not operation.error:
                open_.setdefault(entry.burst, []).append(operation)
    return Left(open_, frozenset(burst for burst in bursts if burst >= last))


def as_order(operations: Sequence[Operation]) -> list[list[Any]]:
    """Requests as they go to the worker that asks again."""
    return [
        [one.request.operation, one.request.keys, dict(one.request.args), one.request.id, one.request.attempt,
         one.request.role]
        for one in operations
    ]  # fmt: skip


def request_from(data: Sequence[Any]) -> Request:
    """The inverse."""
    operation, keys, args, id_, attempt, role = data
    return Request(operation, tuple(keys), args, id_, attempt, role)


def answers_both(strategy: Strategy) -> Callable[[Reply], bool]:
    """Which replies to a second delivery are the first one's as well: all of them where that one's answer is kept.

    Whoever is told to wait has to ask again, and is told otherwise then; not where its first answer is given again.
    """
    return (lambda _reply: True) if strategy.repeatable else strategy.scenario.final


def merged(
    record: BurstRecord, told: Mapping[str, Sequence[Any]], offset_ns: int, final: Callable[[Reply], bool]
) -> None:
    """Put what was told to those who asked again into a burst: both deliveries are one operation.

    The first may have decided at any instant since it was sent. A reply that is not `final` is no answer to the first,
    but to the second: "duplicate" is true of that one because the first was applied, and whoever gives up says that it
    has changed nothing itself. So they are two operations then, and of the first nobody knows what became of it.
    """
    for place, operation in enumerate(list(record.operations)):
        answer = told.get(operation.request.id)
        if answer is None or operation.returned_ns is not None:
            continue
        status, decision, values, now_ms, now_max_ms, returned_ns, error, asked_ns = answer
        reply = Reply(decision, values) if decision is not None else None
        sent_ms = (operation.invoked_ns + offset_ns) // 1_000_000
        one = operation._replace(
            status=Status(status),
            reply=reply,
            returned_ns=returned_ns,
            now_ms=min(now_ms, sent_ms) if now_ms else 0,
            now_max_ms=now_max_ms if now_ms else 0,
            error=error,
        )
        if reply is None or (reply != ABORTED and final(reply)):
            record.operations[place] = one
        else:
            request = operation.request._replace(id=f"{operation.request.id}{AGAIN}")
            record.operations.append(one._replace(request=request, invoked_ns=asked_ns, now_ms=now_ms))
