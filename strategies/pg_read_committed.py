"""BEGIN, SELECT, decide, UPDATE, COMMIT at PostgreSQL's default isolation level.

A transaction makes writes all-or-nothing; at read committed it does not keep others from
changing what was read. The second UPDATE waits for the first, and then overwrites it. It
costs what a transaction costs and protects nothing between the read and the write.

An UPDATE of all columns, as object mappers send it, undoes what others have changed in columns that this caller had no
business with; and where one of these refers to a row that is gone by now, the database refuses all of it (23503).
One of the columns that differ (`columns`) does neither; it protects no decision either.

To sleep for a random while first (`random-sleep`) makes it rarer that two meet, and harder to find; those who do meet
break as before.
"""

from harness import Claim, Conditions, Reply, Request, RowLayout, Rule, Session, Strategy

LONGEST_SLEEP_MS = 20


class PgReadCommitted(Strategy):
    """A plain transaction."""

    name = "pg-read-committed"
    family = "no protection"
    summary = "BEGIN, SELECT, decide, UPDATE, COMMIT"
    stops_helping = "as soon as two requests overlap"
    needs = {"postgres": "14"}
    variants = {
        "columns": "only the columns that have changed are written, instead of the whole row",
        "random-sleep": "everybody sleeps for up to 20 ms first, so that two seldom meet",
    }

    def claims(self, conditions: Conditions) -> Claim:
        """Breaks as soon as two requests overlap."""
        if self.variant == "columns" and self._row is None:
            return Claim("not-applicable", "a key is no row of several columns, which are there already")
        return Claim("breaks", "at read committed what was read may change before the write")

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Read, decide, write in one transaction."""
        if self.variant == "random-sleep":
            await session.sleep_ms(int(session.token(), 16) % LONGEST_SLEEP_MS)
        async with session.transaction("read committed") as tx:
            state = await self.rows.load(tx, request.keys)
            outcome = await session.decide(rule, state, request)
            if self._row is None or self.variant != "columns":
                await self.rows.save(tx, state, outcome.changes)
            else:
                await self._row.save_changed(tx, state, outcome.changes)
        return outcome.reply

    @property
    def _row(self) -> RowLayout | None:
        """The layout, where a key is one row of several columns."""
        rows = self.rows
        return rows if isinstance(rows, RowLayout) and len(rows.columns) > 1 and not rows.absent else None
