"""A violation explained as data: one order of the steps that fits, and the step that did it.

Clocks of different callers give intervals only, so the order shown is one that is
consistent with the intervals and with what each step read, and says whether there was one.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from harness.judge.findings import Finding
from harness.judge.states import freeze
from harness.model import NOTHING, Evidence, Operation, Step

_MOST_TRIES = 20_000
_MOST_OPERATIONS = 12
NO_ORDER = "no one-at-a-time order explains the answers and what was left behind"
DECIDE = "decide"
"""The kind of step at which a caller decides: not printed, it ties reads to writes."""

_ENDS = ("COMMIT", "ROLLBACK")
_FAULT = "fault"
_PROBE = "probe"


class Ordered(NamedTuple):
    """Steps in one order. `fits`: it agrees with every interval and every value read."""

    steps: tuple[Step, ...]
    fits: bool


class Row(NamedTuple):
    """One printed step: its number from 1, the letter of its column, what was sent and answered.

    `blocked`: it was sent before, and answered after, the end of a transaction it probably waited for.
    `outcome` is the decision that its request was answered with, on that request's last step; `values` are those of
    the answer, where what is wrong depends on them.
    """

    number: int
    letter: str
    command: str
    reply: str
    blocked: bool = False
    outcome: str | None = None
    values: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What happened, in one order: `columns` pair a letter with the first request it stands for.

    `says` is what was broken, in the domain's words; `why` names the step that did it, where the steps
    show one. `unordered` are the ids of operations that cannot be ordered.
    """

    columns: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    fits: bool
    why: str | None
    says: str
    unordered: tuple[str, ...] = ()


Told = Mapping[tuple[str, str], Operation]
"""Each delivery of a request that came more than once: by its id, and the marks after its caller's name."""
NONE_TWICE: Told = {}


def explain(evidence: Evidence, steps: Sequence[Step], finding: Finding, told: Told = NONE_TWICE) -> Explanation:
    """Explain a violated burst from its recorded steps; without any, from its operations."""
    if not steps:
        return _explain_operations(evidence, finding)
    ordered = order_steps(attributed(steps), evidence.initial)
    columns = _columns(ordered.steps, evidence.operations)
    rows = _rows(ordered.steps, columns, evidence.operations, finding, told)
    return Explanation(
        columns=tuple(_firsts(ordered.steps, columns)),
        rows=rows,
        fits=ordered.fits,
        why=why(ordered, columns),
        says=says(finding),
        unordered=finding.unordered,
    )


def attributed(steps: Sequence[Step]) -> list[Step]:
    """Each step with a request: what holds a whole attempt together begins before the first one, and is for that."""
    first: dict[str, str] = {}
    for step in steps:
        if step.request:
            first.setdefault(step.caller, step.request)
    return [step if step.request else step._replace(request=first.get(step.caller, step.caller)) for step in steps]


def says(finding: Finding) -> str:
    """What was broken, in one sentence."""
    for breaches in finding.breaches.values():
        if breaches:
            return breaches[0].says
    if finding.order == "illegal":
        return NO_ORDER
    if finding.stuck:
        return unanswered(finding)
    return "nothing was found"


def unanswered(finding: Finding) -> str:
    """How many requests nobody was told anything of."""
    number = len(finding.stuck)
    return "1 request was never answered" if number == 1 else f"{number:,} requests were never answered"


# One order of the steps


def order_steps(steps: Sequence[Step], initial: Mapping[str, Any] = NOTHING) -> Ordered:
    """A total order that agrees with the intervals and, if any can, with what the steps read.

    A step comes before another when it was answered before that was sent, or when the same
    caller took it first. A step with `reads` saw the last `writes` before it, or `initial`.
    Among the orders that fit, the first in order of answers. Where none fits, or the
    search is given up, the order of answers with `fits` False.
    """
    by_answer = sorted(steps, key=lambda step: (step.received_ns, step.sent_ns))
    found = _Orders(by_answer, initial).search()
    if found is None:
        return Ordered(tuple(by_answer), fits=False)
    return Ordered(tuple(by_answer[place] for place in found), fits=True)


class _Orders:
    """Depth first over (steps done, values), with a memory of what led nowhere."""

    def __init__(self, steps: Sequence[Step], initial: Mapping[str, Any]) -> None:
        self.steps = steps
        self.before = [self._before(place) for place in range(len(steps))]
        # A decision carries what it was made on and what it wants, not what a store holds.
        shown = [step.kind != DECIDE for step in steps]
        self.reads = [_frozen(step.reads) if shown[place] else {} for place, step in enumerate(steps)]
        self.writes = [_frozen(step.writes) if shown[place] else {} for place, step in enumerate(steps)]
        touched = {key for reads in (*self.reads, *self.writes) for key in reads}
        self.keys = sorted(touched)
        self.start = tuple(freeze(initial.get(key)) for key in self.keys)
        self.place_of = {key: place for place, key in enumerate(self.keys)}

    def _before(self, place: int) -> int:
        """The steps, as bits, that come before one in every order."""
        step, bits = self.steps[place], 0
        for other_place, other in enumerate(self.steps):
            own = other.caller == step.caller and (
                (other.sent_ns, other.received_ns, other_place) < (step.sent_ns, step.received_ns, place)
            )
            if own or (other.caller != step.caller and other.received_ns < step.sent_ns):
                bits |= 1 << other_place
        return bits

    def search(self) -> list[int] | None:
        """Places in one order that fits; None where there is none or too much to try."""
        whole = (1 << len(self.steps)) - 1
        dead: set[tuple[int, tuple[Any, ...]]] = set()
        path: list[int] = []
        stack = [(0, self.start, self._next(0, self.start))]
        for _try in range(_MOST_TRIES):
            done, values, choices = stack[-1]
            if done == whole:
                return path
            place = next(choices, None)
            if place is None:
                dead.add((done, values))
                stack.pop()
                if not stack:
                    return None
                path.pop()
                continue
            after = done | 1 << place
            values = self._written(place, values)
            if (after, values) not in dead:
                path.append(place)
                stack.append((after, values, self._next(after, values)))
        return None

    def _next(self, done: int, values: tuple[Any, ...]) -> Iterator[int]:
        for place, before in enumerate(self.before):
            if done >> place & 1 or before & ~done:
                continue
            reads = self.reads[place]
            if all(values[self.place_of[key]] == value for key, value in reads.items()):
                yield place
                if not reads and not self.writes[place]:
                    return  # taking a step that touches nothing loses nothing

    def _written(self, place: int, values: tuple[Any, ...]) -> tuple[Any, ...]:
        writes = self.writes[place]
        if not writes:
            return values
        return tuple(writes.get(key, old) for key, old in zip(self.keys, values, strict=True))


def _frozen(state: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: freeze(value) for key, value in (state or {}).items()}


# Columns, rows


def _columns(steps: Sequence[Step], operations: Sequence[Operation]) -> dict[str, str]:
    """Request id to letter. Requests of one attempt share a column; letters by first step."""
    attempts = {operation.request.id: operation.request.attempt or operation.request.id for operation in operations}
    letters: dict[str, str] = {}
    columns: dict[str, str] = {}
    for step in steps:
        if step.kind != DECIDE and step.request and step.request not in columns:
            attempt = attempts.get(step.request, step.request)
            letter = letters.setdefault(attempt, _letter(len(letters)))
            columns[step.request] = letter
    return columns


def _letter(number: int) -> str:
    """A to Z, then A2 to Z2 and so on."""
    round_, place = divmod(number, 26)
    return string.ascii_uppercase[place] + (str(round_ + 1) if round_ else "")


def _column(step: Step, columns: Mapping[str, str]) -> str:
    """Owners and daemons have a column of their own, and so has a request that is delivered a second time."""
    if _serves(step.caller):
        return step.caller
    return columns[step.request] + ("'" if step.caller.endswith("'") else "")


def _serves(caller: str) -> bool:
    """Whether it is an owner or a daemon: they are called by words, callers by letters and numbers."""
    return caller[:1].islower() and len(caller) > 1 and caller != _PROBE


def _firsts(steps: Sequence[Step], columns: Mapping[str, str]) -> list[tuple[str, str]]:
    """Each column with the first request in it; owners and daemons stand last."""
    firsts: dict[str, str] = {}
    for step in steps:
        if step.kind != DECIDE:
            firsts.setdefault(_column(step, columns), step.request)
    return sorted(firsts.items(), key=lambda one: _serves(one[0]))


def _rows(
    steps: Sequence[Step], columns: Mapping[str, str], operations: Sequence[Operation], finding: Finding, told: Told
) -> tuple[Row, ...]:
    deliveries = {(operation.request.id, ""): operation for operation in operations} | dict(told)
    values = _telling(deliveries, finding)
    # Who is not answered learns so from what befell it.
    answered = {operation.request.id: operation.reply is not None for operation in operations}
    last: dict[tuple[str, str], int] = {}
    printed = [step for step in steps if step.kind != DECIDE]
    for place, step in enumerate(printed):
        if told and _serves(step.caller) and _delivery(step) in told:
            continue  # for which delivery it works nobody sees
        before = last.get(_delivery(step))
        # Who was answered learnt nothing more from what befell it afterwards.
        after = step.kind if answered.get(step.request, True) else printed[before or 0].kind
        if before is None or after != _FAULT:
            last[_delivery(step)] = place
    ends = {place: delivery for delivery, place in last.items()}
    return tuple(
        Row(
            place + 1,
            _column(step, columns),
            command_text(step),
            step.reply,
            _blocked(step, printed),
            _outcome(deliveries[ends[place]]) if ends.get(place) in deliveries else None,
            values.get(ends[place], "") if place in ends else "",
        )
        for place, step in enumerate(printed)
    )


def _delivery(step: Step) -> tuple[str, str]:
    """A request, and the marks of its second or third delivery."""
    return step.request, "" if _serves(step.caller) else step.caller[len(step.caller.rstrip("'")) :]


def _telling(deliveries: Told, finding: Finding) -> dict[tuple[str, str], str]:
    """The values of the answers that show what is wrong: that have no order, or name what broke the rule."""
    named = {name for breaches in finding.breaches.values() for breach in breaches for name in breach.operations}
    return {
        delivery: " ".join(f"{name}={value}" for name, value in one.reply.values.items())
        for delivery, one in deliveries.items()
        if one.reply is not None
        and (finding.order == "illegal" or {one.request.id, *map(str, one.reply.values.values())} & named)
    }


def _outcome(operation: Operation) -> str | None:
    if operation.reply is not None:
        return operation.reply.decision
    return operation.error or None


def _blocked(step: Step, steps: Sequence[Step]) -> bool:
    return (
        step.kind == "sql"
        and step.command[:1] not in [(word,) for word in _ENDS]
        and any(
            other.caller != step.caller
            and other.command[:1] in [(word,) for word in _ENDS]
            and step.sent_ns < other.sent_ns
            and other.received_ns <= step.received_ns
            for other in steps
        )
    )


def command_text(step: Step) -> str:
    """A command in one line; the arguments of a statement put in their places."""
    if not step.command:
        return step.kind
    if step.kind != "sql":
        return " ".join(step.command)
    text = " ".join(step.command[0].split())
    for number in range(len(step.command) - 1, 0, -1):
        text = text.replace(f"${number}", step.command[number])
    return text


# Why


def why(ordered: Ordered, columns: Mapping[str, str]) -> str | None:
    """The first step that acted on what had become untrue, in one sentence; None where none shows.

    A request read a key, another request's write to that key came in between, and then the
    first one wrote on the strength of what it had read.
    """
    if not ordered.fits:
        return None
    printed = [step for step in ordered.steps if step.kind != DECIDE]
    for place, step in enumerate(printed):
        if not step.writes:
            continue
        for read in range(place - 1, -1, -1):
            seen = printed[read]
            if seen.request != step.request or not seen.reads:
                continue
            overtaken = _overtaken(printed, read, place)
            if overtaken is not None:
                letter = _column(step, columns)
                return (
                    f"{letter} decided at {place + 1} on what it read at {read + 1}; "
                    f"step {overtaken + 1} had made that untrue."
                )
            break  # what it read last is what it decided on
    return None


def _overtaken(steps: Sequence[Step], read: int, write: int) -> int | None:
    """The last foreign write between a read and a write that changed what was read."""
    seen = _frozen(steps[read].reads)
    for place in range(write - 1, read, -1):
        step = steps[place]
        if step.request != steps[read].request:
            for key, value in _frozen(step.writes).items():
                if key in seen and seen[key] != value:
                    return place
    return None


# Without steps


def _explain_operations(evidence: Evidence, finding: Finding) -> Explanation:
    """A row per operation: those that cannot be ordered, else the first few, as they were answered."""
    concerned = {*finding.unordered, *finding.stuck}
    for breaches in finding.breaches.values():
        concerned.update(name for breach in breaches for name in breach.operations)
    chosen = [
        operation
        for operation in evidence.operations
        if not concerned or concerned & {operation.request.id, operation.request.attempt}
    ]
    chosen.sort(key=lambda one: (one.returned_ns is None, one.returned_ns or one.invoked_ns))
    chosen = chosen[:_MOST_OPERATIONS]
    rows = []
    letters: dict[str, str] = {}
    first: dict[str, str] = {}
    for number, operation in enumerate(chosen, 1):
        request = operation.request
        letter = letters.setdefault(request.attempt or request.id, _letter(len(letters)))
        first.setdefault(letter, request.id)
        values = {**request.args}
        shown = " ".join(f"{name}={value}" for name, value in values.items())
        command = " ".join(part for part in (request.operation, *request.keys, shown) if part)
        rows.append(Row(number, letter, command, _answer(operation), False, _outcome(operation)))
    return Explanation(tuple(first.items()), tuple(rows), False, None, says(finding), finding.unordered)


def _answer(operation: Operation) -> str:
    if operation.reply is None:
        return operation.error or "(no answer)"
    return " ".join(f"{name}={value}" for name, value in operation.reply.values.items())
