"""SELECT ... FOR UPDATE, decide, UPDATE: the row is locked before it is read.

Whoever comes second waits at the SELECT until the first has committed, and then reads what
it wrote. The lock is held for the whole transaction, so requests for one row queue up. It
needs a row that exists: FOR UPDATE on no row locks nothing. Several rows are locked in one
fixed order, or two callers lock each other out.
"""

from harness import Claim, Conditions, Reply, Request, Rule, Session, Strategy


class PgForUpdate(Strategy):
    """Pessimistic locking of rows."""

    name = "pg-for-update"
    family = "postgres"
    summary = "SELECT ... FOR UPDATE on a row that exists, decide, UPDATE"
    needs = {"postgres": "14"}
    variants = {
        "no-lock": "FOR UPDATE dropped",
        "lock-after-read": "the lock is taken after the read that decides",
        "released-early": "FOR UPDATE outside of the transaction that writes",
    }

    def claims(self, conditions: Conditions) -> Claim:
        """Holds; not where the lock does not span read and write."""
        if self.variant:
            return Claim("breaks", self.variants[self.variant])
        return Claim("holds", "the row is locked from before the read until after the write")

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Lock and read, decide, write."""
        if self.variant == "released-early":
            return await self._released_early(session, request, rule)
        keys = sorted(request.keys)
        async with session.transaction("read committed") as tx:
            if self.variant:
                state = await self.rows.load(tx, keys)
                if self.variant == "lock-after-read":
                    await self.rows.load(tx, keys, "rows")
            else:
                state = await self.rows.load(tx, keys, "rows")
            outcome = await session.decide(rule, state, request)
            await self.rows.save(tx, state, outcome.changes)
        return outcome.reply

    async def _released_early(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Lock in a transaction that is over before the write."""
        async with session.transaction("read committed") as tx:
            state = await self.rows.load(tx, sorted(request.keys), "rows")
        outcome = await session.decide(rule, state, request)
        async with session.transaction("read committed") as tx:
            await self.rows.save(tx, state, outcome.changes)
        return outcome.reply
