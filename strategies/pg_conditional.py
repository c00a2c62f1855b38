"""One UPDATE of one row whose WHERE clause is the check; the row count is the decision.

An UPDATE that had to wait for another's looks at its WHERE clause again on the new row, so
that of two only one finds the old state still there. One statement, no transaction of one's
own. The rule must fit into SQL and into one row, and the count must be looked at. A
statement that counts or adds up rows and writes another one does not look again: there the
row above them has to carry the total.
"""

from typing import Any

from harness import Claim, Conditions, Reply, Request, Rows, Rule, Scenario, Session, Strategy


class PgConditional(Strategy):
    """The rule as one conditional UPDATE."""

    name = "pg-conditional"
    family = "one operation of the store"
    form = "sql"
    meets = "a lock of the row"
    summary = "one UPDATE ... WHERE the old state is still there; the row count decides"
    stops_helping = (
        "a count or sum over other rows, unless the row above them carries it; a row count that nobody looks at"
    )
    needs = {"postgres": "14"}
    variants = {
        "ignore-count": "nobody looks at how many rows were changed",
        "total": "the row above several carries their total, which the statement checks and writes (safe)",
    }

    def __init__(self, scenario: Scenario, variant: str = "") -> None:
        """Bind to a scenario; with a total the statements are others, and so are the tables."""
        if variant == "total":
            self.form, self.rules_for = "total", "about the total of several rows"
        super().__init__(scenario, variant)

    def claims(self, conditions: Conditions) -> Claim:
        """Holds; not without a look at the row count."""
        if self.variant == "total":
            return Claim("holds", "an UPDATE that waited checks the total again")
        if not self.variant:
            return Claim("holds", "an UPDATE that waited checks its WHERE clause again")
        forms: Any = self.scenario.forms["sql"]
        if not any(form.counts for form in forms.values()):
            return Claim("not-applicable", "no statement of this rule decides by its row count")
        return Claim("breaks", "the row count is the decision, and nobody looks at it")

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Run the statement; its rows and row count are the decision."""
        form = self.native(request.operation)
        now_ms = await session.now_ms()
        rows = await session.sql(form.statement, *form.args(request, now_ms))
        if self.variant == "ignore-count":
            rows = Rows(rows.rows, 1)
        reply: Reply = form.reply(rows, request)
        return reply
