"""A lock in Redis around GET, decide, SET: SET NX PX with a token, polled; compare-and-delete.

The token says whose the lock is, so that nobody gives back another's; the lease gives it
back when its holder has died. Everybody who waits polls, which costs round trips and time.
A holder that is paused for longer than its lease works on without the lock: the lock bounds
how long others wait, not how long the holder takes. What must never break needs a check in
the write itself.
"""

from harness import ABORTED, Claim, Conditions, Reply, Request, Rule, Session, State, Strategy

PATIENCE = 400
"""Tries before giving up: with pauses of up to 16 ms, longer than a dead holder's lease."""

RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class RedisLock(Strategy):
    """A leased lock per key."""

    name = "redis-lock"
    family = "redis"
    summary = "SET NX PX with a token around GET, decide, SET; compare-and-delete"
    variants = {
        "no-token": "released by DEL, whoever holds it",
        "constant-token": "every holder has the same token",
        "no-lease": "the lock has no lease: it outlives its holder",
        "set-then-expire": "the lease is set by a second command",
        "ignore-reply": "whether the lock was taken is not looked at",
        "read-first": "the read that decides comes before the lock",
        "reentrant": "a holder takes its own lock again (safe)",
    }

    def claims(self, conditions: Conditions) -> Claim:
        """Holds while no pause outlasts the lock's lease."""
        if self.variant in {"ignore-reply", "read-first"}:
            return Claim("breaks", self.variants[self.variant])
        faults = {
            "set-then-expire": ("crash", "pause", "lost-reply"),
            "no-lease": ("crash", "lost-reply"),
        }.get(self.variant, ("pause",))
        reason = self.variants.get(self.variant, "one holder, while no pause outlasts the lease")
        return Claim("holds", reason, breaks_under=faults)

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Take the locks in one order for everybody, then read, decide, write; give them back."""
        token = "taken" if self.variant == "constant-token" else session.token()
        locks = [session.key(f"lock:{key}") for key in sorted(request.keys)]
        held: list[str] = []
        state: State = {}
        if self.variant == "read-first":
            state = await self.values.load(session, request.keys)
        try:
            for lock in locks:
                if not await self._acquire(session, lock, token):
                    return ABORTED
                held.append(lock)
            if self.variant == "reentrant":
                await self._acquire(session, lock, token)
            state = state or await self.values.load(session, request.keys)
            outcome = await session.decide(rule, state, request)
            await self.values.save(session, outcome.changes, session.now_at_ms)
            return outcome.reply
        finally:
            for lock in reversed(held):
                await self._release(session, lock, token)

    async def _acquire(self, session: Session, lock: str, token: str) -> bool:
        """Poll until the lock is ours; False when patience ran out."""
        async for _ in session.retries(PATIENCE):
            if self.variant == "set-then-expire":
                taken = await session.redis("SETNX", lock, token)
                if taken:
                    await session.redis("PEXPIRE", lock, session.lock_lease_ms)
            elif self.variant == "no-lease":
                taken = await session.redis("SET", lock, token, "NX")
            else:
                taken = await session.redis("SET", lock, token, "NX", "PX", session.lock_lease_ms)
            if taken or self.variant == "ignore-reply":
                return True
            if self.variant == "reentrant" and await session.redis("GET", lock) == token.encode():
                return True
        return False

    async def _release(self, session: Session, lock: str, token: str) -> None:
        """Give back what is ours: after a pause it may be another's."""
        if self.variant == "no-token":
            await session.redis("DEL", lock)
        else:
            await session.script(RELEASE, (lock,), token)
