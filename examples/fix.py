"""Compare and set: GET, decide, and write only if the value is still the one that was read.

The comparison and the write are one script, so nobody comes between them; who was too late
reads and decides anew. Unlike the rule in Lua, the script is the same for every rule.
"""

from harness import ABORTED, Claim, Strategy

SWAP = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call(unpack(ARGV, 2))
return 1
"""


class CompareAndSet(Strategy):
    """Optimistic, in two round trips; one key."""

    name = "compare-and-set"
    summary = "GET, decide, a script that writes if nothing has changed; bounded retry"

    def claims(self, conditions):
        """What to expect; race tells whether it came true."""
        return Claim("holds", "what was read is compared in the step that writes")

    async def apply(self, session, request, rule):
        """One transition."""
        key = session.key(request.key)
        async for _ in session.retries():
            read = await session.redis("GET", key)
            outcome = await session.decide(rule, {request.key: self.values.parse(read)}, request)
            if not outcome.changes:
                return outcome.reply
            write = self.values.write(key, outcome.changes[request.key], session.now_at_ms)
            if await session.script(SWAP, (key,), (read or b"").decode(), *write):
                return outcome.reply
        return ABORTED
