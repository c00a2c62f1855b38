"""An owner for each key, and messages between owners where a request is about two of them.

No key is locked, and none has two owners: whoever moves something from one key to another asks the owner of the first,
who takes it out, writes that down, asks the owner of the second to let it in, and puts it back where that one refuses.
Nobody else is served meanwhile, so what is half moved is seen by nobody. But whoever waits for an answer holds its own
key as firmly as any lock: two owners that ask each other wait for ever. And whoever dies between its two messages
leaves what it took out in neither place, since no transaction spans two owners.

`pass-on` waits for nobody: the first owner tells the second to let it in and to answer, and serves the next. There is
no deadlock; others may look in between, and find it in neither place. A crash still loses it.

`resumed` survives the crash, at the price of a small workflow inside an actor: the owner that comes first by name does
both halves, whichever way they go, so that owners wait in one direction only. It writes down what it has begun before
it asks; the other one remembers by the request's id what it has done, so that it may be asked again; a successor ends
what it finds begun; and each owner has a number, without which nothing of its predecessor's is written any more. Two
owners are as far as this goes: of a process over many keys, and over effects outside, a workflow should be the owner.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from harness import (
    ABORTED,
    Claim,
    CommandRefused,
    Conditions,
    ConnectionLost,
    MessagesForm,
    NotExpressible,
    Outcome,
    Reply,
    Request,
    Rule,
    Scenario,
    Session,
    Strategy,
)

REMEMBERED_MS = 60_000
"""How long an owner remembers what it has done, for whoever asks again."""
TRIES = 20
"""So often an owner begins again where it is told that it is none any more, or that another is gone."""

BEGIN = """
return {redis.call('HINCRBY', KEYS[1], 'number', 1), redis.call(ARGV[1], KEYS[2]), redis.call('HGET', KEYS[1], 'begun')}
"""
"""A new owner: its number, what the key is, and what the last one had begun."""
FENCED = "if redis.call('HGET', KEYS[1], 'number') ~= ARGV[1] then return false end"
"""Nothing for a former owner."""
KNOWN = """
local answer = redis.call('GET', KEYS[3])
if answer then
  redis.call('HDEL', KEYS[1], 'begun')
  return answer
end
"""
"""What was answered before."""
BEGUN = """
redis.call('HSET', KEYS[1], 'begun', ARGV[2])
return 1
"""
ENDED = """
for _, command in ipairs(cjson.decode(ARGV[2])) do redis.call(unpack(command)) end
redis.call('HDEL', KEYS[1], 'begun')
redis.call('SET', KEYS[3], ARGV[3], 'PX', ARGV[4])
return 1
"""


class Actors(Strategy):
    """An owner for each key; owners send each other messages."""

    name = "actors"
    family = "an owner"
    summary = "an owner for each key; owners send each other messages"
    stops_helping = "two owners that ask each other and wait; a crash between two messages"
    enforces = "owner"
    owned = True
    per_key = True
    variants = {
        "pass-on": "an owner waits for no other: it tells it to answer, and serves the next",
        "resumed": "what is begun is written down, and ended by a successor; owners wait in one direction only (safe)",
        "resumed-twice": "as `resumed`, but an owner that is asked again does it again",
        "resumed-unfenced": "as `resumed`, but what a dead owner sent last is written all the same",
        "reentrant": "an owner takes the next message while it waits for the store, or for another owner",
    }

    def __init__(self, scenario: Scenario, variant: str = "") -> None:
        """Bind to a scenario."""
        super().__init__(scenario, variant)
        forms = scenario.forms.get("messages", {})
        self.messages: Mapping[str, Any] = {} if isinstance(forms, NotExpressible) else forms
        self.resumes = variant.startswith("resumed")
        self.repeatable = variant in {"resumed", "resumed-unfenced"}

    @property
    def reentrant(self) -> bool:
        """Whether the next message begins before this one is answered."""
        return self.variant == "reentrant"

    @property
    def succeeded(self) -> bool:
        """Whether a successor has something to end."""
        return self.resumes

    def claims(self, conditions: Conditions) -> Claim:
        """Holds about one key; about two it depends on who waits for whom."""
        met = self.meetings(conditions.size)
        pairs = {keys for burst in met for keys in burst}
        if pairs and (why := self._not_expressible(pairs)):
            return Claim("not-applicable", why)
        if self.reentrant:
            return Claim("breaks", self.variants[self.variant])
        if self.resumes:
            risky = self.variant == "resumed-unfenced" or (self.variant == "resumed-twice" and bool(pairs))
            return Claim("holds", self.variants[self.variant], breaks_under=("crash",) * risky)
        if self.variant and not pairs:
            return Claim("not-applicable", "no request is about two keys: nothing is passed on")
        if self.variant and any(burst[keys] > 1 and burst[keys[::-1]] > 1 for burst in met for keys in burst):
            return Claim("breaks", "whoever comes in between finds in neither place what is on its way")
        if not self.variant and any(keys[::-1] in burst for burst in met for keys in burst):
            return Claim("breaks", "two owners that ask each other wait for ever")
        # Between two messages, or with a last write that arrives after its successor has read.
        return Claim("holds", "each key has one owner, which decides one message at a time", breaks_under=("crash",))

    def _not_expressible(self, pairs: set[tuple[str, ...]]) -> str:
        if any(len(keys) > 2 for keys in pairs):
            return "a request is about more than two keys"
        if self.messages:
            return ""
        forms = self.scenario.forms.get("messages")
        return forms.reason if isinstance(forms, NotExpressible) else self.form_needed("messages")

    # Callers

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Ask the owner: of the first key, or of the one that comes first by name."""
        return await session.ask(request, of=min(request.keys) if self.resumes else request.key)

    # Owners

    async def own(self, session: Session, request: Request, rule: Rule) -> Reply:
        """A request about this key, one about two, or what another owner asks for."""
        operation, _, part = request.operation.partition(":")
        if self.resumes:
            return await self._resume(session, request, rule)
        if part == "back":
            await self._part(session, request, request.keys[0], part)
            return self._form(operation).refused
        if part == "into":
            told = await self._part(session, request, request.keys[1], part)
            if self.variant == "pass-on" and told == self._form(operation).refused:
                return await session.tell(_part_of(request, "back"), of=request.keys[0])
            return told
        if len(request.keys) == 1:
            return await self._write_through(session, request, request.key, rule)
        told = await self._part(session, request, request.keys[0], "out")
        if told == self._form(operation).refused:
            return told
        if self.variant == "pass-on":
            return await session.tell(_part_of(request, "into"), of=request.keys[1])
        return await self._let_in(session, request)

    async def _let_in(self, session: Session, request: Request) -> Reply:
        """Ask the other owner, and wait; what it refuses is put back."""
        source, target = request.keys
        refused = self._form(request.operation).refused
        try:
            told = await session.ask(_part_of(request, "into"), of=target)
        except CommandRefused:  # it has not begun
            await self._part(session, request, source, "back")
            raise
        if told == refused:
            await self._part(session, request, source, "back")
        return told

    async def _part(self, session: Session, request: Request, key: str, part: str) -> Reply:
        """This owner's half of a request about two keys."""
        return await self._write_through(session, request, key, self._half(request, key, part))

    async def _write_through(self, session: Session, request: Request, key: str, rule: Rule) -> Reply:
        """Decide on what is known; write it through, then remember it."""
        known = session.memory
        if key not in known:
            known.update(await self.values.load(session, (key,)))
        outcome = await session.decide(rule, {key: known[key]}, request)
        for changed in outcome.changes:
            known.pop(changed, None)
        await self.values.save(session, outcome.changes, session.now_at_ms)
        known.update(outcome.changes)
        return outcome.reply

    def _form(self, operation: str) -> MessagesForm:
        form: MessagesForm = self.messages[operation.partition(":")[0]]
        return form

    def _half(self, request: Request, key: str, part: str) -> Rule:
        """One half of a request as a rule about one key."""
        form = self._form(request.operation)
        change: Callable[[Any, Request], Any] = getattr(form, part)

        def rule(state: Mapping[str, Any], request: Request, now_ms: int) -> Outcome:
            value = change(state[key], request)
            return Outcome({}, form.refused) if value is None else Outcome({key: value}, form.done)

        return rule

    # Owners whose successors go on

    async def take_over(self, session: Session, key: str, rule: Rule) -> None:
        """Take a number, learn what the key is, and end what was begun."""
        reads, stored = self.values.read(session.key(key))
        number, raw, begun = await session.script(BEGIN, (session.key(f"owner:{key}"), str(stored)), reads)
        value = self.values.parse(raw)
        session.memory[key] = number, value
        session.note(reads={key: value})
        if begun:
            operation, keys, args, id_, attempt, role = json.loads(begun)
            with _forgetting(session, key):
                await self._both(session, Request(operation, tuple(keys), args, id_, attempt, role), key)

    async def _resume(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Do it; begin again where a later owner has taken a number, if only to die of it."""
        part = request.operation.partition(":")[2]
        key = request.keys[part == "into"] if part else min(request.keys)
        for _ in range(TRIES):
            if key not in session.memory:
                await self.take_over(session, key, rule)
            with _forgetting(session, key):
                if part or len(request.keys) == 1:
                    told = await self._end(session, request, key, self._half(request, key, part) if part else rule)
                else:
                    told = await self._both(session, request, key)
            if told is not None:
                return told
            session.memory.pop(key, None)
        return ABORTED

    async def _both(self, session: Session, request: Request, key: str) -> Reply | None:
        """Both halves: the other owner's first, as long as nobody is shown this key. None for a former owner."""
        own, others = ("out", "into") if key == request.keys[0] else ("into", "out")
        (other,) = {*request.keys} - {key}
        form, half = self._form(request.operation), self._half(request, key, own)
        _number, value = session.memory[key]
        possible = half({key: value}, request, 0).reply == form.done
        if possible:
            begun = await self._script(session, request, key, BEGUN, _written(request))
            if begun != 1:
                return _reply(begun)
            possible = await self._asked(session, _part_of(request, others), other) == form.done
        return await self._end(session, request, key, half if possible else _refusing(form))

    async def _asked(self, session: Session, request: Request, other: str) -> Reply:
        """The other owner's answer; it is asked again where it is gone. Raises ConnectionLost."""
        for _ in range(TRIES):
            with contextlib.suppress(ConnectionLost):
                return await session.ask(request, of=other)
        raise ConnectionLost("the other owner does not come back")

    async def _end(self, session: Session, request: Request, key: str, rule: Rule) -> Reply | None:
        """Decide, write that with the answer, then remember it; the earlier answer, if any. None for a former owner."""
        number, value = session.memory[key]
        outcome = await session.decide(rule, {key: value}, request)
        changed = outcome.changes.get(key, value)
        written = self._words(session, outcome)
        answer = json.dumps([outcome.reply.decision, dict(outcome.reply.values)])
        done = await self._script(session, request, key, ENDED, written, answer, REMEMBERED_MS)
        if done != 1:
            return _reply(done)
        session.memory[key] = number, changed
        session.note(writes=outcome.changes)
        return outcome.reply

    async def _script(self, session: Session, request: Request, key: str, script: str, *args: str | int) -> Any:
        """Run it for the owner with the last number, where nobody knows the request: 1. Else the answer, or None."""
        number, _value = session.memory[key]
        names = (session.key(f"owner:{key}"), session.key(key), session.key(f"answer:{key}:{request.id}"))
        known = "" if self.variant == "resumed-twice" else KNOWN
        fenced = "" if self.variant == "resumed-unfenced" else FENCED
        return await session.script(fenced + known + script, names, str(number), *args)

    def _words(self, session: Session, outcome: Outcome) -> str:
        """The commands that write the changes."""
        now_ms = session.now_at_ms
        written = (self.values.write(session.key(key), value, now_ms) for key, value in outcome.changes.items())
        return json.dumps([list(map(str, command)) for command in written])


@contextlib.contextmanager
def _forgetting(session: Session, key: str) -> Iterator[None]:
    """What failed may have been written, and what was begun is still to be ended: the next request takes over."""
    try:
        yield
    except BaseException:
        session.memory.pop(key, None)
        raise


def _part_of(request: Request, part: str) -> Request:
    """What one owner asks another, under the id of the request that it comes of."""
    return request._replace(operation=f"{request.operation.partition(':')[0]}:{part}")


def _written(request: Request) -> str:
    operation, keys, args, id_, attempt, role = request
    return json.dumps([operation, keys, dict(args), id_, attempt, role])


def _refusing(form: MessagesForm) -> Rule:
    return lambda _state, _request, _now_ms: Outcome({}, form.refused)


def _reply(answer: bytes | None) -> Reply | None:
    """An earlier answer; None where a script says that there is a later owner."""
    return None if answer is None else Reply(*json.loads(answer))
