"""How fast the judge is: histories made up here, of many keys with overlapping callers."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from random import Random
from typing import IO, Any

from bench.environments import BESIDE, NotAtHand, answered, porcupine, python_with
from bench.figures import Figure, Spread, ratio
from harness.judge import Budget, Rest, check_order
from harness.judge.history import operation_line
from harness.model import Operation, Reply, Request, Spec, State, Status
from harness.strategy import RuleSpec
from harness.strategy.loader import find_scenario

_DETANGLE = "detangle==0.1.0"
_PATIENCE_S = 300.0
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


def text(value: Any, rng: Random) -> tuple[str, dict[str, Any], Reply, Any]:
    """Half of them appends, of what nobody else appends, now and then a put."""
    value = value or ""
    operation = rng.choices(("get", "append", "put"), (8, 11, 1))[0]
    if operation == "get":
        return operation, {}, Reply("done", {"value": value}), value
    part = f"x {rng.randrange(1_000_000)} y"
    return operation, {"value": part}, Reply("done", {}), part if operation == "put" else value + part


def lost(operations: list[Operation], share: float) -> list[Operation]:
    """The same history; of so many operations nobody knows the outcome."""
    rng = Random(1)
    return [
        one._replace(status=Status.UNKNOWN, reply=None, returned_ns=None) if rng.random() < share else one
        for one in operations
    ]


def history(
    of: Next, seed: int, operations_in_all: int = OPERATIONS, keys: int = KEYS, callers: int = CALLERS
) -> tuple[list[Operation], dict[str, Any]]:
    """A history that has an order, and the state at rest: the callers of a key take effect somewhere in between."""
    rng = Random(seed)
    operations = []
    rest: dict[str, Any] = {}
    for number in range(keys):
        key, value = f"k{number}", None
        free = [0] * callers
        at_ns = 0
        for turn in range(operations_in_all // keys):
            caller = min(range(callers), key=free.__getitem__)
            at_ns = max(at_ns, free[caller]) + rng.randrange(1, _TAKES_NS // callers)
            invoked_ns = max(free[caller] + 1, at_ns - rng.randrange(_TAKES_NS))
            returned_ns = at_ns + rng.randrange(1, _TAKES_NS)
            free[caller] = returned_ns
            name, args, reply, value = of(value, rng)
            request = Request(name, (key,), args, f"{number}-{turn}")
            operations.append(Operation(request, str(caller), invoked_ns, returned_ns, Status.OK, reply))
        rest[key] = value
    operations.sort(key=lambda operation: operation.invoked_ns)
    return operations, rest


def million(file: IO[str]) -> None:
    """Write a register's history of a million operations over ten thousand keys, as JSON Lines."""
    operations, _rest = history(register, 7, 1_000_000, 10_000)
    signatures = find_scenario("register").operations
    for operation in operations:
        file.write(json.dumps(operation_line(operation, signatures, None, probe=False)) + "\n")


def crowd(rounds: int) -> Figure:
    """Many callers at once on one key."""
    took_s = []
    for seed in range(rounds):
        operations, rest = history(register, seed, 1_000, 1, 20)
        took_s.append(_judged(operations, rest, Register()))
    return Figure(
        "judging 1,000 operations of 20 on one key",
        "check_order on 1,000 operations of a register by 20 callers that overlap all the time; in memory",
        unit="s", value=Spread.over(took_s), target=20.0, better="at most",
    )  # fmt: skip


async def judging(rounds: int, _seconds: float) -> list[Figure]:
    """Histories of a counter, and of a register: judged here, and by the peers that can be had."""
    specs: list[tuple[str, Spec, Next]] = [
        ("counter", RuleSpec(find_scenario("counter")(), "default"), counter),
        ("register", Register(), register),
    ]
    figures = []
    peers: dict[str, list[str] | str] = {
        "porcupine": await _command(porcupine()),
        "detangle": await _command(python_with("detangle", _DETANGLE), str(BESIDE / "detangle_judge.py")),
    }
    for name, spec, of in specs:
        mine: list[float] = []
        theirs: dict[str, list[float]] = {peer: [] for peer in peers}
        for seed in range(rounds):
            operations, rest = history(of, seed)
            mine.append(_judged(operations, rest, spec))
            for peer, command in peers.items():
                if not isinstance(command, str):
                    theirs[peer].append(await _judged_by(command, operations))
        figures.append(
            Figure(
                f"judging a {name}, {OPERATIONS:,} operations",
                f"check_order on {OPERATIONS:,} operations over {KEYS:,} keys with {CALLERS} callers each, in memory",
                unit="s", value=Spread.over(mine), target=3.0, better="at most",
            )
        )  # fmt: skip
        figures += [_ratio(name, peer, mine, theirs[peer], peers[peer]) for peer in peers]
    return [*figures, texts(rounds), crowd(rounds)]


def texts(rounds: int) -> Figure:
    """Texts, with lost answers."""
    spec = RuleSpec(find_scenario("text")(), "default")
    took_s = []
    for seed in range(rounds):
        operations, rest = history(text, seed)
        rest = {key: value or "" for key, value in rest.items()}
        took_s.append(_judged(lost(operations, 0.01), rest, spec))
    return Figure(
        f"judging a text, {OPERATIONS:,} operations, 1 % lost",
        f"check_order on {OPERATIONS:,} operations over {KEYS:,} keys with {CALLERS} callers each; of one in a"
        " hundred nobody knows the outcome",
        unit="s", value=Spread.over(took_s), target=3.0, better="at most",
    )  # fmt: skip


def _judged(operations: list[Operation], rest: dict[str, Any], spec: Spec) -> float:
    started = time.monotonic()
    found = check_order(operations, spec, dict.fromkeys(rest), Rest(rest, 0), Budget(seconds=120.0))
    took_s = time.monotonic() - started
    if found.outcome != "legal":
        raise AssertionError(f"the judge finds no order in a history that has one: {found}")
    return took_s


async def _command(program: Awaitable[Path], *more: str) -> list[str] | str:
    """What starts a peer, or why it cannot be started."""
    try:
        return [str(await program), *more]
    except NotAtHand as why:
        return str(why)


async def _judged_by(command: list[str], operations: list[Operation]) -> float:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump([_row(operation) for operation in operations], file)
        file.flush()
        answer = await answered([*command, file.name], _PATIENCE_S)
    if not answer["ok"]:
        raise AssertionError(f"{command[0]} finds no order in a history that has one")
    took_s: float = answer["elapsed_s"]
    return took_s


def _row(operation: Operation) -> dict[str, Any]:
    """An operation as the peers' programs read it: -1 stands for no value."""
    request, values = operation.request, operation.reply.values if operation.reply else {}
    seen = values.get("value")
    return {
        "key": request.key, "caller": int(operation.caller), "f": request.operation, "old": request.args.get("old", -1),
        "new": request.args.get("new", request.args.get("value", -1)), "seen": -1 if seen is None else seen,
        "swapped": values.get("swapped", False), "call": operation.invoked_ns, "return": operation.returned_ns,
    }  # fmt: skip


def _ratio(name: str, peer: str, mine: list[float], theirs: list[float], command: list[str] | str) -> Figure:
    title = f"judging a {name}, {peer} / race"
    compares = (
        f"the time of {peer} on the same histories over that of check_order: above 1 race is faster; same verdicts"
    )
    if isinstance(command, str):
        return Figure(title, compares, skipped=command)
    return Figure(title, compares, value=ratio(theirs, mine), parts={f"{peer}, s": Spread.over(theirs)})
