"""Give me the row of that name, and make it if there is none; two ask at once.

Every library has a function for it, and by itself it is two steps: look, then insert. Two callers that find nothing
both insert, each is given a row of its own, and from then on every look finds two, which is an error. A transaction
does not help, nor does a snapshot, nor FOR UPDATE: there is no row yet. A unique constraint lets one of the rows in,
and whoever comes second has to look again, and is given the first one's.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

from harness import (
    Breach,
    ChildRowLayout,
    Claim,
    CommandsForm,
    Evidence,
    Invariant,
    NotExpressible,
    Outcome,
    Reply,
    Request,
    Rows,
    Scenario,
    ScriptForm,
    Signature,
    State,
    StatementForm,
    procedure_forms,
    procedure_layouts,
)

AMBIGUOUS = Reply("ambiguous")
"""There are two: an error, whoever asks."""


def created(row: str) -> Reply:
    """There was none."""
    return Reply("created", {"row": row})


def found(row: str) -> Reply:
    """It was there."""
    return Reply("found", {"row": row})


# In Redis a name's rows are the JSON of their ids; SET NX makes the first, and GET says which it is.


def make_and_look(key: str, request: Request, _now_ms: int) -> tuple[tuple[str, ...], ...]:
    """One if there is none; then whatever there is."""
    return ("SET", key, json.dumps([request.id]), "NX"), ("GET", key)


MAKE_AND_LOOK = """
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return redis.call('GET', KEYS[1])
"""

# In PostgreSQL a row is a row. One statement looks and inserts; others do so meanwhile.

GET_ROW = """
WITH made AS (
    INSERT INTO named_rows (key, member)
    SELECT $1::text, $2::text WHERE NOT EXISTS (SELECT FROM named_rows WHERE key = $1) RETURNING member
)
SELECT member FROM made UNION ALL SELECT member FROM named_rows WHERE key = $1 AND NOT EXISTS (SELECT FROM made)
"""
# Who comes too late for a row, and too early to see it, looks again.
GET_UNIQUE = GET_ROW.replace("named_rows", "unique_rows").replace("RETURNING", "ON CONFLICT (key) DO NOTHING RETURNING")

NO_ROW = "there is no row yet: FOR UPDATE locks nothing"
SKEW = "each inserts a row that the other did not find"
SNAPSHOT = "the look is older than the lock"
AGAIN = "what is left half done is done again, and finds the row that it has made"


def told(rows: Sequence[str], request: Request) -> Reply:
    """What is told of the rows that there are now."""
    if len(rows) > 1:
        return AMBIGUOUS
    return created(rows[0]) if rows[0] == request.id else found(rows[0])


def raw_told(raw: bytes, request: Request) -> Reply:
    """Read the JSON."""
    return told(json.loads(raw), request)


def row_told(rows: Rows, request: Request) -> Reply | None:
    """Read the rows; none where one is on its way that is not seen yet."""
    return told([row[0] for row in rows.rows], request) if rows.rows else None


def key_and_id(request: Request, _now_ms: int) -> tuple[str, str]:
    """Under which name, and which row if there is none."""
    return (request.key, request.id)


class GetOrCreate(Scenario):
    """One row, whoever asks."""

    name = "get-or-create"
    summary = "two ask for a row that is not there yet: one is made, and both are given it"
    goes_wrong = "two get in where one may"
    symptoms = {
        "a get returned more than one row": "--strategy pg-read-committed",
        "a row is there twice": "--strategy pg-repeatable-read",
    }
    invariant = "of one name there is one row"
    refusals = ("ambiguous",)
    repeatable = True
    operations = {"get": Signature({}, {"row": str}, "", ("created", "found"))}
    rows = ChildRowLayout(
        "names",
        "named_rows",
        split=lambda rows: ((), dict.fromkeys(rows or (), ())),
        join=lambda _name, rows: sorted(rows) or None,
    )
    layouts = {
        "unique": replace(rows, parent="unique_names", children="unique_rows", constraint="UNIQUE (key)"),
        **procedure_layouts(rows, __file__),
    }
    forms = {
        "command": NotExpressible("SET NX says that there is one, and not which"),
        "exclusion": NotExpressible("names do not overlap: a unique index will do"),
        "total": NotExpressible("nothing is added up"),
        "multi": {"get": CommandsForm(make_and_look, lambda answers, request: raw_told(answers[1], request))},
        "lua": {
            "get": ScriptForm(MAKE_AND_LOOK, lambda request, _now_ms: (json.dumps([request.id]),), raw_told),
        },
        "sql": {"get": StatementForm(GET_ROW, key_and_id, row_told)},
        "unique": {"get": StatementForm(GET_UNIQUE, key_and_id, row_told)},
        **procedure_forms(get=StatementForm("SELECT row_of($1, $2)", key_and_id, row_told)),
    }
    claims = {
        "pg-conditional": Claim("breaks", "one statement looks and inserts, and others come in between"),
        "pg-for-update": Claim("breaks", NO_ROW),
        "pg-for-update:others": Claim("breaks", NO_ROW),
        "pg-version": Claim("breaks", "a row that is not there has no version"),
        "pg-repeatable-read": Claim("breaks", SKEW),
        "pg-repeatable-read:no-retry": Claim("breaks", SKEW),
        "pg-advisory:repeatable-read": Claim("breaks", SNAPSHOT),
        "queue:no-dedupe": Claim("holds", AGAIN),
        "pg-queue:two-transactions": Claim("holds", AGAIN),
    }

    def rule(self, state: State, request: Request, now_ms: int) -> Outcome:
        """The row, a new one where there is none, or that there are two."""
        rows = state[request.key]
        if rows is None:
            return Outcome({request.key: [request.id]}, created(request.id))
        return Outcome({}, told(rows, request))

    def burst(self, rng: Random, size: int) -> Sequence[Request]:
        """Everybody asks for the same."""
        return [Request("get", ("name",))] * size

    def invariants(self) -> Sequence[Invariant]:
        """One row, the same for all, and nobody is told of two."""
        return [
            Invariant("one row", self.invariant, doubled),
            Invariant("the same for all", "everybody is given the same row", different),
            Invariant("no error", "nobody who asks for a row is told that there are two", ambiguous),
        ]


def doubled(evidence: Evidence) -> Iterator[Breach]:
    """Count the rows of each name at rest."""
    for rows in (evidence.rest or {}).values():
        if rows is not None and len(rows) > 1:
            yield Breach(f"there are {len(rows)} rows of one name", tuple(rows), len(rows) - 1)


def different(evidence: Evidence) -> Iterator[Breach]:
    """Compare what was given to those who asked for one name."""
    for key in evidence.keys:
        given: dict[str, str] = {}
        for one in evidence.operations:
            if one.request.key == key and one.reply is not None and "row" in one.reply.values:
                given.setdefault(one.reply.values["row"], one.request.id)
        if len(given) > 1:
            yield Breach(f"{len(given)} different rows were given", tuple(given.values()), len(given) - 1)


def ambiguous(evidence: Evidence) -> Iterator[Breach]:
    """Look for those who were told so."""
    for one in evidence.operations:
        if one.reply == AMBIGUOUS:
            yield Breach("a get found two rows", (one.request.id,))
