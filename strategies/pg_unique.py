"""INSERT into a table with a unique index; whether there is a new row is the decision.

Of several that insert the same claim one gets its row, also where nothing was there before,
which is where row locks find nothing to lock. The others wait for that one to end, and then
learn from the row count, or from 23505, that they came too late. The index alone decides
nothing: ON CONFLICT DO NOTHING whose count nobody looks at lets everybody in.

Where something is to be done for what is recorded, credits granted for an invoice, say, the record comes first, and
the rest only where it was new. A record that is there once says nothing of how often the rest was done.

A foreign key is a constraint, too: a row that refers to another one locks it until COMMIT, so that whoever deletes that
one waits, and takes along what refers to it; and whoever comes after is refused, 23503. A look at whether the other row
is there locks nothing.
"""

from typing import Any

from harness import (
    ABORTED,
    Claim,
    Conditions,
    Reply,
    Request,
    Rows,
    Rule,
    Scenario,
    Session,
    StatementRefused,
    Strategy,
)

TAKEN = "23505"
MISSING = "23503"
GONE = Rows((), -1)
"""What is told of a row that refers to one which is not there."""


class PgUnique(Strategy):
    """A claim by unique insert."""

    name = "pg-unique"
    family = "a constraint of the database"
    form = "unique"
    summary = "INSERT against a unique index; the new row is the claim"
    stops_helping = "a rule that claims nothing; a row count that nobody looks at"
    needs = {"postgres": "14"}
    variants = {
        "ignore-count": "nobody looks at whether there is a new row",
        "record-first": "ON CONFLICT DO NOTHING records it, and what is due for it is done if the record is new (safe)",
        "foreign-key": "a row for each member, which refers to that of the team: what is not there is refused (safe)",
        "no-foreign-key": "a row for each member, inserted where the team's was seen, and nothing that ties the two",
        "record-ignored": "ON CONFLICT DO NOTHING records it, and what is due for it is done, new or not",
    }

    def __init__(self, scenario: Scenario, variant: str = "") -> None:
        """Bind to a scenario; with a record beside the state the statements are others, and so are the tables."""
        if variant.startswith("record"):
            self.form, self.rules_for = variant, "that keep a record of what they have done"
        elif variant.endswith("foreign-key"):
            self.form, self.rules_for = variant, "about rows that refer to another one"
        super().__init__(scenario, variant)

    def claims(self, conditions: Conditions) -> Claim:
        """Holds; not without a look at the row count."""
        if not self.variant:
            return Claim("holds", "of one claim there is one row")
        if self.variant == "record-first":
            return Claim("holds", "of those that record it one gets a row, and does what is due")
        if self.variant == "foreign-key":
            return Claim("holds", "who refers to a row keeps it, or is refused")
        if self.variant == "no-foreign-key":
            return Claim("breaks", "the row was seen, and nothing keeps it")
        if self.variant == "record-ignored":
            return Claim("breaks", "there is one record, and what was due for it is done again")
        forms: Any = self.scenario.forms["unique"]
        if not any(form.counts for form in forms.values()):
            return Claim("not-applicable", "no statement of this rule decides by its row count")
        return Claim("breaks", self.variants[self.variant])

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Run the statement; its rows and row count are the decision, or say that another try is needed."""
        form = self.native(request.operation)
        async for _ in session.retries():
            now_ms = await session.now_ms()
            try:
                rows = await session.sql(form.statement, *form.args(request, now_ms))
            except StatementRefused as refused:
                if refused.code not in {TAKEN, MISSING}:
                    raise
                rows = GONE if refused.code == MISSING else Rows((), 0)
            if self.variant == "ignore-count":
                rows = Rows(rows.rows, 1)
            reply: Reply | None = form.reply(rows, request)
            if reply is not None:
                return reply
        return ABORTED
