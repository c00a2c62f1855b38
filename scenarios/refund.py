"""The refunds of a payment never exceed what was captured; two refunds of 60 on a capture of 100.

What was refunded is a sum over rows, and a refund is a new row: both callers add up the same
rows, both find room, both insert. No row is written twice, so no lock on the refunds and no
version of theirs notices, and one INSERT ... SELECT that adds up by itself does not either.
Refunds that come back, since the bank account is closed, give their money back to the allowance.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

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
    Rule,
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

CAPTURED = 100

REFUNDED = Reply("refunded")
RETURNED, NOTHING = Reply("returned"), Reply("nothing")


def refused(left: int) -> Reply:
    """No, and how much might still go back."""
    return Reply("refused", {"left": left})


FULL = Reply("refused")
"""No; of how much is left, a statement that has changed no row says nothing."""


def sent(refunds: Mapping[str, Sequence[Any]]) -> int:
    """What has gone out, and not come back."""
    return sum(amount for amount, state in refunds.values() if state == "sent")


# In Redis a payment is the JSON of what was captured and of its refunds, id to [amount, state].

REFUND = """
local payment = cjson.decode(redis.call('GET', KEYS[1]))
local amount, total = tonumber(ARGV[2]), 0
for _, refund in pairs(payment.refunds) do
  if refund[2] == 'sent' then total = total + refund[1] end
end
if total + amount > payment.captured then return payment.captured - total end
payment.refunds[ARGV[1]] = {amount, 'sent'}
redis.call('SET', KEYS[1], cjson.encode(payment))
return false
"""
BOUNCE = """
local payment, count = cjson.decode(redis.call('GET', KEYS[1])), 0
for _, refund in pairs(payment.refunds) do
  if refund[2] == 'sent' then refund[2], count = 'failed', count + 1 end
end
redis.call('SET', KEYS[1], cjson.encode(payment))
return count
"""

# In PostgreSQL a refund is a row. One statement adds up and inserts; others do so meanwhile.

REFUND_ROW = """
INSERT INTO refunds (key, member, amount, state) SELECT $1::text, $2::text, $3::int, 'sent'
WHERE $3 + (SELECT coalesce(sum(amount), 0) FROM refunds WHERE key = $1 AND state = 'sent')
    <= (SELECT captured FROM payments WHERE key = $1)
"""
BOUNCE_ROWS = "UPDATE refunds SET state = 'failed' WHERE key = $1 AND state = 'sent'"

# With the sum in the payment's own row there is a row to check and to write.

REFUND_TOTAL = """
WITH room AS (
    UPDATE totalled_payments SET refunded = refunded + $3 WHERE key = $1 AND refunded + $3 <= captured RETURNING key
)
INSERT INTO totalled_refunds (key, member, amount, state) SELECT key, $2::text, $3::int, 'sent' FROM room
"""
BOUNCE_TOTAL = """
WITH gone AS (
    UPDATE totalled_refunds SET state = 'failed' WHERE key = $1 AND state = 'sent' RETURNING amount
)
UPDATE totalled_payments SET refunded = refunded - (SELECT sum(amount) FROM gone)
WHERE key = $1 AND EXISTS (SELECT FROM gone)
"""

NO_ROW = "no refund yet, no row: FOR UPDATE locks nothing"
SKEW = "each inserts a row that the other did not add up"
SNAPSHOT = "the sum is older than the lock"


def refund_arguments(request: Request, _now_ms: int) -> tuple[Any, ...]:
    """Of a script."""
    return (request.id, request.args["amount"])


def row_arguments(request: Request, _now_ms: int) -> tuple[Any, ...]:
    """Of a statement."""
    return (request.key, request.id, request.args["amount"])


def key_of(request: Request, _now_ms: int) -> tuple[str]:
    """Of a statement about the payment as a whole."""
    return (request.key,)


def refunded(left: Any, _request: Request) -> Reply:
    """Read what is left, where it was not enough."""
    return REFUNDED if left is None else refused(left)


def returned(count: Any, _request: Request) -> Reply:
    """Read how many came back."""
    return RETURNED if count else NOTHING


def row_refunded(rows: Rows, _request: Request) -> Reply:
    """Read the row count."""
    return REFUNDED if rows.count else FULL


class Refund(Scenario):
    """No more goes back than came in."""

    name = "refund"
    summary = "two refunds of one payment at once; together never more than was captured"
    goes_wrong = "each one is right, together they are not"
    symptoms = {
        "refunded more than was paid": "--strategy pg-conditional",
    }
    invariant = "the refunds that did not fail are no more than what was captured"
    refusals = ("refused", "nothing")
    initial_value: Any = {"captured": CAPTURED, "refunds": {}}
    operations = {
        "refund": Signature({"amount": int}, {}, "", ("refunded", "refused")),
        "bounce": Signature({}, {}, "", ("returned", "nothing")),
    }
    rows = ChildRowLayout(
        "payments",
        "refunds",
        split=lambda payment: ((payment["captured"],), payment["refunds"]),
        join=lambda row, refunds: {"captured": row[0], "refunds": {name: list(one) for name, one in refunds.items()}},
        columns={"amount": "int", "state": "text"},
        parent_columns={"captured": "int"},
    )
    layouts = {
        "total": replace(
            rows,
            parent="totalled_payments",
            children="totalled_refunds",
            parent_columns={"captured": "int", "refunded": "int"},
            split=lambda payment: ((payment["captured"], sent(payment["refunds"])), payment["refunds"]),
        ),
        **procedure_layouts(rows, __file__),
    }
    forms = {
        "command": NotExpressible("one command cannot add up"),
        "multi": NotExpressible("it adds up before it refunds"),
        "unique": NotExpressible("a sum is not unique"),
        "exclusion": NotExpressible("a constraint compares rows, it does not add them up"),
        "lua": {
            "refund": ScriptForm(REFUND, refund_arguments, refunded),
            "bounce": ScriptForm(BOUNCE, lambda *_: (), returned),
        },
        "sql": {
            "refund": StatementForm(REFUND_ROW, row_arguments, row_refunded),
            "bounce": StatementForm(BOUNCE_ROWS, key_of, row_count(returned)),
        },
        "total": {
            "refund": StatementForm(REFUND_TOTAL, row_arguments, row_refunded),
            "bounce": StatementForm(BOUNCE_TOTAL, key_of, row_count(returned)),
        },
        **procedure_forms(
            refund=StatementForm("SELECT refund_payment($1, $2, $3::int)", row_arguments, first_value(refunded)),
            bounce=StatementForm("SELECT bounce_refunds($1)", key_of, first_value(returned)),
        ),
    }
    claims = {
        "pg-conditional": Claim("breaks", "one statement adds up and inserts, and others come in between"),
        "pg-for-update": Claim("breaks", NO_ROW),
        "pg-for-update:others": Claim("breaks", NO_ROW),
        "pg-version": Claim("breaks", "a row that is not there has no version"),
        "pg-repeatable-read": Claim("breaks", SKEW),
        "pg-repeatable-read:no-retry": Claim("breaks", SKEW),
        "pg-advisory:repeatable-read": Claim("breaks", SNAPSHOT),
    }

    def rule(self, state: State, request: Request, now_ms: int) -> Outcome:
        """Send what there is room for; what comes back leaves room again."""
        payment = state[request.key]
        refunds = payment["refunds"]
        if request.operation == "bounce":
            if not sent(refunds):
                return Outcome({}, NOTHING)
            failed = {name: [amount, "failed"] for name, (amount, _state) in refunds.items()}
            return Outcome({request.key: {**payment, "refunds": failed}}, RETURNED)
        amount, left = request.args["amount"], payment["captured"] - sent(refunds)
        if amount > left:
            return Outcome({}, refused(left))
        refunds = {**refunds, request.id: [amount, "sent"]}
        return Outcome({request.key: {**payment, "refunds": refunds}}, REFUNDED)

    def allowed(self, state: State, request: Request, now_ms: int, reply: Reply | None, rule: Rule) -> Iterable[State]:
        """Who is refused may be told how much is left, and then that is right."""
        if reply is not None and reply == FULL and rule(state, request, now_ms).reply.decision == FULL.decision:
            yield state
        else:
            yield from super().allowed(state, request, now_ms, reply, rule)

    def burst(self, rng: Random, size: int) -> Sequence[Request]:
        """Two refunds that do not fit together, then anything; alone, anything."""
        both = [refund(60)] * 2 if size > 1 else []
        return [*both, *(anything(rng) for _ in range(size - len(both)))]

    def invariants(self) -> Sequence[Invariant]:
        """Not more than there was, and all of it in the books."""
        return [
            Invariant("not more than was captured", self.invariant, too_much),
            Invariant("in the books", "a refund that was sent is in the books", unbooked),
        ]


def refund(amount: int) -> Request:
    """Send money back."""
    return Request("refund", ("payment",), {"amount": amount})


def anything(rng: Random) -> Request:
    """Mostly a refund; now and then all that was sent comes back."""
    if rng.randrange(3):
        return refund(rng.choice((20, 40, 60)))
    return Request("bounce", ("payment",))


def too_much(evidence: Evidence) -> Iterator[Breach]:
    """Add up the refunds of each payment at rest."""
    for payment in (evidence.rest or {}).values():
        total = sent(payment["refunds"])
        if total > payment["captured"]:
            accepted = tuple(one.request.id for one in evidence.operations if one.reply == REFUNDED)
            says = f"{total} were refunded of {payment['captured']} captured"
            yield Breach(says, accepted, total - payment["captured"])


def unbooked(evidence: Evidence) -> Iterator[Breach]:
    """Look for each refund of which somebody was told that it was sent."""
    for one in evidence.operations:
        payment = (evidence.rest or {}).get(one.request.key)
        if one.reply == REFUNDED and payment is not None and one.request.id not in payment["refunds"]:
            booked = sent(payment["refunds"])
            total = booked + one.request.args["amount"]
            yield Breach(f"{total} were sent back, and the books say {booked}", (one.request.id,))
