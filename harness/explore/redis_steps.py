"""Commands and scripts of a caller on a real Redis: by the schedule's clock, with what they touch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any

from harness.burst.shown import word as shown_word
from harness.explore.blocking import patience
from harness.explore.caller import Caller, Queued
from harness.explore.event import Event
from harness.explore.leases import ASKING, OWN_CLOCK, SETTING, UNCHOSEN
from harness.explore.script import answered, asks_time, unchosen, unchosen_in, watched
from harness.explore.session import CLOCK, Pending
from harness.explore.stage import Stage, broke_off, fail, tell
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
from harness.model import StoreFault

_MOST_SEEN = 10_000
_OFTEN = 8
"""So many tries in vain, and it is looked whether a script changes anything: two who poll by scripts would else wake
each other until both have no patience left."""


async def redis_step(stage: Stage, caller: Caller, pending: Pending, event: Event, *, lost: bool) -> None:
    """One command."""
    world, plain = stage.world, stage.cast.plain
    sent = tuple(part.decode(errors="replace") if isinstance(part, bytes) else str(part) for part in pending.words)
    words = tuple(map(plain, sent))
    name, touch, ends = await look_at(world, words)
    if name == "EXEC":
        touch = reduce(Touch.with_, (queued.touch for queued in caller.queued or ()), caller.watched)
    stage.stored.update(zip(words, sent, strict=True))
    if name == "TIME" and caller.queued is None:
        event.add(CLOCK)
        reply: Any = _time(stage)
        event.show(caller, "redis", words, reply, lost=lost)
        await tell(stage, caller, event, reply, lost=lost)
        return
    told = pending.words
    if ends:
        told, touch = by_our_clock(stage, name, pending.words, touch, event)
    waits = patience(pending.words) if caller.queued is None else None
    if waits is not None:
        await _waiting(stage, caller, (pending, event, lost), *waits, touch)
        return
    try:
        reply = await (await world.redis(caller.place)).execute(*told)
    except StoreFault as fault:
        broke_off(stage, fault)
        event.add(touch)
        event.show(caller, "redis", words, f"! {fault.code}")
        await fail(stage, caller, event, fault)
        return
    if caller.queued is not None and name not in {"EXEC", "DISCARD"}:
        caller.queued.append(Queued(name, pending.words, touch, stage.now_ms))
        touch = NOWHERE
    elif name == "EXEC":
        reply, touch = await _all_told(stage, caller, reply, touch)
    else:
        if ends:
            reply, touch = _told_by_our_clock(stage, name, reply, touch)
        touch = command_touched(words, touch, reply)
    _follow_transaction(caller, name, touch)
    event.add(touch)
    event.show(caller, "redis", words, reply, lost=lost)
    await tell(stage, caller, event, reply, lost=lost)


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
        broke_off(stage, error)
        event.show(caller, "redis", words, f"! {error.code}", sent=sent)
        await fail(stage, caller, event, error)
        return
    event.show(caller, "redis", words, task.result(), sent=sent, lost=lost)
    await tell(stage, caller, event, task.result(), lost=lost)


async def look_at(world: World, words: tuple[str, ...]) -> tuple[str, Touch, bool]:
    """A command's name, what it may touch, and whether it matters to it what time it is."""
    known = world.seen.get(words)
    if known is None:
        known = world.seen[words] = await _learn(world, words)
    return known


async def _learn(world: World, words: tuple[str, ...]) -> tuple[str, Touch, bool]:
    if len(world.seen) >= _MOST_SEEN:
        world.seen.clear()
    name = words[0].upper()
    if name not in world.kinds and name not in LOCAL:
        await world.learn(name)
    by_clock = name in SETTING or name in ASKING or name in OWN_CLOCK or name in UNCHOSEN or name in _EVALS
    return name, command_touch(words, world.kinds), by_clock and not (name == "SET" and len(words) < 4)


_EVALS = frozenset({"EVAL", "EVAL_RO"})
_TELLING = frozenset({"ID", "INFO", "LIST"})
"""Those of CLIENT that tell what another connection would be told otherwise."""


def by_our_clock(
    stage: Stage, name: str, words: tuple[Any, ...], touch: Touch, event: Event
) -> tuple[tuple[Any, ...], Touch]:
    """A command as it is sent, so that it goes by the schedule's clock; and what else it touches."""
    if name in OWN_CLOCK:
        stage.caps.add(f"{OWN_CLOCK[name]} by the store's own clock")
        return words, touch
    if name in UNCHOSEN:
        if name != "CLIENT" or shown_word(words[1] if len(words) > 1 else "").upper() in _TELLING:
            stage.caps.add(unchosen(name))
        return words, touch
    if name not in _EVALS:
        return stage.leases.sent(words, stage.now_ms), touch
    source = shown_word(words[1]) if len(words) > 2 else ""
    stage.caps.update(unchosen_in(source))
    event.add(CLOCK)
    named = shown_word(words[2]) if len(words) > 2 else ""
    keys = [shown_word(key) for key in words[3 : 3 + int(named)]] if named.isdecimal() else []
    return (
        (words[0], watched(source), *words[2:], stage.leases.began_ms, stage.now_ms) if len(words) > 2 else words,
        touch.with_(_keys_of(stage, keys)),
    )


def _told_by_our_clock(stage: Stage, name: str, reply: Any, touch: Touch) -> tuple[Any, Touch]:
    """What is told of an answer; and what else was touched."""
    if name in _EVALS:
        reply, others = answered(reply)
        return reply, touch.with_(_keys_of(stage, map(shown_word, others)))
    return stage.leases.told(name, reply, stage.now_ms) if name in ASKING else reply, touch


async def _all_told(stage: Stage, caller: Caller, replies: Any, touch: Touch) -> tuple[Any, Touch]:
    """The answers to what was queued, if it was done. A time to live that was queued begins only now."""
    if replies is None:
        return None, Touch(reads=touch.reads | touch.writes, everything=touch.everything)
    told = []
    for queued, reply in zip(caller.queued or (), replies, strict=True):
        answer, touch = _told_by_our_clock(stage, queued.name, reply, touch)
        told.append(answer)
        if queued.name == "TIME":
            told[-1] = _time(stage)
        elif queued.name in SETTING and queued.now_ms < stage.now_ms:
            ends = [stage.leases.end_set(queued.words, now_ms) for now_ms in (queued.now_ms, stage.now_ms)]
            if ends[0] != ends[1]:
                await stage.world.put_off(str(queued.words[1]), stage.leases, *ends)
    return told, touch


def _time(stage: Stage) -> list[bytes]:
    seconds, ms = divmod(stage.now_ms, 1000)
    return [str(seconds).encode(), str(1000 * ms).encode()]


def _keys_of(stage: Stage, keys: Iterable[str]) -> Touch:
    """Keys that are not where those of a command are: written, as far as anybody knows."""
    names = {stage.cast.plain(key): key for key in keys}
    stage.stored.update(names)
    return writes(*(f"redis:{name}" for name in names))


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


async def copy_step(stage: Stage, caller: Caller, pending: Pending, event: Event) -> None:
    """A read from the replica: nobody's writes disturb it but those that have come through."""
    event.add(reads("replica"))
    words = ("REPLICA", *(stage.cast.plain(shown_word(word)) for word in pending.words))
    try:
        reply = await stage.world.copy_answer(*pending.words)
    except StoreFault as fault:
        broke_off(stage, fault)
        event.show(caller, "redis", words, f"! {fault.code}")
        await fail(stage, caller, event, fault)
        return
    event.show(caller, "redis", words, reply)
    await tell(stage, caller, event, reply, lost=False)


async def catch_up(stage: Stage, caller: Caller, event: Event) -> None:
    """The replica gets all that its primary has done so far."""
    event.add(EVERYTHING)
    if any(other.alive for other in stage.cast.callers if other is not caller):  # else nobody will ever notice
        event.show(caller, "redis", ("catches up",))
    await stage.world.catch_up()
    await stage.resume(caller, event, None)


async def script_step(stage: Stage, caller: Caller, pending: Pending, event: Event, *, lost: bool) -> None:
    """One script."""
    source, keys, args = pending.words
    plain = [stage.cast.plain(key) for key in keys]
    touch = _keys_of(stage, keys) if keys else EVERYTHING
    often = caller.session.retried >= _OFTEN
    before = await _contents(stage, keys, ends=not caller.prompt) if caller.prompt or often else None
    called = pending.name == "function"
    shown = ("FCALL" if called else "LUA", *plain, *(stage.cast.plain(shown_word(arg)) for arg in args))
    stage.caps.update(unchosen_in(source))
    if asks_time(source):
        event.add(CLOCK)
    source = watched(source)
    first = ("FCALL", await stage.world.registered(source)) if called else ("EVALSHA", await stage.world.digest(source))
    try:
        reply = await (await stage.world.redis(caller.place)).execute(
            *first, len(keys), *keys, *args, stage.leases.began_ms, stage.now_ms
        )
    except StoreFault as fault:
        broke_off(stage, fault)
        event.add(EVERYTHING)  # where it failed, it has not told what it had touched
        event.show(caller, "redis", shown, f"! {fault.code}")
        await fail(stage, caller, event, fault)
        return
    if caller.queued is not None:
        caller.queued.append(Queued("EVAL", pending.words, touch, stage.now_ms))
        touch = NOWHERE
    else:
        reply, others = answered(reply)
        touch = touch.with_(_keys_of(stage, map(shown_word, others)))
    if before is not None and before == await _contents(stage, keys, ends=not caller.prompt):
        renewed = frozenset(lives(touch.writes)) if caller.prompt else frozenset()
        touch = Touch(touch.writes, renewed, touch.everything)
    event.add(touch)
    event.show(caller, "redis", shown, reply, lost=lost)
    await tell(stage, caller, event, reply, lost=lost)


async def _contents(stage: Stage, keys: Sequence[str], *, ends: bool) -> list[Any]:
    """What lies there: a renewal leaves it, and whoever polls need not look again. `ends`: and until when."""
    found = [await stage.world.dump(key) for key in keys]
    return [*found, *[await stage.world.ends_at(key) for key in keys]] if ends else found
