"""A team keeps at least one owner; its two owners leave at once.

"Are you the last one?" is asked of a count, and then one row is changed: each of the two
sees two owners, each steps down, and nobody can get in any more. The writes do not meet, so
nothing that guards a row notices: this is write skew.
"""

from collections.abc import Iterator, Sequence
from random import Random

from harness import (
    Breach,
    ChildRowLayout,
    Claim,
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
    ValueLayout,
    procedure_forms,
    procedure_layouts,
)

OWNERS = ["ann", "bob"]
"""Who owns a team at first."""
MEMBERS = [*OWNERS, "cat"]
"""Who is in it all along, owner or not: each has a row."""

LEFT, REFUSED, JOINED = Reply("left"), Reply("refused"), Reply("joined")

# In Redis the owners are names with spaces between them, in order.

LEAVE = """
local names, found = {}, false
for name in string.gmatch(redis.call('GET', KEYS[1]) or '', '%S+') do
  if name == ARGV[1] then found = true else names[#names + 1] = name end
end
if not found or #names == 0 then return 'refused' end
redis.call('SET', KEYS[1], table.concat(names, ' '))
return 'left'
"""
JOIN = """
local names = {ARGV[1]}
for name in string.gmatch(redis.call('GET', KEYS[1]) or '', '%S+') do
  if name ~= ARGV[1] then names[#names + 1] = name end
end
table.sort(names)
redis.call('SET', KEYS[1], table.concat(names, ' '))
return 'joined'
"""

# In PostgreSQL every member is a row. One statement counts and writes, and is not atomic across rows.

LEAVE_ROW = """
UPDATE members SET owner = false
WHERE key = $1 AND member = $2 AND owner AND (SELECT count(*) FROM members WHERE key = $1 AND owner) > 1
"""
JOIN_ROW = "UPDATE members SET owner = true WHERE key = $1 AND member = $2"

SKEW = "each changes a row that the other only counted"
SNAPSHOT = "the count is older than the lock"


def name_of(request: Request, _now_ms: int) -> tuple[str]:
    """The argument of a script."""
    return (request.args["owner"],)


def key_and_name(request: Request, _now_ms: int) -> tuple[str, str]:
    """The arguments of a statement."""
    return (request.key, request.args["owner"])


def told(raw: bytes, _request: Request) -> Reply:
    """Read what a script answered."""
    return Reply(raw.decode())


def row_left(rows: Rows, _request: Request) -> Reply:
    """Read the row count."""
    return LEFT if rows.count else REFUSED


def row_told(rows: Rows, request: Request) -> Reply:
    """Read what a function answered: whether it was done."""
    done = JOINED if request.operation == "join" else LEFT
    return done if rows.rows[0][0] else REFUSED


class LastOwner(Scenario):
    """At least one owner."""

    name = "last-owner"
    summary = "two owners of a team leave at once; a team keeps at least one"
    goes_wrong = "each one is right, together they are not"
    symptoms = {
        "a team without an owner": "--strategy pg-repeatable-read",
        "the last admin has left": "--strategy pg-repeatable-read",
    }
    invariant = "a team has an owner"
    initial_value = OWNERS
    operations = {
        "leave": Signature({"owner": str}, {}, "", ("left", "refused")),
        "join": Signature({"owner": str}, {}, "joined", ("joined",)),
    }
    values = ValueLayout(" ".join, str.split)
    rows = ChildRowLayout(
        "teams",
        "members",
        split=lambda owners: ((), {name: (name in owners,) for name in MEMBERS}),
        join=lambda _team, rows: sorted(name for name, (owner,) in rows.items() if owner),
        columns={"owner": "boolean"},
        members=lambda request: (request.args["owner"],),
    )
    layouts = procedure_layouts(rows, __file__)
    forms = {
        "unique": NotExpressible("an owner claims nothing"),
        "total": NotExpressible("two rows to look at again: the count and the member"),
        "exclusion": NotExpressible("a constraint compares rows, it does not count them"),
        "command": NotExpressible("one command cannot count and remove"),
        "multi": NotExpressible("it counts before it removes"),
        "lua": {
            "leave": ScriptForm(LEAVE, name_of, told),
            "join": ScriptForm(JOIN, name_of, told),
        },
        "sql": {
            "leave": StatementForm(LEAVE_ROW, key_and_name, row_left),
            "join": StatementForm(JOIN_ROW, key_and_name, lambda _rows, _request: JOINED),
        },
        **procedure_forms(
            leave=StatementForm("SELECT leave_team($1, $2)", key_and_name, row_told),
            join=StatementForm("SELECT join_team($1, $2)", key_and_name, row_told),
        ),
    }
    claims = {
        "pg-conditional": Claim("breaks", "one statement counts some rows and changes another"),
        "pg-repeatable-read": Claim("breaks", SKEW),
        "pg-repeatable-read:no-retry": Claim("breaks", SKEW),
        "pg-version": Claim("breaks", SKEW),
        "pg-advisory:repeatable-read": Claim("breaks", SNAPSHOT),
    }

    def rule(self, state: State, request: Request, now_ms: int) -> Outcome:
        """An owner leaves unless it is the last one; to join twice is to join once."""
        owners, name = state[request.key], request.args["owner"]
        if request.operation == "join":
            return Outcome({request.key: sorted({*owners, name})}, JOINED)
        if name not in owners or len(owners) == 1:
            return Outcome({}, REFUSED)
        return Outcome({request.key: [owner for owner in owners if owner != name]}, LEFT)

    def burst(self, rng: Random, size: int) -> Sequence[Request]:
        """The two owners leave, then anything; alone, anything."""
        both = [leave(name) for name in OWNERS] if size > 1 else []
        return [*both, *(anything(rng) for _ in range(size - len(both)))]

    def invariants(self) -> Sequence[Invariant]:
        """Somebody is left."""
        return [Invariant("an owner is left", self.invariant, nobody_left)]


def leave(name: str) -> Request:
    """An owner leaves."""
    return Request("leave", ("team",), {"owner": name})


def anything(rng: Random) -> Request:
    """Somebody leaves or joins."""
    name = rng.choice(MEMBERS)
    return leave(name) if rng.randrange(2) else Request("join", ("team",), {"owner": name})


def nobody_left(evidence: Evidence) -> Iterator[Breach]:
    """Look at each team at rest."""
    for owners in (evidence.rest or {}).values():
        if not owners:
            left = tuple(one.request.id for one in evidence.operations if one.reply == LEFT)
            yield Breach("everybody has left: the team has no owner", left)
