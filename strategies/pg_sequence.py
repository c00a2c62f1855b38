"""nextval() in the INSERT that needs a number: a sequence gives each of them once, and makes nobody wait.

What it has given is given: a number is not taken back where its transaction is rolled back, or
its caller dies. No number comes twice, and some never come. Where gaps are
forbidden, as for invoices, a row that all write does what a sequence cannot, and they queue
up for it.
"""

from harness import Claim, Conditions, Reply, Request, Rule, Session, Strategy


class PgSequence(Strategy):
    """A sequence counts."""

    name = "pg-sequence"
    family = "a constraint of the database"
    form = "sequence"
    rules_for = "that number things"
    summary = "nextval() in the INSERT that needs a number"
    stops_helping = "where no number may be left out: what is rolled back, or dies, has used one up"
    needs = {"postgres": "14"}

    def claims(self, conditions: Conditions) -> Claim:
        """Holds while everybody who has drawn a number uses it."""
        reason = "a sequence gives each number once, and takes none back"
        return Claim("holds", reason, breaks_under=("crash", "lost-reply"))

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Run the statement; its row is the decision."""
        form = self.native(request.operation)
        now_ms = await session.now_ms()
        reply: Reply = form.reply(await session.sql(form.statement, *form.args(request, now_ms)), request)
        return reply
