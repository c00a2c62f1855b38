"""A credit is reserved before the model is called, and settled or given back after it.

One credit is left, and two prompts are sent at once. Whoever looks at the balance, calls the model
and charges afterwards calls it twice: both looks come before both charges, and it does not help
that each of them is atomic. The credit has to be gone before the call begins. A lock that is held all
through the call does as well, but makes everybody wait for the model; and a worker that dies
after the call and before the charge has called for nothing. Nor does it help that an actor takes both moments, as
long as it serves others during the call: claim, call, confirm.

An approval is such a credit (`approval`): two agents wait for one click, both are woken by it, and only the one who has
removed it may act; the other asks again. Who does not look at whether anything was removed acts as well.

A user who was never seen has no row yet, and is given the first refill by whoever comes first;
"no row" must not be taken for "no limit".

Where whoever finds a refill due adds it (`auto-refill`), the statement that adds has to claim the window: only if it is
still due. Where that was looked at before (`refill-anyway`), one refill comes for each request that has looked, however
atomic the addition is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any, Self

from harness import (
    Attempt,
    Breach,
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
    Scenario,
    ScriptForm,
    Signature,
    State,
    StatementForm,
    ValueLayout,
    procedure_forms,
    procedure_layouts,
)

REFILL = 1
"""Credits that a refill brings: one is enough for one call."""
REFILLS_EVERY_MS = 86_400_000
NEVER_MS = 10**15

Args = Callable[[Request, int], Sequence[Any]]

RESERVED, REFUSED = Reply("reserved"), Reply("no credit")
SETTLED, RELEASED, UNKNOWN = Reply("settled"), Reply("released"), Reply("unknown")
APPROVED, TAKEN = Reply("approved"), Reply("taken")
DUE, NOT_DUE, REFILLED = Reply("due"), Reply("not due"), Reply("refilled")
NEW = {"credits": 0, "due_ms": 0, "held": []}
"""What "no row yet" means: a refill is due."""
CLICKED = {"credits": 1, "due_ms": NEVER_MS, "held": []}
"""Somebody has clicked, once, and nothing comes by itself."""


def refilled(held: Mapping[str, Any] | None, now_ms: int) -> dict[str, Any]:
    """The account once a due refill has come."""
    account = dict(held or NEW)
    if account["due_ms"] <= now_ms:
        account |= {"credits": account["credits"] + REFILL, "due_ms": now_ms + REFILLS_EVERY_MS}
    return account


def look(state: State, request: Request) -> Outcome:
    """Whether there is an approval to take: this takes nothing."""
    return Outcome({}, APPROVED if (state[request.key] or NEW)["credits"] > 0 else TAKEN)


def top_up(state: State, request: Request, now_ms: int) -> Outcome:
    """Say whether a refill is due, or add it if it is."""
    account = state[request.key] or NEW
    due = account["due_ms"] <= now_ms
    if request.operation == "check":
        return Outcome({}, DUE if due else NOT_DUE)
    return Outcome({request.key: refilled(account, now_ms)}, REFILLED) if due else Outcome({}, NOT_DUE)


def reserve(state: State, request: Request, now_ms: int) -> Outcome:
    """Take a credit, and write down for whom; settle forgets that, release gives it back."""
    if request.operation == "look":
        return look(state, request)
    if request.operation in {"check", "refill"}:
        return top_up(state, request, now_ms)
    account = refilled(state[request.key], now_ms)
    if request.operation == "reserve":
        if account["credits"] < 1:
            return Outcome({}, REFUSED)
        held = [*account["held"], request.attempt]
        return Outcome({request.key: {**account, "credits": account["credits"] - 1, "held": held}}, RESERVED)
    account = dict(state[request.key] or NEW)
    if request.attempt not in account["held"]:
        return Outcome({}, UNKNOWN)
    account["held"] = [attempt for attempt in account["held"] if attempt != request.attempt]
    if request.operation == "settle":
        return Outcome({request.key: account}, SETTLED)
    return Outcome({request.key: {**account, "credits": account["credits"] + 1}}, RELEASED)


def check_first(state: State, request: Request, now_ms: int) -> Outcome:
    """Look at the balance, and charge after the call."""
    if request.operation in {"look", "check", "refill"}:
        return reserve(state, request, now_ms)
    if request.operation == "reserve":
        account = refilled(state[request.key], now_ms)
        changes = {} if account == state[request.key] else {request.key: account}
        return Outcome(changes, RESERVED if account["credits"] > 0 else REFUSED)
    if request.operation == "release":
        return Outcome({}, RELEASED)
    account = dict(state[request.key] or NEW)
    return Outcome({request.key: {**account, "credits": account["credits"] - 1}}, SETTLED)


def refill_anyway(state: State, request: Request, now_ms: int) -> Outcome:
    """Add what was due when somebody looked."""
    if request.operation != "refill":
        return reserve(state, request, now_ms)
    account = {**(state[request.key] or NEW), "due_ms": now_ms}
    return Outcome({request.key: refilled(account, now_ms)}, REFILLED)


def unmetered(state: State, request: Request, now_ms: int) -> Outcome:
    """Whoever has no row yet is not counted."""
    told = {"reserve": RESERVED, "settle": SETTLED, "release": RELEASED}
    if state[request.key] is None and request.operation in told:
        return Outcome({}, told[request.operation])
    return reserve(state, request, now_ms)


# In Redis an account is its words in a row: credits, when the next refill is due, who holds a credit.


def encode(account: Mapping[str, Any]) -> str:
    """The words of an account."""
    return " ".join(map(str, (account["credits"], account["due_ms"], *account["held"])))


def decode(raw: str) -> dict[str, Any]:
    """The account of those words."""
    credit, due_ms, *held = raw.split(" ")
    return {"credits": int(credit), "due_ms": int(due_ms), "held": held}


HEAD = """
local attempt, now, refill, every = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local words = {}
for word in string.gmatch(redis.call('GET', KEYS[1]) or '0 0', '%S+') do words[#words + 1] = word end
local credits, due = tonumber(words[1]), tonumber(words[2])
local function save()
  words[1], words[2] = string.format('%.0f', credits), string.format('%.0f', due)
  redis.call('SET', KEYS[1], table.concat(words, ' '))
end
local function refilled()
  if due > now then return false end
  credits, due = credits + refill, now + every
  return true
end
local function forgotten()
  local found = false
  for place = #words, 3, -1 do
    if words[place] == attempt then found = true table.remove(words, place) end
  end
  return found
end
"""
LUA = {
    "reserve": "refilled() if credits < 1 then return 0 end "
    "credits = credits - 1 words[#words + 1] = attempt save() return 1",
    "settle": "if not forgotten() then return 0 end save() return 1",
    "release": "if not forgotten() then return 0 end credits = credits + 1 save() return 1",
}
LUA_CHECK = {
    "reserve": "if refilled() then save() end return credits > 0 and 1 or 0",
    "settle": "credits = credits - 1 save() return 1",
    "release": "return 1",
}
LUA_APPROVAL = {
    **LUA,
    "look": "return credits > 0 and 1 or 0",
}
LUA_REFILL = {
    **LUA,
    "check": "return due <= now and 1 or 0",
    "refill": "if not refilled() then return 0 end save() return 1",
}
LUA_ANYWAY = {**LUA_REFILL, "refill": "due = now refilled() save() return 1"}

# In PostgreSQL a user is a row, which is NULL at first.

SQL = {
    "reserve": """
UPDATE credit_accounts SET
  credits = coalesce(credits, 0) + CASE WHEN coalesce(due_ms, 0) <= $2::bigint THEN $4::bigint ELSE 0 END - 1,
  due_ms = CASE WHEN coalesce(due_ms, 0) <= $2::bigint THEN $2::bigint + $5::bigint ELSE due_ms END,
  held = array_append(held, $3::text)
WHERE key = $1 AND
  coalesce(credits, 0) + CASE WHEN coalesce(due_ms, 0) <= $2::bigint THEN $4::bigint ELSE 0 END >= 1
""",
    "settle": "UPDATE credit_accounts SET held = array_remove(held, $2) WHERE key = $1 AND $2 = ANY(held)",
    "release": """
UPDATE credit_accounts SET credits = credits + 1, held = array_remove(held, $2) WHERE key = $1 AND $2 = ANY(held)
""",
}
SQL_CHECK = {
    "reserve": """
UPDATE credit_accounts SET
  credits = coalesce(credits, 0) + CASE WHEN coalesce(due_ms, 0) <= $2::bigint THEN $3::bigint ELSE 0 END,
  due_ms = CASE WHEN coalesce(due_ms, 0) <= $2::bigint THEN $2::bigint + $4::bigint ELSE due_ms END,
  held = coalesce(held, ARRAY[]::text[])
WHERE key = $1 RETURNING credits > 0
""",
    "settle": """
UPDATE credit_accounts SET
  credits = coalesce(credits, 0) - 1, due_ms = coalesce(due_ms, 0), held = coalesce(held, ARRAY[]::text[])
WHERE key = $1 RETURNING true
""",
    "release": "SELECT true FROM credit_accounts WHERE key = $1",
}
SQL_APPROVAL = {"look": "SELECT (credits > 0)::int FROM credit_accounts WHERE key = $1"}
REFILL_ANYWAY = """
UPDATE credit_accounts SET credits = credits + $3::bigint, due_ms = $2::bigint + $4::bigint WHERE key = $1
"""
SQL_REFILL = {
    "check": "SELECT (due_ms <= $2::bigint)::int FROM credit_accounts WHERE key = $1",
    "refill": f"{REFILL_ANYWAY} AND due_ms <= $2::bigint",
}
CALLS = {
    "reserve": "SELECT reserve_credit($1, $2::bigint, $3, $4::bigint, $5::bigint)",
    "settle": "SELECT end_reservation($1, $2, 0)",
    "release": "SELECT end_reservation($1, $2, 1)",
}
TOLD = {
    "reserve": (REFUSED, RESERVED),
    "settle": (UNKNOWN, SETTLED),
    "release": (UNKNOWN, RELEASED),
    "look": (TAKEN, APPROVED),
    "check": (NOT_DUE, DUE),
    "refill": (NOT_DUE, REFILLED),
}


def script(source: str) -> ScriptForm:
    """A script of the rule. The caller's clock counts, so that one instant decides and is recorded."""
    return ScriptForm(
        HEAD + source,
        lambda request, now_ms: (request.attempt, now_ms, REFILL, REFILLS_EVERY_MS),
        lambda answer, request: TOLD[request.operation][answer],
    )


def who(request: Request, _now_ms: int) -> tuple[str, str]:
    """The arguments of a statement that asks who holds a credit."""
    return (request.key, request.attempt)


def forms_of_row(
    sql: Mapping[str, str], args: Mapping[str, Args], told: Callable[[Rows], int]
) -> dict[str, StatementForm]:
    """The statements of a rule."""

    def form(operation: str) -> StatementForm:
        return StatementForm(sql[operation], args[operation], lambda rows, _: TOLD[operation][told(rows)])

    return {operation: form(operation) for operation in sql}


def forms_of(lua: Mapping[str, str], sql: Forms) -> dict[str, Forms | NotExpressible]:
    """The native forms of a rule."""
    return {
        "command": NotExpressible("a refill, a balance and who holds a credit are more than one command"),
        "multi": NotExpressible("it must look at the balance before it takes from it"),
        "unique": NotExpressible("credits are counted: there is nothing to claim"),
        "lua": {operation: script(source) for operation, source in lua.items()},
        "sql": sql,
    }


ARGS: Mapping[str, Args] = {
    "reserve": lambda request, now_ms: (request.key, now_ms, request.attempt, REFILL, REFILLS_EVERY_MS),
    "settle": who,
    "release": who,
}
ROW = forms_of_row(SQL, ARGS, lambda rows: rows.count > 0)
CALLED = forms_of_row(CALLS, ARGS, lambda rows: bool(rows.rows[0][0]))
ROW_CHECK = forms_of_row(
    SQL_CHECK,
    {
        "reserve": lambda request, now_ms: (request.key, now_ms, REFILL, REFILLS_EVERY_MS),
        "settle": lambda request, _now_ms: (request.key,),
        "release": lambda request, _now_ms: (request.key,),
    },
    lambda rows: bool(rows.rows[0][0]),
)
ROW_APPROVAL = {
    **ROW,
    **forms_of_row(
        SQL_APPROVAL,
        dict.fromkeys(SQL_APPROVAL, lambda request, _now_ms: (request.key,)),
        lambda rows: int(rows.rows[0][0]),
    ),
}


def forms_of_refill(lua: Mapping[str, str], refill: str) -> dict[str, Forms | NotExpressible]:
    """The native forms of a refill by whoever finds one due."""
    args: Mapping[str, Args] = {
        "check": lambda request, now_ms: (request.key, now_ms),
        "refill": lambda request, now_ms: (request.key, now_ms, REFILL, REFILLS_EVERY_MS),
    }
    statements = {**SQL_REFILL, "refill": refill}
    added = forms_of_row(statements, args, lambda rows: int(rows.rows[0][0]) if rows.rows else rows.count)
    return {
        **forms_of(lua, {**ROW, **added}),
        "command": NotExpressible("to claim the window and to add to the balance are more than one command"),
        "multi": NotExpressible("it must look at whether a refill is due before it adds it"),
        "unique": NotExpressible("a window begins when somebody refills: it has no name that could be claimed before"),
    }


class Credits(Scenario):
    """Reserve, call, settle or give back."""

    name = "credits"
    summary = "a credit is reserved before the model is called, and settled or released after it"
    goes_wrong = "a limit is passed, or never lifted"
    symptoms = {
        "one credit bought two calls": "--strategy lua --rule check-first",
        "one approval, two actions": "--strategy pg-conditional:ignore-count --rule approval",
        "an actor, and it paid twice": "--strategy actor --rule check-first",
        "a new user had no limit": "--strategy watch --rule unmetered",
        "one refill was due, and two came": "--strategy lua --rule refill-anyway",
    }
    invariant = "the model is not called more often than there are credits"
    refusals = ("no credit", "unknown", "taken")
    operations = {name: Signature({}, {}, "", sorted({one.decision for one in told})) for name, told in TOLD.items()}
    rules = {
        "reserve": reserve, "check-first": check_first, "approval": reserve, "auto-refill": reserve,
        "refill-anyway": refill_anyway, "unmetered": unmetered,
    }  # fmt: skip
    wrong = {"unmetered": "a user without a row is taken for one without a limit"}
    split = {
        "check-first": "the balance is looked at before the call and charged after it: others come in between",
        "refill-anyway": "who has found a refill due adds it, and meanwhile others have found it due as well",
    }
    breaks_under = {"check-first": ("crash", "lost-reply")}
    values = ValueLayout(encode, decode)
    rows = RowLayout(
        {"credits": "bigint", "due_ms": "bigint", "held": "text[]"},
        lambda account: (account["credits"], account["due_ms"], account["held"]),
        lambda row: {"credits": row[0], "due_ms": row[1], "held": row[2]},
        "credit_accounts",
    )
    layouts = procedure_layouts(rows, __file__)
    forms = {**forms_of(LUA, ROW), **procedure_forms(**CALLED)}
    other_forms = {
        "check-first": forms_of(LUA_CHECK, ROW_CHECK),
        "approval": forms_of(LUA_APPROVAL, ROW_APPROVAL),
        "auto-refill": forms_of_refill(LUA_REFILL, SQL_REFILL["refill"]),
        "refill-anyway": forms_of_refill(LUA_ANYWAY, REFILL_ANYWAY),
    }
    looking = ("look", "check")

    def under(self, rule: str) -> Self:
        """An approval comes by a click, which begins it, and by no refill; who waits for a refill has been seen."""
        self.initial_value = {"approval": CLICKED, **dict.fromkeys(ON_DEMAND, NEW)}.get(rule)
        return super().under(rule)

    def burst(self, rng: Random, size: int) -> Sequence[Attempt]:
        """Several prompts at once and credit for one, or one click for all; of more than three calls the last fails."""
        prompts = [Attempt(("user",))] * size
        fails = size > 3 and self.executed not in {"approval", *ON_DEMAND}
        return [*prompts[:-1], Attempt(("user",), {"fails": True})] if fails else prompts

    async def flow(self, flow: Flow) -> None:
        """Reserve; call the model; settle, or give back what a call that failed had reserved."""
        if self.executed == "approval":
            await woken(flow)
        elif self.executed in ON_DEMAND:
            await topped_up(flow, looks=self.executed == "refill-anyway")
        elif await flow.apply("reserve") == RESERVED:
            await flow.effect("call")
            await flow.apply("release" if flow.attempt.args.get("fails") else "settle")

    def invariants(self) -> Sequence[Invariant]:
        """Not too many calls, no debt, nobody refused for nothing, and what is due comes once."""
        once = "in each window one refill comes, whoever finds it due"
        return [
            Invariant("no more calls than credits", self.invariant, too_many_calls),
            Invariant("no debt", "the balance is never below nought", in_debt),
            Invariant("nobody refused for nothing", "as long as there is credit nobody is refused", refused),
            *([Invariant("one refill per window", once, refilled_twice)] if self.executed in ON_DEMAND else []),
        ]

    def disorder(self, evidence: Evidence) -> str:
        """Credits that are there twice, or nowhere."""
        return next(miscounted(evidence), "")

    def view(self, value: Any, now_ms: int) -> Any:
        """Balance and reservations; a user without a row has a refill to come."""
        return None if value is None else (value["credits"], sorted(value["held"]))


ON_DEMAND = ("auto-refill", "refill-anyway")
"""Rules by which a refill is added by whoever finds it due."""


async def topped_up(flow: Flow, *, looks: bool) -> None:
    """Refill, or look first whether that is due; then each would go on as under `reserve`."""
    if not looks or await flow.apply("check") == DUE:
        await flow.apply("refill")


async def woken(flow: Flow) -> None:
    """The click has come, and wakes all who waited for it: look, take it, and act. Who is too late would ask again."""
    if await flow.apply("look") == APPROVED and await flow.apply("reserve") == RESERVED:
        await flow.effect("act")


def asked(evidence: Evidence, key: str) -> bool:
    """Whether it is about an approval, for which somebody looks."""
    return any(one.request.operation == "look" and one.request.key == key for one in evidence.operations)


def granted(evidence: Evidence, key: str) -> int:
    """Credits that refills can have brought in that time; of a click it is one."""
    if asked(evidence, key):
        return CLICKED["credits"]
    instants = [one.now_ms for one in evidence.operations if one.now_ms] or [0]
    return REFILL * (1 + (max(instants) - min(instants)) // REFILLS_EVERY_MS)


def too_many_calls(evidence: Evidence) -> Iterator[Breach]:
    """Count the calls that are to be paid for: not those that failed, and were given back."""
    failed = {one.request.attempt for one in evidence.operations if one.request.operation == "release"}
    for key in evidence.keys:
        calls = tuple(one.attempt for one in evidence.effects if key in one.keys and one.attempt not in failed)
        credit = granted(evidence, key)
        if len(calls) > credit:
            says = f"the model was called {len(calls)} times for {counted(credit, 'credit')}"
            if asked(evidence, key):
                says = f"{len(calls)} acted on {counted(credit, 'approval')}"
            yield Breach(says, calls, len(calls) - credit)


def counted(number: int, what: str) -> str:
    """So many of them, in words."""
    return f"{number} {what}{'s' * (number != 1)}"


def miscounted(evidence: Evidence) -> Iterator[str]:
    """Add up what has been settled, what is still reserved and what is left, and compare it with what there was."""
    for key in evidence.keys:
        there = granted(evidence, key)
        account = (evidence.rest or {}).get(key) or {**NEW, "credits": there}
        ended = [one for one in evidence.operations if one.request.operation == "settle" and one.request.key == key]
        settled, unknown = sum(one.reply == SETTLED for one in ended), sum(one.reply is None for one in ended)
        held = len(account["held"])
        known = settled + held + account["credits"]
        if known > there or known + unknown < there:
            parts = f"{settled} settled, {held} reserved, {account['credits']} left"
            what = counted(there, "approval" if asked(evidence, key) else "credit")
            yield f"there {'was' if there == 1 else 'were'} {what}, and now: {parts}"


def in_debt(evidence: Evidence) -> Iterator[Breach]:
    """Look at the balance in the end."""
    for account in (evidence.rest or {}).values():
        if account is not None and account["credits"] < 0:
            yield Breach(f"the balance is {account['credits']}", amount=-account["credits"])


def refilled_twice(evidence: Evidence) -> Iterator[Breach]:
    """Count the refills, and the windows that can have begun in that time."""
    for key in evidence.keys:
        done = [one for one in evidence.operations if one.reply == REFILLED and one.request.key == key]
        instants = [one.now_ms for one in done if one.now_ms] or [0]
        windows = 1 + (max(instants) - min(instants)) // REFILLS_EVERY_MS
        if len(done) > windows:
            says = f"{len(done)} refills came in {counted(windows, 'window')}"
            yield Breach(says, tuple(one.request.id for one in done), len(done) - windows)


def refused(evidence: Evidence) -> Iterator[Breach]:
    """Nobody is refused before the credits are gone, unless nobody knows what became of a reservation."""
    for key in evidence.keys:
        asked = [one for one in evidence.operations if one.request.operation == "reserve" and one.request.key == key]
        turned_away = tuple(one.request.id for one in asked if one.reply == REFUSED)
        possible = sum(1 for one in asked if one.reply == RESERVED or one.status == "unknown")
        if turned_away and possible < REFILL:
            yield Breach(f"{len(turned_away)} were refused although there was credit", turned_away, len(turned_away))
