"""How fast the judge is: histories made up here, of many keys with overlapping callers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from bench.figures import Figure, Spread
from harness.judge import Budget, Rest, check_order
from harness.model import Operation, Reply, Request, Spec, State, Status
from harness.strategy import RuleSpec
from harness.strategy.loader import find_scenario

OPERATIONS, KEYS, CALLERS = 100_000, 1_000, 8
_TAKES_NS = 1_000_000
Next = Callable[[Any, Random], tuple[str, dict[str, Any], Reply, Any]]
"""Value and random numbers give an operation, its arguments, its reply and the value after it."""


class Register:
    """read, write and cas on one value."""

    def allowed(self, state: State, request: Request, _now_ms: int, reply: Reply | None) -> Iterable[State]:
        """The state after the request, where it explains the reply."""
        ((key, value),) = state.items()
        args = request.args
        swapped = request.operation == "cas" and value == args["old"]
        answers = {"read": {"value": value}, "write": {}, "cas": {"swapped": swapped}}
        if reply is None or reply.values == answers[request.operation]:
            if request.operation == "write":
                value = args["value"]
            yield {key: args["new"] if swapped else value}

    def view(self, value: Any, _now_ms: int) -> Any:
        """A value is what it is."""
        return value


def register(value: Any, rng: Random) -> tuple[str, dict[str, Any], Reply, Any]:
    """One operation in three of each kind, over five values: many orders look right at first."""
    operation = rng.choice(("read", "write", "cas"))
    if operation == "read":
        return operation, {}, Reply("done", {"value": value}), value
    new = rng.randrange(5)
    if operation == "write":
        return operation, {"value": new}, Reply("done", {}), new
    old = rng.randrange(5)
    swapped = value == old
    return operation, {"old": old, "new": new}, Reply("done", {"swapped": swapped}), new if swapped else value


def counter(value: Any, _rng: Random) -> tuple[str, dict[str, Any], Reply, Any]:
    """Add one."""
    after = (value or 0) + 1
    return "add", {}, Reply("added", {"value": after}), after


def history(of: Next, seed: int) -> tuple[list[Operation], dict[str, Any]]:
    """A history that has an order, and the state at rest: the callers of a key take effect somewhere in between."""
    rng = Random(seed)
    operations = []
    rest: dict[str, Any] = {}
    for number in range(KEYS):
        key, value = f"k{number}", None
        free = [0] * CALLERS
        at_ns = 0
        for turn in range(OPERATIONS // KEYS):
            caller = min(range(CALLERS), key=free.__getitem__)
            at_ns = max(at_ns, free[caller]) + rng.randrange(1, _TAKES_NS // CALLERS)
            invoked_ns = max(free[caller] + 1, at_ns - rng.randrange(_TAKES_NS))
            returned_ns = at_ns + rng.randrange(1, _TAKES_NS)
            free[caller] = returned_ns
            name, args, reply, value = of(value, rng)
            request = Request(name, (key,), args, f"{number}-{turn}")
            operations.append(Operation(request, str(caller), invoked_ns, returned_ns, Status.OK, reply))
        rest[key] = value
    operations.sort(key=lambda operation: operation.invoked_ns)
    return operations, rest


async def judging(rounds: int, _seconds: float) -> list[Figure]:
    """Histories of a counter, and of a register."""
    specs: list[tuple[str, Spec, Next]] = [
        ("counter", RuleSpec(find_scenario("counter")(), "default"), counter),
        ("register", Register(), register),
    ]
    figures = []
    for name, spec, of in specs:
        took_s = []
        for seed in range(rounds):
            operations, rest = history(of, seed)
            initial = dict.fromkeys(rest)
            started = time.monotonic()
            found = check_order(operations, spec, initial, Rest(rest, 0), Budget(seconds=120.0))
            took_s.append(time.monotonic() - started)
            if found.outcome != "legal":
                raise AssertionError(f"the judge finds no order in a history that has one: {found}")
        figures.append(
            Figure(
                f"judging a {name}, {OPERATIONS:,} operations",
                f"check_order on {OPERATIONS:,} operations over {KEYS:,} keys with {CALLERS} callers each, in memory",
                unit="s",
                value=Spread.over(took_s),
                target=3.0,
                better="at most",
            )
        )
    return figures
