"""The rule as a function in the database, which every caller calls: it locks the row, looks, decides, writes.

The rule lives in one place, whatever language its callers speak, and one round trip does. But to
run inside the server is not to run alone: a function is a transaction's statements like any other,
and of two that read the same row before either writes, both decide on it. It needs the lock that
it would need outside. And who may write to the table directly goes around it.
"""

from harness import Claim, Conditions, Reply, Request, Rule, Scenario, Session, Strategy


class PgProcedure(Strategy):
    """A function that locks."""

    name = "pg-procedure"
    family = "the rule inside the store"
    form = "procedure"
    summary = "a function in the database: SELECT ... FOR UPDATE, decide, UPDATE"
    stops_helping = "without the lock: to run inside is not to run alone; a writer who goes around it"
    needs = {"postgres": "14"}
    variants = {"no-lock": "the function reads without FOR UPDATE"}

    def __init__(self, scenario: Scenario, variant: str = "") -> None:
        """Bind to a scenario; the variant calls other functions."""
        if variant:
            self.form = "procedure-unlocked"
        super().__init__(scenario, variant)

    def claims(self, conditions: Conditions) -> Claim:
        """Holds; not without the lock."""
        if self.variant:
            return Claim("breaks", "inside the server, too, two read before either writes")
        return Claim("holds", "the function locks the row before it reads, until COMMIT")

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Call the function; what it gives is the decision."""
        form = self.native(request.operation)
        now_ms = await session.now_ms()
        reply: Reply = form.reply(await session.sql(form.statement, *form.args(request, now_ms)), request)
        return reply
