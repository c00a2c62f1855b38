"""SERIALIZABLE, and the whole transaction again when PostgreSQL refuses it.

PostgreSQL watches what transactions read and ends one (40001, sometimes 40P01) whenever no
one-at-a-time order could explain them. Any rule over any rows is protected, without a lock
to think of. The price is retries: bounded, of the whole transaction, reading and deciding
anew. The refusal may come from any statement, COMMIT included.
"""

from contextlib import AbstractAsyncContextManager

from harness import (
    ABORTED,
    Claim,
    Conditions,
    Outcome,
    Reply,
    Request,
    Rule,
    Session,
    State,
    StatementRefused,
    Strategy,
    Transaction,
)


class PgSerializable(Strategy):
    """Serializable snapshot isolation with retries."""

    name = "pg-serializable"
    family = "postgres"
    summary = "SERIALIZABLE, bounded retry on 40001 and 40P01"
    needs = {"postgres": "14"}
    variants = {
        "read-committed": "the isolation level is lowered to read committed",
        "repeatable-read": "repeatable read: enough while the rule writes the row it read (safe)",
        "retry-stale": "a retry writes the old decision without reading again",
        "no-retry": "callers are shown 40001 and 40P01",
    }

    def claims(self, conditions: Conditions) -> Claim:
        """Holds; a lower level may not, and without a retry callers see the refusals."""
        if self.variant in {"read-committed", "retry-stale"}:
            return Claim("breaks", self.variants[self.variant])
        if self.variant == "no-retry":
            return Claim("holds", "a refused transaction did nothing", errors=("40001", "40P01"))
        return Claim("holds", "PostgreSQL ends what no one-at-a-time order explains")

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Try the whole transaction until it is let through."""
        decided: tuple[State, Outcome] | None = None
        async for _ in session.retries():
            try:
                async with self._transaction(session) as tx:
                    if decided is None or self.variant != "retry-stale":
                        state = await self.rows.load(tx, request.keys)
                        decided = state, await session.decide(rule, state, request)
                    state, outcome = decided
                    await self.rows.save(tx, state, outcome.changes)
            except StatementRefused as refused:
                if not refused.retryable or self.variant == "no-retry":
                    raise
            else:
                return outcome.reply
        return ABORTED

    def _transaction(self, session: Session) -> AbstractAsyncContextManager[Transaction]:
        match self.variant:
            case "read-committed":
                return session.transaction("read committed")
            case "repeatable-read":
                return session.transaction("repeatable read")
        return session.transaction("serializable")
