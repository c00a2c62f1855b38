"""pg_advisory_xact_lock on the key, in a statement of its own, then SELECT, decide, UPDATE.

The lock is on a number, not on a row, so it works where no row exists yet; COMMIT releases
it. At read committed the SELECT after it takes a new snapshot and sees what the holder
before wrote: a snapshot from before the wait (the same statement, repeatable read) does not.
Everybody must take the same lock; one writer who does not know of it undoes it all. Whoever holds it must not need
another connection of the pool that those who wait for it have emptied: see pg-for-update:second-connection.
"""

from collections.abc import Sequence

from harness import ABORTED, Claim, Conditions, Reply, Request, Rule, Session, State, Strategy, Transaction

LOCKED = "pg_advisory_xact_lock(hashtextextended(${}, 0))"
LOCK = f"SELECT {LOCKED.format(1)}"
TRY = LOCK.replace("pg_advisory", "pg_try_advisory")
ONE_ORDER = "nobody names the same keys in another order"
POOL = 2
"""Connections that each process has for all its callers, where a second one is needed."""
EMPTY = "each of {} callers of a process may hold one of its {} connections, and nobody gets the second that it needs"
ENOUGH = "a process has {} connections, and one caller at a time: there is a second for whoever holds the lock"


class PgAdvisory(Strategy):
    """A lock on the key's hash, for the length of the transaction."""

    name = "pg-advisory"
    family = "a lock"
    summary = "pg_advisory_xact_lock on the key, then SELECT, decide, UPDATE"
    stops_helping = "one writer who does not take the lock"
    needs = {"postgres": "14"}
    variants = {
        "second-connection": f"whoever holds the lock needs a second connection, of a pool of {POOL} for each process",
        "wrong-key": "the lock is on the request instead of on what it changes",
        "same-statement": "lock and read in one statement: its snapshot is older than the lock",
        "repeatable-read": "the transaction's snapshot is older than the lock: 40001",
        "caller-order": "of several keys, the locks are taken in the caller's order instead of one for all",
        "released-early": "the lock's transaction is over before the write",
        "try": "who does not get the lock at once gives up: pg_try_advisory_xact_lock (safe)",
    }

    def claims(self, conditions: Conditions) -> Claim:
        """Holds at read committed, with the lock in a statement of its own."""
        if self.variant == "try":
            return Claim(
                "holds", "one has the lock, and whoever else comes meanwhile does nothing", errors=("aborted",)
            )
        if self.variant == "second-connection":
            return self._second_connection(conditions)
        if self.variant == "repeatable-read":
            reason = "on one row the stale snapshot shows as 40001; on several rows it would break"
            return Claim("holds", reason, errors=("40001",))
        if self.variant == "caller-order":
            if not self.crossed:
                return Claim("not-applicable", ONE_ORDER)
            return Claim("holds", "of two that hold each other's lock one is ended", errors=("40P01",))
        if self.variant:
            return Claim("breaks", self.variants[self.variant])
        return Claim("holds", "the lock is held from before the read's snapshot until COMMIT")

    def _second_connection(self, conditions: Conditions) -> Claim:
        """Breaks where as many meet in one process as its pool has connections; a second delivery is one more."""
        callers = -(-conditions.size // conditions.processes)
        if callers >= POOL:
            return Claim("breaks", EMPTY.format(callers, POOL))
        return Claim("holds", ENOUGH.format(POOL), breaks_under=("duplicate",))

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Lock, then read, decide, write."""
        if self.variant == "released-early":
            return await self._released_early(session, request, rule)
        if self.variant == "second-connection":
            async with session.pooled(POOL):
                return await self._locked(session, request, rule)
        return await self._locked(session, request, rule)

    async def _locked(self, session: Session, request: Request, rule: Rule) -> Reply:
        """In one transaction."""
        repeatable = self.variant == "repeatable-read"
        async with session.transaction("repeatable read" if repeatable else "read committed") as tx:
            if self.variant == "same-statement":
                state = await self._lock_and_load(session, tx, request.keys)
            elif await self._lock(session, tx, request):
                state = await self.rows.load(tx, request.keys)
            else:
                return ABORTED
            if self.variant == "second-connection":
                async with session.pooled(POOL):
                    await self.rows.load(session.second(), sorted(request.keys))
            outcome = await session.decide(rule, state, request)
            await self.rows.save(tx, state, outcome.changes)
        return outcome.reply

    async def _lock(self, session: Session, tx: Transaction, request: Request) -> bool:
        """One statement a key, in one order for everybody; False where one was only tried, and not free."""
        names: Sequence[str] = sorted(request.keys)
        if self.variant:
            names = {"wrong-key": (request.id,), "caller-order": request.keys}.get(self.variant, names)
        for name in names:
            (waited,) = (await tx.sql(TRY if self.variant == "try" else LOCK, session.key(name))).rows
            if waited == (False,):
                return False
        return True

    async def _lock_and_load(self, session: Session, tx: Transaction, keys: Sequence[str]) -> State:
        """One statement that waits for the lock with a snapshot from before the wait."""
        return {key: await self.rows.load_with(tx, key, LOCKED.format(2), session.key(key)) for key in sorted(keys)}

    async def _released_early(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Lock in a transaction that is over before the write."""
        async with session.transaction("read committed") as tx:
            await self._lock(session, tx, request)
            state = await self.rows.load(tx, request.keys)
        outcome = await session.decide(rule, state, request)
        async with session.transaction("read committed") as tx:
            await self.rows.save(tx, state, outcome.changes)
        return outcome.reply
