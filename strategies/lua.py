"""The whole rule as a Lua script inside the server, run with EVALSHA.

A script is one step for everybody else: it reads, decides and writes without anybody in
between. One round trip, any rule over the keys of one server. It costs a second version
of the rule in another language, and while it runs the server serves nobody else.
"""

from harness import Claim, Conditions, Reply, Request, Rule, Session, Strategy


class Lua(Strategy):
    """The rule as a script of the server."""

    name = "lua"
    family = "redis"
    form = "lua"
    summary = "the rule as a script, EVALSHA"

    def claims(self, conditions: Conditions) -> Claim:
        """Holds."""
        return Claim("holds", "a script is one step for everybody else")

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Run the script of this operation; it has decided when it answers."""
        form = self.native(request.operation)
        # A script may ask the server's clock, and a lease with a TTL does: hence an interval.
        now_ms = await session.instant_ms()
        keys = tuple(map(session.key, request.keys))
        raw = await session.script(form.source, keys, *form.args(request, now_ms))
        reply: Reply = form.reply(raw, request)
        return reply
