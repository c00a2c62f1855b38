"""UPDATE of the first row that nobody else has locked: FOR UPDATE SKIP LOCKED in the statement that looks for it.

For rules that do not mind which one: a job, a seat, a worker's next message. Whoever comes
second does not wait for the first one's row but takes the next. The lock is what tells them
apart, so it must be taken by the look and held until the row is written: all in one statement.

What is skipped is only locked, and its holder may yet roll back or die. "There is none" then
was said of a row that is free after all: an answer to ask again on, not one to end on.
"""

from dataclasses import replace

from harness import Claim, Conditions, Reply, Request, Rule, Scenario, Session, StatementForm, Strategy

SKIP = " SKIP LOCKED"
LOCK = " FOR UPDATE"


class PgSkipLocked(Strategy):
    """Any row that nobody has locked."""

    name = "pg-skip-locked"
    family = "one operation of the store"
    form = "skip-locked"
    rules_for = "that take any one of several rows"
    summary = "UPDATE of the first row that nobody has locked: FOR UPDATE SKIP LOCKED"
    stops_helping = 'a rule about all rows; "there is none" may be said of a row whose holder then dies'
    needs = {"postgres": "14"}
    variants = {
        "wait": "without SKIP LOCKED: each waits for the one before it (safe)",
        "no-lock": "the row is looked for without a lock",
    }

    def __init__(self, scenario: Scenario, variant: str = "") -> None:
        """Bind to a scenario; a variant leaves a part of the lock out."""
        super().__init__(scenario, variant)
        left_out = {"wait": SKIP, "no-lock": LOCK + SKIP}.get(variant, "")
        self.forms = {
            operation: replace(form, statement=form.statement.replace(left_out, ""))
            for operation, form in self.forms.items()
            if isinstance(form, StatementForm)
        }

    def claims(self, conditions: Conditions) -> Claim:
        """Holds, as long as whoever looks for a row has it."""
        if self.variant == "no-lock":
            return Claim("breaks", self.variants[self.variant])
        if self.variant == "wait":
            return Claim("holds", "who has waited looks again, and takes the next")
        return Claim("holds", "a row that somebody else has locked is not looked at", breaks_under=("crash",))

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Run the statement; its rows and row count are the decision."""
        form = self.native(request.operation)
        now_ms = await session.now_ms()
        reply: Reply = form.reply(await session.sql(form.statement, *form.args(request, now_ms)), request)
        return reply
