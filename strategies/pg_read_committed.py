"""BEGIN, SELECT, decide, UPDATE, COMMIT at PostgreSQL's default isolation level.

A transaction makes writes all-or-nothing; at read committed it does not keep others from
changing what was read. The second UPDATE waits for the first, and then overwrites it. It
costs what a transaction costs and protects nothing between the read and the write.
"""

from harness import Claim, Conditions, Reply, Request, Rule, Session, Strategy


class PgReadCommitted(Strategy):
    """A plain transaction."""

    name = "pg-read-committed"
    family = "no protection"
    summary = "BEGIN, SELECT, decide, UPDATE, COMMIT"
    stops_helping = "as soon as two requests overlap"
    needs = {"postgres": "14"}

    def claims(self, conditions: Conditions) -> Claim:
        """Breaks as soon as two requests overlap."""
        return Claim("breaks", "at read committed what was read may change before the write")

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Read, decide, write in one transaction."""
        async with session.transaction("read committed") as tx:
            state = await self.rows.load(tx, request.keys)
            outcome = await session.decide(rule, state, request)
            await self.rows.save(tx, state, outcome.changes)
        return outcome.reply
