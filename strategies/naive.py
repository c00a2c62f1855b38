"""GET, decide, SET: what everybody writes first.

Nothing protects the time between the read and the write: two callers read the same state,
both decide on it, and the later write covers the earlier one. It costs nothing. It is
right where one caller at a time is certain, and it is the control that shows whether a
load can find anything.
"""

from harness import Claim, Conditions, Reply, Request, Rule, Session, Strategy


class Naive(Strategy):
    """No protection."""

    name = "naive"
    family = "no protection"
    summary = "GET, decide, SET"
    stops_helping = "as soon as two requests overlap"

    def claims(self, conditions: Conditions) -> Claim:
        """Breaks as soon as two requests overlap."""
        return Claim("breaks", "nothing keeps others out between the read and the write")

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Read, decide, write."""
        state = await self.values.load(session, request.keys)
        outcome = await session.decide(rule, state, request)
        await self.values.save(session, outcome.changes, session.now_at_ms)
        return outcome.reply
