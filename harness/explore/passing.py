"""Time in a schedule: it is the scheduler's, and moves from one deadline to the next.

While somebody is paused, or slow at its work, time may move whenever the search wants it to; else only once nobody
can move. What renews a lease is never late: time waits for it.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from harness.explore.event import Choice, Event
from harness.explore.redis_steps import finish_redis
from harness.explore.touch import EVERYTHING

if TYPE_CHECKING:
    from harness.explore.caller import Caller
    from harness.explore.machine import Machine

MOST_NAPS = 3
NAPS = f"that others are still at work when a caller wakes up is tried for its first {MOST_NAPS} sleeps only"
TIME_MOVES = frozenset({"pause", "later", "time"})
"""Choices that are no step of their caller's: what they bring about is for it to notice, too."""


def later(machine: Machine) -> list[Choice]:
    """That time moves on to the next deadline, while somebody sleeps whom nobody waits for."""
    if any(caller.prompt and caller.condition == "ready" for caller in machine.callers):
        return []
    asleep = [caller for caller in machine.callers if caller.condition == "paused" or caller.slow]
    if not asleep and any(caller.condition == "ready" for caller in machine.callers):
        asleep = napping(machine)
        if asleep and asleep[0].naps >= MOST_NAPS:
            machine.caps.add(NAPS)
            return []
    return [Choice("later", asleep[0].name)] if asleep else []


def napping(machine: Machine) -> list[Caller]:
    """Those whose programs have told them to sleep, who wakes first before the others: sleeping keeps nobody out."""
    asleep = [one for one in machine.callers if one.condition == "sleeping" and not (one.serves or one.slow)]
    return sorted(asleep, key=lambda caller: caller.due_ms)


async def pause(machine: Machine, caller: Caller, event: Event) -> None:
    """The caller sleeps past every lease: to the first deadline now, to the others by choices of their own."""
    caller.condition = "paused"
    caller.due_ms = machine.now_ms + machine.cast.leases_ms + 1
    await sleep_on(machine, event)


async def sleep_on(machine: Machine, event: Event) -> None:
    """Time moves to the next deadline."""
    naps = machine.cast.named(event.choice.caller).condition == "sleeping" and napping(machine)
    dues = [caller.due_ms for caller in machine.callers if caller.condition in {"paused", "sleeping"}]
    dues += [caller.due_ms for caller, _task in machine.inside() if caller.due_ms]
    due_ms = min(dues) - machine.now_ms
    vanishes_ms = await _vanishes_ms(machine)
    if naps:
        naps[0].naps += 1
        if vanishes_ms is not None and vanishes_ms < due_ms:  # for that, whose it is would have to pause
            naps[0].naps = MOST_NAPS
            event.add(EVERYTHING)
            return
        event.show(naps[0], "effect", ("(wakes up)",))
    await move(machine, due_ms if vanishes_ms is None else min(due_ms, vanishes_ms), event)


async def let_time_pass(machine: Machine) -> bool:
    """Nobody can move: on to the next deadline. False where there is none."""
    waiting = [caller for caller in machine.callers if caller.alive and not caller.serves]
    if not waiting or machine.idle_ms > machine.cast.leases_ms:
        return False  # nobody but daemons would do anything
    asleep = [caller for caller in machine.callers if caller.condition == "sleeping"]
    asleep += [caller for caller, _task in machine.inside() if caller.due_ms]
    polling = [caller for caller in machine.callers if caller.condition == "parked"]
    patience = max((caller.patience_ms for caller in polling), default=0.0)
    dues = [caller.due_ms - machine.now_ms for caller in asleep]
    vanishes_ms = await _vanishes_ms(machine) if polling else None
    if vanishes_ms is not None and vanishes_ms <= patience + 1:
        dues.append(vanishes_ms)
    event = Event(len(machine.events) + 1, Choice("time", ""), machine)
    if dues:
        due = min(dues)
    elif polling and not machine.rows_ran_out and 0 < machine.cast.leases_ms <= patience:
        machine.rows_ran_out, due = True, machine.cast.leases_ms + 1  # leases kept in rows or in memory
    elif tired := [caller for caller in polling if caller.patience_ms < math.inf]:
        # nothing will ever change: their tries run out
        machine.caps.add("a caller's tries ran out")
        machine.events.append(event)
        event.add(EVERYTHING)
        for caller in tired:
            event.woke.append(caller.name)
            await machine.resume(caller, event, value=False)
        return True
    else:
        return False
    if any(caller.patience_ms < due for caller in polling):
        machine.caps.add("a caller's tries ran out")  # it would have given up before
    machine.events.append(event)
    await move(machine, due, event)
    await machine.wake(event)
    return True


async def pass_time(machine: Machine, ms: int) -> None:
    """Let leases and windows run out, after everything else. Daemons do what they do meanwhile."""
    end_ms = machine.now_ms + ms
    while machine.now_ms < end_ms:
        dues = [caller.due_ms for caller in machine.callers if caller.condition == "sleeping" and caller.serves]
        await move(machine, min([*dues, end_ms]) - machine.now_ms, Event(0, Choice("time", ""), machine))
        while (
            ready := [one for one in machine.callers if one.serves and one.condition == "ready"]
        ) and not machine.cut:
            await machine.take(Choice("step", ready[0].name))


async def move(machine: Machine, ms: int, event: Event) -> None:
    """So much time passes: keys with a time to live vanish, who slept wakes up."""
    event.add(EVERYTHING)
    if machine.world.store == "redis":
        await machine.world.age(touched(machine), machine.leases, machine.now_ms, machine.now_ms + ms)
    machine.now_ms += ms
    machine.idle_ms += ms
    for caller in machine.callers:
        if caller.condition in {"sleeping", "paused"} and caller.due_ms <= machine.now_ms:
            paused, caller.due_ms = caller.condition == "paused", 0
            event.woke.append(caller.name)
            if paused:
                caller.condition = "ready"
            else:
                await machine.resume(caller, event, None)
    for caller, task in machine.inside():
        if 0 < caller.due_ms <= machine.now_ms:
            await machine.world.end_wait(caller.place)
            await asyncio.wait([task])
            event.woke.append(caller.name)
            await finish_redis(machine, caller, event)


async def soonest_ms(machine: Machine) -> int | None:
    """In how many milliseconds something happens by itself; None where nothing will."""
    dues = [caller.due_ms - machine.now_ms for caller in machine.callers if caller.due_ms]
    vanishes_ms = await _vanishes_ms(machine)
    return min([*dues, *([] if vanishes_ms is None else [vanishes_ms])], default=None)


async def _vanishes_ms(machine: Machine) -> int | None:
    """In how many milliseconds the next key vanishes; None where none will."""
    soonest = await machine.world.soonest(touched(machine), machine.leases, machine.now_ms)
    return None if soonest is None else soonest + 1


def touched(machine: Machine) -> list[str]:
    """The stored names of all keys that commands have named so far."""
    if machine.world.store != "redis":
        return []
    named = {
        name.removeprefix("redis:")
        for event in machine.events
        for name in event.touch.reads | event.touch.writes
        if name.startswith("redis:")
    }
    return [machine.stored[name] for name in sorted(named) if name in machine.stored]
