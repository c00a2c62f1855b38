"""SERIALIZABLE or REPEATABLE READ, and the whole transaction again when PostgreSQL refuses it.

At SERIALIZABLE, PostgreSQL watches what transactions read and ends one (40001, sometimes
40P01) whenever no one-at-a-time order could explain them. Any rule over any rows is
protected, without a lock to think of. The price is retries: bounded, of the whole
transaction, reading and deciding anew. The refusal may come from any statement, COMMIT
included. Whoever does not try again loses what was to be written down: that it was paid, or that it failed.

REPEATABLE READ refuses less: a write to a row that was changed since the snapshot. That is
enough while a rule writes the row that it read, and not where it reads several rows and
writes one of them, or a new one.
"""

from harness import (
    ABORTED,
    Claim,
    Conditions,
    Isolation,
    Outcome,
    Reply,
    Request,
    Rule,
    Session,
    State,
    StatementRefused,
    Strategy,
)


class PgSerializable(Strategy):
    """Serializable snapshot isolation with retries."""

    name = "pg-serializable"
    family = "an isolation level"
    summary = "SERIALIZABLE, bounded retry on 40001 and 40P01"
    stops_helping = "callers without a retry; much contention"
    needs = {"postgres": "14"}
    variants = {
        "read-committed": "the isolation level is lowered to read committed",
        "retry-stale": "a retry writes the old decision without reading again",
        "no-retry": "callers are shown 40001 and 40P01",
    }
    level: Isolation = "serializable"

    def claims(self, conditions: Conditions) -> Claim:
        """Holds; a lower level may not, and without a retry callers see the refusals."""
        if self.variant in {"read-committed", "retry-stale"}:
            return Claim("breaks", self.variants[self.variant])
        if self.variant == "no-retry":
            return Claim("holds", "a refused transaction did nothing", errors=("40001", "40P01"))
        return Claim("holds", self.why)

    why = "PostgreSQL ends what no one-at-a-time order explains"
    """Why it holds."""

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Try the whole transaction until it is let through."""
        level: Isolation = "read committed" if self.variant == "read-committed" else self.level
        decided: tuple[State, Outcome] | None = None
        async for _ in session.retries():
            try:
                async with session.transaction(level) as tx:
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


class PgRepeatableRead(PgSerializable):
    """REPEATABLE READ, and the whole transaction again when PostgreSQL refuses it: a snapshot, and each write checked.

    A transaction reads what was committed when it began, and is refused (40001) where it writes a row that
    somebody has changed since. Who reads several rows, and writes one of them or a new one, passes others unseen:
    only SERIALIZABLE looks at what was read.
    """

    name = "pg-repeatable-read"
    family = "an isolation level"
    summary = "REPEATABLE READ, bounded retry on 40001 and 40P01"
    stops_helping = "a rule that reads several rows and writes one of them"
    level: Isolation = "repeatable read"
    why = "a row that was changed since the snapshot is not written"
