"""The same request, sent twice with one idempotency key, is carried out once and answered alike.

The client did not hear back and tries again; a proxy does so by itself. The second may arrive
while the first is at work, after it, or with another body. Whoever looks for a stored answer
only, and stores it at the end, carries out both: the key must be claimed before the work. What
the second is told meanwhile is a choice, 409 or the first one's answer, and so is what becomes
of the claim of a worker that died after it charged: with a lease the work is done again, without
one the client is locked out. Where the work has failed, its worker has to give the claim back (`released`), or locks
the client out just so (`unreleased`). No strategy can choose that; only an outside service that knows
the key as well gets both.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from random import Random
from typing import Any, Self

from harness import (
    Attempt,
    Breach,
    Claim,
    CommandsForm,
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
    first_value,
    procedure_forms,
    procedure_layouts,
)

LEASE_MS = 2_000
AGES_MS = 1_000_000_000_000
"""As good as no lease: about thirty years."""
KEPT_MS = 86_400_000
"""Answers are kept for a day."""
SLACK_MS = 50
"""So close to the end of a lease both answers are right: the clocks of caller and store differ."""

BODY, OTHER_BODY = "charge 10", "charge 99"
GO, DONE, LOST, RELEASED = Reply("go"), Reply("done"), Reply("lost"), Reply("released")
IN_PROGRESS, WAIT, MISMATCH = Reply("in progress"), Reply("wait"), Reply("mismatch")


def seen(held: Mapping[str, Any], request: Request, meanwhile: Reply) -> Reply:
    """What a begin is told of a claim that is live, or of an answer."""
    if held["attempt"] == request.attempt:
        return GO  # delivered again
    if held["body"] != request.args["body"]:
        return MISMATCH
    return meanwhile if held["answer"] is None else Reply("replay", {"answer": held["answer"]})


def claiming(meanwhile: Reply, lease_ms: int) -> Rule:
    """The rule that tells the second one so while the first is at work."""

    def rule(state: State, request: Request, now_ms: int) -> Outcome:
        held = state[request.key]
        live = held is not None and (held["answer"] is not None or held["until_ms"] > now_ms)
        if request.operation == "begin":
            if live:
                return Outcome({}, seen(held, request, meanwhile))
            claim = {"attempt": request.attempt, "body": request.args["body"], "until_ms": now_ms + lease_ms}
            return Outcome({request.key: {**claim, "answer": None}}, GO)
        if not live or held["attempt"] != request.attempt:
            return Outcome({}, LOST)
        if held["answer"] is not None:
            return Outcome({}, DONE)
        if request.operation == "release":
            return Outcome({request.key: None}, RELEASED)
        return Outcome({request.key: {**held, "answer": request.args["answer"]}}, DONE)

    return rule


def cached(state: State, request: Request, now_ms: int) -> Outcome:
    """Nothing is claimed: an answer is looked for before the work, and stored after it."""
    held = state[request.key]
    if request.operation == "begin":
        return Outcome({}, GO if held is None else seen(held, request, IN_PROGRESS))
    if held is not None or request.operation == "release":
        return Outcome({}, DONE if held and held["attempt"] == request.attempt else LOST)
    answer = {"attempt": request.attempt, "body": BODY, "until_ms": now_ms, "answer": request.args["answer"]}
    return Outcome({request.key: answer}, DONE)


MEANWHILE = {"conflict": IN_PROGRESS, "wait": WAIT, "kept": IN_PROGRESS, "released": WAIT, "unreleased": WAIT}
LEASES = {"conflict": LEASE_MS, "wait": LEASE_MS, "kept": AGES_MS, "released": AGES_MS, "unreleased": AGES_MS}
FAILING = ("released", "unreleased")
"""Rules under which the work of the first one fails: what differs is whether it gives its claim back."""
PATIENCE = 5
"""So often a client asks where nobody will ever give the claim back."""


def lives_ms(held: Mapping[str, Any], now_ms: int) -> int:
    """How long a store keeps a claim, or an answer."""
    left: int = held["until_ms"] - now_ms
    return left if held["answer"] is None else KEPT_MS


# In Redis a claim or an answer is JSON, in PostgreSQL a row, which is NULL at first.

NOW = "local time = redis.call('TIME') local now = time[1] * 1000 + math.floor(time[2] / 1000)"
HELD = """
local raw = redis.call('GET', KEYS[1])
local held = raw and cjson.decode(raw)
local answered = held and held.answer ~= cjson.null
if held and not answered and held.until_ms <= now then held, raw = nil, nil end
"""
BEGIN = f"""{NOW}{HELD}
if held then return raw end
local claim = {{attempt = ARGV[1], body = ARGV[2], until_ms = now + ARGV[3], answer = cjson.null}}
redis.call('SET', KEYS[1], cjson.encode(claim), 'PX', ARGV[3])
return nil
"""
COMPLETE = f"""{NOW}{HELD}
if not held or held.attempt ~= ARGV[1] then return 0 end
if not answered then
  held.answer = ARGV[2]
  redis.call('SET', KEYS[1], cjson.encode(held), 'PX', ARGV[3])
end
return 1
"""
BEGIN_ROW = """
UPDATE requests SET
  attempt = CASE WHEN answer IS NULL AND coalesce(until_ms, 0) <= $4 THEN $2 ELSE attempt END,
  body = CASE WHEN answer IS NULL AND coalesce(until_ms, 0) <= $4 THEN $3 ELSE body END,
  until_ms = CASE WHEN answer IS NULL AND coalesce(until_ms, 0) <= $4 THEN $5 ELSE until_ms END
WHERE key = $1 RETURNING attempt, body, until_ms, answer
"""
COMPLETE_ROW = """
UPDATE requests SET answer = coalesce(answer, $3)
WHERE key = $1 AND attempt = $2 AND (answer IS NOT NULL OR until_ms > $4) RETURNING attempt
"""
# A unique index lets one of several new rows in. Who comes too late for a row, and too early to see it, looks again.
CLAIM_ROW = """
WITH claimed AS (
  INSERT INTO claimed_keys (key, attempt, body, until_ms) VALUES ($1, $2, $3, $5)
  ON CONFLICT (key) DO UPDATE SET attempt = $2, body = $3, until_ms = $5
  WHERE claimed_keys.answer IS NULL AND claimed_keys.until_ms <= $4 RETURNING key
)
SELECT NULL, NULL, NULL, NULL FROM claimed UNION ALL
SELECT attempt, body, until_ms, answer FROM claimed_keys WHERE key = $1 AND NOT EXISTS (SELECT FROM claimed)
"""
CALL_BEGIN = """
SELECT attempt, body, until_ms, answer FROM begin_request($1, $2, $3, $4::bigint, $5::bigint)
"""
CALL_COMPLETE = "SELECT complete_request($1, $2, $3, $4::bigint)"
COLUMNS = {"attempt": "text", "body": "text", "until_ms": "bigint", "answer": "text"}
VALUES = ValueLayout(lives_ms=lives_ms)


def from_row(row: Sequence[Any]) -> dict[str, Any]:
    """A row's claim or answer."""
    return dict(zip(COLUMNS, row, strict=True))


def told(held: Mapping[str, Any] | None, request: Request, rule: str) -> Reply:
    """What a begin is told that finds this, or nothing, which was then claimed."""
    return GO if held is None else seen(held, request, MEANWHILE[rule])


def row_told(rows: Rows, request: Request, rule: str) -> Reply | None:
    """What a begin is told: GO where its row is new, else what the other's row says; None where it is not seen yet."""
    if not rows.rows:
        return None
    held = from_row(rows.rows[0])
    return told(held if held["attempt"] else None, request, rule)


def completed(count: Any, _request: Request) -> Reply:
    """Whether the claim was still one's own."""
    return DONE if count else LOST


def forms_of(rule: str) -> dict[str, Forms | NotExpressible]:
    """The native forms of a rule."""
    lease_ms = LEASES[rule]
    complete = ScriptForm(COMPLETE, lambda request, _: (request.attempt, request.args["answer"], KEPT_MS), completed)

    complete_row = StatementForm(
        COMPLETE_ROW,
        lambda request, now_ms: (request.key, request.attempt, request.args["answer"], now_ms),
        lambda rows, request: completed(len(rows.rows), request),
    )

    def begun(request: Request, now_ms: int) -> tuple[Any, ...]:
        return (request.key, request.attempt, request.args["body"], now_ms, now_ms + lease_ms)

    def claim_and_look(key: str, request: Request, now_ms: int) -> tuple[tuple[str | int, ...], ...]:
        claim = {"attempt": request.attempt, "body": request.args["body"], "until_ms": now_ms + lease_ms}
        return ("SET", key, VALUES.encode({**claim, "answer": None}), "NX", "PX", lease_ms), ("GET", key)

    return {
        "command": NotExpressible("SET NX says that the key is taken, not what was answered"),
        "multi": {
            "begin": CommandsForm(
                claim_and_look, lambda answers, request: told(VALUES.parse(answers[1]), request, rule)
            ),
            "complete": complete,
        },
        "lua": {
            "begin": ScriptForm(
                BEGIN,
                lambda request, _now_ms: (request.attempt, request.args["body"], lease_ms),
                lambda raw, request: told(VALUES.parse(raw), request, rule),
            ),
            "complete": complete,
        },
        "sql": {
            "begin": StatementForm(
                BEGIN_ROW, begun, lambda rows, request: told(from_row(rows.rows[0]), request, rule)
            ),
            "complete": complete_row,
        },
        "unique": {
            "begin": StatementForm(CLAIM_ROW, begun, lambda rows, request: row_told(rows, request, rule)),
            "complete": replace(complete_row, statement=COMPLETE_ROW.replace("requests", "claimed_keys")),
        },
        **procedure_forms(
            begin=StatementForm(
                CALL_BEGIN, begun,
                lambda rows, request: told(from_row(rows.rows[0]) if rows.rows else None, request, rule),
            ),
            complete=replace(
                complete_row, statement=CALL_COMPLETE,
                reply=first_value(completed),
            ),
        ),
    }  # fmt: skip


class IdempotencyKey(Scenario):
    """One execution per key."""

    name = "idempotency-key"
    summary = "the same request sent twice is carried out once, and answered alike"
    goes_wrong = "two get in where one may"
    symptoms = {
        "charged twice": "--strategy naive",
        "charged again, although the answer was stored": "--strategy watch --rule cached",
        "charged again by a client that tried again": "--strategy lua --faults crash",
        "it failed once, and the client waits for ever": "--strategy watch --rule unreleased",
        "409 for ever after a crash": "--strategy lua --rule kept --faults crash",
    }
    invariant = "one execution per key"
    refusals = ("in progress", "wait", "mismatch", "lost")
    operations = {
        "begin": Signature({"body": str}, {"answer": str}, "", ("go", "in progress", "wait", "mismatch", "replay")),
        "complete": Signature({"answer": str}, {}, "", ("done", "lost")),
        "release": Signature({}, {}, "", ("released", "done", "lost")),
    }
    rules = {rule: claiming(MEANWHILE[rule], LEASES[rule]) for rule in MEANWHILE} | {"cached": cached}
    split = {"cached": "answers are stored at the end: until then nothing keeps the second one out"}
    wrong = {
        "unreleased": "work that has failed keeps its claim, and so everybody else out",
    }
    breaks_under = {
        "conflict": ("crash", "pause"),
        "wait": ("crash", "pause"),
        "kept": ("crash", "lost-reply"),
        "released": ("crash", "lost-reply"),
        "cached": ("crash", "lost-reply"),
    }
    breaks_between = {"conflict": ("lost-reply",), "wait": ("lost-reply",)}
    leases_ms = LEASE_MS
    repeatable = True
    values = VALUES
    rows = RowLayout(COLUMNS, lambda held: [held[name] for name in COLUMNS], from_row, "requests")
    layouts = {
        "unique": replace(rows, table="claimed_keys", absent=True),
        **procedure_layouts(replace(rows, table="claimed_keys", absent=True), __file__),
    }
    forms = forms_of("conflict")
    other_forms = {"wait": forms_of("wait"), "kept": forms_of("kept")}
    untranslated = {
        "released": "begin and complete are those of wait: new is only a caller that gives its claim back",
        "cached": "it breaks however each request is protected: others come in between begin and complete",
    }

    def under(self, rule: str) -> Self:
        """Where the others ask again and again, whoever brings the answer may find them at the row.

        A claim is given back once: whose release is delivered twice is told that it is another's by now.
        """
        self.repeatable = rule != "released"
        if rule in ("conflict", "kept"):  # the second delivery of one may be at the row as the answer is brought
            faults = (*self.breaks_under[rule], *self.breaks_between.get(rule, ()), "duplicate")
            beside = "of two who begin at once one is told to try again"
            self.claims = {
                "pg-for-update:nowait": Claim("holds", beside, faults, ("55P03",)),
                "pg-advisory:try": Claim("holds", beside, faults, ("aborted",)),
            }
        if rule in ("wait", "released"):
            away = "whoever looks for the answer keeps out who brings it, or who gives the claim back"
            self.claims = dict.fromkeys(("pg-for-update:nowait", "pg-advisory:try"), Claim("breaks", away))
        return super().under(rule)

    def burst(self, rng: Random, size: int) -> Sequence[Attempt]:
        """The same request several times; of more than three the last differs, or the work of the first one fails."""
        same = [Attempt(("key",), {"body": BODY})] * size
        if self.executed in FAILING:
            return [Attempt(("key",), {"body": BODY, "fails": True}), *same[1:]]
        return [*same[:-1], Attempt(("key",), {"body": OTHER_BODY})] if size > 3 else same

    async def flow(self, flow: Flow) -> None:
        """Claim the key; charge, and store the answer, where it was free; wait where that is the rule."""
        for asked in count(1):
            told = await flow.apply("begin", body=flow.attempt.args["body"])
            if told == GO and flow.attempt.args.get("fails"):
                if self.executed != "unreleased":
                    await flow.apply("release")
            elif told == GO:
                await flow.effect("charge")
                await flow.apply("complete", answer=f"receipt of {flow.attempt.id}")
            if told != WAIT or (self.executed == "unreleased" and asked == PATIENCE) or not await flow.wait():
                return

    def invariants(self) -> Sequence[Invariant]:
        """Once, alike, by somebody, not locked out, and not let in again."""
        alike = "everybody who is given an answer is given the same one"
        somebody = "with a free key somebody is let through"
        out = "after the lease of a claim nobody is told any more to wait"
        again = "who tries again after the lease is not let in where somebody was charged"
        return [
            Invariant("one execution", self.invariant, executed_twice),
            Invariant("one answer", alike, answered_differently),
            Invariant("somebody got through", somebody, nobody_got_through, ("burst",)),
            Invariant("not locked out", out, locked_out, ("probe",)),
            Invariant("not charged again", again, charged_again, ("probe",)),
            *(
                [Invariant("a failure is in nobody's way", "where one has failed, another gets through", kept_out)]
                if self.executed in FAILING
                else []
            ),
        ]

    def probe(self, key: str) -> Request:
        """The client tries once more."""
        return Request("begin", (key,), {"body": BODY}, attempt="probe")

    def final(self, reply: Reply) -> bool:
        """Not that somebody is at work, or has answered: a request that was let in is told so when it comes again."""
        return reply not in (IN_PROGRESS, WAIT) and reply.decision != "replay"

    def running(self, value: Any) -> bool:
        """A claim has a lease; an answer has none."""
        return value is not None and value["answer"] is None

    def view(self, value: Any, now_ms: int) -> Any:
        """Who claimed the key and what was answered; a claim whose lease ran out is none."""
        if value is None or (value["answer"] is None and value["until_ms"] <= now_ms):
            return None
        return (value["attempt"], value["body"], value["answer"])

    def allowed(self, state: State, request: Request, now_ms: int, reply: Reply | None, rule: Rule) -> Iterable[State]:
        """What the rule says; at the end of a lease also what it says a moment before or after."""
        instants = [now_ms]
        held = state[request.key]
        if held is not None and held["answer"] is None and abs(held["until_ms"] - now_ms) <= SLACK_MS:
            instants.append(held["until_ms"] if now_ms < held["until_ms"] else held["until_ms"] - 1)
        for at_ms in instants:
            outcome = rule(state, request, at_ms)
            if reply is None or outcome.reply.same(reply):
                yield {**state, **outcome.changes}


def executed_twice(evidence: Evidence) -> Iterator[Breach]:
    """Count the charges of each key."""
    for key in evidence.keys:
        charges = tuple(dict.fromkeys(effect.attempt for effect in evidence.effects if key in effect.keys))
        if len(charges) > 1:
            yield Breach(f"one request was charged {len(charges)} times", charges, len(charges) - 1)


def answered_differently(evidence: Evidence) -> Iterator[Breach]:
    """Compare what was answered by those who did the work, and to those who did not."""
    for key in evidence.keys:
        answers: dict[str, str] = {}
        for one in evidence.operations:
            if one.request.key == key and one.reply is not None:
                if one.reply == DONE and one.request.operation == "complete":
                    answers[one.request.args["answer"]] = one.request.id
                elif one.reply.decision == "replay":
                    answers[one.reply.values["answer"]] = one.request.id
        if len(answers) > 1:
            yield Breach(f"{len(answers)} different answers were given", tuple(answers.values()), len(answers) - 1)


def nobody_got_through(evidence: Evidence) -> Iterator[Breach]:
    """On a free key somebody must be let through, unless nobody can know what became of a begin."""
    for key in evidence.keys:
        begins = [one for one in evidence.operations if one.request.operation == "begin" and one.request.key == key]
        refused = tuple(one.request.id for one in begins if one.reply in (IN_PROGRESS, WAIT, MISMATCH))
        if refused and not any(one.reply == GO or one.status == "unknown" for one in begins):
            yield Breach("everybody was told to wait although nobody was at work", refused)


def kept_out(evidence: Evidence) -> Iterator[Breach]:
    """Where nobody was charged and nothing given back, work has failed: who waits for its claim does so for ever."""
    for key in evidence.keys:
        mine = [one for one in evidence.operations if one.request.key == key]
        waiting = tuple(dict.fromkeys(one.request.attempt for one in mine if one.reply == WAIT))
        let_in = {one.request.attempt for one in mine if one.reply == GO}
        ended = any(key in effect.keys for effect in evidence.effects) or any(one.reply == RELEASED for one in mine)
        known = all(one.status != "unknown" for one in mine)
        if waiting and not ended and not let_in & {*waiting} and known:
            yield Breach("a request failed, and nobody else with its key gets through", waiting, len(waiting))


def locked_out(evidence: Evidence) -> Iterator[Breach]:
    """After the lease and with nobody else about, the client gets through, or gets the answer."""
    for probe in evidence.probes:
        if probe.status == "ok" and (probe.reply in (IN_PROGRESS, WAIT, None) or probe.reply.decision == "aborted"):
            said = "nothing" if probe.reply is None else probe.reply.decision
            yield Breach(f"a client that tried again after the lease was answered {said}", (probe.request.id,))


def charged_again(evidence: Evidence) -> Iterator[Breach]:
    """Whoever was charged and not answered: a client that tries again when the lease has run out is charged again."""
    for probe in evidence.probes:
        if probe.reply == GO and any(probe.request.key in effect.keys for effect in evidence.effects):
            yield Breach("a client that tried again after the lease is charged again", (probe.request.id,))
