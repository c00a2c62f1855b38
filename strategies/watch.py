"""WATCH, GET, decide, MULTI, write, EXEC: optimistic, tried again when somebody was faster.

EXEC does nothing and answers null when a watched key changed since WATCH. The protection is
three things together: WATCH before the read, the write between MULTI and EXEC of the same
connection, and a look at the null. Five round trips; under contention most of them are
for nothing, and a caller that keeps losing must give up at some point.

What is watched belongs to the connection. EXEC on another one of a pool guards nothing (`two-connections`), nor on one
that the client has opened anew in between, without a word (`reconnect`), nor on one that the callers of a process
share, where EXEC of one ends the watch of all (`shared-connection`).
"""

from collections.abc import Iterable

from harness import (
    ABORTED,
    Claim,
    CommandRefused,
    Conditions,
    Outcome,
    Reply,
    Request,
    Rule,
    Scenario,
    Session,
    State,
    Strategy,
)


class Watch(Strategy):
    """Optimistic locking in Redis."""

    name = "watch"
    family = "optimistic: look again, then write"
    meets = "one step of the server"
    summary = "WATCH, GET, decide, MULTI, EXEC, bounded retry"
    stops_helping = "many callers on one key: most tries are for nothing"
    variants = {
        "no-multi": "the write is sent without MULTI and EXEC: WATCH guards nothing",
        "ignore-null": "EXEC's null is taken for success",
        "no-watch": "MULTI and EXEC without WATCH: nobody comes in between, and what was read is old",
        "two-connections": "EXEC runs on a connection that never watched: another one of a pool",
        "reconnect": "the connection is lost after WATCH, and the client opens a new one by itself: EXEC runs there",
        "shared-connection": "all callers of a process use one connection: EXEC of one ends the watch of all",
        "watch-after-read": "WATCH comes after the GET that decides",
        "retry-stale": "after EXEC's null the old decision is written again",
    }

    def __init__(self, scenario: Scenario, variant: str = "") -> None:
        """Bind to a scenario; two variants use other connections than one for each caller."""
        super().__init__(scenario, variant)
        self.connects = variant in {"reconnect", "shared-connection"}

    def claims(self, conditions: Conditions) -> Claim:
        """Holds; every variant lacks one part of the protection."""
        if self.variant == "shared-connection" and conditions.size <= conditions.processes:
            alone = "each process has one caller, who shares the connection with nobody"
            return Claim("holds", alone, breaks_under=("duplicate",))
        if self.variant:
            return Claim("breaks", self.variants[self.variant])
        return Claim("holds", "EXEC refuses when a watched key has changed")

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Try until nobody was faster."""
        if self.variant == "shared-connection":
            return await self._shared(session, request, rule)
        if self.variant:
            return await self._broken(session, request, rule)
        async for _ in session.retries():
            await self._watch(session, request.keys)
            outcome = await self._decide(session, request, rule)
            if not outcome.changes:
                await session.redis("UNWATCH")
                return outcome.reply
            if await self._write(session, outcome.changes):
                return outcome.reply
        return ABORTED

    async def _watch(self, session: Session, keys: Iterable[str]) -> None:
        await session.redis("WATCH", *(session.key(key) for key in keys))

    async def _decide(self, session: Session, request: Request, rule: Rule) -> Outcome:
        state = await self.values.load(session, request.keys)
        return await session.decide(rule, state, request)

    async def _write(self, session: Session, changes: State) -> bool:
        """Write all or nothing; False where a watched key has changed."""
        await session.redis("MULTI")
        try:
            for key, value in changes.items():
                await session.redis(*self.values.write(session.key(key), value, session.now_at_ms))
        except CommandRefused:
            await session.redis("DISCARD")
            raise
        written = await session.redis("EXEC") is not None
        if written:
            session.note(writes=changes)
        return written

    async def _broken(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Do the same with one part of the protection missing."""
        if self.variant == "no-watch":
            outcome = await self._decide(session, request, rule)
        elif self.variant == "watch-after-read":
            outcome = await self._decide(session, request, rule)
            await self._watch(session, request.keys)
        else:
            await self._watch(session, request.keys)
            outcome = await self._decide(session, request, rule)
        if self.variant in {"no-multi", "two-connections"} or not outcome.changes:
            # To the server a connection that never watched, and one that forgot, are the same.
            await session.redis("UNWATCH")
        if not outcome.changes:
            return outcome.reply
        if self.variant == "reconnect":
            await session.reconnect()
        if self.variant == "no-multi":
            await self.values.save(session, outcome.changes, session.now_at_ms)
            return outcome.reply
        async for _ in session.retries():
            if await self._write(session, outcome.changes) or self.variant != "retry-stale":
                break
            await self._watch(session, request.keys)
        return outcome.reply

    async def _shared(self, session: Session, request: Request, rule: Rule) -> Reply:
        """All that is right, over one connection for all: MULTI to EXEC sent together, as clients do."""
        async for _ in session.retries():
            await session.shared(("WATCH", *map(session.key, request.keys)))
            state = {}
            for key in request.keys:
                state[key] = self.values.parse(await session.shared(self.values.read(session.key(key))))
                session.note(reads={key: state[key]})
            outcome = await session.decide(rule, state, request)
            if not outcome.changes:
                await session.shared(("UNWATCH",))
                return outcome.reply
            writes = [
                self.values.write(session.key(key), value, session.now_at_ms) for key, value in outcome.changes.items()
            ]
            if await session.shared(("MULTI",), *writes, ("EXEC",)) is not None:
                session.note(writes=outcome.changes)
                return outcome.reply
        return ABORTED
