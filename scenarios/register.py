"""One value under read, write and compare-and-set; at first there is none.

The rule of the textbooks, and of every version column and feature flag: who swaps an old
value for a new one must have been the only one. There is nothing to it but order, so it
serves to try the harness itself, and histories that others have recorded.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any

from harness import (
    DONE,
    CommandForm,
    Evidence,
    NotExpressible,
    Outcome,
    Reply,
    Request,
    RowLayout,
    Rows,
    Scenario,
    ScriptForm,
    Signature,
    State,
    StatementForm,
    Stretches,
    row_count,
)

VALUES = 2
"""So many values are drawn from: few enough that a cas often finds what it expects."""

WRITTEN = Reply(DONE)
SWAPPED, KEPT = Reply(DONE, {"swapped": True}), Reply(DONE, {"swapped": False})


def encode(value: Any) -> str:
    """The one text of a value, in every store; none for absent: no JSON is empty."""
    return "" if value is None else json.dumps(value, separators=(",", ":"), sort_keys=True)


def decode(raw: str) -> Any:
    """The value of a text."""
    return json.loads(raw) if raw else None


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON: 1 is neither 1.0 nor true, as in the stores."""
    if type(one) is type(other) and isinstance(one, str | int | None):
        return bool(one == other)
    return encode(one) == encode(other)


# In Redis a value is its text, and no key is none.

COMPARE_AND_SET = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2]) end
return 1
"""
SET = """
if ARGV[1] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[1]) end
return 1
"""


def set_command(key: str, request: Request, now_ms: int) -> tuple[str, ...]:
    """Write in one command."""
    text = encode(request.args.get("value"))
    return ("SET", key, text) if text else ("DEL", key)


def old_and_new(request: Request, now_ms: int) -> tuple[str, str]:
    """The arguments of a compare-and-set in Lua."""
    return encode(request.args["old"]), encode(request.args["new"])


def was_read(raw: bytes | None, request: Request) -> Reply:
    """Read what the store answered to GET."""
    return Reply(DONE, {"value": decode((raw or b"").decode())})


def was_swapped(count: Any, request: Request) -> Reply:
    """Read how many values were swapped."""
    return SWAPPED if count else KEPT


CAS = ScriptForm(COMPARE_AND_SET, old_and_new, was_swapped)

# In PostgreSQL a register is a row, which is NULL while there is no value.

READ_ROW = "SELECT value FROM registers WHERE key = $1"
WRITE_ROW = "UPDATE registers SET value = $2 WHERE key = $1"
SWAP_ROW = "UPDATE registers SET value = $3 WHERE key = $1 AND value IS NOT DISTINCT FROM $2"


def row_was_read(rows: Rows, request: Request) -> Reply:
    """Read the row."""
    return Reply(DONE, {"value": decode(rows.rows[0][0] or "")})


class Register(Scenario):
    """A value that is read, written and swapped."""

    name = "register"
    summary = "read, write, compare-and-set; a value is swapped by one caller only"
    goes_wrong = "nothing but order: for histories of others"
    symptoms = {
        "a compare-and-set that two won": "--strategy naive",
    }
    invariant = "some order of the requests explains every answer"
    operations = {
        "read": Signature({}, {"value": object}, decisions=(DONE,)),
        "write": Signature({"value": object}, decisions=(DONE,)),
        "cas": Signature({"old": object, "new": object}, {"swapped": bool}, decisions=(DONE,)),
    }
    rows = RowLayout({"value": "text"}, lambda value: (encode(value),), lambda row: decode(row[0]), "registers")
    forms = {
        "command": {
            "read": CommandForm(lambda key, _request, _now_ms: ("GET", key), was_read),
            "write": CommandForm(set_command, lambda _answer, _request: WRITTEN),
            "cas": CAS,
        },
        "multi": NotExpressible("a cas reads before it writes"),
        "lua": {
            "read": ScriptForm("return redis.call('GET', KEYS[1])", lambda *_: (), was_read),
            "write": ScriptForm(SET, lambda request, _: (encode(request.args["value"]),), lambda *_: WRITTEN),
            "cas": CAS,
        },
        "unique": NotExpressible("a value is no claim"),
        "sql": {
            "read": StatementForm(READ_ROW, lambda request, _: (request.key,), row_was_read),
            "write": StatementForm(
                WRITE_ROW,
                lambda request, _: (request.key, encode(request.args["value"]) or None),
                lambda _rows, _request: WRITTEN,
            ),
            "cas": StatementForm(
                SWAP_ROW,
                lambda request, _: (request.key, *(text or None for text in old_and_new(request, 0))),
                row_count(was_swapped),
            ),
        },
    }

    def rule(self, state: State, request: Request, now_ms: int) -> Outcome:
        """Answer the value, put another in its place, or do so only where it is the old one."""
        key, args = request.key, request.args
        if request.operation == "read":
            return Outcome({}, Reply(DONE, {"value": state[key]}))
        if request.operation == "write":
            return Outcome({key: args["value"]}, WRITTEN)
        if same(state[key], args["old"]):
            return Outcome({key: args["new"]}, SWAPPED)
        return Outcome({}, KEPT)

    def stretches(self, initial: Any, asked: Sequence[tuple[Request, Reply | None]]) -> Stretches | None:
        """Where no value is put there twice, who reads it says after whom."""
        return told_by_values(encode(initial), asked)

    def at_rest(self, key: str, value: Any) -> tuple[Request, Reply]:
        """What is left could be read."""
        return Request("read", (key,)), Reply(DONE, {"value": value})

    def disorder(self, evidence: Evidence) -> str:
        """A value that was swapped more often than it was there."""
        return next((says for key in evidence.keys for says in swapped_twice(key, evidence)), "")

    def burst(self, rng: Random, size: int) -> Sequence[Request]:
        """Two that want to be the first to set the value, then anything; alone, anything."""
        first = [cas(None, number) for number in range(2)] if size > 1 else []
        return [*first, *(anything(rng) for _ in range(size - len(first)))]


def swapped_twice(key: str, evidence: Evidence) -> Iterator[str]:
    """By who is told so; or by one that is told nothing, and whose value nobody else can have left behind."""
    asked = [one for one in evidence.operations if one.request.key == key]
    puts = [put(one.request) for one in asked if one.request.operation != "read"]
    rest = None if evidence.rest is None else encode(evidence.rest.get(key))
    taken: dict[str, list[str]] = {}
    for one in asked:
        if one.request.operation == "cas":
            new = put(one.request)
            alone = one.reply is None and new == rest and puts.count(new) == 1
            if alone or one.reply == SWAPPED:
                taken.setdefault(encode(one.request.args["old"]), []).append(new or "(none)")
    initial = encode(evidence.initial.get(key))
    for old, new in taken.items():
        if len(new) > puts.count(old) + (old == initial):
            yield f"{old or '(none)'} was swapped for {' and for '.join(new)}, and could be only once"


Asked = Sequence[tuple[Request, Reply | None]]


def told_by_values(initial: str, asked: Asked) -> Stretches | None:
    """Each value with who read it and who swapped it for another; None where a value is put there twice."""
    makers, reads, free, twice = {initial: -1}, dict[str, list[int]](), list[int](), set[str]()
    for place, (request, reply) in enumerate(asked):
        if request.operation == "read":
            if reply is not None:
                reads.setdefault(encode(reply.values["value"]), []).append(place)
        elif reply is not None and reply.same(KEPT):
            free.append(place)
        elif makers.setdefault(put(request), place) != place:
            twice.add(put(request))
    swapped = [put(request) for request, reply in asked if reply == SWAPPED]
    seen, followers, wrong = seen_before([*reads, *swapped], makers, asked)
    if not twice.isdisjoint([initial, *seen, *followers]):
        return None
    if wrong is not None:
        return Stretches(wrong=[*reads.get(wrong, ()), *followers.get(wrong, ())])
    firsts = [initial, *(value for value in seen if asked[makers[value]][0].operation == "write")]
    chains = [[*chain(first, followers, asked)] for first in firsts]
    reached = {value for values in chains for value in values}
    runs = [[step for value in values for step in ([makers[value]], reads.get(value, []))] for values in chains]
    runs[0] = runs[0][1:]  # nobody put the initial value there
    return Stretches(runs, free, wrong=[makers[value] for value in seen if value not in reached])


def chain(first: str, followers: Mapping[str, list[int]], asked: Asked) -> Iterator[str]:
    """A value, and those that it was swapped for, one after the other."""
    value = first
    while value in followers:
        yield value
        value = put(asked[followers[value][0]][0])
    yield value


def seen_before(
    values: Sequence[str], makers: Mapping[str, int], asked: Asked
) -> tuple[list[str], dict[str, list[int]], str | None]:
    """These values, but for the initial one, and those that were swapped for them; who swapped which, by the old one.

    In the end a value that nobody put there, or that several swapped, if there is one.
    """
    seen, followers, waiting = dict[str, None](), dict[str, list[int]](), [*values]
    while waiting:
        value = waiting.pop()
        if value not in makers:
            return [*seen], followers, value
        place = makers[value]
        if place < 0 or value in seen:
            continue
        seen[value] = None
        if asked[place][0].operation == "cas":
            old = encode(asked[place][0].args["old"])
            followers.setdefault(old, []).append(place)
            if len(followers[old]) > 1:
                return [*seen], followers, old
            waiting.append(old)
    return [*seen], followers, None


def put(request: Request) -> str:
    """The value that it puts there."""
    return encode(request.args["value" if request.operation == "write" else "new"])


def cas(old: Any, new: Any) -> Request:
    """Swap one value for another."""
    return Request("cas", ("register",), {"old": old, "new": new})


def anything(rng: Random) -> Request:
    """Mostly a cas, which says most about the value; now and then a read or a write."""
    value = rng.randrange(VALUES)
    match rng.randrange(8):
        case 0:
            return Request("read", ("register",))
        case 1:
            return Request("write", ("register",), {"value": value})
    return cas(value, (value + 1) % VALUES)
