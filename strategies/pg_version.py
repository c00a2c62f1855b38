"""SELECT with the row's version, decide, UPDATE ... WHERE the version is still that one; else all over again.

Optimistic locking, as object mappers do it. Nobody waits; whoever comes second changes no
row, learns so from the count, and reads and decides anew. Each version guards its own row:
of a rule that reads several and writes one, nobody notices that the others changed. There
the row above them needs the version, and every write must raise it. What the database itself
writes, a reference that it sets to NULL, raises none.
"""

from harness import ABORTED, Claim, Conditions, Reply, Request, Rule, Session, Strategy

NO_PARENT = "one row per key: there is none above it"


class Stale(Exception):
    """A row is not of the version that was read: the transaction is rolled back."""


class PgVersion(Strategy):
    """A version column and a retry."""

    name = "pg-version"
    family = "optimistic: look again, then write"
    summary = "a version column: UPDATE ... WHERE version is the one that was read, else again"
    stops_helping = "a rule that reads several rows and writes one of them"
    needs = {"postgres": "14"}
    variants = {
        "no-version": "the version is left out of WHERE",
        "ignore-count": "nobody looks at how many rows were changed",
        "read-again": "the version is read after what is decided on",
        "root": "of a key with several rows, the version is that of the row above them (safe)",
        "root-read-again": "the version of the row above is read after what is decided on",
    }

    def claims(self, conditions: Conditions) -> Claim:
        """Holds where the row that is written is the one that was read."""
        if self._root and "parent" not in self.rows.locks:
            return Claim("not-applicable", NO_PARENT)
        if self.variant == "root":
            return Claim("holds", "every write raises the version of the row above")
        if self.variant:
            return Claim("breaks", self.variants[self.variant])
        return Claim("holds", "a row that was changed since it was read is not written")

    @property
    def _root(self) -> bool:
        return self.variant.startswith("root")

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Try the whole transaction until nobody else came in between."""
        async for _ in session.retries():
            try:
                return await self._try(session, request, rule)
            except Stale:
                continue
        return ABORTED

    async def _try(self, session: Session, request: Request, rule: Rule) -> Reply:
        rows, keys = self.rows, request.keys
        async with session.transaction("read committed") as tx:
            if self.variant.endswith("read-again"):
                state = await rows.load(tx, keys)
                _newer, versions = await rows.load_versioned(tx, keys, root=self._root)
            else:
                state, versions = await rows.load_versioned(tx, keys, root=self._root)
            outcome = await session.decide(rule, state, request)
            if self.variant == "no-version":
                await rows.save(tx, state, outcome.changes)
                return outcome.reply
            current = await rows.save_versioned(tx, state, outcome.changes, versions, root=self._root)
            if not current and self.variant != "ignore-count":
                raise Stale
        return outcome.reply
