"""A connection to Redis that the callers of a virtual process share, and one that a client opens anew by itself.

What is watched belongs to a connection. On one that is shared, whatever anybody does to it is seen by all others.
"""

from __future__ import annotations

from typing import Any

from harness.burst.shown import word as shown_word
from harness.explore.caller import Caller
from harness.explore.event import Event
from harness.explore.redis_steps import by_our_clock, look_at
from harness.explore.session import Pending
from harness.explore.stage import Stage, broke_off, fail, tell
from harness.explore.touch import NOWHERE, Touch, writes
from harness.model import ConnectionLost, StoreFault


def place_of(process: int) -> int:
    """The number of the connection that a virtual process shares: no caller's."""
    return -1 - process


async def connection_step(stage: Stage, caller: Caller, pending: Pending, event: Event, *, lost: bool) -> None:
    """Commands over the connection that all share, or a new connection of one's own, which nobody else can notice."""
    if pending.kind == "shared":
        await _together(stage, caller, pending, event, lost=lost)
        return
    await stage.world.renew(caller.place)
    caller.queued, caller.watched = None, NOWHERE
    event.show(caller, "redis", ("(reconnects)",))
    await stage.resume(caller, event, None)


async def _together(stage: Stage, caller: Caller, pending: Pending, event: Event, *, lost: bool) -> None:
    """Commands that are sent together: one, or MULTI to EXEC."""
    world, process = stage.world, caller.process
    touch, replies = writes(f"connection:{process}"), []
    try:
        connection = await world.redis(place_of(process))
        for command in pending.words:
            sent = tuple(map(shown_word, command))
            words = tuple(map(stage.cast.plain, sent))
            stage.stored.update(zip(words, sent, strict=True))
            name, own, ends = await look_at(world, words)
            told: tuple[Any, ...] = command
            if ends:
                told, own = by_our_clock(stage, name, command, own, event)
            touch = touch.with_(own).with_(_follow(stage, process, name, own))
            replies.append(await connection.execute(*told))
            event.show(caller, "redis", words, replies[-1], lost=lost)
    except StoreFault as fault:
        broke_off(stage, fault)
        event.add(touch)
        event.show(caller, "redis", words, f"! {fault.code}")
        await fail(stage, caller, event, fault)
        return
    event.add(touch)
    if lost:
        await forget_shared(stage, process)
        await fail(stage, caller, event, ConnectionLost("the reply was lost"))
    else:
        # EXEC may have failed by what another caller watched long before this try: the next one need not wait.
        caller.disturbed = caller.disturbed or replies[-1] is None
        await tell(stage, caller, event, replies[-1], lost=False)


def _follow(stage: Stage, process: int, name: str, touch: Touch) -> Touch:
    """Keep what the connection watches; what EXEC touches beside what it does: all that had been watched."""
    if name == "WATCH":
        stage.watched[process] = stage.watched.get(process, NOWHERE).with_(touch)
    elif name in {"EXEC", "UNWATCH", "DISCARD"}:
        watched, stage.watched[process] = stage.watched.get(process, NOWHERE), NOWHERE
        return watched if name == "EXEC" else NOWHERE
    return NOWHERE


async def forget_shared(stage: Stage, process: int) -> None:
    """Another connection in place of the one that a process shares, for which nothing is watched."""
    await stage.world.renew(place_of(process))
    stage.watched[process] = NOWHERE
