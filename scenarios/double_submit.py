"""A user may have one attempt at work; a second one is dropped.

The second click on "generate", the job that is handed out twice, the form sent from two
tabs: both requests see nobody at work and both begin. An attempt is a `start`, the work
(an effect that cannot be taken back) and a `finish`. A start takes a lease, so that a
crashed worker does not lock its user out for ever.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from harness import (
    Attempt,
    Breach,
    CommandForm,
    Evidence,
    Flow,
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
    ValueLayout,
)

LEASE_MS = 2_000
SLACK_MS = 50
"""So close to the end of a lease both answers are right: the clocks of caller and store differ."""

CLICK = Attempt(("user",))
ACCEPTED, REJECTED = Reply("accepted"), Reply("rejected")
FINISHED, LOST = Reply("finished"), Reply("lost")


def drop(state: State, request: Request, now_ms: int) -> Outcome:
    """Start where nobody is at work, else refuse; finish gives back what is still one's own."""
    held = state[request.key]
    live = held is not None and held["until_ms"] > now_ms
    if request.operation == "start":
        if live:
            return Outcome({}, REJECTED)
        lease = {"attempt": request.attempt, "until_ms": now_ms + LEASE_MS}
        return Outcome({request.key: lease}, ACCEPTED)
    if live and held["attempt"] == request.attempt:
        return Outcome({request.key: None}, FINISHED)
    return Outcome({}, LOST)


# In Redis a lease is the string "attempt until_ms", and the store forgets it when it ends.


def encode(lease: Mapping[str, Any]) -> str:
    """The string of a lease."""
    return f"{lease['attempt']} {lease['until_ms']}"


def decode(raw: str) -> dict[str, Any]:
    """The lease of a string."""
    attempt, until_ms = raw.rsplit(" ", 1)
    return {"attempt": attempt, "until_ms": int(until_ms)}


def take(key: str, request: Request, now_ms: int) -> tuple[str | int, ...]:
    """Start in one command: only where there is no lease."""
    return ("SET", key, f"{request.attempt} {now_ms + LEASE_MS}", "NX", "PX", LEASE_MS)


COMPARE_AND_DELETE = """
local held = redis.call('GET', KEYS[1])
if held and string.match(held, '^(.*) %d+$') == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
"""

# The scripts ask the store's own clock. An instant sent along would be old news when a caller
# stalls after reading its clock: the store may have forgotten a lease that was live then.
NOW = "local time = redis.call('TIME') local now = time[1] * 1000 + math.floor(time[2] / 1000)"
HELD = """
local held = redis.call('GET', KEYS[1])
local attempt, ends = string.match(held or '', '^(.*) (%d+)$')
local live = ends and tonumber(ends) > now
"""
START = f"""{NOW}{HELD}
if live then return 0 end
local lease = ARGV[1] .. ' ' .. string.format('%.0f', now + ARGV[2])
redis.call('SET', KEYS[1], lease, 'PX', ARGV[2])
return 1
"""
FINISH = f"""{NOW}{HELD}
if live and attempt == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""

# In PostgreSQL a user is a row, which is NULL while nobody is at work.

TAKE_ROW = """
UPDATE users SET attempt = $2, until_ms = $3
WHERE key = $1 AND (until_ms IS NULL OR until_ms <= $4)
"""
FREE_ROW = """
UPDATE users SET attempt = NULL, until_ms = NULL
WHERE key = $1 AND attempt = $2 AND until_ms > $3
"""


# A unique index lets one of several new rows in; a lease that ran out is taken over.
CLAIM_ROW = """
INSERT INTO claims (key, attempt, until_ms) VALUES ($1, $2, $3)
ON CONFLICT (key) DO UPDATE SET attempt = $2, until_ms = $3 WHERE claims.until_ms <= $4
"""
UNCLAIM_ROW = "DELETE FROM claims WHERE key = $1 AND attempt = $2 AND until_ms > $3"


def started(raw: Any, _request: Request) -> Reply:
    """Read what the store answered to a start: nothing or 0 where the lease was not to be had."""
    return ACCEPTED if raw else REJECTED


def finished(raw: Any, _request: Request) -> Reply:
    """Read what the store answered to a finish: how many leases were given back."""
    return FINISHED if raw else LOST


def own_attempt(request: Request, _now_ms: int) -> tuple[str]:
    """The argument of a script that compares."""
    return (request.attempt,)


def claim(request: Request, now_ms: int) -> tuple[Any, ...]:
    """The arguments of a statement that takes a lease."""
    return (request.key, request.attempt, now_ms + LEASE_MS, now_ms)


def live_attempt(request: Request, now_ms: int) -> tuple[Any, ...]:
    """The arguments of a statement that gives one's own back."""
    return (request.key, request.attempt, now_ms)


def row_started(rows: Rows, request: Request) -> Reply:
    """Read how many rows were taken."""
    return started(rows.count, request)


def row_finished(rows: Rows, request: Request) -> Reply:
    """Read how many rows were given back."""
    return finished(rows.count, request)


class DoubleSubmit(Scenario):
    """One attempt per user at work."""

    name = "double-submit"
    summary = "a user may have one attempt at work; a second one is dropped"
    invariant = "at most one attempt per user is at work"
    operations = {"start": Signature(decision=""), "finish": Signature(decision="")}
    rules = {"drop": drop}
    leases_ms = LEASE_MS
    values = ValueLayout(encode, decode, lambda lease, now_ms: lease["until_ms"] - now_ms)
    rows = RowLayout(
        {"attempt": "text", "until_ms": "bigint"},
        lambda lease: (lease["attempt"], lease["until_ms"]),
        lambda row: {"attempt": row[0], "until_ms": row[1]},
        "users",
    )
    layouts = {"unique": replace(rows, table="claims", absent=True)}
    forms = {
        "command": {
            "start": CommandForm(take, started),
            "finish": ScriptForm(COMPARE_AND_DELETE, own_attempt, finished),
        },
        "multi": NotExpressible("a finish looks before it deletes"),
        "lua": {
            "start": ScriptForm(START, lambda request, _now_ms: (request.attempt, LEASE_MS), started),
            "finish": ScriptForm(FINISH, own_attempt, finished),
        },
        "sql": {
            "start": StatementForm(TAKE_ROW, claim, row_started),
            "finish": StatementForm(FREE_ROW, live_attempt, row_finished),
        },
        "unique": {
            "start": StatementForm(CLAIM_ROW, claim, row_started),
            "finish": StatementForm(UNCLAIM_ROW, live_attempt, row_finished),
        },
    }

    def burst(self, rng: Random, size: int) -> Sequence[Attempt]:
        """The same user, several times at once."""
        return [CLICK] * size

    async def flow(self, flow: Flow) -> None:
        """Start; work where that was accepted; finish."""
        if (await flow.apply("start")).decision == "accepted":
            await flow.effect("work")
            await flow.apply("finish")

    def invariants(self) -> Sequence[Invariant]:
        """One at work, somebody got in, free again."""
        got_in = "on an idle user somebody gets in"
        free = "after the lease a new start is accepted"
        return [
            Invariant("one at work", self.invariant, one_at_work),
            Invariant("somebody got in", got_in, nobody_got_in, ("burst",)),
            Invariant("free again", free, not_free_again, ("probe",)),
        ]

    def overruns(self, evidence: Evidence) -> int:
        """How many works ended after their lease."""
        ends_ns = lease_ends_ns(evidence)
        return sum(
            1
            for work in evidence.effects
            if work.ended_ns is not None and work.ended_ns > ends_ns.get(work.attempt, work.ended_ns)
        )

    def probe(self, key: str) -> Request:
        """A new start: to be accepted."""
        return Request("start", (key,), attempt="probe")

    def view(self, value: Any, now_ms: int) -> Any:
        """Who is at work, if anybody: a lease that ran out is no lease."""
        return None if value is None or value["until_ms"] <= now_ms else value["attempt"]

    def allowed(self, state: State, request: Request, now_ms: int, reply: Reply | None, rule: Rule) -> Iterable[State]:
        """What the rule says; at the end of a lease also what it says a moment before or after."""
        outcomes = [rule(state, request, now_ms)]
        held = state[request.key]
        if held is not None and abs(held["until_ms"] - now_ms) <= SLACK_MS:
            moved_ms = now_ms if held["until_ms"] > now_ms else now_ms + 1
            outcomes.append(rule({request.key: {**held, "until_ms": moved_ms}}, request, now_ms))
        for outcome in outcomes:
            if reply is None or outcome.reply == reply:
                yield {**state, **outcome.changes}


def lease_ends_ns(evidence: Evidence) -> dict[str, int]:
    """When the lease of each attempt ends, on the monotonic clock; never too late.

    A lease begins at the instant of its start's decision, or, where nobody knows that (the
    caller died), not before the start was sent.
    """
    unix_ns = evidence.monotonic_to_unix_ns
    ends_ns = {}
    for start in evidence.operations:
        if start.request.operation == "start" and start.reply in (ACCEPTED, None):
            known = start.now_ms and unix_ns
            from_ns = start.now_ms * 1_000_000 - unix_ns if known else start.invoked_ns
            ends_ns[start.request.attempt] = from_ns + LEASE_MS * 1_000_000
    return ends_ns


def one_at_work(evidence: Evidence) -> Iterator[Breach]:
    """Count the works that began while another's lease was live and its work not over."""
    ends_ns = lease_ends_ns(evidence)
    busy: dict[str, tuple[int, str]] = {}
    too_many = 0
    first: tuple[str, str] = ("", "")
    for work in sorted(evidence.effects, key=lambda effect: effect.began_ns):
        end_ns = ends_ns.get(work.attempt, work.began_ns)
        if work.ended_ns is not None:
            end_ns = min(end_ns, work.ended_ns)
        if end_ns <= work.began_ns:
            continue  # beyond its own lease: an overrun, the risk of any lease
        for key in work.keys:
            until_ns, holder = busy.get(key, (0, ""))
            if work.began_ns < until_ns and holder != work.attempt:
                too_many += 1
                first = first if too_many > 1 else (holder, work.attempt)
            if end_ns > until_ns:
                busy[key] = (end_ns, work.attempt)
    if too_many:
        yield Breach("two attempts of one user were at work at once", first, too_many)


def nobody_got_in(evidence: Evidence) -> Iterator[Breach]:
    """On an idle user somebody must get in, unless nobody can know what became of a start."""
    starts = [asked for asked in evidence.operations if asked.request.operation == "start"]
    refused = tuple(start.request.id for start in starts if start.reply == REJECTED)
    possible = any(start.reply == ACCEPTED or start.status == "unknown" for start in starts)
    if refused and not possible:
        yield Breach("everybody was refused although nobody was at work", refused)


def not_free_again(evidence: Evidence) -> Iterator[Breach]:
    """After the leases and with nobody else about, a start is accepted; giving up is no answer."""
    for probe in evidence.probes:
        if probe.status == "ok" and probe.reply != ACCEPTED:
            answer = "nothing" if probe.reply is None else probe.reply.decision
            yield Breach(f"a new start after the lease was answered {answer}", (probe.request.id,))
