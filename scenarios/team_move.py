"""A member moves to another team while one of that team moves here (`back`), or while it is deleted (`delete`).

A move is one thing and touches two. Whoever writes the two teams one after the other leaves a
member in none of them, or in both, if anything comes in between. Whoever locks both must lock
them in one order: two that move in opposite directions each hold what the other one waits for.

Or a team is an actor, which nobody locks. Between two of them go messages, and yet two owners that ask each other and
wait also deadlock, and a crash between two messages leaves a user in no team. Whoever waits for an answer
holds its own team meanwhile; and an actor owns state, not the process that leads from one to the other.
"""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from harness import (
    Breach,
    Claim,
    Evidence,
    Invariant,
    MessagesForm,
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
)

RED, BLUE = "red", "blue"

MOVED, REFUSED, GONE = Reply("moved"), Reply("refused"), Reply("gone already")


def deleted(members: int) -> Reply:
    """What is told of a team that is no more: how many have lost theirs."""
    return Reply("deleted", {"members": members})


# In Redis a team is JSON.

MOVE = """
local here, there = cjson.decode(redis.call('GET', KEYS[1])), cjson.decode(redis.call('GET', KEYS[2]))
if not there.open or here.members == 0 then return 0 end
here.members, there.members = here.members - 1, there.members + 1
redis.call('SET', KEYS[1], cjson.encode(here))
redis.call('SET', KEYS[2], cjson.encode(there))
return 1
"""
DELETE = """
local team = cjson.decode(redis.call('GET', KEYS[1]))
if not team.open then return false end
redis.call('SET', KEYS[1], cjson.encode({open = false, members = 0}))
return team.members
"""

HALF = "a move is two writes, and whoever dies between them has made one"
VARIANTS = (
    "no-token", "constant-token", "set-then-expire", "reentrant", "whole-flow", "steal", "delifeq", "watch-release",
    "watch-without-multi",
)  # fmt: skip
LEASED = (
    "redis-lock", *(f"redis-lock:{variant}" for variant in VARIANTS),
    "redis-lock-fenced:unchecked", "redis-lock-renewed:too-late",
)  # fmt: skip
RENEWED = ("redis-lock-renewed", "redis-lock-renewed:outlives")


def teams_of(request: Request, _now_ms: int) -> tuple[str, ...]:
    """The arguments of a function."""
    return request.keys


def told_moved(count: Any, _request: Request) -> Reply:
    """Read how many have moved."""
    return MOVED if count else REFUSED


def told_deleted(members: int | None, _request: Request) -> Reply:
    """Read how many there were."""
    return GONE if members is None else deleted(members)


# Between owners of one team each, a move is two messages.


def one_less(team: Any, _request: Request) -> Any:
    """Take a member out; None where there is none."""
    return {**team, "members": team["members"] - 1} if team["members"] else None


def one_more(team: Any, _request: Request) -> Any:
    """Let a member in; None where the team is no more."""
    return back_again(team, _request) if team["open"] else None


def back_again(team: Any, _request: Request) -> Any:
    """Let in who has just been taken out."""
    return {**team, "members": team["members"] + 1}


class TeamMove(Scenario):
    """Everybody is in one team, and nobody in one that is no more."""

    name = "team-move"
    summary = "a member moves to a team from which one moves back, or which is deleted"
    goes_wrong = "two keys: half made, or locked out"
    symptoms = {
        "a user in no team, or in two": "--strategy naive",
        "everybody waits for ever": "--strategy mutex:caller-order --processes 1",
        "two actors wait for each other's answer": "--strategy actors",
        "after a crash, a user in no team": "--strategy actors:pass-on --faults crash",
    }
    invariant = "every member is in one team, and in none that was deleted"
    refusals = ("refused", "gone already")
    initial_value: Any = {"open": True, "members": 1}
    operations = {
        "move": Signature({}, {}, "", ("moved", "refused"), (2,)),
        "delete": Signature({}, {"members": int}, "deleted", ("deleted", "gone already"), (1,)),
    }
    rows = RowLayout(
        {"open": "boolean", "members": "int"},
        lambda team: (team["open"], team["members"]),
        lambda row: {"open": row[0], "members": row[1]},
        "teams_of_members",
    )
    layouts = procedure_layouts(rows, __file__)
    forms = {
        "command": NotExpressible("two keys; one command cannot"),
        "multi": NotExpressible("it looks at both teams before it moves"),
        "sql": NotExpressible("two rows: a statement that waited looks again at each alone"),
        "unique": NotExpressible("a move claims nothing"),
        "lua": {
            "move": ScriptForm(MOVE, lambda *_: (), told_moved),
            "delete": ScriptForm(DELETE, lambda *_: (), told_deleted),
        },
        **procedure_forms(
            move=StatementForm("SELECT move_member($1, $2)", teams_of, first_value(told_moved)),
            delete=StatementForm("SELECT delete_team($1)", teams_of, first_value(told_deleted)),
        ),
        "messages": {"move": MessagesForm(one_less, one_more, back_again, MOVED, REFUSED)},
    }
    other_forms = {"delete": forms}
    claims = {
        **dict.fromkeys(LEASED, Claim("holds", HALF, breaks_under=("crash", "pause", "lost-reply"))),
        **dict.fromkeys(RENEWED, Claim("holds", HALF, breaks_under=("crash", "lost-reply"))),
    }

    @property
    def rules(self) -> Any:
        """One rule; what meets is different."""
        return {"back": self.rule, "delete": self.rule}

    def rule(self, state: State, request: Request, now_ms: int) -> Outcome:
        """One of a team moves to another that is there; a team is deleted once."""
        if request.operation == "delete":
            team = state[request.key]
            if not team["open"]:
                return Outcome({}, GONE)
            return Outcome({request.key: {"open": False, "members": 0}}, deleted(team["members"]))
        source, target = request.keys
        here, there = state[source], state[target]
        if not there["open"] or not here["members"]:
            return Outcome({}, REFUSED)
        left, more = {**here, "members": here["members"] - 1}, {**there, "members": there["members"] + 1}
        # Written in one order by everybody, or a database ends one of two, and takes a second to notice.
        return Outcome(dict(sorted({source: left, target: more}.items())), MOVED)

    def burst(self, rng: Random, size: int) -> Sequence[Request]:
        """One moves, and one moves back, or the team is deleted; then anything of that kind."""
        other = move(BLUE, RED) if self.executed != "delete" else DELETION
        first = [move(RED, BLUE), other]
        return [*first, *(rng.choice([*first, move(BLUE, RED)]) for _ in range(size - 2))][:size]

    def invariants(self) -> Sequence[Invariant]:
        """About people, and about teams."""
        return [
            Invariant("nobody is lost", "every member is in one team", lost),
            Invariant("deleted is deleted", "a team that was deleted has no members", undone),
        ]


def move(source: str, target: str) -> Request:
    """One of the first team wants to be in the second."""
    return Request("move", (source, target))


DELETION = Request("delete", (BLUE,))


def lost(evidence: Evidence) -> Iterator[Breach]:
    """Count everybody; of a deletion that nobody was told of it is not known how many it met."""
    if evidence.rest is None:
        return
    deletions = [one for one in evidence.operations if one.request.operation == "delete"]
    gone = sum(one.reply.values["members"] for one in deletions if one.reply and one.reply.decision == "deleted")
    most = sum(team["members"] for team in evidence.initial.values()) - gone
    least = 0 if any(one.status == "unknown" for one in deletions) else most
    there = sum(team["members"] for team in evidence.rest.values())
    if there < least:
        yield Breach(f"members before: {least}, now: {there}", amount=least - there)
    if there > most:
        yield Breach(f"members before: {most}, now: {there}", amount=there - most)


def undone(evidence: Evidence) -> Iterator[Breach]:
    """Look at the teams of which somebody was told that they are deleted."""
    for one in evidence.operations:
        team = (evidence.rest or {}).get(one.request.key)
        if team is not None and one.reply is not None and one.reply.decision == "deleted" and team["open"]:
            yield Breach(f"a deleted team is there again, members: {team['members']}", (one.request.id,))
