"""One step of a caller on a real store, or on what the scheduler keeps itself: locks, owners, effects."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any, Protocol

from harness.burst.shown import word as shown_word
from harness.explore.blocking import patience
from harness.explore.caller import Caller
from harness.explore.event import Choice, Event
from harness.explore.leases import Leases, lease_ms
from harness.explore.program import Cast
from harness.explore.session import CLOCK, WORK, Pending, fixed_touch
from harness.explore.touch import (
    EVERYTHING,
    LOCAL,
    NOWHERE,
    Touch,
    command_touch,
    command_touched,
    lives,
    reads,
    writes,
)
from harness.explore.world import World
from harness.model import CommandRefused, ConnectionLost, StatementRefused, StoreFault

CANCELLED = "57014"
_MOST_SEEN = 10_000
STORE_STEPS = frozenset({"redis", "script", "sql", "commit", "rollback"})


class Stage(Protocol):
    """The machine, as a step sees it."""

    world: World
    cast: Cast
    now_ms: int
    caps: set[str]
    disturbed: str
    leases: Leases
    stored: dict[str, str]
    mutexes: dict[tuple[int, str], list[Caller]]

    async def resume(self, caller: Caller, event: Event, value: Any, *, throw: bool = False) -> None:
        """Let a program go on with a reply or an error."""

    async def settle(self, caller: Caller, event: Event) -> None:
        """Let a program go on to the next step that others can notice."""

    async def answered(self, caller: Caller, event: Event) -> bool:
        """Whether a statement ends; False once it is known to wait."""
        ...

    async def remove(self, caller: Caller, event: Event) -> None:
        """A dead caller has done its last."""


async def take_step(stage: Stage, caller: Caller, event: Event, *, lost: bool) -> None:
    """The caller's next step. `lost`: its reply does not arrive."""
    pending = caller.pending
    assert pending is not None
    if caller.current is not None and caller.current.invoked_ns == 0:
        caller.current.invoked_ns = event.at - 400
        event.add(Touch(invokes=True))
    caller.last = event
    match pending.kind:
        case "redis":
            await redis_step(stage, caller, pending, event, lost=lost)
        case "script":
            await _script(stage, caller, pending, event, lost=lost)
        case "sql" | "commit" | "rollback":
            await _sql(stage, caller, pending, event, lost=lost)
        case "copy":
            await _copy(stage, caller, pending, event)
        case "catch-up":
            await _catch_up(stage, caller, event)
        case "lock":
            await _lock(stage, caller, pending, event)
        case "unlock":
            await _unlock(stage, caller, pending, event)
        case "ask" | "tell":
            await _ask(stage, caller, pending, event, lost=lost)
        case _:
            await _other(stage, caller, pending, event)


async def _other(stage: Stage, caller: Caller, pending: Pending, event: Event) -> None:
    """An effect, a look at the clock, a sleep."""
    event.add(fixed_touch(pending, caller.process, pending.name))
    match pending.kind:
        case "effect":
            caller.effect = stage.cast.begin_effect(caller, pending.name, pending.words[0], event.at)
            event.show(caller, "effect", (f"{pending.name} begins",))
        case "effect-end":
            if caller.effect is not None:
                caller.effect.ended_ns = event.at
            event.show(caller, "effect", (f"{pending.name} ends",))
        case "sleep":
            if pending.name == WORK:
                event.show(caller, "effect", (f"works for {pending.ms:,.0f} ms",))
            caller.condition, caller.due_ms = "sleeping", stage.now_ms + int(pending.ms) + 1
            return
    await stage.resume(caller, event, None)


# Redis


async def redis_step(stage: Stage, caller: Caller, pending: Pending, event: Event, *, lost: bool) -> None:
    """One command."""
    world, plain = stage.world, stage.cast.plain
    sent = tuple(part.decode(errors="replace") if isinstance(part, bytes) else str(part) for part in pending.words)
    words = tuple(map(plain, sent))
    known = world.seen.get(words)
    if known is None:
        known = world.seen[words] = await _look_at(world, words)
    name, touch, leases = known
    if name == "EXEC":
        touch = caller.watched
        for queued in caller.queued or ():
            touch = touch.with_(queued)
    stage.stored.update(zip(words, sent, strict=True))
    if name == "TIME" and caller.queued is None:
        event.add(CLOCK)
        seconds, ms = divmod(stage.now_ms, 1000)
        reply: Any = [str(seconds).encode(), str(1000 * ms).encode()]
        event.show(caller, "redis", words, reply, lost=lost)
        await _told(stage, caller, event, reply, lost=lost)
        return
    if leases:
        stage.leases.set_by(sent, stage.now_ms)
    waits = patience(pending.words) if caller.queued is None else None
    if waits is not None:
        await _waiting(stage, caller, (pending, event, lost), *waits, touch)
        return
    try:
        reply = await (await world.redis(caller.place)).execute(*pending.words)
    except StoreFault as fault:
        _disturbs(stage, fault)
        event.add(touch)
        event.show(caller, "redis", words, f"! {fault.code}")
        await _failed(stage, caller, event, fault)
        return
    if caller.queued is not None and name not in {"EXEC", "DISCARD"}:
        caller.queued.append(touch)
        touch = NOWHERE
    elif name == "EXEC" and reply is None:
        touch = Touch(reads=touch.reads | touch.writes, everything=touch.everything)
    else:
        touch = command_touched(words, touch, reply)
    _follow_transaction(caller, name, touch)
    event.add(touch)
    event.show(caller, "redis", words, reply, lost=lost)
    await _told(stage, caller, event, reply, lost=lost)


async def _waiting(
    stage: Stage, caller: Caller, sent: tuple[Pending, Event, bool], words: tuple[Any, ...], waits_ms: int, touch: Touch
) -> None:
    """A command that may wait inside the server. `words`: the same without an end, which is the scheduler's."""
    event = sent[1]
    event.add(touch)
    caller.task, caller.sent = await stage.world.send(caller.place, words), sent
    if not await stage.world.waits_inside(caller.place, caller.task):
        await finish_redis(stage, caller, event)
    elif caller.late:
        await stage.remove(caller, event)
    else:
        caller.condition, event.blocked, caller.waits_for = "blocked", True, ()
        caller.due_ms = stage.now_ms + waits_ms if waits_ms else 0
        if waits_ms:  # time moves only once nobody else can: that it ends before somebody comes is not tried
            stage.caps.add("a command that waits may give up before it is served")


async def finish_redis(stage: Stage, caller: Caller, event: Event) -> None:
    """Hand the answer of a command that waited to its caller. `event` is the step in which it came."""
    assert caller.sent is not None
    assert caller.task is not None
    (pending, sent, lost), task = caller.sent, caller.task
    caller.task, caller.sent, caller.condition, caller.due_ms = None, None, "ready", 0
    words = tuple(stage.cast.plain(shown_word(word)) for word in pending.words)
    if event is not sent:
        caller.last = event
        event.add(command_touch(words, stage.world.kinds))
    error = task.exception()
    if error is not None:
        if not isinstance(error, StoreFault):
            raise error
        _disturbs(stage, error)
        event.show(caller, "redis", words, f"! {error.code}", sent=sent)
        await _failed(stage, caller, event, error)
        return
    event.show(caller, "redis", words, task.result(), sent=sent, lost=lost)
    await _told(stage, caller, event, task.result(), lost=lost)


async def _look_at(world: World, words: tuple[str, ...]) -> tuple[str, Touch, bool]:
    """A command's name, what it may touch, and whether it sets a time to live."""
    if len(world.seen) >= _MOST_SEEN:
        world.seen.clear()
    name = words[0].upper()
    if name not in world.kinds and name not in LOCAL:
        await world.learn(name)
    return name, command_touch(words, world.kinds), lease_ms(words) is not None


def _follow_transaction(caller: Caller, name: str, touch: Touch) -> None:
    match name:
        case "MULTI":
            caller.queued = []
        case "EXEC" | "DISCARD":
            caller.queued, caller.watched = None, NOWHERE
        case "WATCH":
            caller.watched = caller.watched.with_(touch)
        case "UNWATCH":
            caller.watched = NOWHERE


async def _copy(stage: Stage, caller: Caller, pending: Pending, event: Event) -> None:
    """A read from the replica: nobody's writes disturb it but those that have come through."""
    event.add(reads("replica"))
    words = ("REPLICA", *(stage.cast.plain(shown_word(word)) for word in pending.words))
    try:
        reply = await stage.world.copy_answer(*pending.words)
    except StoreFault as fault:
        _disturbs(stage, fault)
        event.show(caller, "redis", words, f"! {fault.code}")
        await _failed(stage, caller, event, fault)
        return
    event.show(caller, "redis", words, reply)
    await _told(stage, caller, event, reply, lost=False)


async def _catch_up(stage: Stage, caller: Caller, event: Event) -> None:
    """The replica gets all that its primary has done so far."""
    event.add(EVERYTHING)
    if any(other.alive for other in stage.cast.callers if other is not caller):  # else nobody will ever notice
        event.show(caller, "redis", ("catches up",))
    await stage.world.catch_up()
    await stage.resume(caller, event, None)


_ASKS_TIME = re.compile(r"""["']time["']""", re.IGNORECASE)
_TIME_IS_GIVEN = """local redis, clock = redis, table.remove(ARGV)
redis = setmetatable({}, {__index = redis})
redis.call = function(name, ...)
  if string.upper(name) ~= 'TIME' then return getmetatable(redis).__index.call(name, ...) end
  return {string.format('%d', math.floor(clock / 1000)), string.format('%d', clock % 1000 * 1000)}
end
redis.pcall = function(name, ...)
  if string.upper(name) ~= 'TIME' then return getmetatable(redis).__index.pcall(name, ...) end
  return redis.call(name)
end
"""
"""Put before a script that asks the server what time it is: the last argument says it."""


async def _script(stage: Stage, caller: Caller, pending: Pending, event: Event, *, lost: bool) -> None:
    source, keys, args = pending.words
    plain = [stage.cast.plain(key) for key in keys]
    stage.stored.update(zip(plain, keys, strict=True))
    touch = writes(*(f"redis:{key}" for key in plain)) if keys else EVERYTHING
    before = await _contents(stage, keys) if caller.prompt else None
    called = pending.name == "function"
    shown = ("FCALL" if called else "LUA", *plain, *(stage.cast.plain(shown_word(arg)) for arg in args))
    if _ASKS_TIME.search(source):
        source, args = _TIME_IS_GIVEN + source, (*args, stage.now_ms)
        event.add(CLOCK)
    first = ("FCALL", await stage.world.registered(source)) if called else ("EVALSHA", await stage.world.digest(source))
    stage.leases.set_by_script(stage.cast.leases_ms, args, stage.now_ms)
    try:
        reply = await (await stage.world.redis(caller.place)).execute(*first, len(keys), *keys, *args)
    except StoreFault as fault:
        _disturbs(stage, fault)
        event.add(touch)
        event.show(caller, "redis", shown, f"! {fault.code}")
        await _failed(stage, caller, event, fault)
        return
    if before is not None and before == await _contents(stage, keys):
        touch = Touch(touch.writes, frozenset(lives(touch.writes)), touch.everything)
    event.add(touch)
    event.show(caller, "redis", shown, reply, lost=lost)
    await _told(stage, caller, event, reply, lost=lost)


async def _contents(stage: Stage, keys: Sequence[str]) -> list[Any]:
    """What lies there: a renewal leaves it, and whoever polls need not look again."""
    return [await stage.world.dump(key) for key in keys]


# PostgreSQL


async def _sql(stage: Stage, caller: Caller, pending: Pending, event: Event, *, lost: bool) -> None:
    connection = await stage.world.postgres(caller.place)
    open_ = caller.transaction
    assert open_ is not None
    if pending.kind == "sql":
        statement, *args = pending.words
        running = asyncio.ensure_future(connection.sql(statement, *args))
        event.statement(caller, open_, statement, args, stage.cast)
    else:
        committing = pending.kind == "commit"
        running = asyncio.ensure_future(connection.commit() if committing else connection.rollback())  # type: ignore[arg-type] # both are awaited alike
        event.end(open_, committed=committing)
    caller.task, caller.sent = running, (pending, event, lost)
    if await stage.answered(caller, event):
        await finish_sql(stage, caller, event)
    else:
        caller.condition, event.blocked = "blocked", True


async def finish_sql(stage: Stage, caller: Caller, event: Event) -> None:
    """Hand the answer of a statement to its caller. `event` is the step in which it came."""
    assert caller.sent is not None
    assert caller.task is not None
    pending, sent, lost = caller.sent
    task, open_ = caller.task, caller.transaction
    caller.task, caller.sent, caller.condition = None, None, "ready"
    if event is not sent:
        caller.last = event
        event.waited(sent)
    error = task.exception()
    ending = pending.kind != "sql"
    shown = (pending.kind.upper(),) if ending else tuple(stage.cast.plain(shown_word(word)) for word in pending.words)
    if ending or isinstance(error, ConnectionLost):
        caller.transaction = None
    if error is not None:
        if not isinstance(error, StoreFault):
            raise error
        _disturbs(stage, error)
        if caller.victim and error.code == CANCELLED:
            error = StatementRefused("40P01", "deadlock detected")
        caller.victim = False
        event.released = True
        event.show(caller, "sql", shown, f"! {error.code}", sent=sent)
        await _failed(stage, caller, event, error)
        return
    if not ending and open_ is not None and caller.statement is not None:
        open_.held.add(caller.statement, task.result().count)
    event.show(caller, "sql", shown, "" if ending else task.result(), sent=sent, lost=lost)
    if pending.kind == "commit" and open_ is not None and open_.visible:
        event.made_visible(open_.visible)
    await _told(stage, caller, event, task.result(), lost=lost)


async def end_reading(stage: Stage, caller: Caller, event: Event) -> None:
    """COMMIT of a transaction that has only read, with its last step: nobody else can notice it."""
    connection = await stage.world.postgres(caller.place)
    await connection.commit()
    caller.transaction = None
    event.show(caller, "sql", ("COMMIT",))
    await stage.resume(caller, event, None)


# Locks and owners


async def _lock(stage: Stage, caller: Caller, pending: Pending, event: Event) -> None:
    name = stage.cast.plain(pending.name)
    event.add(fixed_touch(pending, caller.process, name))
    queue = stage.mutexes.setdefault((caller.process, pending.name), [])
    queue.append(caller)
    if queue[0] is not caller:
        caller.condition, event.blocked = "blocked", True
        caller.waits_for = (queue[0].name,)
        return
    event.show(caller, "lock", (f"lock {name}",))
    await stage.resume(caller, event, None)


async def _unlock(stage: Stage, caller: Caller, pending: Pending, event: Event) -> None:
    name = stage.cast.plain(pending.name)
    event.add(fixed_touch(pending, caller.process, name))
    event.show(caller, "lock", (f"unlock {name}",))
    queue = stage.mutexes[caller.process, pending.name]
    queue.remove(caller)
    await stage.resume(caller, event, None)
    if queue and queue[0].condition == "blocked":
        await grant(stage, queue[0], event)


async def grant(stage: Stage, caller: Caller, event: Event) -> None:
    """Give an in-process lock to who is first in its queue."""
    assert caller.pending is not None
    caller.condition, caller.last, caller.waits_for = "ready", event, ()
    event.woke.append(caller.name)
    event.show(caller, "lock", (f"lock {stage.cast.plain(caller.pending.name)}",))
    await stage.resume(caller, event, None)


async def _ask(stage: Stage, caller: Caller, pending: Pending, event: Event, *, lost: bool) -> None:
    assert pending.request is not None
    request, asks = pending.request, pending.kind == "ask"
    owner = stage.cast.owner_of(caller, pending.name or request.key)
    event.add(writes(f"owner:{owner.name}"))
    words = (pending.kind.upper(), owner.name, request.operation, *map(stage.cast.plain, request.keys))
    event.show(caller, "ask", words)
    asker = caller if asks else stage.cast.asker_of(caller)
    if asks:
        caller.condition, caller.deaf, caller.waits_for = "waiting", lost, (owner.name,)
    started = stage.cast.post(owner, asker, request)
    if caller.late:
        await stage.remove(caller, event)
    elif not asks:
        await stage.resume(caller, event, None)
    if started is not None:
        event.woke.append(started.name)
        started.last = event
        await stage.settle(started, event)


# What the caller is told


async def _told(stage: Stage, caller: Caller, event: Event, reply: Any, *, lost: bool) -> None:
    if caller.late:  # it is dead, but what it had sent still arrived
        await stage.remove(caller, event)
    elif lost:
        await _lose(stage, caller, event)
    else:
        await stage.resume(caller, event, reply)


async def _lose(stage: Stage, caller: Caller, event: Event) -> None:
    """The connection broke before the reply: what it held goes, and the caller is told so."""
    await stage.world.renew(caller.place)
    if caller.transaction is not None:
        event.end(caller.transaction, committed=False)
        caller.transaction = None
    caller.queued, caller.watched = None, NOWHERE
    await _failed(stage, caller, event, ConnectionLost("the reply was lost"))


def _disturbs(stage: Stage, fault: StoreFault) -> None:
    """A connection that breaks off is a fault that nobody chose."""
    if isinstance(fault, ConnectionLost):
        stage.disturbed = f"a connection to the store broke off: {fault}"


async def _failed(stage: Stage, caller: Caller, event: Event, fault: StoreFault) -> None:
    if isinstance(fault, CommandRefused) and not isinstance(fault, StatementRefused):
        caller.queued, caller.watched = None, NOWHERE
    if caller.late:
        await stage.remove(caller, event)
    else:
        await stage.resume(caller, event, fault, throw=True)


def unseen(choice: Choice, stage: Any) -> Event:
    """For steps that nobody else can notice."""
    return Event(0, choice, stage)
