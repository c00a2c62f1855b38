"""A lock in Redis around GET, decide, SET: SET NX PX with a token, polled; compare-and-delete.

The token says whose the lock is, so that nobody gives back another's; the lease gives it
back when its holder has died. Everybody who waits polls, which costs round trips and time.
A holder that is paused for longer than its lease works on without the lock: the lock bounds
how long others wait, not how long the holder takes. What must never break needs a check in
the write itself.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from harness import ABORTED, Attempt, Claim, Conditions, Reply, Request, Rule, Scenario, Session, State, Strategy

PATIENCE = 400
"""Tries before giving up: with pauses of up to 16 ms, longer than a dead holder's lease."""

LONGEST_PAUSE_MS = 16
"""Between two of them."""

ONE_ORDER = "nobody names the same keys in another order"

STEAL = "steal"
"""The variant whose lock ends at an instant that lies in its value: whoever finds it past puts his own in its place."""

RELEASE_STOLEN = """
if string.match(redis.call('GET', KEYS[1]) or '', '^%S+') == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""
RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class RedisLock(Strategy):
    """A leased lock per key."""

    name = "redis-lock"
    family = "a lock"
    summary = "SET NX PX with a token around GET, decide, SET; compare-and-delete"
    stops_helping = "a holder that is paused for longer than the lease"
    variants = {
        "no-token": "released by DEL, whoever holds it",
        "constant-token": "every holder has the same token",
        "no-lease": "the lock has no lease: it outlives its holder",
        "set-then-expire": "the lease is set by a second command",
        "delifeq": "given back by DELIFEQ, one command that compares and deletes (safe; Valkey 9.0)",
        "watch-release": "given back by WATCH, GET, MULTI, DEL, EXEC, whose null says that it was lost (safe)",
        "watch-without-multi": "given back by WATCH, GET, DEL: without MULTI what is watched guards nothing",
        "steal": "the lease is an instant in the lock's value; who finds it past takes the lock over, unseen by others",
        "ignore-reply": "whether the lock was taken is not looked at",
        "read-first": "the read that decides comes before the lock",
        "whole-flow": "the lock is held for the whole attempt, through its effects (safe)",
        "caller-order": "of several keys, the locks are taken in the caller's order instead of one for all",
        "reentrant": "a holder takes its own lock again (safe)",
    }

    def __init__(self, scenario: Scenario, variant: str = "") -> None:
        """Bind to a scenario; one variant holds more together, and one uses what Redis has not."""
        super().__init__(scenario, variant)
        if variant == "delifeq":
            self.needs = {"valkey": "9.0"}  # what Redis 8.4 has instead is DELEX
        if variant == "whole-flow":
            self.scope = "flow"

    def claims(self, conditions: Conditions) -> Claim:
        """Holds while no pause outlasts the lock's lease."""
        if self.variant == "caller-order":
            if not self.crossed:
                return Claim("not-applicable", ONE_ORDER)
            return Claim("breaks", "each waits for the other's lock, until both leases run out and both go on")
        if self.variant in {"ignore-reply", "read-first"}:
            return Claim("breaks", self.variants[self.variant])
        faults = {
            "set-then-expire": ("crash", "pause", "lost-reply"),
            "no-lease": ("crash", "lost-reply"),
            STEAL: ("crash", "pause", "lost-reply"),
        }.get(self.variant, ("pause",))
        reason = self.variants.get(self.variant, "one holder, while no pause outlasts the lease")
        outlasted = self.variant == "no-lease" and self.scenario.leases_ms > PATIENCE * LONGEST_PAUSE_MS
        errors = ("aborted",) if outlasted else ()  # a holder is paused for longer than anybody tries
        return Claim("holds", reason, errors=errors, breaks_under=faults)

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Take the locks, then read, decide, write; give them back. An attempt that holds them does only the rest."""
        if self.scope == "flow" and request.attempt:
            return await self._transition(session, request, rule, {})
        early = await self.values.load(session, request.keys) if self.variant == "read-first" else {}
        reply: Reply | None = await self._locked(
            session, request.keys, lambda: self._transition(session, request, rule, early)
        )
        return ABORTED if reply is None else reply

    async def carry(self, session: Session, attempt: Attempt, flow: Callable[[], Awaitable[None]]) -> None:
        """Take the locks for all that an attempt does; where they are not to be had, it does nothing."""
        await self._locked(session, attempt.keys, flow)

    async def _transition(self, session: Session, request: Request, rule: Rule, early: State) -> Reply:
        state = early or await self.values.load(session, request.keys)
        outcome = await session.decide(rule, state, request)
        await self.values.save(session, outcome.changes, session.now_at_ms)
        return outcome.reply

    async def _locked(self, session: Session, keys: Sequence[str], work: Callable[[], Awaitable[Any]]) -> Any:
        """What `work` gives, done under the locks, which all take in one order; None where one was not free."""
        token = "taken" if self.variant == "constant-token" else session.token()
        in_order = dict.fromkeys(keys) if self.variant == "caller-order" else sorted(set(keys))
        locks = [session.key(f"lock:{key}") for key in in_order]
        held: list[str] = []
        try:
            for lock in locks:
                if not await self._acquire(session, lock, token):
                    return None
                held.append(lock)
            if self.variant == "reentrant":
                await self._acquire(session, lock, token)
            return await work()
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
            elif self.variant == STEAL:
                taken = await self._take_or_steal(session, lock, token)
            elif self.variant == "no-lease":
                taken = await session.redis("SET", lock, token, "NX")
            else:
                taken = await session.redis("SET", lock, token, "NX", "PX", session.lock_lease_ms)
            if taken or self.variant == "ignore-reply":
                return True
            if self.variant == "reentrant" and await session.redis("GET", lock) == token.encode():
                return True
        return False

    async def _take_or_steal(self, session: Session, lock: str, token: str) -> bool:
        """Two who find the same lock past its end both steal it, and both have it."""
        now_ms = await session.now_ms()
        mine = f"{token} {now_ms + session.lock_lease_ms}"
        if await session.redis("SET", lock, mine, "NX"):
            return True
        held = await session.redis("GET", lock)
        if held is None or int(held.split()[1]) > now_ms:
            return False
        await session.redis("SET", lock, mine)
        return True

    async def _release(self, session: Session, lock: str, token: str) -> None:
        """Give back what is ours: after a pause it may be another's."""
        if self.variant == "no-token":
            await session.redis("DEL", lock)
        elif self.variant == "delifeq":
            await session.redis("DELIFEQ", lock, token)
        elif self.variant.startswith("watch"):
            await self._release_watched(session, lock, token)
        else:
            await session.script(RELEASE_STOLEN if self.variant == STEAL else RELEASE, (lock,), token)

    async def _release_watched(self, session: Session, lock: str, token: str) -> None:
        """Look whose it is first: what comes in between, EXEC notices, and DEL does not."""
        await session.redis("WATCH", lock)
        if await session.redis("GET", lock) != token.encode():
            await session.redis("UNWATCH")
        elif self.variant == "watch-without-multi":
            await session.redis("DEL", lock)
            await session.redis("UNWATCH")
        else:
            await session.redis("MULTI")
            await session.redis("DEL", lock)
            await session.redis("EXEC")  # null: it had run out, and may be another's
