"""A refresh token may be used once; parallel requests that use it are all given the one successor.

A page opens, and six requests notice at once that their session has to be renewed. Two that read
the token while it is live mint a successor each; the client keeps one, the other shows up later,
is taken for a stolen one, and everybody is signed out. To let only one mint is half of the answer.
Whoever comes second is the same honest client a moment late: to refuse it shows a login page, to
call it a thief ends the session. It is given what the first one was, for a short time.
"""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from harness import (
    Breach,
    Claim,
    Evidence,
    Forms,
    Invariant,
    NotExpressible,
    Outcome,
    Reply,
    Request,
    RowLayout,
    Rows,
    Rule,
    Scenario,
    ScriptForm,
    Signature,
    State,
    StatementForm,
    procedure_forms,
    procedure_layouts,
)

GRACE_MS = 10_000
FIRST = "t0"
REVOKED, REFUSED = Reply("revoked"), Reply("refused")


def rotated(token: str) -> Reply:
    """Here is the token that is live now; none is where the family was revoked."""
    return Reply("rotated", {"token": token}) if token else REVOKED


def rotating(grace_ms: int) -> Rule:
    """The rule that gives a late one the successor for so long, and revokes the whole family after that."""

    def rule(state: State, request: Request, now_ms: int) -> Outcome:
        held = state[request.key] or {"current": FIRST, "previous": "", "until_ms": 0}
        token = request.args["token"]
        if held["current"] == token:
            fresh = {"current": f"t-{request.id}", "previous": token, "until_ms": now_ms + grace_ms}
            return Outcome({request.key: fresh}, rotated(fresh["current"]))
        if not held["current"] or (held["previous"] == token and held["until_ms"] > now_ms):
            return Outcome({}, rotated(held["current"]))
        return Outcome({request.key: {**held, "current": ""}}, REVOKED)

    return rule


def refuse(state: State, request: Request, now_ms: int) -> Outcome:
    """The late one is refused, and nothing more."""
    held = state[request.key] or {"current": FIRST}
    if held["current"] != request.args["token"]:
        return Outcome({}, REFUSED)
    fresh = {"current": f"t-{request.id}", "previous": request.args["token"], "until_ms": now_ms}
    return Outcome({request.key: fresh}, rotated(fresh["current"]))


GRACE = {"replay": GRACE_MS, "strict": 0}

# Redis keeps JSON, PostgreSQL a row, which is NULL while the first token is live.

ROTATE = """
local raw = redis.call('GET', KEYS[1])
local held = raw and cjson.decode(raw) or {current = ARGV[1], previous = '', until_ms = 0}
local token, fresh, now, grace = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
if held.current == token then
  held = {current = fresh, previous = token, until_ms = now + grace}
elseif held.current ~= '' and not (held.previous == token and held.until_ms > now) then
  held.current = ''
else
  return held.current
end
redis.call('SET', KEYS[1], cjson.encode(held))
return held.current
"""
ROTATE_ROW = """
UPDATE families SET
  previous = CASE WHEN coalesce(current, 't0') = $2 THEN $2 ELSE coalesce(previous, '') END,
  until_ms = CASE WHEN coalesce(current, 't0') = $2 THEN $4::bigint + $5::bigint ELSE coalesce(until_ms, 0) END,
  current = CASE
    WHEN coalesce(current, 't0') = $2 THEN $3
    WHEN previous = $2 AND until_ms > $4::bigint THEN current
    ELSE '' END
WHERE key = $1 RETURNING current
"""
CALL = "SELECT rotate_token($1, $2, $3, $4::bigint, $5::bigint)"
COLUMNS = {"current": "text", "previous": "text", "until_ms": "bigint"}


def forms_of(rule: str) -> dict[str, Forms | NotExpressible]:
    """The native forms of a rule. The caller's clock counts, so that one instant decides and is recorded."""

    def tail(request: Request, now_ms: int) -> tuple[Any, ...]:
        return (request.args["token"], f"t-{request.id}", now_ms, GRACE[rule])

    def row_args(request: Request, now_ms: int) -> tuple[Any, ...]:
        return (request.key, *tail(request, now_ms))

    def row_rotated(rows: Rows, _request: Request) -> Reply:
        return rotated(rows.rows[0][0])

    return {
        "command": NotExpressible("it compares with two tokens before it replaces one"),
        "multi": NotExpressible("it compares with two tokens before it replaces one"),
        "unique": NotExpressible("who comes second is told what the first one has: an index says only that it has"),
        "lua": {
            "rotate": ScriptForm(
                ROTATE,
                lambda request, now_ms: (FIRST, *tail(request, now_ms)),
                lambda token, _request: rotated(token.decode()),
            )
        },
        "sql": {"rotate": StatementForm(ROTATE_ROW, row_args, row_rotated)},
        **procedure_forms(rotate=StatementForm(CALL, row_args, row_rotated)),
    }


class TokenRotation(Scenario):
    """One successor, and everybody is given it."""

    name = "token-rotation"
    summary = "a single-use refresh token, used by parallel requests: one successor, given to all"
    goes_wrong = "two get in where one may"
    symptoms = {
        "a refresh token with two successors": "--strategy naive",
        "signed out at random": "--strategy lua --rule strict",
        "a login page out of nowhere": "--strategy watch --rule refuse",
    }
    invariant = "a token has one successor"
    refusals = ("refused", "revoked")
    operations = {"rotate": Signature({"token": str}, {"token": str}, "", ("rotated", "revoked", "refused"))}
    rules = {"replay": rotating(GRACE["replay"]), "strict": rotating(GRACE["strict"]), "refuse": refuse}
    wrong = {
        "strict": "who comes second is taken for a thief, and everybody is signed out",
        "refuse": "who comes second is shown a login page",
    }
    breaks_under = {"replay": ("pause",)}
    claims = dict.fromkeys(
        ("actor", "actors"),
        Claim("holds", "an owner looks at the clock when it decides, and not before", breaks_under=("crash",)),
    )
    leases_ms = GRACE_MS
    repeatable = True
    rows = RowLayout(
        COLUMNS,
        lambda held: [held[name] for name in COLUMNS],
        lambda row: dict(zip(COLUMNS, row, strict=True)),
        "families",
    )
    layouts = procedure_layouts(rows, __file__)
    forms = forms_of("replay")
    other_forms = {"strict": forms_of("strict")}

    def burst(self, rng: Random, size: int) -> Sequence[Request]:
        """All notice at once that the first token has to be renewed."""
        return [Request("rotate", ("family",), {"token": FIRST})] * size

    def invariants(self) -> Sequence[Invariant]:
        """One successor; nobody is signed out."""
        out = "the honest client is never signed out"
        return [
            Invariant("one successor", self.invariant, forked),
            Invariant("nobody signed out", out, signed_out, ("burst",)),
        ]

    def view(self, value: Any, now_ms: int) -> Any:
        """Which token is live, and which one it replaced."""
        return None if value is None else (value["current"], value["previous"])

    def running(self, value: Any) -> bool:
        """No probe waits for a grace time."""
        return False


def forked(evidence: Evidence) -> Iterator[Breach]:
    """Count the successors of each token."""
    successors: dict[tuple[str, str], dict[str, str]] = {}
    for one in evidence.operations:
        if one.reply is not None and one.reply.decision == "rotated":
            place = one.request.key, one.request.args["token"]
            successors.setdefault(place, {})[one.reply.values["token"]] = one.request.id
    for (_key, token), found in successors.items():
        if len(found) > 1:
            yield Breach(f"{token} has {len(found)} successors", tuple(found.values()), len(found) - 1)


def signed_out(evidence: Evidence) -> Iterator[Breach]:
    """Nobody stole anything in a burst, so nobody is refused."""
    refused = tuple(one.request.id for one in evidence.operations if one.reply in (REVOKED, REFUSED))
    if refused:
        were = "was" if len(refused) == 1 else "were"
        yield Breach(f"{len(refused)} of an honest client's requests {were} refused", refused, len(refused))
