"""Compare and set: read, decide, and write only where nothing has changed since the read."""

from harness import ABORTED, Claim, Strategy

SWAP = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call(unpack(ARGV, 2))
return 1
"""


class CompareAndSet(Strategy):
    name = "compare-and-set"

    def claims(self, conditions):
        return Claim("holds", "one script compares what was read and writes")

    async def apply(self, session, request, rule):
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
