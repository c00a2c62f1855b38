"""A history as lines of JSON: what a line says, and what is wrong with one.

Operations and effects come in any order. A history that a run has written begins with a line about
the run, says of every burst or group of keys how it was left, and ends with a closing line:

{"history": "race.history/1", "scenario", "rule", "strategy", "seed", "mode"}
{"op", "caller", "keys", "request": {"operation", ...}, "attempt", "now_ms", "invoked_ns", "returned_ns", "status",
 "reply": {...}}
{"effect", "attempt", "name", "began_ns", "ended_ns"}
{"rest": {key: value} or null, "keys", "at_ms", "unix_ns"}
{"end": "race.history/1", "control", "control_bursts", "control_broken", "lost", "complete"}

Further fields, where there is something to say: `burst` (a number), `probe`, `role`, `now_max_ms`, `error`, an
effect's `keys` and `caller`; at the end, of a service of one's own, `meeting` {"met", "known", "given"},
and `control_needed`, the share of its bursts that the control has to break, where that is not half;
`decision` or `operation` of their own where a reply or a request uses that name itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from harness.judge.verdicts import NEEDED_CONTROL_RATE, Meeting
from harness.model import ABORTED, NOTHING, Effect, Evidence, Operation, Reply, Request, Signature, Status

VERSION = "race.history/1"

Signatures = Mapping[str, Signature]

_ANY = Signature()


class MalformedError(ValueError):
    """What is wrong with a line, in a few words."""


class Header(NamedTuple):
    """Which run wrote a history."""

    scenario: str
    rule: str
    strategy: str
    seed: int
    mode: str


class Closing(NamedTuple):
    """What a run knew at its end that is in no operation."""

    control: str | None = None
    control_bursts: int = 0
    control_broken: int = 0
    lost: str | None = None
    complete: bool = False
    meeting: Meeting | None = None
    control_needed: float = NEEDED_CONTROL_RATE


class Left(NamedTuple):
    """How a burst or a group of keys was left, and when; `values` None where that could not be read."""

    keys: tuple[str, ...]
    values: Mapping[str, Any] | None
    at_ms: int
    unix_ns: int


# Writing


def operation_line(operation: Operation, signatures: Signatures, burst: int | None, *, probe: bool) -> dict[str, Any]:
    """The line of an operation."""
    request, caller, invoked_ns, returned_ns, status, reply, now_ms, now_max_ms, error = operation
    line: dict[str, Any] = {"op": request.id, "caller": caller, "keys": request.keys}
    if "operation" in request.args:
        line |= {"operation": request.operation, "request": dict(request.args)}
    else:
        line["request"] = {"operation": request.operation, **request.args}
    if request.attempt:
        line["attempt"] = request.attempt
    if now_ms or now_max_ms:
        line["now_ms"] = now_ms
    line |= {"invoked_ns": invoked_ns, "returned_ns": returned_ns, "status": status.value}
    known = signatures.get(request.operation, _ANY)
    line |= {"reply": None} if reply is None else _reply_fields(reply, known)
    more = {
        "role": request.role or None, "now_max_ms": now_max_ms if now_max_ms != now_ms else None,
        "error": error or None, "burst": burst, "probe": probe or None,
    }  # fmt: skip
    return line | {name: value for name, value in more.items() if value is not None}


def _reply_fields(reply: Reply, known: Signature) -> dict[str, Any]:
    """The reply, with its decision beside its values unless it can be left out."""
    decision, values = reply
    if "decision" in values:
        return {"decision": decision, "reply": dict(values)}
    if decision == known.decision:
        return {"reply": dict(values)}
    return {"reply": {"decision": decision, **values}}


def effect_line(effect: Effect, number: int, burst: int | None) -> dict[str, Any]:
    """The line of an effect."""
    line = {
        "effect": number, "attempt": effect.attempt, "name": effect.name, "began_ns": effect.began_ns,
        "ended_ns": effect.ended_ns, "keys": effect.keys, "caller": effect.caller,
    }  # fmt: skip
    return line if burst is None else {**line, "burst": burst}


def left_line(evidence: Evidence, burst: int | None) -> dict[str, Any]:
    """The line that says how the keys were left: the last one about them."""
    rest = None if evidence.rest is None else dict(evidence.rest)
    line = {
        "rest": rest, "keys": evidence.keys, "at_ms": evidence.rest_ms, "unix_ns": evidence.monotonic_to_unix_ns,
    }  # fmt: skip
    return line if burst is None else {**line, "burst": burst}


# Reading


def decode(text: bytes) -> dict[str, Any]:
    """The object that a line is. Raises MalformedError."""
    try:
        stripped = text.decode().strip()
        data, end = _scan(stripped, 0)
    except UnicodeDecodeError:
        raise MalformedError("not UTF-8") from None
    except json.JSONDecodeError as error:
        raise MalformedError(f"not JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"not JSON: {error}") from None
    if type(data) is not dict:
        raise MalformedError("not a JSON object")
    if end != len(stripped):
        raise MalformedError(f"not JSON: more after the object, from column {end + 1}")
    return data


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


_scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder(parse_constant=_no_constant).raw_decode

_STATUSES = {status.value: status for status in Status}
_WORDS: Mapping[type, str] = {
    int: "a whole number", str: "a text", bool: "true or false", dict: "an object", list: "a list", float: "a number",
}  # fmt: skip


def operation_of(line: Mapping[str, Any], signatures: Signatures, *, foreign: bool = False) -> Operation:
    """The operation of a line. Raises MalformedError, in a `foreign` history for values that nobody declared, too.

    To leave them out would be to judge something else than what was asked and answered.
    """
    operation = _ordinary(line, signatures)
    if operation is None:
        operation = _any_operation(line, signatures)
        if foreign:
            _all_declared(operation, signatures.get(operation.request.operation, _ANY))
    return operation


_ORDINARY = frozenset(
    {"op", "caller", "keys", "request", "attempt", "now_ms", "invoked_ns", "returned_ns", "status", "reply", "burst"}
)


def _ordinary(line: Mapping[str, Any], signatures: Signatures) -> Operation | None:
    """The operation of a line that has nothing unusual about it: most have not, and there may be millions.

    None where a closer look is needed, which finds out as well what is wrong.
    """
    if not line.keys() <= _ORDINARY or line.get("status") != "ok":
        return None
    try:
        name, caller, keys, request = line["op"], line["caller"], line["keys"], line["request"]
        invoked_ns, returned_ns, reply, operation = (
            line["invoked_ns"], line["returned_ns"], line["reply"], request["operation"],
        )  # fmt: skip
        attempt, now_ms, known = line.get("attempt", ""), line.get("now_ms", 0), signatures[operation]
    except (KeyError, TypeError):
        return None
    if (
        type(name) is not str or type(caller) is not str or type(keys) is not list or len(keys) != 1
        or type(keys[0]) is not str or type(invoked_ns) is not int or type(returned_ns) is not int
        or returned_ns < invoked_ns or type(reply) is not dict or "decision" in reply or not known.decision
        or len(request) != len(known.args) + 1 or len(reply) != len(known.reply)
        or type(attempt) is not str or type(now_ms) is not int or (known.keys and 1 not in known.keys)
    ):  # fmt: skip
        return None
    for wanted, values in ((known.args, request), (known.reply, reply)):
        for field_name, kind in wanted.items():
            if field_name not in values or (kind is not object and type(values[field_name]) is not kind):
                return None
    del request["operation"]
    return Operation(
        Request(operation, (keys[0],), request or NOTHING, name, attempt), caller, invoked_ns, returned_ns,
        Status.OK, Reply(known.decision, reply or NOTHING), now_ms, now_ms,
    )  # fmt: skip


def _any_operation(line: Mapping[str, Any], signatures: Signatures) -> Operation:
    request = field(line, "request", dict)
    name, args = _apart(line, request, "operation")
    if name is None:
        raise MalformedError("'operation' is missing in 'request'")
    if type(name) is not str:
        raise _wrong("operation", name, str)
    known = signatures.get(name)
    if known is None and signatures:
        raise MalformedError(f"unknown operation {shown(name)}; there are: {', '.join(signatures)}")
    invoked_ns, returned_ns = field(line, "invoked_ns", int), optional(line, "returned_ns", int, None)
    if "returned_ns" not in line:
        raise MalformedError("'returned_ns' is missing; null where there was no answer")
    if returned_ns is not None and returned_ns < invoked_ns:
        raise MalformedError(f"returned before it was invoked: {returned_ns} < {invoked_ns}")
    status = _STATUSES.get(field(line, "status", str))
    if status is None:
        raise MalformedError(f"'status' must be ok, failed or unknown, not {shown(line['status'])}")
    if status is Status.OK and returned_ns is None:
        raise MalformedError("'returned_ns' is null although 'status' is ok")
    reply = _reply(line, name, known, status)
    if known is not None:
        _check(args, known.args, "request")
    now_ms = optional(line, "now_ms", int, 0)
    return Operation(
        Request(name, keys_of(line), args or NOTHING, name_of(line, "op"), name_of(line, "attempt", ""),
                optional(line, "role", str, "")),
        name_of(line, "caller", ""), invoked_ns, returned_ns, status, reply, now_ms,
        optional(line, "now_max_ms", int, now_ms), optional(line, "error", str, ""),
    )  # fmt: skip


def _reply(line: Mapping[str, Any], operation: str, known: Signature | None, status: Status) -> Reply | None:
    if status is not Status.OK:
        return None
    decision, values = _apart(line, optional(line, "reply", dict, {}), "decision")
    if decision is None:
        decision = (known or _ANY).decision
        if not decision:
            raise MalformedError(f"'decision' is missing in the reply of {operation}")
    elif type(decision) is not str:
        raise _wrong("decision", decision, str)
    if known is not None and decision == known.decision:
        _check(values, known.reply, "reply")
    return Reply(decision, values or NOTHING) if decision != ABORTED.decision or values else ABORTED


def effect_of(line: Mapping[str, Any]) -> Effect:
    """The effect of a line; without keys where the line names none. Raises MalformedError."""
    began_ns, ended_ns = field(line, "began_ns", int), optional(line, "ended_ns", int, None)
    if ended_ns is not None and ended_ns < began_ns:
        raise MalformedError(f"ended before it began: {ended_ns} < {began_ns}")
    keys = keys_of(line) if line.get("keys") else ()
    return Effect(
        field(line, "name", str), name_of(line, "attempt", ""), keys, began_ns, ended_ns, name_of(line, "caller", "")
    )


def left_of(line: Mapping[str, Any]) -> Left:
    """The state at rest of a line. Raises MalformedError."""
    keys, values = keys_of(line), optional(line, "rest", dict, None)
    if values is not None and set(values) != set(keys):
        raise MalformedError("'rest' must name every one of 'keys'")
    return Left(keys, values, optional(line, "at_ms", int, 0), optional(line, "unix_ns", int, 0))


def header_of(line: Mapping[str, Any]) -> Header:
    """What the first line says of the run. Raises MalformedError."""
    _version(line, "history")
    return Header(
        field(line, "scenario", str), field(line, "rule", str), optional(line, "strategy", str, ""),
        optional(line, "seed", int, 0), optional(line, "mode", str, "burst"),
    )  # fmt: skip


def closing_of(line: Mapping[str, Any]) -> Closing:
    """What the closing line says. Raises MalformedError."""
    _version(line, "end")
    bursts, broken = optional(line, "control_bursts", int, 0), optional(line, "control_broken", int, 0)
    if not 0 <= broken <= bursts:
        raise MalformedError(f"'control_broken' must be 0 to 'control_bursts', not {broken} of {bursts}")
    needed = optional(line, "control_needed", float, NEEDED_CONTROL_RATE)
    if not 0 < needed <= NEEDED_CONTROL_RATE:
        raise MalformedError(f"'control_needed' must be above 0 and at most {NEEDED_CONTROL_RATE}, not {needed}")
    return Closing(
        optional(line, "control", str, None), bursts, broken, optional(line, "lost", str, None),
        field(line, "complete", bool),
        _meeting_of(optional(line, "meeting", dict, None)),
        needed,
    )  # fmt: skip


def _meeting_of(found: Mapping[str, Any] | None) -> Meeting | None:
    if found is None:
        return None
    return Meeting(field(found, "met", int), field(found, "known", int), field(found, "given", bool))


def closing_line(closing: Closing) -> dict[str, Any]:
    """The closing line."""
    line = {"end": VERSION, **closing._asdict()}
    meeting = line.pop("meeting")
    if closing.control_needed == NEEDED_CONTROL_RATE:
        del line["control_needed"]
    return line if meeting is None else {**line, "meeting": meeting._asdict()}


def _version(line: Mapping[str, Any], name: str) -> None:
    if line[name] != VERSION:
        raise MalformedError(f"'{name}' is {shown(line[name])}; this race reads {VERSION}")


def field(line: Mapping[str, Any], name: str, kind: type) -> Any:
    """A field that must be there. Raises MalformedError."""
    value = line.get(name)
    if type(value) is kind:
        return value
    if name not in line:
        raise MalformedError(f"'{name}' is missing")
    raise _wrong(name, value, kind)


def optional(line: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:
    """A field that may be left out, or null. Raises MalformedError."""
    value = line.get(name)
    if value is None:
        return default
    if type(value) is kind:
        return value
    raise _wrong(name, value, kind)


def name_of(line: Mapping[str, Any], name: str, default: str | None = None) -> str:
    """A name: a text or a whole number. Raises MalformedError."""
    value = line.get(name)
    if type(value) is str:
        return value
    if type(value) is int:
        return str(value)
    if value is None and default is not None:
        return default
    if name not in line:
        raise MalformedError(f"'{name}' is missing")
    raise MalformedError(f"'{name}' must be a text or a whole number, not {shown(value)}")


def keys_of(line: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys of a line. Raises MalformedError."""
    keys = field(line, "keys", list)
    if not keys:
        raise MalformedError("'keys' is empty")
    for key in keys:
        if type(key) is not str and type(key) is not int:
            raise MalformedError(f"'keys' must hold texts or whole numbers, not {shown(key)}")
    return tuple(map(str, keys))


def _apart(line: Mapping[str, Any], values: dict[str, Any], name: str) -> tuple[Any, dict[str, Any]]:
    """What stands beside the values under a name, on the line or among them."""
    if name in line:
        return line[name], values
    return values.pop(name, None), values


def _check(values: Mapping[str, Any], wanted: Mapping[str, type], where: str) -> None:
    for name, kind in wanted.items():
        if name not in values:
            raise MalformedError(f"'{name}' is missing in '{where}'")
        if kind is not object and type(values[name]) is not kind:
            raise _wrong(name, values[name], kind)


def _all_declared(operation: Operation, known: Signature) -> None:
    request, reply = operation.request, operation.reply
    if known.keys and len(request.keys) not in known.keys:
        takes = f"{' or '.join(map(str, sorted(known.keys)))} {'key' if {*known.keys} == {1} else 'keys'}"
        raise MalformedError(f"{request.operation} takes {takes}, not {len(request.keys)}")
    if known.decisions and reply is not None and reply.decision not in {*known.decisions, ABORTED.decision}:
        there = ", ".join(known.decisions)
        raise MalformedError(f"unknown decision {shown(reply.decision)} of {request.operation}; there are: {there}")
    if known is _ANY:
        return
    places = [("request", request.args, known.args)]
    if reply is not None and reply.decision == known.decision:
        places.append(("reply", reply.values, known.reply))
    for where, values, wanted in places:
        for name in values.keys() - wanted.keys():
            there = f"there are: {', '.join(wanted)}" if wanted else "there are none"
            raise MalformedError(f"unknown value {shown(name)} in the {where} of {request.operation}; {there}")


def _wrong(name: str, value: Any, kind: type) -> MalformedError:
    return MalformedError(f"'{name}' must be {_WORDS[kind]}, not {shown(value)}")


def shown(value: Any) -> str:
    """A value as JSON, short enough for a line."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
