"""One account, and six who write to it: the HTTP API, a webhook, a worker, cron, an admin and an agent.

Nothing is taken from an account that is frozen, and no more than there is: five of the six know both clauses, and
cron's copy lacks one. All of them lock the row, no two ever overlap, and the account is wrong. A lock keeps writers
apart. It does not make them agree, and it cannot stop one who does not ask.

So count the places where the rule lives. Six copies hold as long as all six are right. One method that all call is
the everyday fix, and holds as long as nobody writes around it. What holds against that is an owner: a function in the
database with the rights to the table revoked from everybody else, or a process that alone has the credentials.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any, Self

from harness import (
    ORDER,
    RULE,
    Breach,
    Claim,
    Column,
    Evidence,
    Forms,
    Invariant,
    Line,
    NotExpressible,
    Outcome,
    Reply,
    Request,
    RowLayout,
    Rows,
    Rule,
    Scenario,
    ScriptForm,
    Seen,
    Signature,
    State,
    StatementForm,
    Table,
    ValueLayout,
    procedure_forms,
    procedure_layouts,
)

WRITERS = ("http", "webhook", "worker", "cron", "admin", "agent")
OPENED = 100
AMOUNT = 60
"""Enough for one of two."""

REFUSED = Reply("refused")
Clause = Callable[[Mapping[str, Any], Request], bool]


def taken(left: int) -> Reply:
    """Done, with so much left."""
    return Reply("taken", {"left": left})


# The rule, clause by clause: whether it allows that something is taken.


def not_from_frozen(account: Mapping[str, Any], _request: Request) -> bool:
    """Nothing is taken from an account that is frozen."""
    return not account["frozen"]


def not_more_than_there_is(account: Mapping[str, Any], request: Request) -> bool:
    """No more is taken than there is."""
    return bool(account["balance"] >= request.args["amount"])


CLAUSES = (not_from_frozen, not_more_than_there_is)


def ruled_by(*clauses: Clause) -> Rule:
    """The rule as somebody has it who knows of these clauses."""

    def rule(state: State, request: Request, now_ms: int) -> Outcome:
        account = state[request.key]
        if request.operation == "freeze":
            return Outcome({request.key: {**account, "frozen": True}}, Reply("done", {"left": account["balance"]}))
        if not all(clause(account, request) for clause in clauses):
            return Outcome({}, REFUSED)
        left = account["balance"] - request.args["amount"]
        return Outcome({request.key: {**account, "balance": left}}, taken(left))

    return rule


the_method = ruled_by(*CLAUSES)
KNOWN: Mapping[str, Mapping[str, Sequence[Clause]]] = {
    "copies": dict.fromkeys(WRITERS, CLAUSES),
    "cron-forgets": {**dict.fromkeys(WRITERS, CLAUSES), "cron": (not_more_than_there_is,)},
    "method": {},
    "bypass": {"admin": ()},
}
"""The clauses that a writer has in a copy of its own, by rule; who has none calls the one method."""
UNHEEDED = {"cron-forgets": "cron", "bypass": "admin"}
"""Whose copy is not the whole rule."""
WHY = {
    "cron-forgets": "in order, and wrong: cron does not know of frozen accounts",
    "bypass": "in order, and wrong: admin writes without asking the rule",
}

OWNERS = ("actor", "actor:credentials", "actors", "actors:resumed-unfenced")
SAME = "one owner decides one message at a time; what a dead one sent last writes what its successor has written"


def places(rule: str) -> int:
    """In how many places the rule lives, where callers enforce it."""
    copies = KNOWN[rule]
    return sum(len(known) == len(CLAUSES) for known in copies.values()) or 1


# In Redis an account is a number, and a letter behind it where it is frozen.


def encode(account: Mapping[str, Any]) -> str:
    """`40`, or `40 f`."""
    return f"{account['balance']}{' f' * account['frozen']}"


def decode(raw: str) -> dict[str, Any]:
    """The account of that word."""
    balance, _, frozen = raw.partition(" ")
    return {"balance": int(balance), "frozen": frozen == "f"}


LUA_HEAD = """
local account = redis.call('GET', KEYS[1])
local balance, frozen = tonumber(string.match(account, '^-?%d+')), string.find(account, 'f') ~= nil
local function save()
  redis.call('SET', KEYS[1], string.format('%.0f', balance) .. (frozen and ' f' or ''))
  return balance
end
"""
LUA_FREEZE = f"{LUA_HEAD} frozen = true return save()"
LUA_TAKE = f"""{LUA_HEAD}
if frozen and ARGV[2] == '1' then return false end
if balance < tonumber(ARGV[1]) and ARGV[3] == '1' then return false end
balance = balance - ARGV[1]
return save()
"""

# In PostgreSQL it is a row of two columns.

SQL = {
    "freeze": "UPDATE shared_accounts SET frozen = true WHERE key = $1 RETURNING balance",
    "take": """
UPDATE shared_accounts SET balance = balance - $2::bigint
WHERE key = $1 AND NOT (frozen AND $3::boolean) AND NOT (balance < $2::bigint AND $4::boolean) RETURNING balance
""",
}


def told(left: int | None, request: Request) -> Reply:
    """What a form's answer means: what is left, or None where nothing was taken."""
    if left is None:
        return REFUSED
    return Reply("done", {"left": left}) if request.operation == "freeze" else taken(left)


def row_told(rows: Rows, request: Request) -> Reply:
    """The same of a row, or of none."""
    return told(rows.rows[0][0] if rows.rows else None, request)


def scripts(heeds: Callable[[Request], Sequence[bool]]) -> Forms:
    """The scripts of the rule, in which the caller says which clauses it knows of."""
    return {
        "take": ScriptForm(LUA_TAKE, lambda request, _now: (request.args["amount"], *map(int, heeds(request))), told),
        "freeze": ScriptForm(LUA_FREEZE, lambda _request, _now: (), told),
    }


def statements(heeds: Callable[[Request], Sequence[bool]]) -> Forms:
    """The statements of the rule, likewise."""
    return {
        "take": StatementForm(
            SQL["take"],
            lambda request, _now: (request.key, request.args["amount"], *heeds(request)),
            row_told,
        ),
        "freeze": StatementForm(SQL["freeze"], lambda request, _now: (request.key,), row_told),
    }


CALLS = {
    "take": StatementForm(
        "SELECT take_from_account($1, $2::bigint)",
        lambda request, _now: (request.key, request.args["amount"]),
        row_told,
    ),
    "freeze": StatementForm("SELECT freeze_account($1)", lambda request, _now: (request.key,), row_told),
}
"""Calls of the functions, which know the whole rule."""


def forms_of(rule: str) -> dict[str, Forms | NotExpressible]:
    """The native forms of a rule: what callers send is their copy, what the store keeps is the whole."""

    def heeds(request: Request) -> Sequence[bool]:
        known = KNOWN[rule].get(request.role, CLAUSES)
        return [clause in known for clause in CLAUSES]

    return {
        "command": NotExpressible("it must look at the account before it takes from it"),
        "multi": NotExpressible("it must look at the account before it takes from it"),
        "unique": NotExpressible("an amount is taken: there is nothing to claim"),
        "lua": scripts(heeds),
        "function": scripts(lambda _request: [True, True]),
        "sql": statements(heeds),
        **procedure_forms(**CALLS),
    }


# Its tables: who has the rule, and what an owner is good for.


def lives_in(seen: Seen, _load: str) -> str:
    """In how many places the whole rule is."""
    number = places(seen.line.rule)
    return f"{number} place{'s' * (number != 1)}"


def bypassed(seen: Seen, _load: str) -> str:
    """Whether who has not the whole rule may write all the same; what the store told who tried."""
    return f"no: {', '.join(seen.refused)}" if seen.refused else "yes"


def refused(seen: Seen, _load: str) -> str:
    """Whether who wrote around the owner was refused."""
    if seen.line.rule not in UNHEEDED:
        return "nobody tries"
    return f"yes: {', '.join(seen.refused)}" if seen.refused else "no"


def p99_of_others(load: str) -> Column:
    """How long the other keys' requests took, in milliseconds."""

    def says(seen: Seen, _load: str) -> str:
        p99_ms = seen.figures[load].others_p99_ms
        return "-" if p99_ms is None else f"{p99_ms:.1f}"

    return Column(("others' p99", load), says)


ADMIN_PG = "admin=pg-read-committed"
SLOW_MS = 20
CALLERS = {"connections": 8, "keys": 8}
ALIKE, ONE_SLOW = "ms, alike", "ms, one slow"
TABLES = {
    "writers": Table(
        "where the rule lives, and who gets around it",
        "Locks keep writers apart. They do not make them agree, and they do not stop one who does not ask: count the"
        " places where the whole rule lives, and ask who can write without it.",
        (
            Line("six complete copies, behind locks", "pg-for-update", "copies"),
            Line("six copies, one clause missing in cron's", "pg-for-update", "cron-forgets"),
            Line("one shared method that all call", "pg-for-update", "method"),
            Line("that; admin locks, and does not ask", "pg-for-update", "bypass"),
            Line("that; admin goes around it", f"{ADMIN_PG},*=pg-for-update", "bypass"),
            Line("in the database; admin goes around it", f"{ADMIN_PG},*=pg-procedure", "bypass"),
            Line("in the database, behind REVOKE; admin tries", f"{ADMIN_PG},*=pg-procedure:revoked", "bypass"),
            Line("in an owner with the only credentials; admin tries", "admin=naive,*=actor:credentials", "bypass"),
        ),
        (Column(("whole rule", "lives in"), lives_in), Column(("can it be", "bypassed"), bypassed), ORDER, RULE),
    ),
    "owners": Table(
        "an owner, and who writes around it",
        f"Others' p99 is that of requests for all other keys, where all are alike and where decisions about one take"
        f" {SLOW_MS} ms longer. An owner that takes one request after the other makes every key wait for the slow one;"
        " a queue with one consumer is an owner as well, and as easily gone around.",
        (
            Line("locks, for comparison", "redis-lock", "method"),
            Line("queue", "queue", "method"),
            Line("queue, and an admin who writes directly", "admin=naive,*=queue", "bypass"),
            Line("queue that alone has the credentials; that admin", "admin=naive,*=queue:credentials", "bypass"),
            Line("queue in a table", "pg-queue", "method"),
            Line("actor", "actor", "method"),
            Line("actor for each key", "actors", "method"),
            Line("actor, and an admin who writes directly", "admin=naive,*=actor", "bypass"),
            Line("actor that alone has the credentials; that admin", "admin=naive,*=actor:credentials", "bypass"),
        ),
        (ORDER, RULE, Column(("bypass", "refused"), refused), p99_of_others(ALIKE), p99_of_others(ONE_SLOW)),
        {ALIKE: CALLERS, ONE_SLOW: {**CALLERS, "slow_ms": SLOW_MS}},
    ),
}


class SixWriters(Scenario):
    """Six who write to one account."""

    name = "six-writers"
    summary = "one account, written by HTTP API, webhook, worker, cron, admin and agent"
    goes_wrong = "order held, rule violated"
    symptoms = {
        "a frozen account was charged": "--strategy pg-for-update --rule cron-forgets",
        "somebody wrote around the rule": "--strategy lua --rule bypass",
    }
    invariant = "nothing is taken from a frozen account, and no more than there is"
    operations = {
        "take": Signature({"amount": int}, {"left": int}, "taken", ("taken", "refused")),
        "freeze": Signature({}, {"left": int}, "done", ("done",)),
    }
    roles = WRITERS
    rules = dict.fromkeys(KNOWN, the_method)
    tables = TABLES
    initial_value = {"balance": OPENED, "frozen": False}
    values = ValueLayout(encode, decode)
    rows = RowLayout(
        {"balance": "bigint", "frozen": "boolean"},
        lambda account: (account["balance"], account["frozen"]),
        lambda row: {"balance": row[0], "frozen": row[1]},
        "shared_accounts",
    )
    layouts = procedure_layouts(rows, __file__)
    forms = forms_of("copies")
    other_forms = {rule: forms_of(rule) for rule in KNOWN if rule != "copies"}

    def under(self, rule: str) -> Self:
        """Who remembers what depends on the rule; and beside a bypass all take, and take the same."""
        if rule == "bypass":
            self.claims = dict.fromkeys(OWNERS, Claim("holds", SAME))
        self.duties = {role: ruled_by(*known) for role, known in KNOWN[rule].items()}
        self.forgetful = {UNHEEDED[rule]: WHY[rule]} if rule in WHY else {}
        return super().under(rule)

    def burst(self, rng: Random, size: int) -> Sequence[Request]:
        """Several writers at once: one who has not the whole rule among them, where there is one."""
        others = [role for role in WRITERS if role != UNHEEDED.get(self.executed)]
        first = UNHEEDED.get(self.executed) or others.pop(rng.randrange(len(others)))
        roles = [first, *rng.choices(others, k=size - 1)]
        if size == 1:  # nobody to meet, and much to do
            return [Request("take", ("account",), {"amount": 1}, role=rng.choice(WRITERS))]
        asked = [Request("take", ("account",), {"amount": AMOUNT}, role=role) for role in roles]
        if self.executed == "cron-forgets" or (self.executed != "bypass" and rng.random() < 0.5):
            asked[1] = Request("freeze", ("account",), role="admin")
        return asked

    def invariants(self) -> Sequence[Invariant]:
        """The two clauses, as the account and its owner see them."""
        frozen, covered = "nothing is taken from an account that is frozen", "no more is taken than there is"
        return [
            Invariant("frozen is frozen", frozen, taken_from_frozen),
            Invariant("never overdrawn", covered, overdrawn),
        ]


def by_account(evidence: Evidence) -> Iterator[tuple[str, list[Any]]]:
    """Each account with what was answered there."""
    for key in evidence.keys:
        yield key, [one for one in evidence.operations if one.request.key == key and one.reply is not None]


def taken_from_frozen(evidence: Evidence) -> Iterator[Breach]:
    """Whoever was told of less than the freeze found there came after it: every taking leaves less."""
    for key, answered in by_account(evidence):
        froze = [one for one in answered if one.request.operation == "freeze" and one.reply.decision == "done"]
        found = [one.reply.values["left"] for one in froze]
        if not found:
            continue
        for one in answered:
            if one.reply.decision == "taken" and one.reply.values["left"] < min(found):
                says = f"{who(one)} took {one.request.args['amount']} from an account that was frozen"
                yield Breach(says, (one.request.id,), one.request.args["amount"])
        if evidence.rest is not None and evidence.rest[key] is not None and not evidence.rest[key]["frozen"]:
            yield Breach("an account that was frozen is not frozen any more")


def overdrawn(evidence: Evidence) -> Iterator[Breach]:
    """Who was told of less than nought went too far; else all of them together, each of whom was told of enough."""
    for key, answered in by_account(evidence):
        takings = [one for one in answered if one.reply.decision == "taken"]
        too_far = [one for one in takings if one.reply.values["left"] < 0]
        for one in too_far:
            says = f"{who(one)} took {one.request.args['amount']} and left {one.reply.values['left']}"
            yield Breach(says, (one.request.id,), -one.reply.values["left"])
        opened, total = evidence.initial[key]["balance"], sum(one.request.args["amount"] for one in takings)
        if total > opened and not too_far:
            roles = " and ".join(dict.fromkeys(map(who, takings)))
            ids = tuple(one.request.id for one in takings)
            yield Breach(f"{roles} took {total} of {opened}", ids, total - opened)


def who(operation: Any) -> str:
    """The writer."""
    return operation.request.role or "somebody"
