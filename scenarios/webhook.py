"""A provider's events arrive twice and out of order; each counts once, and the newest decides.

"Created" and "paid" are on their way together, and "paid" is sent again since nobody answered in
time. Handlers that look for a row, find none and write what their own event says put an active
subscription back to incomplete, and grant a payment twice. Locks do not help where the rule is
blind: run one after the other in the wrong order, two handlers come to the same. The rule has to
know which events it has seen, and which one is newer; the strategy makes that one step. Or an event is no more than
a sign that something has changed, and whoever handles it asks the provider how things stand now (`re-read`): then it
does not matter which one comes last. It does if two ask at different times, and the earlier answer is written later:
that is `deduped` again. And who ignores the answer, no row changed, sends the receipt again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from harness import (
    Attempt,
    Breach,
    ChildRowLayout,
    Claim,
    Evidence,
    Flow,
    Forms,
    Invariant,
    NotExpressible,
    Outcome,
    Reply,
    Request,
    RowLayout,
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
    row_count,
)

CREATED = {"event": "e1", "version": 1, "status": "incomplete", "credits": 0}
PAID = {"event": "e2", "version": 2, "status": "active", "credits": 100}

APPLIED, DUPLICATE = Reply("applied"), Reply("duplicate")
NEW: Mapping[str, Any] = {"status": "", "version": 0, "credits": 0, "seen": []}
CURRENT = {name: PAID[name] for name in ("status", "version")}
"""What the provider says of the subscription once both events are on their way."""


def handling(*, once: bool, newest: bool) -> Rule:
    """The rule that counts an event `once`, and lets only the `newest` one decide; or does not."""

    def rule(state: State, request: Request, now_ms: int) -> Outcome:
        held, event = state[request.key] or NEW, request.args
        if once and event["event"] in held["seen"]:
            return Outcome({}, DUPLICATE)
        decides = not newest or event["version"] > held["version"]
        told = event if decides else held
        after = {"status": told["status"], "version": told["version"], "credits": held["credits"] + event["credits"]}
        return Outcome({request.key: {**after, "seen": [*held["seen"], event["event"]]}}, APPLIED)

    return rule


ASKS = {"guarded": (True, True), "re-read": (True, False), "deduped": (True, False), "blind": (False, False)}
"""By rule: whether it asks which events it has seen, and which one is newer."""

# In Redis a subscription is its words in a row, in PostgreSQL a row, which is NULL, or absent, at first.


def encode(held: Mapping[str, Any]) -> str:
    """The words of a subscription."""
    return " ".join(map(str, (held["status"], held["version"], held["credits"], *held["seen"])))


def decode(raw: str) -> dict[str, Any]:
    """The subscription of those words."""
    status, version, credit, *seen = raw.split(" ")
    return {"status": status, "version": int(version), "credits": int(credit), "seen": seen}


HANDLE = """
local words = {}
for word in string.gmatch(redis.call('GET', KEYS[1]) or '- 0 0', '%S+') do words[#words + 1] = word end
local event, version, status, credits, once, newest = unpack(ARGV)
for place = 4, #words do
  if once == '1' and words[place] == event then return 0 end
end
if newest == '0' or tonumber(version) > tonumber(words[2]) then words[1], words[2] = status, version end
words[3] = string.format('%.0f', words[3] + credits)
words[#words + 1] = event
redis.call('SET', KEYS[1], table.concat(words, ' '))
return 1
"""
HANDLE_ROW = """
UPDATE subscriptions SET
  status = CASE WHEN $7::boolean AND coalesce(newest, 0) >= $3::bigint THEN status ELSE $4::text END,
  newest = CASE WHEN $7::boolean AND coalesce(newest, 0) >= $3::bigint THEN newest ELSE $3::bigint END,
  credits = coalesce(credits, 0) + $5::bigint,
  seen = array_append(seen, $2::text)
WHERE key = $1 AND NOT ($6::boolean AND $2::text = ANY(coalesce(seen, ARRAY[]::text[])))
"""
UPSERT_ROW = """
INSERT INTO arrivals (key, status, newest, credits, seen)
VALUES ($1, $4::text, $3::bigint, $5::bigint, ARRAY[$2::text])
ON CONFLICT (key) DO UPDATE SET
  status = CASE WHEN $7::boolean AND arrivals.newest >= $3::bigint THEN arrivals.status ELSE $4::text END,
  newest = CASE WHEN $7::boolean AND arrivals.newest >= $3::bigint THEN arrivals.newest ELSE $3::bigint END,
  credits = arrivals.credits + $5::bigint,
  seen = array_append(arrivals.seen, $2::text)
WHERE NOT ($6::boolean AND $2::text = ANY(arrivals.seen))
"""

# With a table of the events that have come, each is recorded, then counted: if the record is new, or in any case.

RECORD_IGNORED = """
WITH record AS (
    INSERT INTO recorded_events (key, member) VALUES ($1, $2::text) ON CONFLICT DO NOTHING RETURNING member
)
UPDATE recorded_subscriptions SET
  status = CASE WHEN $6::boolean AND newest >= $3::bigint THEN status ELSE $4::text END,
  newest = CASE WHEN $6::boolean AND newest >= $3::bigint THEN newest ELSE $3::bigint END,
  credits = coalesce(credits, 0) + $5::bigint
WHERE key = $1
"""
RECORD_FIRST = f"{RECORD_IGNORED.rstrip()} AND EXISTS (SELECT FROM record)"

CALL = "SELECT deliver_event($1, $2, $3::bigint, $4, $5::bigint, $6::boolean, $7::boolean)"


def handled(count: Any, _request: Request) -> Reply:
    """Whether the event was new."""
    return APPLIED if count else DUPLICATE


def forms_of(rule: str) -> dict[str, Forms | NotExpressible]:
    """The native forms of a rule."""
    asks = ASKS[rule]

    def event(request: Request) -> tuple[Any, ...]:
        return tuple(request.args[name] for name in CREATED)

    def in_full(request: Request, _now_ms: int) -> tuple[Any, ...]:
        return (request.key, *event(request), *asks)

    def row(source: str) -> Forms:
        return {"deliver": StatementForm(source, in_full, row_count(handled))}

    def recorded(source: str) -> Forms | NotExpressible:
        once, newest = asks
        if not once:
            return NotExpressible("it asks for no record of what has come")
        return {
            "deliver": StatementForm(
                source, lambda request, _: (request.key, *event(request), newest), row_count(handled)
            )
        }

    return {
        "command": NotExpressible("an event is remembered, put in its place and counted: more than one command"),
        "multi": NotExpressible("it must know the events before this one"),
        "lua": {"deliver": ScriptForm(HANDLE, lambda request, _: (*event(request), *map(int, asks)), handled)},
        "sql": row(HANDLE_ROW),
        "unique": row(UPSERT_ROW),
        "record-first": recorded(RECORD_FIRST),
        "record-ignored": recorded(RECORD_IGNORED),
        **procedure_forms(deliver=StatementForm(CALL, in_full, first_value(handled))),
    }


RECORDS = ChildRowLayout(
    "recorded_subscriptions",
    "recorded_events",
    split=lambda held: (
        tuple((held or {}).get(name) for name in ("status", "version", "credits")),
        dict.fromkeys((held or NEW)["seen"], ()),
    ),
    join=lambda row, events: None if row[1] is None else dict(zip(NEW, (*row, sorted(events)), strict=True)),
    parent_columns={"status": "text", "newest": "bigint", "credits": "bigint"},
)


class Webhook(Scenario):
    """Each event once, the newest decides."""

    name = "webhook"
    summary = "a provider's events arrive twice and out of order: each counts once, the newest decides"
    goes_wrong = "order held, rule violated"
    symptoms = {
        "paid, but the plan says incomplete": "--strategy lua --rule deduped",
        "an old event overwrote a newer one": "--strategy lua --rule blind",
        "two receipts for one payment": "--strategy pg-unique:ignore-count",
        "credits granted twice for one invoice": "--strategy pg-unique:record-ignored",
    }
    invariant = "the status is that of the newest event"
    operations = {
        "deliver": Signature(
            {"event": str, "version": int, "status": str, "credits": int}, {}, "", ("applied", "duplicate")
        ),
    }
    rules = {rule: handling(once=once, newest=newest) for rule, (once, newest) in ASKS.items()}
    wrong = {
        "deduped": "an event that comes late overwrites a newer one, however well it is locked",
        "blind": "an event that comes again is counted again, and one that comes late overwrites a newer one",
    }
    repeatable = True
    # The caller itself sends again, and takes "it had come" for the answer to what it sent first: nobody acts on it.
    claims = dict.fromkeys(
        ("lua:resend", "lua-function:resend"),
        Claim("holds", "what got no reply is sent again", breaks_under=("lost-reply",)),
    )
    values = ValueLayout(encode, decode)
    rows = RowLayout(
        {"status": "text", "newest": "bigint", "credits": "bigint", "seen": "text[]"},
        lambda held: [held[name] for name in NEW],
        lambda row: dict(zip(NEW, row, strict=True)),
        "subscriptions",
    )
    layouts = {
        "unique": replace(rows, table="arrivals", absent=True),
        "record-first": RECORDS,
        "record-ignored": RECORDS,
        **procedure_layouts(rows, __file__),
    }
    forms = forms_of("guarded")
    other_forms = {rule: forms_of(rule) for rule in ASKS if rule != "guarded"}

    def burst(self, rng: Random, size: int) -> Sequence[Attempt]:
        """Paid is delivered again and again; created arrives after one of them."""
        return [Attempt(("subscription",), {"late": number == 1}) for number in range(size)]

    async def flow(self, flow: Flow) -> None:
        """Handle the events; a receipt goes out where a payment was new."""
        for event in (PAID, CREATED) if flow.attempt.args["late"] else (PAID,):
            told = {**event, **CURRENT} if self.executed == "re-read" else event
            if await flow.apply("deliver", **told) == APPLIED and event["credits"]:
                await flow.effect("receipt")

    def invariants(self) -> Sequence[Invariant]:
        """The newest decides; counted once; one receipt."""
        return [
            Invariant("the newest decides", self.invariant, overwritten),
            Invariant("counted once", "credits are those of the events that arrived, each once", miscounted),
            Invariant("one receipt", "for one payment there is one receipt", receipts),
        ]

    def final(self, reply: Reply) -> bool:
        """An event that comes again is told that it had come."""
        return reply != DUPLICATE

    def view(self, value: Any, now_ms: int) -> Any:
        """All but the order in which the events arrived."""
        return None if value is None else {**value, "seen": sorted(value["seen"])}


def arrived(evidence: Evidence, key: str) -> tuple[dict[str, Mapping[str, Any]], bool]:
    """The events of a key that were acknowledged, and whether nobody knows what became of another event."""
    mine = [one for one in evidence.operations if one.request.key == key and one.status != "failed"]
    told = [one for one in mine if one.reply in (APPLIED, DUPLICATE)]
    events = {one.request.args["event"]: one.request.args for one in told}
    return events, any(one.reply is None and one.request.args["event"] not in events for one in mine)


def overwritten(evidence: Evidence) -> Iterator[Breach]:
    """Compare the status with that of the newest event; who was not answered may have been newer."""
    for key, value in (evidence.rest or {}).items():
        events, unknown = arrived(evidence, key)
        if not events or unknown:
            continue
        newest = max(events.values(), key=lambda event: event["version"])
        status = (value or NEW)["status"]
        if status != newest["status"]:
            yield Breach(f"the subscription is {status or 'nothing'}, and the newest event says {newest['status']}")


def miscounted(evidence: Evidence) -> Iterator[Breach]:
    """Compare the credits with those of the events, each once."""
    for key, value in (evidence.rest or {}).items():
        events, unknown = arrived(evidence, key)
        due, credit = sum(event["credits"] for event in events.values()), (value or NEW)["credits"]
        if credit != due and not unknown:
            yield Breach(f"{credit} credits were granted, and {due} were paid", amount=abs(credit - due))


def receipts(evidence: Evidence) -> Iterator[Breach]:
    """Count the receipts of each key: there is one payment."""
    for key in evidence.keys:
        sent = tuple(one.attempt for one in evidence.effects if key in one.keys)
        if len(sent) > 1:
            yield Breach(f"{len(sent)} receipts were sent for one payment", sent, len(sent) - 1)
