"""No two bookings of one host overlap; two guests ask for the same hour.

"Is the host free?" is asked by looking for a booking that overlaps. There is none, so there
is no row that a lock could be on: FOR UPDATE on no rows locks nothing. Both find the hour
free, both insert, and neither writes what the other has read.

Where hours are fixed, nothing can overlap but the same (`slots`): each slot has a name, a key or a row of its own, and
SET NX, or a unique index, is enough.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any, Self

from harness import (
    Breach,
    ChildRowLayout,
    Claim,
    CommandForm,
    Evidence,
    Forms,
    Invariant,
    NotExpressible,
    Outcome,
    Reply,
    Request,
    RowLayout,
    Scenario,
    ScriptForm,
    Signature,
    State,
    StatementForm,
    first_value,
    procedure_forms,
    procedure_layouts,
    row_count,
)

BOOKED, TAKEN = Reply("booked"), Reply("taken")
CANCELLED, NOT_BOOKED = Reply("cancelled"), Reply("not booked")

# In Redis a host is the JSON of its bookings, id to [from, until].

BOOK = """
local bookings = cjson.decode(redis.call('GET', KEYS[1]) or '{}')
local from, till = tonumber(ARGV[2]), tonumber(ARGV[3])
for _, other in pairs(bookings) do
  if other[1] < till and from < other[2] then return 0 end
end
bookings[ARGV[1]] = {from, till}
redis.call('SET', KEYS[1], cjson.encode(bookings))
return 1
"""
CANCEL = """
local bookings, found = cjson.decode(redis.call('GET', KEYS[1]) or '{}'), 0
for id, other in pairs(bookings) do
  if other[1] == tonumber(ARGV[2]) and other[2] == tonumber(ARGV[3]) then
    bookings[id], found = nil, 1
  end
end
redis.call('SET', KEYS[1], cjson.encode(bookings))
return found
"""

# In PostgreSQL a booking is a row. One statement looks and inserts; others do so meanwhile.

BOOK_ROW = """
INSERT INTO bookings (key, member, starts, ends) SELECT $1::text, $2::text, $3::int, $4::int
WHERE NOT EXISTS (SELECT FROM bookings WHERE key = $1 AND starts < $4 AND ends > $3)
"""
CANCEL_ROW = "DELETE FROM bookings WHERE key = $1 AND member <> $2 AND starts = $3 AND ends = $4"

# With the extension btree_gist one says `key WITH =`; a range of one number does the same without it.
EXCLUDE = """
EXCLUDE USING gist (
    int8range(hashtextextended(key, 0), hashtextextended(key, 0), '[]') WITH &&, int4range(starts, ends) WITH &&
)
"""
BOOK_EXCLUSIVE = "INSERT INTO exclusive_bookings (key, member, starts, ends) VALUES ($1, $2, $3, $4)"
CANCEL_EXCLUSIVE = CANCEL_ROW.replace("bookings", "exclusive_bookings")

NO_ROW = "no booking yet, no row: FOR UPDATE locks nothing"
SKEW = "each inserts a row that the other did not find"
SNAPSHOT = "the search is older than the lock"


def hours(request: Request, _now_ms: int) -> tuple[Any, ...]:
    """The arguments of a script."""
    return (request.id, request.args["from"], request.args["until"])


def key_and_hours(request: Request, now_ms: int) -> tuple[Any, ...]:
    """The arguments of a statement."""
    return (request.key, *hours(request, now_ms))


def booked(count: Any, _request: Request) -> Reply:
    """Read how many bookings there are more."""
    return BOOKED if count else TAKEN


def cancelled(count: Any, _request: Request) -> Reply:
    """Read how many there are less."""
    return CANCELLED if count else NOT_BOOKED


# A slot is a key of its own, in Redis the JSON of its one booking; in PostgreSQL a row, which is NULL or absent while
# it is free.


def slot(request: Request, _now_ms: int = 0) -> tuple[str]:
    """What lies in a slot that is booked."""
    return (json.dumps({request.id: [request.args.get("from"), request.args.get("until")]}),)


def slot_booked(answer: Any, _request: Request) -> Reply:
    """Read the answer of SET NX."""
    return BOOKED if answer else TAKEN


SLOTS: dict[str, Forms | NotExpressible] = {
    "command": {
        "book": CommandForm(lambda key, one, _now: ("SET", key, *slot(one), "NX"), slot_booked),
        "cancel": CommandForm(lambda key, _one, _now: ("DEL", key), cancelled),
    },
    "lua": {
        "book": ScriptForm("return redis.call('SETNX', KEYS[1], ARGV[1])", slot, booked),
        "cancel": ScriptForm("return redis.call('DEL', KEYS[1])", lambda _one, _now: (), cancelled),
    },
    "sql": {
        "book": StatementForm(
            "UPDATE slots SET member = $2, starts = $3, ends = $4 WHERE key = $1 AND member IS NULL",
            key_and_hours,
            row_count(booked),
        ),
        "cancel": StatementForm(
            "UPDATE slots SET member = NULL, starts = NULL, ends = NULL WHERE key = $1 AND member IS NOT NULL",
            lambda one, _now: (one.key,),
            row_count(cancelled),
        ),
    },
    "unique": {
        "book": StatementForm(
            "INSERT INTO taken_slots (key, member, starts, ends) VALUES ($1, $2, $3, $4)",
            key_and_hours,
            row_count(booked),
        ),
        "cancel": StatementForm(
            "DELETE FROM taken_slots WHERE key = $1", lambda one, _now: (one.key,), row_count(cancelled)
        ),
    },
}
SLOT_ROWS = RowLayout(
    {"member": "text", "starts": "int", "ends": "int"},
    lambda booking: [cell for name, (start, end) in booking.items() for cell in (name, start, end)],
    lambda row: None if row[0] is None else {row[0]: [row[1], row[2]]},
    "slots",
)


class Booking(Scenario):
    """A host is booked once at a time."""

    name = "booking"
    summary = "two guests book the same hour; no two bookings of one host overlap"
    goes_wrong = "each one is right, together they are not"
    symptoms = {
        "double booked": "--strategy pg-for-update",
        "sold out but sold": "--strategy pg-for-update",
        "a slot was sold twice": "--strategy atomic:no-nx --rule slots",
    }
    invariant = "no two bookings of one host overlap"
    refusals = ("taken", "not booked")
    initial_value: Any = {}
    operations = {
        "book": Signature({"from": int, "until": int}, {}, "", ("booked", "taken")),
        "cancel": Signature({"from": int, "until": int}, {}, "", ("cancelled", "not booked")),
    }
    rows = ChildRowLayout(
        "hosts",
        "bookings",
        split=lambda bookings: ((), bookings),
        join=lambda _host, bookings: {name: list(cells) for name, cells in bookings.items()},
        columns={"starts": "int", "ends": "int"},
    )
    layouts = {
        "exclusion": replace(rows, parent="exclusive_hosts", children="exclusive_bookings", constraint=EXCLUDE),
        **procedure_layouts(rows, __file__),
    }
    forms = {
        "command": NotExpressible("one command cannot look for what overlaps"),
        "multi": NotExpressible("it looks for what overlaps before it books"),
        "total": NotExpressible("there is no total that says what is free"),
        "unique": NotExpressible("a unique index knows equal, not overlapping"),
        "lua": {
            "book": ScriptForm(BOOK, hours, booked),
            "cancel": ScriptForm(CANCEL, hours, cancelled),
        },
        "sql": {
            "book": StatementForm(BOOK_ROW, key_and_hours, row_count(booked)),
            "cancel": StatementForm(CANCEL_ROW, key_and_hours, row_count(cancelled)),
        },
        "exclusion": {
            "book": StatementForm(BOOK_EXCLUSIVE, key_and_hours, row_count(booked)),
            "cancel": StatementForm(CANCEL_EXCLUSIVE, key_and_hours, row_count(cancelled)),
        },
        **procedure_forms(
            book=StatementForm("SELECT book_host($1, $2, $3::int, $4::int)", key_and_hours, first_value(booked)),
            cancel=StatementForm(
                "SELECT cancel_booking($1, $2::int, $3::int)",
                lambda request, _now_ms: (request.key, request.args["from"], request.args["until"]),
                first_value(cancelled),
            ),
        ),
    }
    claims = {
        "pg-conditional": Claim("breaks", "one statement looks and inserts, and others come in between"),
        "pg-for-update": Claim("breaks", NO_ROW),
        "pg-for-update:others": Claim("breaks", NO_ROW),
        "pg-exclusion": Claim("holds", "23P01 is a refusal; those that deadlock while they insert (40P01) try again"),
        "pg-version": Claim("breaks", "a row that is not there has no version"),
        "pg-repeatable-read": Claim("breaks", SKEW),
        "pg-repeatable-read:no-retry": Claim("breaks", SKEW),
        "pg-advisory:repeatable-read": Claim("breaks", SNAPSHOT),
    }

    other_forms = {"slots": SLOTS}
    untranslated = {"slots": "a slot is free or it is not: what is more than that is for hours of any length"}

    @property
    def rules(self) -> Any:
        """Hours of any length, or slots."""
        return {"default": self.rule, "slots": self.slots}

    def under(self, rule: str) -> Self:
        """A slot is all that is in a row."""
        if rule == "slots":
            self.initial_value, self.rows, self.claims = None, SLOT_ROWS, {}
            self.layouts = {"unique": replace(SLOT_ROWS, table="taken_slots", absent=True)}
        return super().under(rule)

    def slots(self, state: State, request: Request, now_ms: int) -> Outcome:
        """The key is a slot: it is free, or it is booked, and a cancel frees it."""
        taken = bool(state[request.key])
        if request.operation == "cancel":
            return Outcome({request.key: None}, CANCELLED) if taken else Outcome({}, NOT_BOOKED)
        booking = {request.id: [request.args["from"], request.args["until"]]}
        return Outcome({}, TAKEN) if taken else Outcome({request.key: booking}, BOOKED)

    def rule(self, state: State, request: Request, now_ms: int) -> Outcome:
        """Book what is free; cancel what is booked for exactly these hours."""
        bookings, (start, end) = state[request.key], (request.args["from"], request.args["until"])
        if request.operation == "cancel":
            kept = {name: other for name, other in bookings.items() if other != [start, end]}
            return Outcome({request.key: kept}, CANCELLED) if len(kept) < len(bookings) else Outcome({}, NOT_BOOKED)
        if any(other[0] < end and start < other[1] for other in bookings.values()):
            return Outcome({}, TAKEN)
        return Outcome({request.key: {**bookings, request.id: [start, end]}}, BOOKED)

    def burst(self, rng: Random, size: int) -> Sequence[Request]:
        """Two guests want the same hour, others something about it; alone, anything."""
        both = [ask("book", 10, 11)] * 2 if size > 1 else []
        if self.executed == "slots":
            return [*both, *(ask(rng.choice(("book", "cancel")), 10, 11) for _ in range(size - len(both)))]
        return [*both, *(anything(rng) for _ in range(size - len(both)))]

    def invariants(self) -> Sequence[Invariant]:
        """Nothing overlaps, and what was confirmed is there."""
        return [
            Invariant("nothing overlaps", self.invariant, overlaps),
            Invariant("confirmed", "a booking that was confirmed is there until it is cancelled", forgotten),
        ]


def ask(operation: str, start: int, end: int) -> Request:
    """From an hour until another."""
    return Request(operation, ("host",), {"from": start, "until": end})


def anything(rng: Random) -> Request:
    """Mostly a booking of an hour or two in the morning."""
    start = rng.randrange(9, 12)
    return ask(rng.choice(("book", "book", "cancel")), start, start + rng.randint(1, 2))


def overlaps(evidence: Evidence) -> Iterator[Breach]:
    """Look at each host at rest: whoever begins before the one that ends last is over."""
    for bookings in (evidence.rest or {}).values():
        latest, until = "", 0
        for name, (start, end) in sorted((bookings or {}).items(), key=lambda one: (one[1], one[0])):
            if latest and start < until:
                says = f"booked twice: {bookings[latest][0]} to {until} and {start} to {end}"
                yield Breach(says, (latest, name))
            if end > until:
                latest, until = name, end


def forgotten(evidence: Evidence) -> Iterator[Breach]:
    """Look for each booking that was confirmed, unless somebody may have cancelled these hours."""
    freed = {
        (one.request.key, one.request.args["from"], one.request.args["until"])
        for one in evidence.operations
        if one.request.operation == "cancel" and one.reply != NOT_BOOKED
    }
    for one in evidence.operations:
        key, args = one.request.key, one.request.args
        if one.reply != BOOKED or key not in (evidence.rest or {}):
            continue
        bookings = (evidence.rest or {})[key] or {}
        if one.request.id in bookings:
            continue
        start, end = args["from"], args["until"]
        if (key, start, end) not in freed:
            others = [name for name, (begins, ends) in bookings.items() if begins < end and start < ends]
            says = f"{start} to {end} was confirmed to two" if others else f"nobody knows of {start} to {end} any more"
            yield Breach(f"{says}, and is there for one" if others else says, (one.request.id, *others))
