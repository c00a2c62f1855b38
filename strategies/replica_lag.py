"""Every edge decides by a copy close to it, and counts at the one primary.

A replica answers nearby and is behind: what was written a moment ago, here or at another edge, is not in it yet. So
it does not take two at once to get a decision wrong. One caller after the other is let through for as long as the
copy knows nothing of the first. By how much a limit is exceeded is the rate times the lag, and no lock
on the copy changes that: the truth is elsewhere. Whoever puts back what the copy said, and one more, loses
what others have counted as well: then the excess has no bound. Whether so much too many is bearable is a choice of
the rule, exact or approximate; the price of exact is a way to the primary for every request.
"""

from harness import Claim, Conditions, Reply, Request, Rule, Session, Strategy

LAGS_MS = {"": 20.0, "own-delay": 0.0, "200-ms": 200.0, "put": 20.0}


class ReplicaLag(Strategy):
    """Reads from a replica, writes to its primary."""

    name = "replica-lag"
    family = "no protection"
    form = "edge"
    rules_for = "that may be approximate"
    summary = "decide by a replica that is 20 ms behind, count at its primary"
    stops_helping = "a limit that must be exact: what was let through elsewhere is seen too late"
    variants = {
        "own-delay": "the replica is behind by no more than it takes by itself",
        "200-ms": "the replica is 200 ms behind",
        "put": "the number that was read there, and one more, is put in place of the primary's",
    }

    @property
    def lag_ms(self) -> float:
        """By how much the link to the replica is held up."""
        return LAGS_MS[self.variant]

    def claims(self, conditions: Conditions) -> Claim:
        """Breaks, by as much as comes within the lag."""
        return Claim("breaks", "what is decided on is as old as the replica is behind, whoever comes between or not")

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Look at the copy, decide; count at the primary, whose answer comes too late to matter."""
        state = {}
        for key in request.keys:
            state[key] = self.values.parse(await session.read_copy("GET", session.key(key)))
            session.note(reads={key: state[key]})
        outcome = await session.decide(rule, state, request)
        if self.variant == "put":
            await self.values.save(session, outcome.changes, session.now_at_ms)
            return outcome.reply
        form = self.native(request.operation)
        keys = tuple(map(session.key, request.keys))
        await session.script(form.source, keys, *form.args(request, session.now_at_ms))
        return outcome.reply
