"""A lock in the memory of this process around GET, decide, SET.

It looks right in every test that runs one process: asyncio.Lock, threading.Lock, synchronized.
It costs next to nothing. The second worker process, replica or deployment has a lock of its
own under the same name, and the two do not know of each other. Of several keys the locks are
taken in one order for everybody, or two callers lock each other out, for ever: nobody ends one
of them as a database does.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack

from harness import Claim, Conditions, Reply, Request, Rule, Session, Strategy

ONE_ORDER = "nobody names the same keys in another order"


class Mutex(Strategy):
    """An in-process lock per key."""

    name = "mutex"
    family = "a lock"
    summary = "an in-process lock per key around GET, decide, SET"
    stops_helping = "the second process"
    variants = {
        "read-first": "the read that decides comes before the lock",
        "per-request": "every request has a lock of its own",
        "caller-order": "of several keys, the locks are taken in the caller's order instead of one for all",
    }

    def claims(self, conditions: Conditions) -> Claim:
        """Holds within one process only."""
        if self.variant == "caller-order" and not self.crossed:
            return Claim("not-applicable", ONE_ORDER)
        if self.variant:
            return Claim("breaks", self.variants[self.variant])
        if conditions.processes == 1:
            return Claim("holds", "there is one process, and all its callers share the lock")
        return Claim("breaks", "each process has a lock of its own")

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Read, decide, write, with the keys' locks held."""
        locks: Sequence[str] = sorted(set(request.keys))
        if self.variant:
            locks = {"per-request": (request.id,), "caller-order": request.keys}.get(self.variant, locks)
        async with AsyncExitStack() as held:
            if self.variant == "read-first":
                state = await self.values.load(session, request.keys)
            for name in locks:
                await held.enter_async_context(session.mutex(name))
            if self.variant != "read-first":
                state = await self.values.load(session, request.keys)
            outcome = await session.decide(rule, state, request)
            await self.values.save(session, outcome.changes, session.now_at_ms)
        return outcome.reply
