"""Requests wait in a stream in Redis; one consumer takes them in order, decides, and answers.

It is the actor's idea with a mailbox that outlives its process. The consumer works on the first message there is,
and leaves it there: the change, the answer and the end of the message are one script, which does nothing where
somebody has ended the message already. So a successor begins where a dead one stopped, and what a dead one sent last
does no harm. Who has been answered is remembered, so that what is delivered again is told the same. It costs two
hops through the store, and one consumer's pace is everybody's. It stops helping where a second consumer is given
another message meanwhile, and nothing keeps anybody from writing past the queue: unless the store does, to which only
the consumer has the credentials for more than the queue itself.
"""

import contextlib
import json
from collections.abc import Sequence
from functools import partial

from harness import (
    Claim,
    CommandRefused,
    Conditions,
    Daemon,
    Outcome,
    Reply,
    Request,
    Rule,
    Scenario,
    Session,
    Strategy,
)

REMEMBERED_MS = 60_000
"""How long an answer is kept beyond every lease, for whoever comes back late or sends the same request again."""

STILL_FIRST = """
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
if not first or first[2][2] ~= ARGV[1] then return 0 end
redis.call('XDEL', KEYS[1], first[1])
"""
ANSWER = """
local answer = redis.call('GET', KEYS[3])
if not answer then
  answer = ARGV[2]
  for _, command in ipairs(cjson.decode(ARGV[4])) do redis.call(unpack(command)) end
  redis.call('SET', KEYS[3], answer, 'PX', ARGV[3])
end
redis.call('RPUSH', KEYS[2], answer)
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 1
"""
END = STILL_FIRST + "return 1"
GROUP = "consumers"


class Queue(Strategy):
    """One consumer that takes requests in the order of their coming."""

    name = "queue"
    family = "an owner"
    stops_helping = "a second consumer, and whoever writes past the queue"
    earns_its_cost = "six-writers"
    summary = "requests wait in a stream; one consumer takes them in order, decides and answers"
    enforces = "owner"
    variants = {
        "two-consumers": "two consumers, each given a message that the other is not",
        "ack-first": "a message leaves the queue before it is worked on",
        "no-dedupe": "change, answer and end of a message are separate, and nobody remembers what was done",
        "credentials": "callers may put requests into the queue, and only the consumer may write the state (safe)",
    }

    def __init__(self, scenario: Scenario, variant: str = "") -> None:
        """Bind to a scenario."""
        super().__init__(scenario, variant)
        self.repeatable = variant != "no-dedupe"
        if self.guarded:
            self.needs = {"redis": "7.0"}  # rights that differ from key to key

    @property
    def guarded(self) -> bool:
        """Whether callers are refused what they write themselves."""
        return self.variant == "credentials"

    def claims(self, conditions: Conditions) -> Claim:
        """Holds with one consumer that leaves nothing half done."""
        if self.variant == "two-consumers":
            return Claim("breaks", self.variants[self.variant])
        one = "one consumer decides one request at a time"
        reason = one if self.guarded else self.variants.get(self.variant, one)
        faults = {"ack-first": ("crash", "lost-reply"), "no-dedupe": ("crash", "lost-reply")}
        return Claim("holds", reason, breaks_under=faults.get(self.variant, ()))

    def daemons(self) -> dict[str, Daemon]:
        """One consumer, or it is no order."""
        if self.variant == "two-consumers":
            return {f"consumer{number}": partial(self.consume, name=str(number)) for number in (1, 2)}
        return {"consumer": self.consume}

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Put the request into the queue, wait for the answer in a list of one's own."""
        answers = f"answer-{session.token()[:12]}"
        message = [
            answers, request.operation, request.keys, dict(request.args), request.id, request.attempt, request.role
        ]  # fmt: skip
        queue = session.own_key(self.title)
        await session.redis("XADD", queue, "*", "m", json.dumps(message, separators=(",", ":")))
        _list, answer = await session.redis("BLPOP", session.own_key(answers), 0)
        decision, values, now_ms = json.loads(answer)
        session.decided_at(now_ms)
        return Reply(decision, values)

    async def consume(self, session: Session, rule: Rule, name: str = "") -> None:
        """Work on the first message there is, for ever."""
        queue = session.own_key(self.title)
        reading: tuple[str | int, ...] = ("XREAD", "COUNT", 1, "BLOCK", 0, "STREAMS", queue, "0")
        if self.variant == "two-consumers":
            with contextlib.suppress(CommandRefused):  # the other one has made it
                await session.redis("XGROUP", "CREATE", queue, GROUP, "0", "MKSTREAM")
            reading = ("XREADGROUP", "GROUP", GROUP, name, "COUNT", 1, "BLOCK", 0, "NOACK", "STREAMS", queue, ">")
        while True:
            ((_queue, ((_id, (_field, message)),)),) = await session.redis(*reading)
            if self.variant == "ack-first":
                await session.script(END, (queue,), message)
            await self._handle(session, rule, queue, message)

    async def _handle(self, session: Session, rule: Rule, queue: str, message: bytes) -> None:
        answers, operation, keys, args, id_, attempt, role = json.loads(message)
        request = Request(operation, tuple(keys), args, id_, attempt, role)
        outcome = await session.decide(rule, await self.values.load(session, request.keys), request)
        answer = json.dumps([outcome.reply.decision, dict(outcome.reply.values), session.now_at_ms])
        answers = session.own_key(answers)
        if self.variant == "no-dedupe":
            await self.values.save(session, outcome.changes, session.now_at_ms)
            await session.redis("RPUSH", answers, answer)
            await session.script(END, (queue,), message)
            return
        script = ANSWER if self.variant in {"ack-first", "two-consumers"} else STILL_FIRST + ANSWER
        told = session.own_key(f"answered-{id_}-{request.key}")  # ids begin anew with every load, keys do not
        keys = (queue, answers, told, *map(session.key, outcome.changes))
        commands = json.dumps(self._commands(session, outcome))
        kept_ms = REMEMBERED_MS + self.scenario.leases_ms
        if await session.script(script, keys, message, answer, kept_ms, commands):
            session.note(writes=outcome.changes)

    def _commands(self, session: Session, outcome: Outcome) -> Sequence[Sequence[str]]:
        """What writes the changes, as words."""
        now_ms = session.now_at_ms
        written = (self.values.write(session.key(key), value, now_ms) for key, value in outcome.changes.items())
        return [[word.decode() if isinstance(word, bytes) else str(word) for word in command] for command in written]
