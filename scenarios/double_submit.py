"""A user may have one attempt at work; what becomes of a second one is a rule.

The second click on "generate", the job that is handed out twice, the form sent from two tabs: both requests see nobody
at work and both begin. An attempt is a `start`, the work (an effect that cannot be taken back) and a `finish`. A start
takes a lease, so that a crashed worker does not lock its user out for ever.

The second one is dropped, or waits for its turn, or joins: it is given what the first one made; or it replaces the
first, whose work is then for nothing, and is told so, to cancel it. No strategy can choose among the four.
"""

from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate
from operator import attrgetter
from random import Random
from typing import Any, Self

from harness import (
    Attempt,
    Breach,
    Claim,
    CommandForm,
    Evidence,
    Flow,
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
    ValueLayout,
    at_once,
    first_value,
    procedure_forms,
    procedure_layouts,
    row_count,
)

LEASE_MS = 2_000
KEPT_MS = 86_400_000
"""A result is kept for a day, or until the next start."""
SLACK_MS = 50
"""So close to the end of a lease both answers are right: the clocks of caller and store differ."""

ACCEPTED, REJECTED, WAIT = Reply("accepted"), Reply("rejected"), Reply("wait")
FINISHED, LOST, GONE = Reply("finished"), Reply("lost"), Reply("gone")
REFUSALS = {"rejected", "wait", "join"}
INVOKED = attrgetter("invoked_ns")


def begin(request: Request, now_ms: int) -> Outcome:
    """Take the lease."""
    return Outcome({request.key: {"attempt": request.attempt, "until_ms": now_ms + LEASE_MS}}, ACCEPTED)


def turn_away(meanwhile: Reply, state: State, request: Request, now_ms: int) -> Outcome:
    """Start where nobody is at work, else a second one is told so; finish gives back what is still one's own."""
    held = state[request.key]
    live = held is not None and held["until_ms"] > now_ms
    if request.operation == "start":
        return Outcome({}, meanwhile) if live else begin(request, now_ms)
    if live and held["attempt"] == request.attempt:
        return Outcome({request.key: None}, FINISHED)
    return Outcome({}, LOST)


drop, wait = partial(turn_away, REJECTED), partial(turn_away, WAIT)


def replace_first(state: State, request: Request, now_ms: int) -> Outcome:
    """Whoever starts takes over, and is told from whom; the first one finds out when it wants to finish."""
    if request.operation != "start":
        return drop(state, request, now_ms)
    held = state[request.key]
    live = held is not None and held["until_ms"] > now_ms
    return Outcome(begin(request, now_ms).changes, replacing(held["attempt"] if live else None, request))


def replacing(holder: Any, request: Request) -> Reply:
    """Told to whoever takes over: whom to cancel, if anybody; who starts once more replaces nobody."""
    name = holder.decode() if isinstance(holder, bytes) else holder
    return ACCEPTED if name in (None, request.attempt) else Reply("accepted", {"replaced": name})


def about(decision: str, attempt: str) -> Reply:
    """Told to a second one: to wait for what that one makes (`join`), or that it is there (`answered`)."""
    return Reply(decision, {"attempt": attempt})


def join(state: State, request: Request, now_ms: int) -> Outcome:
    """A second one asks for the first one's result, which stays after a finish: it is told by `until_ms` 0."""
    held = state[request.key] or {"attempt": "", "until_ms": 1}
    live = held["until_ms"] > now_ms
    match request.operation:
        case "start":
            if live:
                return Outcome({}, ACCEPTED if held["attempt"] == request.attempt else about("join", held["attempt"]))
            return begin(request, now_ms)
        case "finish" if live and held["attempt"] == request.attempt:
            return Outcome({request.key: {**held, "until_ms": 0}}, FINISHED)
        case "result" if held["attempt"] == request.args["of"] and (live or held["until_ms"] == 0):
            return Outcome({}, about("join", held["attempt"]) if live else about("answered", held["attempt"]))
    return Outcome({}, LOST if request.operation == "finish" else GONE)


# In Redis a lease is the string "attempt until_ms", and the store forgets it when it ends.


def encode(lease: Mapping[str, Any]) -> str:
    """The string of a lease."""
    return f"{lease['attempt']} {lease['until_ms']}"


def decode(raw: str) -> dict[str, Any]:
    """The lease of a string."""
    attempt, until_ms = raw.rsplit(" ", 1)
    return {"attempt": attempt, "until_ms": int(until_ms)}


def lives_ms(lease: Mapping[str, Any], now_ms: int) -> int:
    """How long a store keeps a lease, or a result."""
    return int(lease["until_ms"]) - now_ms if lease["until_ms"] else KEPT_MS


def taking(how: str) -> Callable[[str, Request, int], tuple[str | int, ...]]:
    """Start in one command: NX, only where there is no lease; GET, whatever there is, which it answers with."""
    return lambda key, request, now_ms: ("SET", key, f"{request.attempt} {now_ms + LEASE_MS}", how, "PX", LEASE_MS)


COMPARE_AND_DELETE = """
local held = redis.call('GET', KEYS[1])
if held and string.match(held, '^(.*) %d+$') == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
"""

# The scripts ask the store's clock: an instant sent along is old news where its caller stalls meanwhile.
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

TAKE_OVER = START.replace("if live then return 0 end\n", "").replace("return 1", "return live and attempt")
JOIN = START.replace("return 0", "return attempt")
KEEP_RESULT = f"""{NOW}{HELD}
if not live or attempt ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], attempt .. ' 0', 'PX', {KEPT_MS})
return 1
"""
RESULT = f"""{NOW}{HELD}
if attempt ~= ARGV[1] or not (live or ends == '0') then return -1 end
return live and 0 or 1
"""

# In PostgreSQL a user is a row, which is NULL while nobody is at work.

TAKE_ROW = "UPDATE users SET attempt = $2, until_ms = $3 WHERE key = $1 AND (until_ms IS NULL OR until_ms <= $4)"
FREE_ROW = "UPDATE users SET attempt = NULL, until_ms = NULL WHERE key = $1 AND attempt = $2 AND until_ms > $3"
# What is told of the old row is what the lock waited for; RETURNING knows the new one only.
TAKE_OVER_ROW = """
UPDATE users SET attempt = $2, until_ms = $3
FROM (SELECT key, attempt, until_ms FROM users WHERE key = $1 FOR UPDATE) held
WHERE users.key = held.key RETURNING CASE WHEN held.until_ms > $4 THEN held.attempt END
"""
JOIN_ROW = """
UPDATE users SET
  attempt = CASE WHEN until_ms > $4 THEN attempt ELSE $2 END,
  until_ms = CASE WHEN until_ms > $4 THEN until_ms ELSE $3 END
WHERE key = $1 RETURNING attempt
"""
KEEP_ROW = "UPDATE users SET until_ms = 0 WHERE key = $1 AND attempt = $2 AND until_ms > $3 RETURNING key"
RESULT_ROW = "SELECT until_ms > $3 FROM users WHERE key = $1 AND attempt = $2 AND (until_ms = 0 OR until_ms > $3)"

# A unique index lets one of several new rows in; a lease that ran out is taken over.
CLAIM_ROW = """
INSERT INTO claims (key, attempt, until_ms) VALUES ($1, $2, $3)
ON CONFLICT (key) DO UPDATE SET attempt = $2, until_ms = $3 WHERE claims.until_ms <= $4
"""
# Nor can it lock a row that is not there yet: the new row keeps whom it replaced.
REPLACED = ", replaced = CASE WHEN claims.until_ms > $4 THEN claims.attempt END RETURNING replaced"
TAKE_OVER_CLAIM = CLAIM_ROW.partition(" WHERE")[0] + REPLACED
JOIN_CLAIM = """
INSERT INTO claims (key, attempt, until_ms) VALUES ($1, $2, $3)
ON CONFLICT (key) DO UPDATE SET
  attempt = CASE WHEN claims.until_ms > $4 THEN claims.attempt ELSE $2 END,
  until_ms = CASE WHEN claims.until_ms > $4 THEN claims.until_ms ELSE $3 END
RETURNING attempt
"""
UNCLAIM_ROW = "DELETE FROM claims WHERE key = $1 AND attempt = $2 AND until_ms > $3"

CALL_START = "SELECT start_attempt($1, $2, $3::bigint, $4::bigint)"
CALL_TAKE_OVER = CALL_START.replace("start_attempt", "take_over")
CALL_FINISH = "SELECT finish_attempt($1, $2, $3::bigint)"


def started(meanwhile: Reply) -> Callable[[Any, Request], Reply]:
    """Read what the store answered to a start: nothing or 0 where the lease was not to be had."""
    return lambda raw, _request: ACCEPTED if raw else meanwhile


def joining(holder: Any, request: Request) -> Reply:
    """Read who holds the lease now; 1 is whoever asks."""
    name = holder.decode() if isinstance(holder, bytes) else holder
    return ACCEPTED if name in (1, request.attempt) else about("join", name)


def finished(raw: Any, _request: Request) -> Reply:
    """Read what the store answered to a finish: how many leases were given back."""
    return FINISHED if raw else LOST


def resulting(raw: Any, request: Request) -> Reply:
    """Read whether there is a result: -1 where that attempt is not known any more, 0 while it is at work."""
    attempt = request.args["of"]
    return GONE if raw == -1 else about("answered", attempt) if raw else about("join", attempt)


def own_attempt(request: Request, _now_ms: int) -> tuple[str]:
    """The argument of a script that compares."""
    return (request.attempt,)


def claim(request: Request, now_ms: int) -> tuple[Any, ...]:
    """The arguments of a statement that takes a lease."""
    return (request.key, request.attempt, now_ms + LEASE_MS, now_ms)


def live_attempt(request: Request, now_ms: int) -> tuple[Any, ...]:
    """The arguments of a statement that gives one's own back, or asks for another's result."""
    return (request.key, request.args.get("of", request.attempt), now_ms)


def row_result(rows: Rows, request: Request) -> Reply:
    """Read whether that attempt is still at work, if it is known."""
    return resulting(int(not rows.rows[0][0]) if rows.rows else -1, request)


def forms_of(rule: str) -> dict[str, Forms | NotExpressible]:
    """The native forms of the rules that differ in what a start does: how it is answered, and whether it asks."""
    if rule == "replace":
        reply, read = replacing, first_value(replacing)
        command = CommandForm(taking("GET"), lambda raw, request: replacing(raw and raw.rpartition(b" ")[0], request))
        script, row, new_row, call = TAKE_OVER, TAKE_OVER_ROW, TAKE_OVER_CLAIM, CALL_TAKE_OVER
    else:
        reply = started(WAIT if rule == "wait" else REJECTED)
        read, command = row_count(reply), CommandForm(taking("NX"), reply)
        script, row, new_row, call = START, TAKE_ROW, CLAIM_ROW, CALL_START
    return {
        "command": {"start": command, "finish": ScriptForm(COMPARE_AND_DELETE, own_attempt, finished)},
        "multi": NotExpressible("a finish looks before it deletes"),
        "lua": {
            "start": ScriptForm(script, lambda request, _now_ms: (request.attempt, LEASE_MS), reply),
            "finish": ScriptForm(FINISH, own_attempt, finished),
        },
        "sql": {
            "start": StatementForm(row, claim, read),
            "finish": StatementForm(FREE_ROW, live_attempt, row_count(finished)),
        },
        "unique": {
            "start": StatementForm(new_row, claim, read),
            "finish": StatementForm(UNCLAIM_ROW, live_attempt, row_count(finished)),
        },
        **procedure_forms(
            start=StatementForm(call, claim, first_value(reply)),
            finish=StatementForm(CALL_FINISH, live_attempt, first_value(finished)),
        ),
    }  # fmt: skip


def row_forms(start: str, table: str) -> Forms:
    """The statements of a rule that keeps results."""
    finish, result = KEEP_ROW.replace("users", table), RESULT_ROW.replace("users", table)
    return {
        "start": StatementForm(start, claim, first_value(joining)),
        "finish": StatementForm(finish, live_attempt, lambda rows, request: finished(rows.rows, request)),
        "result": StatementForm(result, live_attempt, row_result),
    }


JOINING: dict[str, Forms | NotExpressible] = {
    "command": NotExpressible("where a result is kept, SET NX takes it for somebody at work"),
    "multi": NotExpressible("a finish looks before it writes"),
    "lua": {
        "start": ScriptForm(JOIN, lambda request, _now_ms: (request.attempt, LEASE_MS), joining),
        "finish": ScriptForm(KEEP_RESULT, own_attempt, finished),
        "result": ScriptForm(RESULT, lambda request, _now_ms: (request.args["of"],), resulting),
    },
    "sql": row_forms(JOIN_ROW, "users"),
    "unique": row_forms(JOIN_CLAIM, "claims"),
    **procedure_forms(
        start=StatementForm(CALL_START.replace("start", "join"), claim, first_value(joining)),
        finish=StatementForm(CALL_FINISH.replace("finish_attempt", "keep_result"), live_attempt, first_value(finished)),
        result=StatementForm(RESULT_ROW, live_attempt, row_result),  # to look needs no lock
    ),
}


class DoubleSubmit(Scenario):
    """One attempt per user at work."""

    name = "double-submit"
    summary = "one attempt per user at work; what becomes of a second is a rule"
    goes_wrong = "two get in where one may"
    symptoms = {
        "the job ran twice": "--strategy naive",
        "a second click was not dropped": "--strategy mutex",
    }
    invariant = "at most one attempt per user is at work"
    refusals = ("rejected", "wait", "join", "lost", "gone")
    operations = {
        "start": Signature({}, {"attempt": str, "replaced": str}, "", ("accepted", "rejected", "wait", "join")),
        "finish": Signature({}, {}, "", ("finished", "lost")),
        "result": Signature({"of": str}, {"attempt": str}, "", ("join", "answered", "gone")),
    }
    rules = {"drop": drop, "wait": wait, "join": join, "replace": replace_first}
    leases_ms = LEASE_MS
    values = ValueLayout(encode, decode, lives_ms)
    rows = RowLayout(
        {"attempt": "text", "until_ms": "bigint"},
        lambda lease: (lease["attempt"], lease["until_ms"]),
        lambda row: None if row[1] is None else {"attempt": row[0], "until_ms": row[1]},
        "users",
    )
    claimed_rows = replace(rows, table="claims", absent=True, columns={**rows.columns, "replaced": "text"})
    layouts = {
        "unique": replace(claimed_rows, to_row=lambda lease: (lease["attempt"], lease["until_ms"], None)),
        **procedure_layouts(rows, __file__),
    }
    forms = forms_of("drop")
    other_forms = {"wait": forms_of("wait"), "join": JOINING, "replace": forms_of("replace")}

    def under(self, rule: str) -> Self:
        """Who waits for somebody who is gone may hold the lock of a whole attempt for longer than its lease."""
        waits = Claim("holds", "one holder, while nobody waits for longer than the lease", ("pause", "lost-reply"))
        self.claims = {"redis-lock:whole-flow": waits} if rule in {"wait", "join"} else {}
        return super().under(rule)

    def burst(self, rng: Random, size: int) -> Sequence[Attempt]:
        """The same user, several times at once."""
        return [Attempt(("user",))] * size

    async def flow(self, flow: Flow) -> None:
        """Start, or wait for one's turn or for another's result; work where that was accepted; finish."""
        told = await flow.apply("start")
        while told.decision in {"wait", "join"} and await flow.wait():
            told = await (flow.apply("start") if told == WAIT else flow.apply("result", of=told.values["attempt"]))
            if told == GONE:
                told = await flow.apply("start")
        if told.decision == "accepted":
            await flow.effect("work")
            await flow.apply("finish")

    def invariants(self) -> Sequence[Invariant]:
        """One at work, somebody got in, free again; of who replaces, whose work counts."""
        one = Invariant("one at work", self.invariant, one_at_work)
        if self.executed == "replace":
            one = Invariant("the last counts", "work counts, or somebody was told to have replaced it", miscounted)
        return [
            one,
            Invariant("somebody got in", "on an idle user somebody gets in", nobody_got_in, ("burst",)),
            Invariant("free again", "after the lease a new start is accepted", not_free_again, ("probe",)),
        ]

    def final(self, reply: Reply) -> bool:
        """Who is told to wait is to ask again."""
        return reply.decision not in {"wait", "join"}

    def running(self, value: Any) -> bool:
        """A result has no lease."""
        return value is not None and value["until_ms"] > 0

    def overruns(self, evidence: Evidence) -> int:
        """How many works ended after their lease."""
        ends_ns = lease_ends_ns(evidence)
        ended = [work for work in evidence.effects if work.ended_ns is not None]
        return sum(work.ended_ns > ends_ns.get(work.attempt, work.ended_ns) for work in ended)

    def disorder(self, evidence: Evidence) -> str:
        """A holder that comes back late gives back another's lease."""
        return "a lease was taken away while it was live: another may get in beside it" * any(lost_early(evidence))

    def probe(self, key: str) -> Request:
        """A new start: to be accepted."""
        return Request("start", (key,), attempt="probe")

    def view(self, value: Any, now_ms: int) -> Any:
        """Who is at work, if anybody, or whose result is there: a lease that ran out is no lease."""
        over = value is None or 0 < value["until_ms"] <= now_ms
        return None if over else value["attempt"] if value["until_ms"] else ("done", value["attempt"])

    def allowed(self, state: State, request: Request, now_ms: int, reply: Reply | None, rule: Rule) -> Iterable[State]:
        """What the rule says; at the end of a lease also what it says a moment before or after."""
        outcomes = [rule(state, request, now_ms)]
        held = state[request.key]
        if held is not None and abs(held["until_ms"] - now_ms) <= SLACK_MS:
            moved_ms = now_ms if held["until_ms"] > now_ms else now_ms + 1
            outcomes.append(rule({request.key: {**held, "until_ms": moved_ms}}, request, now_ms))
        for outcome in outcomes:
            if reply is None or outcome.reply.same(reply):
                yield {**state, **outcome.changes}


def began(told: Reply | None) -> bool:
    """Whether a start that was told so took the lease, as far as anybody can know."""
    return told is None or told.decision == "accepted"


def lease_ends_ns(evidence: Evidence) -> dict[str, int]:
    """When the lease of each attempt ends, on the monotonic clock; never too late.

    A lease begins at the instant of its start's decision, or, where nobody knows that (the
    caller died), not before the start was sent.
    """
    unix_ns = evidence.monotonic_to_unix_ns
    ends_ns = {}
    for start in evidence.operations:
        if start.request.operation == "start" and began(start.reply):
            known = start.now_ms and unix_ns
            from_ns = start.now_ms * 1_000_000 - unix_ns if known else start.invoked_ns
            ends_ns[start.request.attempt] = from_ns + LEASE_MS * 1_000_000
    return ends_ns


def one_at_work(evidence: Evidence) -> Iterator[Breach]:
    """Count the works that began while another's lease was live and its work not over."""
    pairs = list(at_once(evidence.effects, lease_ends_ns(evidence)))
    if pairs:
        both = tuple(work.attempt for work in pairs[0])
        yield Breach("two attempts of one user were at work at once", both, len(pairs))


def lost_early(evidence: Evidence) -> Iterator[str]:
    """Attempts told by their only finish, before their lease's end and before others were let in after it: lost."""
    finishes = Counter(one.request.attempt for one in evidence.operations if one.request.operation == "finish")
    told = sorted((one for one in evidence.operations if one.reply and one.now_ms), key=INVOKED)
    starts = [one for one in told if one.request.operation == "start" and one.reply.decision == "accepted"]
    ends_ms = {start.request.attempt: start.now_ms + LEASE_MS - SLACK_MS for start in reversed(starts)}
    last_ms = [0, *accumulate((start.now_max_ms for start in starts), max)]
    for one in (one for one in told if one.reply == LOST and finishes[one.request.attempt] == 1):
        let_in_ms = last_ms[bisect(starts, one.returned_ns or 0, key=INVOKED)]
        if max(one.now_max_ms, let_in_ms) < ends_ms.get(one.request.attempt, 0):
            yield one.request.attempt


def nobody_got_in(evidence: Evidence) -> Iterator[Breach]:
    """On an idle user somebody must get in, unless nobody can know what became of a start."""
    starts = [one for one in evidence.operations if one.request.operation == "start"]
    refused = tuple(start.request.id for start in starts if start.reply and start.reply.decision in REFUSALS)
    if refused and not any(began(start.reply) and start.status != "failed" for start in starts):
        yield Breach("everybody was refused although nobody was at work", refused)


def miscounted(evidence: Evidence) -> Iterator[Breach]:
    """As often as an attempt began it has finished, or another one was told that it replaced it, and never both."""
    starts = [one for one in evidence.operations if one.request.operation == "start"]
    told = [(one.request.attempt, one.reply) for one in evidence.operations if one.reply]
    begun = Counter(start.request.attempt for start in starts if began(start.reply))
    counted = Counter(attempt for attempt, reply in told if reply == FINISHED)
    replaced = Counter(reply.values["replaced"] for _attempt, reply in told if "replaced" in reply.values)
    for attempt in replaced | counted:
        if replaced[attempt] + counted[attempt] > begun[attempt]:
            says = "the work of an attempt counted that had been" if counted[attempt] else "one attempt was twice"
            yield Breach(f"{says} replaced", (attempt,))
    if len(told) < len(evidence.operations):
        return  # what nobody was told may have replaced another, or have finished
    for attempt in lost_early(evidence):
        if not replaced[attempt] and not counted[attempt]:
            yield Breach("the work of an attempt was thrown away, and nobody was told to have replaced it", (attempt,))


def not_free_again(evidence: Evidence) -> Iterator[Breach]:
    """After the leases and with nobody else about, a start is accepted; giving up is no answer."""
    for probe in evidence.probes:
        answer = probe.reply.decision if probe.reply else "nothing"
        if probe.status == "ok" and answer != "accepted":
            yield Breach(f"a new start after the lease was answered {answer}", (probe.request.id,))
