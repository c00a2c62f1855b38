"""Who is in a team, in one document: two add somebody, or one is removed meanwhile (`remove`), or the team is deleted.

Every endpoint reads the list, changes it and writes it back, and whoever comes in between is undone. A lock of the
process helps one process. A row lock helps where the list is read again under it: what was validated before the lock
is a roster of yesterday, and writing it back undoes what others were told.

Nor may whoever has the lock need a second connection, for a lookup or an audit line: those who wait for the lock each
have one, and where that was the last of the pool nobody goes on.

Or there is no document. In Redis a set, to which SADD and SREM add and remove one, whatever else is in it. In
PostgreSQL a row for each member. But whoever adds one to a team has to know that the team is there, and a look at it
keeps nobody from deleting it (`delete`): members are left of a team that is no more. A foreign key is that look, and
the lock.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any, Self

from harness import (
    Breach,
    ChildRowLayout,
    Claim,
    CommandForm,
    Evidence,
    Forms,
    HashLayout,
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
    ValueLayout,
    row_count,
)

FIRST = "zed"
"""Who is in from the beginning."""
NO_MORE: dict[str, Any] = {"open": False, "members": []}
"""A team that was deleted."""

ADDED, NO_TEAM = Reply("added"), Reply("no team")
REMOVED, NOT_IN = Reply("removed"), Reply("not in")
DELETED, GONE = Reply("deleted"), Reply("gone already")
TOLD = {
    "add": {-1: NO_TEAM, 0: ADDED, 1: ADDED},
    "remove": {0: NOT_IN, 1: REMOVED},
    "delete": {0: GONE, 1: DELETED},
}
TOLD_OF_DOCUMENT = {**TOLD, "add": {0: NO_TEAM, 1: ADDED}}
"""Where there is nothing to update, there is no team; who is in already is added again."""


def who(request: Request, _now_ms: int) -> tuple[str, ...]:
    """Whom it is about."""
    return () if request.operation == "delete" else (request.args.get("who", ""),)


def key_and_who(request: Request, now_ms: int) -> tuple[str, ...]:
    """The arguments of a statement."""
    return (request.key, *who(request, now_ms))


def told(count: int, request: Request) -> Reply:
    """Read how many there were; less than none is no team."""
    return TOLD[request.operation][count]


def told_of_document(count: int, request: Request) -> Reply:
    """Read whether the document was there to be written."""
    return TOLD_OF_DOCUMENT[request.operation][count]


# In Redis the document is JSON, in which the members are an object: an empty list of Lua would be one, too.


def encode(team: Mapping[str, Any]) -> str:
    """Whether it is there, and who is in."""
    return json.dumps({"open": team["open"], "members": dict.fromkeys(team["members"], 1)})


def decode(raw: str) -> dict[str, Any]:
    """The team of that JSON."""
    team = json.loads(raw)
    return {"open": team["open"], "members": sorted(team["members"])}


HEAD = "local team = cjson.decode(redis.call('GET', KEYS[1]))"
SAVE = "redis.call('SET', KEYS[1], cjson.encode(team)) return 1"
ADD = f"{HEAD} if not team.open then return -1 end team.members[ARGV[1]] = 1 {SAVE}"
REMOVE = f"{HEAD} if not team.members[ARGV[1]] then return 0 end team.members[ARGV[1]] = nil {SAVE}"
DELETE = f"{HEAD} if not team.open then return 0 end team = {{open = false, members = {{}}}} {SAVE}"


class Members(HashLayout):
    """Or a set of those who are in: of an empty one, or of a team that is no more, there is none."""

    def read(self, key: str) -> tuple[Any, ...]:
        """All of it."""
        return ("SMEMBERS", key)

    def parse(self, raw: Any) -> Any:
        """The team behind a reply to SMEMBERS."""
        return {"open": True, "members": sorted(name.decode() for name in raw)}

    def write(self, key: str, value: Any, now_ms: int) -> tuple[Any, ...]:
        """The members of a team that has none yet."""
        return ("SADD", key, *value["members"])


SET: Forms = {
    "add": CommandForm(lambda key, one, _now: ("SADD", key, one.args.get("who", "")), told),
    "remove": CommandForm(lambda key, one, _now: ("SREM", key, one.args.get("who", "")), told),
}

# In PostgreSQL the document is JSON, too, and one statement can change it, which looks at the row again.

DOCUMENT = {
    "add": """
UPDATE rosters SET members = ((members::jsonb - $2::text) || to_jsonb($2::text))::text WHERE key = $1 AND open
""",
    "remove": """
UPDATE rosters SET members = (members::jsonb - $2::text)::text WHERE key = $1 AND members::jsonb ? $2::text
""",
    "delete": "UPDATE rosters SET open = false, members = '[]' WHERE key = $1 AND open",
}

# Or there is a row for each member.

REFERRED = {
    "add": "INSERT INTO roster_members (key, member) VALUES ($1, $2) ON CONFLICT (key, member) DO NOTHING",
    "remove": "DELETE FROM roster_members WHERE key = $1 AND member = $2",
    "delete": "DELETE FROM roster_teams WHERE key = $1",
}
LOOKED_FOR = {
    "add": """
INSERT INTO loose_members (key, member) SELECT key, $2::text FROM loose_teams WHERE key = $1
ON CONFLICT (key, member) DO UPDATE SET member = excluded.member
""",
    "remove": "DELETE FROM loose_members WHERE key = $1 AND member = $2",
    "delete": """
WITH members AS (DELETE FROM loose_members WHERE key = $1) DELETE FROM loose_teams WHERE key = $1
""",
}


def statements(sources: Mapping[str, str], *, of_document: bool = True) -> Forms:
    """The forms in SQL."""
    reply = row_count(told_of_document if of_document else told)
    return {name: StatementForm(source, key_and_who, reply) for name, source in sources.items()}


def rows_of(parent: str, children: str, constraint: str) -> ChildRowLayout:
    """A row for the team, as long as it is there, and one for each member."""
    return ChildRowLayout(
        parent,
        children,
        split=lambda team: ((team["open"],), dict.fromkeys(team["members"], ())),
        join=lambda row, names: {"open": bool(row[0]), "members": sorted(names)},
        parent_columns={"open": "boolean"},
        constraint=constraint,
    )


FORMS: dict[str, Forms | NotExpressible] = {
    "command": NotExpressible("SADD does not look whether the team is there"),
    "multi": NotExpressible("it looks at the team before it adds to it"),
    "lua": {
        name: ScriptForm(source, who, told) for name, source in {"add": ADD, "remove": REMOVE, "delete": DELETE}.items()
    },
    "sql": statements(DOCUMENT),
    "unique": NotExpressible("a document has no rows to be unique"),
    "foreign-key": statements(REFERRED, of_document=False),
    "no-foreign-key": statements(LOOKED_FOR),
}
ALWAYS = "as long as the team is there, and whoever is to be removed, there is a row to be updated"
KEPT = "two insert different rows, and each was told of its own"


class Roster(Scenario):
    """Whoever was added is in, and nobody is in a team that is no more."""

    name = "roster"
    summary = "the members of a team in one document: two add, one is removed meanwhile, or the team is deleted"
    goes_wrong = "one write covers another"
    symptoms = {
        "somebody was added, and is not in": "--strategy pg-read-committed",
        "a lock per team, and a member is gone": "--strategy mutex",
        "a removal undid what was added meanwhile": "--strategy pg-for-update:lock-after-read --rule remove",
        "everybody waits, and the database is idle": "--strategy pg-for-update:second-connection --processes 1",
        "members of a team that was deleted": "--strategy pg-unique:no-foreign-key --rule delete",
    }
    invariant = "whoever was added is in, whoever was removed is not, and nobody is in a team that is no more"
    refusals = ("no team", "not in", "gone already")
    initial_value: Any = {"open": True, "members": [FIRST]}
    operations = {
        "add": Signature({"who": str}, {}, "", ("added", "no team")),
        "remove": Signature({"who": str}, {}, "", ("removed", "not in")),
        "delete": Signature({}, {}, "", ("deleted", "gone already")),
    }
    values = ValueLayout(encode, decode)
    rows = RowLayout(
        {"open": "boolean", "members": "text"},
        lambda team: (team["open"], json.dumps(team["members"])),
        lambda row: {"open": row[0], "members": sorted(json.loads(row[1]))},
        "rosters",
    )
    value_layouts = {"command": Members()}
    layouts = {
        "foreign-key": rows_of(
            "roster_teams", "roster_members", "FOREIGN KEY (key) REFERENCES roster_teams (key) ON DELETE CASCADE"
        ),
        "no-foreign-key": rows_of("loose_teams", "loose_members", ""),
    }
    forms = {**FORMS, "command": SET}
    other_forms = {"remove": forms, "delete": FORMS}

    @property
    def rules(self) -> Any:
        """One rule; what meets is different."""
        return {"add": self.rule, "remove": self.rule, "delete": self.rule}

    def under(self, rule: str) -> Self:
        """Without a foreign key nothing goes wrong as long as no team is deleted, and to be added twice is to be in."""
        self.repeatable = rule == "add"
        self.control_breaks = (
            0.5 if rule == "delete" else 1.0
        )  # whoever deletes last is right, whoever adds last is not
        if rule != "delete":
            self.claims = {
                "pg-unique:no-foreign-key": Claim("holds", KEPT),
                "pg-conditional:ignore-count": Claim("not-applicable", ALWAYS),
            }
        return super().under(rule)

    def rule(self, state: State, request: Request, now_ms: int) -> Outcome:
        """Somebody is added to a team that is there, or removed; a team is deleted once, with all who are in."""
        team = state[request.key]
        if request.operation == "delete":
            return Outcome({request.key: NO_MORE}, DELETED) if team["open"] else Outcome({}, GONE)
        name = request.args["who"]
        others = [one for one in team["members"] if one != name]
        if request.operation == "remove":
            gone = {request.key: {**team, "members": others}}
            return Outcome({}, NOT_IN) if others == team["members"] else Outcome(gone, REMOVED)
        if not team["open"]:
            return Outcome({}, NO_TEAM)
        return Outcome({request.key: {**team, "members": sorted([*others, name])}}, ADDED)

    def burst(self, rng: Random, size: int) -> Sequence[Request]:
        """One adds alice, and one adds bob, or removes zed, or deletes the team; then anything of that kind."""
        meets = {"remove": remove(FIRST), "delete": DELETION}.get(self.executed, add("bob"))
        more = (rng.choice([meets, add("carol"), add("bob"), add("alice")]) for _ in range(size - 2))
        return [add("alice"), meets, *more][:size]

    def invariants(self) -> Sequence[Invariant]:
        """About people, and about teams."""
        return [
            Invariant("added is in", "whoever was added is in until removed", missing),
            Invariant("removed is out", "whoever was removed is not in", undone),
            Invariant("nobody in no team", "a team that was deleted has no members", dangling),
        ]

    def view(self, value: Any, now_ms: int) -> Any:
        """Who is in, in whatever order they came."""
        return {**value, "members": sorted(value["members"])}


def add(name: str) -> Request:
    """Somebody is to be in."""
    return Request("add", ("team",), {"who": name})


def remove(name: str) -> Request:
    """Somebody is to be out."""
    return Request("remove", ("team",), {"who": name})


DELETION = Request("delete", ("team",))


def may_have(evidence: Evidence, operation: str, key: str) -> list[tuple[str, bool, str]]:
    """Of that operation, who asked for it, whether it was done for certain, and for whom: not what was refused."""
    done = {"add": ADDED, "remove": REMOVED, "delete": DELETED}[operation]
    return [
        (one.request.id, one.reply == done, one.request.args.get("who", ""))
        for one in evidence.operations
        if one.request.operation == operation and one.request.key == key
        and (one.reply == done or one.status == "unknown")
    ]  # fmt: skip


def missing(evidence: Evidence) -> Iterator[Breach]:
    """Look for those who were added, and those who were there, where nobody may have taken them out."""
    for key, team in (evidence.rest or {}).items():
        if may_have(evidence, "delete", key):
            continue
        out = {name for _id, _sure, name in may_have(evidence, "remove", key)}
        added = {name: who for who, sure, name in may_have(evidence, "add", key) if sure}
        for name in sorted({*added, *evidence.initial[key]["members"]} - out - {*team["members"]}):
            says = f"{name} was added, and is not in" if name in added else f"{name} was in, and is not"
            yield Breach(says, (added[name],) if name in added else ())


def undone(evidence: Evidence) -> Iterator[Breach]:
    """Look for those who were removed, where nobody may have added them."""
    for key, team in (evidence.rest or {}).items():
        again = {name for _id, _sure, name in may_have(evidence, "add", key)}
        for asked, sure, name in may_have(evidence, "remove", key):
            if sure and name in team["members"] and name not in again:
                yield Breach(f"{name} was removed, and is in", (asked,))


def dangling(evidence: Evidence) -> Iterator[Breach]:
    """Look at teams that are no more, and those that somebody was told are no more."""
    for key, team in (evidence.rest or {}).items():
        deletions = tuple(asked for asked, sure, _ in may_have(evidence, "delete", key) if sure)
        if team["members"] and (deletions or not team["open"]):
            is_ = "is" if len(team["members"]) == 1 else "are"
            yield Breach(f"{' and '.join(team['members'])} {is_} in a team that was deleted", deletions)
