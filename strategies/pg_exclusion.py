"""INSERT against an exclusion constraint: PostgreSQL refuses a row that overlaps another (23P01).

A unique index knows "equal", an exclusion constraint also "overlaps": bookings of one host,
prices of one article, tenants of one flat. It holds for every writer, whatever code it runs,
and 23P01 is its way to say that somebody else was first.

Each puts its row into the index and then looks for others. Several that do so at once all
wait for one another, until PostgreSQL notices after a second (deadlock_timeout) and ends one
with 40P01, which then tries again: with eight at once some wait for longer than five seconds.
With ON CONFLICT DO NOTHING one of two gives way at once, and learns from the row count that
it came too late.
"""

from dataclasses import replace
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

OVERLAPS = "23P01"


class PgExclusion(Strategy):
    """The constraint decides."""

    name = "pg-exclusion"
    family = "a constraint of the database"
    form = "exclusion"
    rules_for = "where nothing may overlap"
    summary = "INSERT against an exclusion constraint; 23P01 is a refusal"
    stops_helping = (
        "a rule that adds up or counts; many at once deadlock, a second each, unless with ON CONFLICT DO NOTHING"
    )
    needs = {"postgres": "14"}
    variants = {
        "do-nothing": "with ON CONFLICT DO NOTHING, whose row count decides (safe)",
        "ignore-error": "23P01 is swallowed, and the caller told that all went well",
        "no-retry": "callers are shown 40P01: of those that insert at once and wait for each other one is ended",
    }

    def __init__(self, scenario: Scenario, variant: str = "") -> None:
        """Bind to a scenario; one variant changes what is inserted with."""
        super().__init__(scenario, variant)
        if variant == "do-nothing":
            self.forms = {operation: giving_way(form) for operation, form in self.forms.items()}

    def claims(self, conditions: Conditions) -> Claim:
        """Holds, as long as the refusal is taken for one."""
        if self.variant == "ignore-error":
            return Claim("breaks", self.variants[self.variant])
        if self.variant == "no-retry":
            return Claim("holds", "what is ended has inserted nothing", errors=("40P01",))
        return Claim("holds", "no two rows that overlap are let in, whoever writes them")

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Run the statement; what the constraint refuses has changed no row."""
        form = self.native(request.operation)
        async for _ in session.retries():
            now_ms = await session.now_ms()
            try:
                rows = await session.sql(form.statement, *form.args(request, now_ms))
            except StatementRefused as refused:
                if refused.retryable and self.variant != "no-retry":
                    continue
                if refused.code != OVERLAPS:
                    raise
                rows = Rows((), 1 if self.variant == "ignore-error" else 0)
            reply: Reply = form.reply(rows, request)
            return reply
        return ABORTED


def giving_way(form: Any) -> Any:
    """The same INSERT, which does nothing where the constraint would refuse it."""
    inserts = form.statement.lstrip().upper().startswith("INSERT")
    return replace(form, statement=f"{form.statement} ON CONFLICT DO NOTHING") if inserts else form
