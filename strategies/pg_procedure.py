"""The rule as a function in the database, which every caller calls: it locks, looks, decides, writes.

The rule lives in one place, whatever language its callers speak, and one round trip does. But to
run inside the server is not to run alone: a function is a transaction's statements like any other,
and of two that read the same row before either writes, both decide on it. It needs the lock that
it would need outside: on the row, on the row above where there are several, on a number where there
may be no row yet; in a statement of its own, before what is read, at read committed.

And who may write to the table directly goes around it, unless nobody may: REVOKE, and a
function that runs with the rights of its maker (SECURITY DEFINER). Then the rule has an owner.

The functions lie beside the scenarios, to be copied: `scenarios/counter.sql`.
"""

from dataclasses import replace

from harness import ChildRowLayout, Claim, Conditions, Reply, Request, RowLayout, Rule, Scenario, Session, Strategy

PLAIN = "LANGUAGE plpgsql"
AS_OWNER = f"{PLAIN} SECURITY DEFINER SET search_path FROM CURRENT"


class PgProcedure(Strategy):
    """A function that locks."""

    name = "pg-procedure"
    family = "the rule inside the store"
    form = "procedure"
    summary = "a function in the database: SELECT ... FOR UPDATE, decide, UPDATE"
    stops_helping = "without the lock: to run inside is not to run alone; a writer who goes around it"
    needs = {"postgres": "14"}
    enforces = "owner"
    meets = "a lock of the row"
    variants = {
        "no-lock": "the function takes no lock before it reads",
        "revoked": "callers may call the function and write to no table themselves (safe)",
    }

    def __init__(self, scenario: Scenario, variant: str = "") -> None:
        """Bind to a scenario; one variant calls other functions, one has them run with other rights."""
        if variant == "no-lock":
            self.form = "procedure-unlocked"
        super().__init__(scenario, variant)
        if variant == "revoked" and isinstance(self.rows, RowLayout | ChildRowLayout):
            functions = tuple(text.replace(PLAIN, AS_OWNER) for text in self.rows.functions)
            self.rows = replace(self.rows, functions=functions)

    @property
    def guard(self) -> str:
        """A lock of the row, where a key is one row that is there; what else a function locks, others do not."""
        one_row = isinstance(self.rows, RowLayout) and not self.rows.absent
        return super().guard if one_row else self.title

    @property
    def guarded(self) -> bool:
        """Whether callers are refused what they write themselves."""
        return self.variant == "revoked"

    def claims(self, conditions: Conditions) -> Claim:
        """Holds; not without the lock."""
        if self.variant == "no-lock":
            return Claim("breaks", "inside the server, too, two read before either writes")
        return Claim("holds", "the function locks before it reads, until COMMIT")

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Call the function; what it gives is the decision."""
        form = self.native(request.operation)
        now_ms = await session.now_ms()
        reply: Reply = form.reply(await session.sql(form.statement, *form.args(request, now_ms)), request)
        return reply
