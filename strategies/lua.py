"""The whole rule as a Lua script inside the server, run with EVALSHA.

A script is one step for everybody else: it reads, decides and writes without anybody in
between. One round trip, any rule over the keys of one server. It costs a second version
of the rule in another language, and while it runs the server serves nobody else.
"""

from typing import Any

from harness import Claim, Conditions, ConnectionLost, Reply, Request, Rule, Scenario, ScriptForm, Session, Strategy

REMEMBERED_MS = 3_600_000
"""For so long a request that is delivered again is told what it was told before."""

REMEMBER = """
local memory = table.remove(KEYS)
local told = redis.call('GET', memory)
if told then return cjson.decode(told)[1] end
local function rule()
{rule}
end
local reply = rule()
redis.call('SET', memory, cjson.encode({{reply or false}}), 'PX', {ms})
return reply
"""


class Lua(Strategy):
    """The rule as a script of the server."""

    name = "lua"
    family = "the rule inside the store"
    form = "lua"
    meets = "one step of the server"
    summary = "the rule as a script, EVALSHA"
    stops_helping = "a second version of the rule; it blocks the server while it runs"
    variants = {
        "resend": "what got no reply is sent again",
        "remember": "sent again, and the script remembers each request's id with its reply (safe)",
    }

    def __init__(self, scenario: Scenario, variant: str = "") -> None:
        """Bind to a scenario; one variant knows a request that comes again."""
        super().__init__(scenario, variant)
        self.repeatable = variant == "remember"

    def claims(self, conditions: Conditions) -> Claim:
        """Holds; whoever sends again needs a script that knows what it has done."""
        resends = self.variant == "resend" and not self.scenario.repeatable
        faults = ("lost-reply",) if resends else ()
        return Claim("holds", "a script is one step for everybody else", breaks_under=faults)

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Run the script of this operation; it has decided when it answers."""
        form = self.native(request.operation)
        try:
            raw = await self._run(session, request, form)
        except ConnectionLost:
            if not self.variant:
                raise
            raw = await self._run(session, request, form)
        reply: Reply = form.reply(raw, request)
        return reply

    async def _run(self, session: Session, request: Request, form: ScriptForm) -> Any:
        # A script may ask the server's clock, and a lease with a TTL does: hence an interval.
        now_ms = await session.instant_ms()
        keys, source = tuple(map(session.key, request.keys)), form.source
        if self.variant == "remember":
            keys = (*keys, session.key(f"{request.key}:told:{request.id}"))
            source = REMEMBER.format(rule=source, ms=REMEMBERED_MS)
        return await session.script(source, keys, *form.args(request, now_ms))
