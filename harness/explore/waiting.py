"""Statements that wait for each other's rows inside PostgreSQL: who asked first goes on first.

Of several that wait for one row the server lets now this one go on and now that one. Either is right, and neither is
a choice of ours: but who asks first is. So a schedule in which one that asked later overtook another is run again, and
that one's turn comes in the schedule in which it asked first. What this leaves out is named: where the one that asked
first could not have asked later, since something that it had seen changed in between.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from harness.explore.blocking import either
from harness.explore.steps import finish_sql
from harness.explore.touch import Touch

if TYPE_CHECKING:
    from harness.explore.caller import Caller
    from harness.explore.event import Event
    from harness.explore.machine import Machine

SERVERS_CHOICE = "which of several waiting statements goes on first, the server decides"
_SOON_S = 0.02
_STRANGER_S = 2.0
"""So long a lock of somebody else's, who is no caller, is waited for: an advisory lock is the whole database's."""
_LOOK_S = 0.005


async def answered(machine: Machine, caller: Caller, event: Event) -> bool:
    """Whether a statement that was sent ends; False once the server says that it waits for somebody."""
    assert caller.task is not None
    others = [other.transaction for other in machine.callers if other.transaction is not None and other is not caller]
    if not any(event.touch.conflicts(one.touch) for other in others for one in other.statements):
        await asyncio.wait([caller.task], timeout=_SOON_S)  # nobody is known to be in its way: no need to ask
    pid = machine.world.pid(caller.place)
    while not caller.task.done():
        over, blocked = await either(caller.task, lambda: machine.world.blocked_by([pid]))
        if not over and (blockers := blocked[pid]) and not await _outlasted(machine, caller, blockers):
            caller.waits_for = event.waits_for = _names(machine, blockers)
            return False
    return True


async def _outlasted(machine: Machine, caller: Caller, blockers: Sequence[int]) -> bool:
    """Whether it is only others than callers whom a statement waits for: they come to their end by themselves.

    Those who do not, in good time, disturb the schedule: nobody chose what they do.
    """
    if machine.disturbed or _names(machine, blockers):
        return False
    begins = machine.stranger_since = machine.stranger_since or time.monotonic()
    if time.monotonic() - begins > _STRANGER_S:
        pids = ", ".join(map(str, sorted(blockers)))
        machine.disturbed = f"another client of PostgreSQL (process {pids}) keeps a lock that {caller.name} waits for"
        return False
    await asyncio.sleep(_LOOK_S)
    return True


def _names(machine: Machine, pids: Sequence[int]) -> tuple[str, ...]:
    """The callers behind server processes."""
    known = {machine.world.pid(caller.place): caller.name for caller in machine.callers}
    return tuple(dict.fromkeys(known[pid] for pid in pids if pid in known))


async def wake_statements(machine: Machine, event: Event) -> None:
    """Let those go on for whom a step has made room, until the server says that all the others wait."""
    before = {caller.name: caller.waits_for for caller, _task in machine.inside()}
    asked: dict[str, int] = {}
    while waiting := machine.inside():
        _see_crowd(machine, [caller for caller, _task in waiting])
        pids = {caller.name: machine.world.pid(caller.place) for caller, _task in waiting}
        before_asking = [caller for caller, task in waiting if task.done()]
        blockers = await machine.world.blocked_by(list(pids.values()))
        known = True
        for caller, task in waiting:
            found = blockers[pids[caller.name]]
            caller.waits_for = _names(machine, found)
            if not task.done() and (not found or await _outlasted(machine, caller, found)):
                known = False
        ended = [caller for caller, task in waiting if task.done()]
        if not known or (len(waiting) > 1 and ended != before_asking):
            await asyncio.sleep(0)  # one that is soon over would be told of after one that is over now, or before it
            continue
        if not ended:
            _see_order(machine, [caller for caller, _task in waiting], before, asked)
            return
        for caller in ended:
            assert caller.sent is not None
            asked[caller.name] = caller.sent[1].index
            event.woke.append(caller.name)
            await finish_sql(machine, caller, event)


def _see_crowd(machine: Machine, waiting: Sequence[Caller]) -> None:
    """Several wait for rows. Who waits for each other in a ring is ended by a choice of ours."""
    if len(waiting) < 2:
        return
    ring = machine.cycle()
    outside = [caller for caller in waiting if _for_a_row(caller) and caller not in ring]
    if len(outside) + bool(ring) < 2:
        return
    machine.crowded = True
    for pair in combinations([*outside, *(caller for caller in ring if caller in waiting)], 2):
        if not (pair[0] in ring and pair[1] in ring) and _apart(machine, *pair):
            machine.caps.add(SERVERS_CHOICE)


def _apart(machine: Machine, one: Caller, other: Caller) -> bool:
    """Whether something came between two that ask which the first could not have waited for before it asked."""
    (first, caller), (second, _other) = sorted(
        ((one.sent[1], one), (other.sent[1], other)),  # type: ignore[index] # who waits has sent
        key=lambda asked: asked[0].index,
    )
    touch = first.touch
    if caller.statement is not None and caller.statement.decides_late(moved=machine.rows_moved):
        touch = Touch(frozenset({"pg"}))  # it may have begun all the same, and have asked later
    return any(event.touch.conflicts(touch) for event in machine.events[first.index : second.index - 1])


def _see_order(
    machine: Machine, waiting: Sequence[Caller], before: Mapping[str, tuple[str, ...]], asked: Mapping[str, int]
) -> None:
    """Whether somebody was overtaken by one that asked later, and was not known to be before it."""
    for caller in waiting:
        assert caller.sent is not None
        now, past = caller.waits_for, before.get(caller.name, ())
        if any(asked.get(name, 0) > caller.sent[1].index and name not in past for name in now):
            machine.overtaken = True
        elif len(waiting) > 1 and past and not set(now) <= {*past, *asked}:
            machine.caps.add(SERVERS_CHOICE)  # it waits at another place now, and may have come there in another order


def _for_a_row(caller: Caller) -> bool:
    """Whether a statement waits for a row's lock: those of advisory locks are given in the order of asking."""
    return caller.statement is None or not caller.statement.kind.only_advisory
