"""Specifications, histories and a slow, obviously right judge, for the tests of the judge."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from harness.model import Operation, Reply, Request, State, Status

PUBLIC = Path(__file__).parents[2].parent / "shared" / "data" / "porcupine"
"""Public histories with known verdicts, beside the repository; tests are skipped without them."""


class Register:
    """read, write and cas on one value; at first there is none."""

    def allowed(self, state: State, request: Request, _now_ms: int, reply: Reply | None) -> Iterable[State]:
        """The specification."""
        key, args = request.keys[0], request.args
        value = state[key]
        if request.operation == "read":
            after, answer = value, {"value": value}
        elif request.operation == "write":
            after, answer = args["value"], {}
        elif value == args["old"]:
            after, answer = args["new"], {"swapped": True}
        else:
            after, answer = value, {"swapped": False}
        if reply is None or answer == reply.values:
            yield {key: after}

    def view(self, value: Any, _now_ms: int) -> Any:
        """A value is what it is."""
        return value


class Text(Register):
    """get, put and append on many keys; every text is empty at first."""

    def allowed(self, state: State, request: Request, _now_ms: int, reply: Reply | None) -> Iterable[State]:
        """The specification."""
        key = request.keys[0]
        text = state[key] or ""
        if request.operation == "get":
            if reply is None or reply.values["value"] == text:
                yield state
        elif request.operation == "put":
            yield {key: request.args["value"]}
        else:
            yield {key: text + request.args["value"]}

    def within_reach(self, state: State, request: Request, reply: Reply, between: Sequence[Request]) -> bool:
        """Texts grow at their end, unless one is put in their place."""
        if request.operation != "get":
            return True
        seen, key = reply.values["value"], request.keys[0]
        return seen.startswith(state[key] or "") or any(
            other.operation == "put" and seen.startswith(other.args["value"]) for other in between
        )


class Counters(Register):
    """add one to every key named and answer their sum; look answers the sum."""

    def allowed(self, state: State, request: Request, _now_ms: int, reply: Reply | None) -> Iterable[State]:
        """The specification."""
        step = 1 if request.operation == "add" else 0
        after = {key: (state[key] or 0) + step for key in request.keys}
        if reply is None or reply.values["sum"] == sum(after.values()):
            yield after if step else state


def operation(
    name: str,
    keys: Sequence[str] = ("k",),
    args: Mapping[str, Any] | None = None,
    times: tuple[int, int | None] = (0, 1),
    values: Mapping[str, Any] | None = None,
    *,
    id: str = "",  # noqa: A002
    status: Status = Status.OK,
    caller: str = "c",
) -> Operation:
    """An operation in one line; `values` None means that nobody was answered."""
    reply = None if values is None else Reply("done", values)
    request = Request(name, tuple(keys), args or {}, id or f"{name}@{times[0]}")
    return Operation(request, caller, times[0], times[1], status, reply)


def orderable(spec: Any, operations: Sequence[Operation], initial: State, rest: State | None = None) -> bool:
    """Try every order: the definition of linearizability, without any cleverness."""
    live = [one for one in operations if one.status != Status.FAILED]

    def from_here(left: tuple[Operation, ...], state: dict[str, Any]) -> bool:
        required = [one for one in left if one.status == Status.OK]
        if not required and (rest is None or all(spec.view(state[key], 0) == rest[key] for key in rest)):
            return True
        for place, one in enumerate(left):
            if any(
                other.returned_ns is not None and other.returned_ns < one.invoked_ns
                for other in required
                if other is not one
            ):
                continue
            reply = one.reply if one.status == Status.OK else None
            mine = {key: state[key] for key in one.request.keys}
            others = left[:place] + left[place + 1 :]
            for after in spec.allowed(mine, one.request, one.now_ms, reply):
                if from_here(others, {**state, **after}):
                    return True
        return False

    return from_here(tuple(live), dict(initial))


# Public histories

_REGISTER_LINE = re.compile(r"INFO\s+jepsen\.util - (\d+)\t:(invoke|ok|fail|info)\t:(\w+)\t(.*)")


def register_log(path: Path) -> list[Operation]:
    """A log of a register, as etcd's were written by Jepsen."""
    operations: list[Operation] = []
    open_calls: dict[str, tuple[int, str, str]] = {}
    for number, line in enumerate(path.read_text().splitlines()):
        match = _REGISTER_LINE.match(line)
        if match is None:
            continue
        process, event, name, value = match.groups()
        if event == "invoke":
            open_calls[process] = (number, name, value)
            continue
        invoked, name, asked = open_calls.pop(process)
        unknown = event == "info" or value == ":timed-out"
        status = Status.UNKNOWN if unknown else Status.OK
        returned = None if unknown else number
        args, values = _register_call(name, asked, value, failed=event == "fail")
        operations.append(
            operation(
                name,
                args=args,
                times=(invoked, returned),
                values=None if unknown else values,
                status=status,
                id=str(invoked),
            )
        )
    for invoked, name, asked in open_calls.values():
        args, _values = _register_call(name, asked, "nil", failed=False)
        operations.append(operation(name, args=args, times=(invoked, None), status=Status.UNKNOWN))
    return operations


def _register_call(name: str, asked: str, answered: str, *, failed: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    if name == "read":
        return {}, {"value": None if answered == "nil" else _number(answered)}
    if name == "write":
        return {"value": int(asked)}, {}
    old, new = re.findall(r"\d+", asked)
    return {"old": int(old), "new": int(new)}, {"swapped": not failed}


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None


_TEXT_LINE = re.compile(r'\{:process (\d+), :type :(\w+), :f :(\w+), :key "(.*?)", :value (?:"(.*)"|nil)\}')


def text_log(path: Path) -> Iterator[Operation]:
    """A log of many texts under get, put and append."""
    open_calls: dict[str, tuple[int, str, str, str]] = {}
    for number, line in enumerate(path.read_text().splitlines()):
        match = _TEXT_LINE.match(line)
        assert match is not None, line
        process, event, name, key, value = match.groups()
        if event == "invoke":
            open_calls[process] = (number, name, key, value)
            continue
        invoked, name, key, asked = open_calls.pop(process)
        args = {} if name == "get" else {"value": asked}
        values = {"value": value} if name == "get" else {}
        yield operation(name, (key,), args, (invoked, number), values, id=str(invoked), caller=process)
    for invoked, name, key, asked in open_calls.values():
        args = {} if name == "get" else {"value": asked}
        yield operation(name, (key,), args, (invoked, None), status=Status.UNKNOWN)


class Odd(Register):
    """Whatever a random table says: states 0 to 3, any number of outcomes, some by id."""

    def __init__(self, seed: int) -> None:
        """The same seed gives the same table."""
        rng = Random(seed)
        by_id = rng.random() < 0.3
        sizes = [0, 1, 1, 1, 1, 2]
        self.table = {
            (name, odd, state): [
                (rng.choice([state, rng.randrange(4)]), rng.randrange(2)) for _ in range(rng.choice(sizes))
            ]
            for name in "abc"
            for odd in (0, 1)
            for state in range(4)
        }
        self.by_id = by_id

    def allowed(self, state: State, request: Request, _now_ms: int, reply: Reply | None) -> Iterable[State]:
        """The specification."""
        key = request.keys[0]
        odd = int(request.id) % 2 if self.by_id else 0
        for after, answer in self.table[request.operation, odd, state[key] or 0]:
            if reply is None or reply.values["answer"] == answer:
                yield {key: after}
