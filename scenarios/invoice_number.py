"""Invoices are numbered without gaps or doubles; two are issued at once.

"What is the highest number so far?" is asked of rows that are not written: both callers see
the same highest, both insert the next one. It makes no difference whether that is one
statement. What helps is one row that all write (a counter), or an index that lets each
number in once. A sequence never gives a number twice, and does not take one back either: an
invoice that fails after its number was drawn leaves a gap.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
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
    Scenario,
    ScriptForm,
    Signature,
    State,
    StatementForm,
    procedure_forms,
    procedure_layouts,
)

REFUSED = Reply("refused")


def issued(number: int) -> Reply:
    """What is told of an invoice."""
    return Reply("issued", {"number": number})


# In Redis an account is the JSON of its invoices, id to number.

ISSUE = """
local invoices, last = cjson.decode(redis.call('GET', KEYS[1])), 0
if tonumber(ARGV[2]) <= 0 then return 0 end
for _, number in pairs(invoices) do last = math.max(last, number) end
invoices[ARGV[1]] = last + 1
redis.call('SET', KEYS[1], cjson.encode(invoices))
return last + 1
"""

# In PostgreSQL an invoice is a row. One statement looks for the highest number and inserts; others do so meanwhile.

ISSUE_ROW = """
INSERT INTO invoices (key, member, number)
SELECT $1::text, $2::text, coalesce((SELECT max(number) FROM invoices WHERE key = $1), 0) + 1 WHERE $3::int > 0
RETURNING number
"""
ISSUE_UNIQUE = """
INSERT INTO unique_invoices (key, member, number)
SELECT $1::text, $2::text, coalesce((SELECT max(number) FROM unique_invoices WHERE key = $1), 0) + 1 WHERE $3::int > 0
ON CONFLICT (key, number) DO NOTHING RETURNING number
"""

# With a counter in the account's own row there is a row that all write.

ISSUE_COUNTED = """
WITH account AS (
    UPDATE counted_accounts SET last = last + 1 WHERE key = $1 AND $3::int > 0 RETURNING key, last
)
INSERT INTO counted_invoices (key, member, number) SELECT key, $2::text, last FROM account RETURNING number
"""

# A sequence for each account; its number is gone, whatever becomes of the invoice.

SEQUENCES = """
DO $$DECLARE account text; BEGIN
    FOREACH account IN ARRAY ARRAY[%s] LOOP EXECUTE format('CREATE SEQUENCE %%I', 'number of ' || account); END LOOP;
END$$
"""
AT_ONCE = 500
"""Sequences made in one transaction, which holds a lock on each."""
ISSUE_SEQUENCE = """
INSERT INTO sequenced_invoices (key, member, number)
SELECT $1::text, $2::text, nextval('"number of ' || $1 || '"') WHERE $3::int > 0 RETURNING number
"""

NO_ROW = "no invoice yet, no row: FOR UPDATE locks nothing"
SKEW = "each inserts a row that the other did not see"
SNAPSHOT = "the highest number is older than the lock"
LOCKS = "the function locks before it reads, until COMMIT; who asks again is refused by the key (23505)"


def arguments(request: Request, _now_ms: int) -> tuple[Any, ...]:
    """Of a script."""
    return (request.id, request.args["amount"])


def row_arguments(request: Request, _now_ms: int) -> tuple[Any, ...]:
    """Of a statement."""
    return (request.key, request.id, request.args["amount"])


def numbered(number: Any, _request: Request) -> Reply:
    """Read the number; 0 for none."""
    return issued(number) if number else REFUSED


def row_numbered(rows: Rows, request: Request) -> Reply:
    """Read the number of the row, or that a function gave, if there is one."""
    return issued(rows.rows[0][0]) if rows.rows and rows.rows[0][0] else REFUSED


def row_unique(rows: Rows, request: Request) -> Reply | None:
    """Read the number of the row; where there is none although there should be, somebody else has taken it."""
    return None if request.args["amount"] > 0 and not rows.rows else row_numbered(rows, request)


class SequencedLayout(ChildRowLayout):
    """With a sequence beside each account's row."""

    async def seed(self, sql: Callable[..., Awaitable[Rows]], keys: Sequence[str], value: Any) -> None:
        """Rows, then sequences, which begin with 1."""
        await ChildRowLayout.seed(self, sql, keys, value)
        for begin in range(0, len(keys), AT_ONCE):
            names = ", ".join(f"'{key}'" for key in keys[begin : begin + AT_ONCE])
            await sql(SEQUENCES % names)


class InvoiceNumber(Scenario):
    """One, two, three, and none twice."""

    name = "invoice-number"
    summary = "two invoices of one account are issued at once; numbers without gaps or doubles"
    goes_wrong = "a number is given twice, or never"
    symptoms = {
        "two invoices with one number": "--strategy pg-conditional",
        "a gap in the invoice numbers": "--strategy pg-sequence --faults crash",
    }
    invariant = "the numbers of an account are 1, 2, 3 ... without gaps or doubles"
    initial_value: Any = {}
    operations = {"issue": Signature({"amount": int}, {"number": int}, "issued", ("issued", "refused"))}
    rows = ChildRowLayout(
        "accounts",
        "invoices",
        split=lambda invoices: ((), {name: (number,) for name, number in invoices.items()}),
        join=lambda _account, invoices: {name: number for name, (number,) in invoices.items()},
        columns={"number": "int"},
    )
    layouts = {
        "unique": replace(
            rows, parent="unique_accounts", children="unique_invoices", constraint="UNIQUE (key, number)"
        ),
        "sequence": SequencedLayout(
            "sequenced_accounts", "sequenced_invoices", split=rows.split, join=rows.join, columns=rows.columns
        ),
        "total": replace(
            rows,
            parent="counted_accounts",
            children="counted_invoices",
            parent_columns={"last": "int"},
            split=lambda invoices: (
                (max(invoices.values(), default=0),),
                {name: (number,) for name, number in invoices.items()},
            ),
        ),
        **procedure_layouts(rows, __file__),
    }
    forms = {
        "command": NotExpressible("the number and its invoice are two writes"),
        "multi": NotExpressible("it looks for the last number before it gives the next"),
        "exclusion": NotExpressible("numbers do not overlap: a unique index will do"),
        "lua": {"issue": ScriptForm(ISSUE, arguments, numbered)},
        "sql": {"issue": StatementForm(ISSUE_ROW, row_arguments, row_numbered)},
        "unique": {"issue": StatementForm(ISSUE_UNIQUE, row_arguments, row_unique)},
        "sequence": {"issue": StatementForm(ISSUE_SEQUENCE, row_arguments, row_numbered)},
        "total": {"issue": StatementForm(ISSUE_COUNTED, row_arguments, row_numbered)},
        **procedure_forms(
            issue=StatementForm("SELECT issue_invoice($1, $2, $3::bigint)", row_arguments, row_numbered),
        ),
    }
    claims = {
        "pg-conditional": Claim("breaks", "one statement looks and inserts, and others come in between"),
        "pg-for-update": Claim("breaks", NO_ROW),
        "pg-for-update:others": Claim("breaks", NO_ROW),
        "pg-version": Claim("breaks", "a row that is not there has no version"),
        "pg-repeatable-read": Claim("breaks", SKEW),
        "pg-repeatable-read:no-retry": Claim("breaks", SKEW),
        "pg-advisory:repeatable-read": Claim("breaks", SNAPSHOT),
        "pg-procedure": Claim("holds", LOCKS),
        "pg-unique:ignore-count": Claim("not-applicable", "no statement of this rule decides by its row count"),
    }

    refused_again = {"pg-procedure": "23505", "pg-procedure:revoked": "23505", "pg-unique": "aborted"}

    def rule(self, state: State, request: Request, now_ms: int) -> Outcome:
        """The next number, unless there is nothing to pay."""
        if request.args["amount"] <= 0:
            return Outcome({}, REFUSED)
        invoices = state[request.key]
        number = max(invoices.values(), default=0) + 1
        return Outcome({request.key: {**invoices, request.id: number}}, issued(number))

    def burst(self, rng: Random, size: int) -> Sequence[Request]:
        """Two invoices, then some of which there is nothing to pay; alone, anything."""
        both = [issue(10)] * 2 if size > 1 else []
        return [*both, *(issue(rng.choice((10, 10, 0))) for _ in range(size - len(both)))]

    def invariants(self) -> Sequence[Invariant]:
        """No doubles, no gaps."""
        return [
            Invariant("no number twice", "no two invoices of an account have the same number", doubles),
            Invariant("no gap", "no number of an account is left out", gaps),
        ]


def issue(amount: int) -> Request:
    """An invoice over an amount."""
    return Request("issue", ("account",), {"amount": amount})


def doubles(evidence: Evidence) -> Iterator[Breach]:
    """Count the numbers of each account at rest."""
    for invoices in (evidence.rest or {}).values():
        for number, times in sorted(Counter(invoices.values()).items()):
            if times > 1:
                names = tuple(name for name, other in invoices.items() if other == number)
                yield Breach(f"{times} invoices have the number {number}", names, times - 1)


def gaps(evidence: Evidence) -> Iterator[Breach]:
    """Look for what is missing in each account at rest."""
    for invoices in (evidence.rest or {}).values():
        missing = sorted({*range(1, max(invoices.values(), default=0))} - {*invoices.values()})
        if missing:
            yield Breach(f"there is no invoice {', '.join(map(str, missing))}", amount=len(missing))
