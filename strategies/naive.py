"""GET, decide, SET: what everybody writes first.

Nothing protects the time between the read and the write: two callers read the same state,
both decide on it, and the later write covers the earlier one. It costs nothing. It is
right where one caller at a time is certain, and it is the control that shows whether a
load can find anything.

Who changes one field of a record and writes all of them undoes what others have changed in the rest. To write only what
has changed (`fields`) protects them from each other, and nobody from who decides on what he has read.
"""

from harness import Claim, Conditions, HashLayout, Reply, Request, Rule, Session, Strategy


class Naive(Strategy):
    """No protection."""

    name = "naive"
    family = "no protection"
    summary = "GET, decide, SET"
    stops_helping = "as soon as two requests overlap"
    variants = {"fields": "only the fields that have changed are written: HSET of those instead of the whole record"}

    def claims(self, conditions: Conditions) -> Claim:
        """Breaks as soon as two requests overlap."""
        if self.variant and not self.values.apart:
            return Claim("not-applicable", "the value of a key is one string: it has no fields to be written apart")
        return Claim("breaks", "nothing keeps others out between the read and the write")

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Read, decide, write."""
        state = await self.values.load(session, request.keys)
        outcome = await session.decide(rule, state, request)
        if not isinstance(self.values, HashLayout) or not self.variant:
            await self.values.save(session, outcome.changes, session.now_at_ms)
            return outcome.reply
        for key, value in outcome.changes.items():
            if value != state[key]:
                await session.redis(*self.values.write_changed(session.key(key), state[key], value))
                session.note(writes={key: value})
        return outcome.reply
