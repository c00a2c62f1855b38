"""One owner per key decides; everybody else sends it messages and waits for the answer.

The owner takes one message at a time, so there is nobody to race with; it keeps the state in
memory and writes it through to the store before it answers. It costs a hop, and the owner is
one process: its pace is everybody's, and while it is down nobody is served. It stops helping
with a second owner, or with one that takes the next message while it waits for the store; and
a successor of a dead owner is a second one as long as a write of the first is under way.

And an owner owns nothing as long as others may write as well: what somebody writes around it, it does not
know of, and covers with what it remembers. Where it alone has the credentials, the store refuses the others.
"""

from harness import Claim, Conditions, Reply, Request, Rule, Session, Strategy


class Actor(Strategy):
    """An owner process that decides one message at a time."""

    name = "actor"
    family = "an owner"
    summary = "one owner decides one message at a time and writes through"
    stops_helping = "a second owner; while the owner is down"
    earns_its_cost = "six-writers"
    enforces = "owner"
    owned = True
    variants = {
        "per-process": "an owner for each of two processes, each sure to be the only one",
        "reentrant": "the owner takes the next message while it waits for the store",
        "credentials": "callers may read, and only the owner may write: the store refuses the others (safe)",
    }

    @property
    def owners(self) -> int:
        """One, or it is no owner."""
        return 2 if self.variant == "per-process" else 1

    @property
    def reentrant(self) -> bool:
        """Whether the next message begins before this one is answered."""
        return self.variant == "reentrant"

    @property
    def guarded(self) -> bool:
        """Whether callers are refused what they write themselves."""
        return self.variant == "credentials"

    def claims(self, conditions: Conditions) -> Claim:
        """Holds with one owner that finishes what it began."""
        if self.variant == "per-process" and conditions.processes == 1:
            return Claim("holds", "there is one process, and so one owner", breaks_under=("crash",))
        if self.variant in {"per-process", "reentrant"}:
            return Claim("breaks", self.variants[self.variant])
        # What a dead owner sent last may arrive after its successor has read.
        return Claim("holds", "one owner decides one message at a time", breaks_under=("crash",))

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Ask the owner."""
        return await session.ask(request)

    async def own(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Decide on what is known; write it through, then remember it."""
        known, state = session.memory, {}
        for key in request.keys:
            if key not in known:
                known.update(await self.values.load(session, (key,)))
            state[key] = known[key]  # at once: while the next one is read a reentrant owner may forget it again
        outcome = await session.decide(rule, state, request)
        # Forgotten until it is written: should the write fail, nobody knows what the store holds.
        for key in outcome.changes:
            known.pop(key, None)
        await self.values.save(session, outcome.changes, session.now_at_ms)
        known.update(outcome.changes)
        return outcome.reply
