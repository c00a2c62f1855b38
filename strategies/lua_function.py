"""The whole rule as a function that the server keeps, called by its name: FUNCTION LOAD once, then FCALL.

To others it is what a script is: one step, with nobody in between. The difference is whose it is. A script comes
with every caller, who may send an older one; a function lies in the server, beside the data and as durable, and
all callers get the same. It belongs to the whole server, not to a database or to keys, so its name must
be nobody else's. It does not keep anybody out: it runs with the rights of who calls it, so
whoever may call it may also write the keys directly. Needs Redis 7.
"""

from typing import Any

from harness import Claim, Conditions, ConnectionLost, Reply, Request, Rule, Scenario, ScriptForm, Session, Strategy

WRITE = "return redis.call(ARGV[1], KEYS[1], unpack(ARGV, 2))"
"""A function that decides nothing."""


class LuaFunction(Strategy):
    """The rule as a function of the server."""

    name = "lua-function"
    family = "the rule inside the store"
    form = "lua"
    summary = "the rule as a function that the server keeps, FCALL"
    stops_helping = (
        "a second version of the rule, which every server has to be given; it blocks the server while it runs"
    )
    needs = {"redis": "7.0"}
    enforces = "owner"
    meets = "one step of the server"
    variants = {
        "resend": "what got no reply is sent again",
        "decide-outside": "the caller reads and decides, and the function only writes",
    }

    def __init__(self, scenario: Scenario, variant: str = "") -> None:
        """Bind to a scenario, whose scripts become functions where it names no others."""
        if "function" in scenario.forms:
            self.form = "function"
        super().__init__(scenario, variant)
        if variant == "decide-outside":
            self.enforces = "caller"

    def claims(self, conditions: Conditions) -> Claim:
        """Holds, as long as it is the function that decides."""
        if self.variant == "decide-outside":
            return Claim("breaks", "the function is one step, and what it writes was decided before")
        resends = self.variant == "resend" and not self.scenario.repeatable
        return Claim("holds", "a function is one step for everybody else", ("lost-reply",) if resends else ())

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Call the function of this operation; it has decided when it answers."""
        if self.variant == "decide-outside":
            return await self._decide_outside(session, request, rule)
        form = self.native(request.operation)
        try:
            raw = await self._call(session, request, form)
        except ConnectionLost:
            if not self.variant:
                raise
            raw = await self._call(session, request, form)
        reply: Reply = form.reply(raw, request)
        return reply

    async def _call(self, session: Session, request: Request, form: ScriptForm) -> Any:
        # A function may ask the server's clock, and a lease with a TTL does: hence an interval.
        now_ms = await session.instant_ms()
        return await session.function(form.source, tuple(map(session.key, request.keys)), *form.args(request, now_ms))

    async def _decide_outside(self, session: Session, request: Request, rule: Rule) -> Reply:
        state = await self.values.load(session, request.keys)
        outcome = await session.decide(rule, state, request)
        for key, value in outcome.changes.items():
            name, stored, *rest = self.values.write(session.key(key), value, session.now_at_ms)
            await session.function(WRITE, (str(stored),), str(name), *map(str, rest))
            session.note(writes={key: value})
        return outcome.reply
