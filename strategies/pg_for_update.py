"""SELECT ... FOR UPDATE, decide, UPDATE: the row is locked before it is read.

Whoever comes second waits at the SELECT until the first has committed, and then reads what
it wrote. The lock is held for the whole transaction, so requests for one row queue up. It
needs a row that exists: FOR UPDATE on no row locks nothing. Several rows are locked in one
fixed order, or two callers lock each other out.

The read that decides must be the one that locks. A row that was read before, by an object mapper that keeps what
it has loaded, is as old as that first read, however long the lock has waited: lock at the first load, or have it
read again (`populate_existing`, `refresh`) before it is decided on. A mapper that is told to lock, and locks only what
it reads again after the write, locks what the write has locked already.

Who had rather not wait says NOWAIT, and is refused at once while somebody has the row (55P03): an answer, where
another may well do the work, and an error to be tried again where nobody else does.

Whoever holds the lock must not need another connection: a helper that opens a session of its own for a lookup or an
audit line takes it out of the pool that those who wait for the row have emptied, each with one of its own. The holder
waits for them and they for it, for ever, and the database, which sees one half of that, is idle.

Where a key has several rows, the row above them (the team, the host, the payment) can be
locked instead, whether it has any or none, but by a statement of its own and before they
are read: a statement, or a transaction above read committed, that waited for a lock goes on
reading as of before the wait.
"""

from dataclasses import replace

from harness import Claim, Conditions, Reply, Request, Rule, Session, State, Strategy, Transaction

ONE_ORDER = "nobody names the same keys in another order"
NO_PARENT = "one row per key: there is none above it"
POOL = 2
"""Connections that each process has for all its callers, where a second one is needed."""
EMPTY = "each of {} callers of a process may hold one of its {} connections, and nobody gets the second that it needs"
ENOUGH = "a process has {} connections, and one caller at a time: there is a second for whoever holds the lock"


class PgForUpdate(Strategy):
    """Pessimistic locking of rows."""

    name = "pg-for-update"
    family = "a lock"
    summary = "SELECT ... FOR UPDATE on a row that exists, decide, UPDATE"
    stops_helping = "a row that does not exist yet"
    needs = {"postgres": "14"}
    meets = "a lock of the row"
    variants = {
        "no-lock": "FOR UPDATE dropped",
        "lock-after-read": "the lock is taken after the read that decides",
        "lock-on-refresh": "what is read again after the write is locked, and what decides is not",
        "refreshed": "read, then locked and read again: what the lock has waited for decides (safe)",
        "nowait": "NOWAIT: who finds the row locked is shown 55P03 at once, and does not wait",
        "second-connection": f"whoever holds the lock needs a second connection, of a pool of {POOL} for each process",
        "released-early": "FOR UPDATE outside of the transaction that writes",
        "caller-order": "of several keys, the rows are locked in the caller's order instead of one for all",
        "parent": "of a key with several rows, the row above them is locked, then they are read (safe)",
        "parent-after-read": "the row above is locked after the read that decides",
        "same-statement": "the row above is locked by the statement that reads: its snapshot is older than the lock",
        "repeatable-read": "the row above is locked at repeatable read: the snapshot is older than the lock",
        "others": "of a key with several rows, those that the request is not about are locked",
    }

    def claims(self, conditions: Conditions) -> Claim:
        """Holds; not where the lock does not span read and write."""
        if self.variant in {"parent", "parent-after-read", "same-statement", "repeatable-read", "others"}:
            return self._above()
        if self.variant == "caller-order":
            if not self.crossed:
                return Claim("not-applicable", ONE_ORDER)
            return Claim("holds", "of two that hold each other's row one is ended", errors=("40P01",))
        if self.variant == "nowait":
            told = Claim("holds", "one has the row, and whoever else comes meanwhile is refused", errors=("55P03",))
            return self.scenario.claims.get(self.name) or told
        if self.variant == "second-connection":
            return self._second_connection(conditions)
        if self.variant == "refreshed":
            return self.scenario.claims.get(self.name) or Claim("holds", "what decides is read under the lock")
        if self.variant:
            return Claim("breaks", self.variants[self.variant])
        return Claim("holds", "the row is locked from before the read until after the write")

    def _above(self) -> Claim:
        """Of the variants that lock other rows than the request's own."""
        if "parent" not in self.rows.locks:
            return Claim("not-applicable", NO_PARENT)
        if self.variant == "parent":
            return Claim("holds", "the row above is there, and locked from before the read until after the write")
        if self.variant == "others":
            return Claim("holds", "each waits for the other's row, and one is ended", errors=("40P01",))
        return Claim("breaks", self.variants[self.variant])

    def _second_connection(self, conditions: Conditions) -> Claim:
        """Breaks where as many meet in one process as its pool has connections; a second delivery is one more."""
        callers = -(-conditions.size // conditions.processes)
        if callers >= POOL:
            return Claim("breaks", EMPTY.format(callers, POOL))
        held = self.scenario.claims.get(self.name) or Claim("holds", ENOUGH.format(POOL))
        return replace(held, breaks_under=tuple(dict.fromkeys((*held.breaks_under, "duplicate"))))

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Lock and read, decide, write."""
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
            state = await self._read(tx, request)
            if self.variant == "second-connection":
                async with session.pooled(POOL):
                    await self.rows.load(session.second(), sorted(request.keys))
            outcome = await session.decide(rule, state, request)
            await self.rows.save(tx, state, outcome.changes)
            if self.variant == "lock-on-refresh":
                await self.rows.load(tx, sorted(outcome.changes), "rows")
        return outcome.reply

    async def _read(self, tx: Transaction, request: Request) -> State:
        """What is decided on, with the locks that this variant takes."""
        keys = request.keys if self.variant == "caller-order" else sorted(request.keys)
        match self.variant:
            case "no-lock" | "lock-on-refresh":
                return await self.rows.load(tx, keys)
            case "lock-after-read" | "parent-after-read":
                state = await self.rows.load(tx, keys)
                await self.rows.load(tx, keys, "rows" if self.variant == "lock-after-read" else "parent")
                return state
            case "refreshed":
                await self.rows.load(tx, keys)
                return await self.rows.load(tx, keys, "rows")
            case "parent" | "repeatable-read":
                return await self.rows.load(tx, keys, "parent")
            case "same-statement":
                return await self.rows.load_together(tx, keys)
            case "nowait":
                return await self.rows.load(tx, keys, "nowait")
            case "others":
                return await self.rows.load(tx, keys, "others", self.rows.own(request))
        return await self.rows.load(tx, keys, "rows")

    async def _released_early(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Lock in a transaction that is over before the write."""
        async with session.transaction("read committed") as tx:
            state = await self.rows.load(tx, sorted(request.keys), "rows")
        outcome = await session.decide(rule, state, request)
        async with session.transaction("read committed") as tx:
            await self.rows.save(tx, state, outcome.changes)
        return outcome.reply
