"""A user upgrades, is charged, and cancels while the charge is under way; whose word counts is a rule.

An upgrade takes four moments: it is noted as pending, the card is charged, the result flips the
plan, an e-mail goes out. The cancel comes in the window between them. A handler that writes what the
result says, whatever happened meanwhile, puts a plan back that the user has cancelled. A result that
is delivered twice sends the e-mail twice. Of two that finish one upgrade the second finds it done, and takes that for
an error, which it clears up by a cancel: what was paid is gone (`error-cancels`). With the attempt's id in the state,
the result knows whether anybody still waits for it. What is to happen then is no question of order: that the cancel
wins, or whoever came first, or the last word, are three businesses. Each transition is atomic under a dozen
strategies, and all of them come to the same end under the same rule. Only the rule makes a difference,
and which one is right nobody can measure.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any, NamedTuple, Self

from harness import (
    Attempt,
    Breach,
    Claim,
    End,
    Evidence,
    Flow,
    Forms,
    GaveUp,
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
    procedure_forms,
    procedure_layouts,
)

PENDING, REOPENED, REFUSED = Reply("pending"), Reply("reopened"), Reply("refused")
ACTIVE, LATE, KNOWN = Reply("active"), Reply("late"), Reply("known")
ABANDONED, KEPT = Reply("abandoned"), Reply("kept")
CANCELLED, ENDED, NOTED = Reply("cancelled"), Reply("ended"), Reply("noted")
"""An upgrade that was pending was taken back; a plan was ended; there was nothing to cancel, yet."""

NEW: Mapping[str, Any] = {"plan": "free", "pending": "", "closed": False, "known": []}
"""What "no row yet" means. `pending`: the attempt whose result is awaited; `known`: those whose result has come."""


class Meaning(NamedTuple):
    """What a rule makes of two intents.

    `ids`: it knows the attempts; `stands`: an upgrade that has begun cannot be cancelled; `reopens`: who upgrades
    after a cancel means it.
    """

    ids: bool
    stands: bool
    reopens: bool


MEANINGS = {
    "cancel-wins": Meaning(ids=True, stands=False, reopens=False),
    "first-wins": Meaning(ids=True, stands=True, reopens=False),
    "last-wins": Meaning(ids=True, stands=False, reopens=True),
    "blind": Meaning(ids=False, stands=False, reopens=True),
    "error-cancels": Meaning(ids=True, stands=False, reopens=False),
}

ANSWERS = {
    "begin": ("pending", "reopened", "refused", "known"),
    "settle": ("active", "late", "known"),
    "abandon": ("abandoned", "kept"),
    "cancel": ("cancelled", "ended", "noted", "refused"),
}


def deciding(meaning: Meaning) -> Rule:
    """The rule of that meaning."""
    steps = {"begin": begun, "settle": settled, "abandon": abandoned, "cancel": cancelled}

    def rule(state: State, request: Request, now_ms: int) -> Outcome:
        held = {**NEW, **(state[request.key] or {})}
        changes, reply = steps[request.operation](held, request.attempt, meaning)
        return Outcome({request.key: {**held, **changes}} if changes else {}, reply)

    return rule


def begun(held: Mapping[str, Any], attempt: str, meaning: Meaning) -> tuple[dict[str, Any], Reply]:
    """Note that an upgrade is under way."""
    if meaning.ids:
        if attempt in held["known"]:
            return {}, KNOWN
        if held["pending"] == attempt:
            return {}, PENDING
        if held["plan"] == "pro" or ((held["closed"] or held["pending"]) and not meaning.reopens):
            return {}, REFUSED
        if held["closed"]:
            return {"pending": attempt, "closed": False}, REOPENED
    return {"pending": attempt, "closed": False}, PENDING


def settled(held: Mapping[str, Any], attempt: str, meaning: Meaning) -> tuple[dict[str, Any], Reply]:
    """Take in the result of a charge: flip the plan, if anybody still waits for it."""
    if not meaning.ids:
        return {"plan": "pro", "pending": ""}, ACTIVE
    if attempt in held["known"]:
        return {}, KNOWN
    known = [*held["known"], attempt]
    if held["pending"] != attempt:
        return {"known": known}, LATE
    return {"plan": "pro", "pending": "", "known": known}, ACTIVE


def abandoned(held: Mapping[str, Any], attempt: str, meaning: Meaning) -> tuple[dict[str, Any], Reply]:
    """Forget an upgrade that was not charged in the end."""
    if meaning.ids and held["pending"] != attempt:
        return {}, KEPT
    return {"pending": ""}, ABANDONED


def cancelled(held: Mapping[str, Any], _attempt: str, meaning: Meaning) -> tuple[dict[str, Any], Reply]:
    """Take a pending upgrade back, or end a plan."""
    if meaning.stands and (held["pending"] or held["plan"] == "pro"):
        return {}, REFUSED
    told = ENDED if held["plan"] == "pro" else CANCELLED if held["pending"] else NOTED
    return {"plan": "free", "pending": "", "closed": True}, told


# In Redis a subscription is its words in a row, in PostgreSQL a row, which is NULL at first.


def encode(held: Mapping[str, Any]) -> str:
    """The words of a subscription."""
    return " ".join((held["plan"], held["pending"] or "-", str(int(held["closed"])), *held["known"]))


def decode(raw: str) -> dict[str, Any]:
    """The subscription of those words."""
    plan, pending, closed, *known = raw.split(" ")
    return {"plan": plan, "pending": "" if pending == "-" else pending, "closed": closed == "1", "known": known}


HEAD = """
local attempt, ids, stands, reopens = ARGV[1], ARGV[2] == '1', ARGV[3] == '1', ARGV[4] == '1'
local words = {}
for word in string.gmatch(redis.call('GET', KEYS[1]) or 'free - 0', '%S+') do words[#words + 1] = word end
local plan, pending, closed = words[1], words[2] ~= '-', words[3] == '1'
local function save(told, new_plan, new_pending, new_closed)
  words[1], words[2], words[3] = new_plan, new_pending, new_closed
  redis.call('SET', KEYS[1], table.concat(words, ' '))
  return told
end
"""
LUA = {
    "begin": """
if ids then
  for place = 4, #words do if words[place] == attempt then return 'known' end end
  if words[2] == attempt then return 'pending' end
  if plan == 'pro' or ((closed or pending) and not reopens) then return 'refused' end
  if closed then return save('reopened', plan, attempt, '0') end
end
return save('pending', plan, attempt, '0')
""",
    "settle": """
if not ids then return save('active', 'pro', '-', words[3]) end
for place = 4, #words do if words[place] == attempt then return 'known' end end
words[#words + 1] = attempt
if words[2] ~= attempt then return save('late', plan, words[2], words[3]) end
return save('active', 'pro', '-', words[3])
""",
    "abandon": """
if ids and words[2] ~= attempt then return 'kept' end
return save('abandoned', plan, '-', words[3])
""",
    "cancel": """
if stands and (pending or plan == 'pro') then return 'refused' end
return save(plan == 'pro' and 'ended' or pending and 'cancelled' or 'noted', 'free', '-', '1')
""",
}

# Who decides on a row in one statement locks it in the same: what is read is what the lock waited for.
HELD = """
WITH held AS (
  SELECT key, coalesce(plan, 'free') AS plan, coalesce(pending, '') AS pending, coalesce(closed, false) AS closed,
    coalesce(known, ARRAY[]::text[]) AS known
  FROM plans WHERE key = $1 FOR UPDATE
), decided AS (SELECT *, {told} AS told FROM held)
UPDATE plans SET {changes} FROM decided WHERE plans.key = decided.key
RETURNING decided.told
"""
SQL = {
    "begin": HELD.format(
        told="""CASE
    WHEN NOT $3::boolean OR pending = $2::text THEN 'pending' WHEN $2::text = ANY(known) THEN 'known'
    WHEN plan = 'pro' OR ((closed OR pending <> '') AND NOT $4::boolean) THEN 'refused'
    WHEN closed THEN 'reopened' ELSE 'pending' END""",
        changes="""plan = decided.plan, known = decided.known,
  pending = CASE WHEN told IN ('refused', 'known') THEN decided.pending ELSE $2::text END,
  closed = CASE WHEN told IN ('refused', 'known') THEN decided.closed ELSE false END""",
    ),
    "settle": HELD.format(
        told="""CASE
    WHEN NOT $3::boolean THEN 'active' WHEN $2::text = ANY(known) THEN 'known'
    WHEN pending = $2::text THEN 'active' ELSE 'late' END""",
        changes="""plan = CASE WHEN told = 'active' THEN 'pro' ELSE decided.plan END, closed = decided.closed,
  pending = CASE WHEN told = 'active' THEN '' ELSE decided.pending END,
  known = CASE WHEN told = 'known' OR NOT $3::boolean THEN decided.known ELSE array_append(decided.known, $2::text) END
  """,
    ),
    "abandon": HELD.format(
        told="CASE WHEN $3::boolean AND pending <> $2::text THEN 'kept' ELSE 'abandoned' END",
        changes="""plan = decided.plan, closed = decided.closed, known = decided.known,
  pending = CASE WHEN told = 'kept' THEN decided.pending ELSE '' END""",
    ),
    "cancel": HELD.format(
        told="""CASE
    WHEN $2::boolean AND (pending <> '' OR plan = 'pro') THEN 'refused'
    WHEN plan = 'pro' THEN 'ended' WHEN pending <> '' THEN 'cancelled' ELSE 'noted' END""",
        changes="""known = decided.known,
  plan = CASE WHEN told = 'refused' THEN decided.plan ELSE 'free' END,
  pending = CASE WHEN told = 'refused' THEN decided.pending ELSE '' END,
  closed = CASE WHEN told = 'refused' THEN decided.closed ELSE true END""",
    ),
}


CALLS = {
    "begin": "SELECT begin_upgrade($1, $2, $3::boolean, $4::boolean)",
    "settle": "SELECT settle_upgrade($1, $2, $3::boolean)",
    "abandon": "SELECT abandon_upgrade($1, $2, $3::boolean)",
    "cancel": "SELECT cancel_plan($1, $2::boolean)",
}

ARGS: Mapping[str, Callable[[Meaning, str], tuple[Any, ...]]] = {
    "begin": lambda meaning, attempt: (attempt, meaning.ids, meaning.reopens),
    "settle": lambda meaning, attempt: (attempt, meaning.ids),
    "abandon": lambda meaning, attempt: (attempt, meaning.ids),
    "cancel": lambda meaning, _attempt: (meaning.stands,),
}


def forms_of(rule: str) -> dict[str, Forms | NotExpressible]:
    """The native forms of a rule."""
    meaning = MEANINGS[rule]

    def of_row(operation: str, statement: str) -> StatementForm:
        def told(rows: Rows, _request: Request) -> Reply:
            return Reply(rows.rows[0][0])

        args = ARGS[operation]
        return StatementForm(statement, lambda request, _: (request.key, *args(meaning, request.attempt)), told)

    def of_script(source: str) -> ScriptForm:
        def told(answer: Any, _request: Request) -> Reply:
            return Reply(answer.decode())

        return ScriptForm(HEAD + source, lambda request, _: (request.attempt, *map(int, meaning)), told)

    return {
        "command": NotExpressible("a plan, a pending upgrade and what is known of it are more than one command"),
        "multi": NotExpressible("it must look at the plan before it changes it"),
        "unique": NotExpressible("a plan that is cancelled can be bought again: nothing is claimed for good"),
        "lua": {operation: of_script(source) for operation, source in LUA.items()},
        "sql": {operation: of_row(operation, source) for operation, source in SQL.items()},
        **procedure_forms(**{operation: of_row(operation, source) for operation, source in CALLS.items()}),
    }


ALONE = Claim("breaks", "a result that is refused, and not sent again, leaves a charge without a plan")
AT_THE_ROW = dict.fromkeys(("pg-for-update:nowait", "pg-advisory:try"), ALONE)
"""Whose callers are refused whatever another one does."""
AT_A_WRITE = ("pg-advisory:repeatable-read", "pg-repeatable-read:no-retry", "pg-serializable:no-retry")
"""Whose callers are refused where another one writes."""
SHOWN_ERRORS = {**AT_THE_ROW, **dict.fromkeys(AT_A_WRITE, ALONE)}


class Subscription(Scenario):
    """Upgrade, and a cancel in the window."""

    name = "subscription"
    summary = "an upgrade is charged while its user cancels: three rules, three businesses"
    invariant = "whoever cancelled has no plan, and whoever has one has paid for it, once"
    goes_wrong = "order held, rule violated"
    symptoms = {
        "cancelled, and the plan came back": "--strategy lua --rule blind",
        "paid, and then cancelled by nobody": "--strategy lua --rule error-cancels",
        "charged, then 40001, and no plan": "--strategy pg-serializable:no-retry",
    }
    operations = {name: Signature({}, {}, "", answers) for name, answers in ANSWERS.items()}
    rules = {name: deciding(meaning) for name, meaning in MEANINGS.items()}
    wrong = {
        "blind": "a result that comes after a cancel, or again, flips the plan, however well it is locked",
        "error-cancels": "who finishes what is finished takes that for an error, and ends the plan that was paid for",
    }
    breaks_under = dict.fromkeys(MEANINGS, ("crash",))
    claims = SHOWN_ERRORS
    values = ValueLayout(encode, decode)
    rows = RowLayout(
        {"plan": "text", "pending": "text", "closed": "boolean", "known": "text[]"},
        lambda held: [held[name] for name in NEW],
        lambda row: dict(zip(NEW, row, strict=True)),
        "plans",
    )
    layouts = procedure_layouts(rows, __file__)
    forms = forms_of("cancel-wins")
    other_forms = {rule: forms_of(rule) for rule in MEANINGS if rule != "cancel-wins"}

    ends = {
        "once": "ok",
        "twice": "charged twice",
        "stranded": "paid, no plan",
        "undone": "given back",
        "unpaid": "plan, not paid",
    }

    def under(self, rule: str) -> Self:
        """Who came first is pending, and nobody else writes until the result is in."""
        if rule == "first-wins":
            self.claims = AT_THE_ROW
        return super().under(rule)

    def burst(self, rng: Random, size: int) -> Sequence[Attempt]:
        """An upgrade and a cancel; then an upgrade whose result is delivered twice, and so on."""
        wants, deliveries = ("upgrade", "cancel", "upgrade"), (1, 1, 2)
        if self.executed == "error-cancels":  # no user cancels
            wants, deliveries = ("upgrade",) * 3, (2, 1, 1)
        return [
            Attempt(("user",), {"wants": wants[number % 3], "deliveries": deliveries[number % 3]})
            for number in range(size)
        ]

    async def flow(self, flow: Flow) -> None:
        """Note it, charge, flip the plan, tell the user. Or cancel."""
        mine = flow.attempt.id
        if flow.attempt.args["wants"] == "cancel":
            if await flow.apply("cancel") == ENDED:
                await flow.effect("refund", id=f"refund {mine}")
            return
        if await flow.apply("begin") not in (PENDING, REOPENED):
            return
        try:
            await flow.effect("charge", id=f"charge {mine}", undo="refund")
        except GaveUp:
            await flow.apply("abandon")
            return
        for _delivery in range(flow.attempt.args["deliveries"]):
            told = await flow.apply("settle")
            if told == LATE:
                await flow.effect("refund", id=f"refund {mine}")
            elif told == ACTIVE:
                await flow.effect("e-mail", id=f"e-mail {mine}")
            elif told == KNOWN and self.executed == "error-cancels":
                await flow.apply("cancel")

    def invariants(self) -> Sequence[Invariant]:
        """The cancel, the money, the e-mail."""
        return [
            Invariant("a cancel stands", "a plan is there only if it was asked for after the last cancel", revived),
            Invariant("paid for what is had", "charges less refunds are one for a plan, and none without", mispaid),
            Invariant("one e-mail", "for one upgrade there is one e-mail", mailed),
        ]

    def view(self, value: Any, now_ms: int) -> Any:
        """All but the order in which results came; no row yet is a user who has asked for nothing."""
        held = value or NEW
        return {**held, "known": sorted(held["known"])}

    def became(self, value: Any, effects: Mapping[str, int]) -> End:
        """What an upgrade that nobody cancels came to."""
        paid, plan = effects.get("charge", 0) - effects.get("refund", 0), (value or NEW)["plan"]
        if paid > 1:
            return "twice"
        if plan == "pro":
            return "once" if paid else "unpaid"
        return "stranded" if paid else "undone"

    def ending(self, evidence: Evidence) -> str:
        """The plan, and for how many months money was kept."""
        ends = []
        for key, value in (evidence.rest or {}).items():
            count = Counter(one.name for one in evidence.effects if key in one.keys)
            ends.append(f"{(value or NEW)['plan']}, {count['charge'] - count['refund']} paid")
        return "; ".join(ends)


def asked(evidence: Evidence, key: str, operation: str) -> list[Any]:
    """The requests of that kind for a key."""
    return [one for one in evidence.operations if one.request.operation == operation and one.request.key == key]


def revived(evidence: Evidence) -> Iterator[Breach]:
    """A cancel that took an upgrade back, or ended a plan, came after the begin of that one.

    So a plan in the end takes another begin, which may have come after it.
    """
    for key, value in (evidence.rest or {}).items():
        if (value or NEW)["plan"] != "pro":
            continue
        begins = [one for one in asked(evidence, key, "begin") if one.reply != REFUSED and one.status != "failed"]
        for cancel in asked(evidence, key, "cancel"):
            if cancel.reply not in (CANCELLED, ENDED):
                continue
            before = [one for one in begins if one.invoked_ns < cancel.returned_ns]
            after = [one for one in begins if one.returned_ns is None or one.returned_ns > cancel.invoked_ns]
            if not after or (len(before) == 1 and before == after):
                yield Breach(
                    f"a cancel was answered {cancel.reply.decision}, and the plan is pro", (cancel.request.id,)
                )


def mispaid(evidence: Evidence) -> Iterator[Breach]:
    """Compare money with plan. What was begun and not ended may have happened, or not."""
    for key, value in (evidence.rest or {}).items():
        if any(one.status == "unknown" for one in evidence.operations if one.request.key == key):
            continue
        due = int((value or NEW)["plan"] == "pro")
        mine = [one for one in evidence.effects if key in one.keys]
        began = Counter(one.name for one in mine)
        ended = Counter(one.name for one in mine if one.ended_ns is not None)
        least, most = ended["charge"] - began["refund"], began["charge"] - ended["refund"]
        if not least <= due <= most:
            had = "the plan is pro" if due else "there is no plan"
            amount = least if least > due else most
            yield Breach(f"{amount} {'was' if amount == 1 else 'were'} paid, and {had}", amount=abs(amount - due))


def mailed(evidence: Evidence) -> Iterator[Breach]:
    """Count the e-mails of each attempt."""
    mails = Counter(one.attempt for one in evidence.effects if one.name == "e-mail")
    for attempt, count in mails.items():
        if count > 1:
            yield Breach(f"{count} e-mails were sent for one upgrade", (attempt,), count - 1)
