"""A leased lock in Redis whose holders are numbered; what an earlier holder writes late, the store refuses.

Whoever takes the lock is given the next number, and the write names it: one script looks whether it is still the
last number given out, and writes only then. So a holder that was paused past its lease, whose lock is another's by
now, changes nothing, and does its work again. The two may still be at work at the same time: the number protects
what is written, not what is done outside; and whoever is always slower than the lease is always refused while others
want the lock, and has to give up. It takes a store that checks it: a number compared with that of the last
write only, as many a store would, lets a late write through that comes before the new holder's.
"""

import json

from harness import ABORTED, Claim, Conditions, Outcome, Reply, Request, Rule, Session, Strategy

PATIENCE = 400
"""Tries before giving up: with pauses of up to 16 ms, longer than a dead holder's lease."""

REFUSALS = 8
"""Writes refused before giving up: where work outlives the lease and others wait, each is overtaken for ever."""

ACQUIRE = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local number = redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], number, 'PX', ARGV[1])
return number
"""
RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""
WRITE = """
local numbers = cjson.decode(ARGV[1])
for place, number in ipairs(numbers) do
  if tonumber(redis.call('GET', KEYS[place]) or 0) > number then return 0 end
end
for place, number in ipairs(numbers) do redis.call('SET', KEYS[place], number) end
for _, command in ipairs(cjson.decode(ARGV[2])) do redis.call(unpack(command)) end
return 1
"""


class RedisLockFenced(Strategy):
    """A leased lock per key, with a fencing number that the store checks at every write."""

    name = "redis-lock-fenced"
    family = "a lock"
    stops_helping = "effects outside: two may be at work, and one of them for nothing"
    summary = "a leased lock with a number for each holder; the store refuses an earlier holder's write"
    variants = {
        "last-write": "the number is compared with that of the last write only",
        "unchecked": "the number is given out, and nobody looks at it",
    }

    def claims(self, conditions: Conditions) -> Claim:
        """Holds through pauses: what comes late is refused."""
        if self.variant:
            return Claim("holds", self.variants[self.variant], breaks_under=("pause",))
        return Claim("holds", "the store refuses what an earlier holder writes late")

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Take the locks, which all take in one order; read, decide, write if nobody has taken one since."""
        keys, refused = sorted(set(request.keys)), 0
        async for _ in session.retries(PATIENCE):
            held: dict[str, int] = {}
            try:
                for key in keys:
                    number = await self._acquire(session, key)
                    if not number:
                        break
                    held[key] = number
                if len(held) < len(keys):
                    continue
                state = await self.values.load(session, request.keys)
                outcome = await session.decide(rule, state, request)
                if not outcome.changes or await self._write(session, held, outcome):
                    return outcome.reply
                refused += 1
                if refused == REFUSALS:
                    return ABORTED
            finally:
                for key, number in reversed(held.items()):
                    await session.script(RELEASE, (session.key(f"lock:{key}"),), str(number))
        return ABORTED

    async def _acquire(self, session: Session, key: str) -> int:
        """The number of the new holder; 0 while there is another one."""
        names = session.key(f"lock:{key}"), session.key(f"number:{key}")
        number: int = await session.script(ACQUIRE, names, session.lock_lease_ms)
        return number

    async def _write(self, session: Session, held: dict[str, int], outcome: Outcome) -> bool:
        """Write all or nothing; False where a later holder is known."""
        if self.variant == "unchecked":
            await self.values.save(session, outcome.changes, session.now_at_ms)
            return True
        # The number given out last, not that of the last write: a reader that has the lock counts already.
        kind = "written" if self.variant == "last-write" else "number"
        names = (*(session.key(f"{kind}:{key}") for key in held), *map(session.key, outcome.changes))
        now_ms = session.now_at_ms
        written = (self.values.write(session.key(key), value, now_ms) for key, value in outcome.changes.items())
        commands = [[str(word) for word in command] for command in written]
        done = await session.script(WRITE, names, json.dumps(list(held.values())), json.dumps(commands))
        if done:
            session.note(writes=outcome.changes)
        return bool(done)
