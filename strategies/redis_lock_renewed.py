"""A leased lock in Redis that a daemon of its holder renews for as long as the work takes.

A short lease frees the lock soon after a crash, and renewal keeps it through long work. The daemon stops with the
work, and dies with its process. What it cannot do: where the whole process stands still, the daemon does, too, and
the lease runs out as if nobody renewed it. It narrows the window; it does not close it.
"""

from collections.abc import Sequence

from harness import ABORTED, Claim, Conditions, Reply, Request, Rule, Session, Strategy

PATIENCE = 400
"""Tries before giving up: with pauses of up to 16 ms, longer than a dead holder's lease."""

RENEW = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
"""
RELEASE = RENEW.replace("'PEXPIRE', KEYS[1], ARGV[2]", "'DEL', KEYS[1]")


class RedisLockRenewed(Strategy):
    """A leased lock per key, renewed while its holder is at work."""

    name = "redis-lock-renewed"
    family = "a lock"
    stops_helping = "a process that stands still as a whole: its daemon does, too"
    summary = "a leased lock that a daemon renews while its holder is at work"
    variants = {
        "too-late": "the daemon renews only after a lease has passed",
        "outlives": "the daemon is a process of its own, which does not see its holder die",
    }

    def claims(self, conditions: Conditions) -> Claim:
        """Holds while only the caller stands still."""
        if self.variant == "too-late":
            return Claim("holds", self.variants[self.variant], breaks_under=("pause",))
        if self.variant == "outlives":
            return Claim("holds", self.variants[self.variant], breaks_under=("crash",))
        return Claim("holds", "the lease is renewed while its holder is at work; not where its whole process stops")

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Take the locks in one order; read, decide and write while a daemon renews them; give them back."""
        token = session.token()
        locks = [session.key(f"lock:{key}") for key in sorted(set(request.keys))]
        held: list[str] = []
        try:
            for lock in locks:
                if not await self._acquire(session, lock, token):
                    return ABORTED
                held.append(lock)

            async def renew(own: Session) -> None:
                await self._renew(own, locks, token)

            async with session.beside("renewer", renew, apart=self.variant == "outlives"):
                state = await self.values.load(session, request.keys)
                outcome = await session.decide(rule, state, request)
                await self.values.save(session, outcome.changes, session.now_at_ms)
            return outcome.reply
        finally:
            for lock in reversed(held):
                await session.script(RELEASE, (lock,), token)

    async def _acquire(self, session: Session, lock: str, token: str) -> bool:
        async for _ in session.retries(PATIENCE):
            if await session.redis("SET", lock, token, "NX", "PX", session.lock_lease_ms):
                return True
        return False

    async def _renew(self, session: Session, locks: Sequence[str], token: str) -> None:
        """Three times in a lease, until a lock is another's."""
        every_ms = session.lock_lease_ms * (1.5 if self.variant == "too-late" else 1 / 3)
        while True:
            await session.sleep_ms(every_ms)
            for lock in locks:
                if not await session.script(RENEW, (lock,), token, session.lock_lease_ms):
                    return
