"""What may go wrong in a schedule, and what becomes of a process that is gone: its callers, an owner, a daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.explore.event import Choice, Event
from harness.explore.program import REPLICA
from harness.explore.session import CLOCK
from harness.explore.shared_connection import forget_shared
from harness.explore.steps import STORE_STEPS
from harness.explore.touch import Touch
from harness.model import ConnectionLost

if TYPE_CHECKING:
    from harness.explore.caller import Caller
    from harness.explore.machine import Machine

CRASHES_LATE = "(crashes; what it sent arrives later)"
DELIVERED_TWICE = "(delivered twice)"
PAUSED = "(paused past every lease)"
_LOSABLE = STORE_STEPS - {"rollback"} | {"ask"}
_MESSAGES = {"ask", "tell"}
_ARRIVES_LATE = {"redis", "script"}
"""What a dead process had sent may still arrive, where no transaction of its connection ended with it."""


def possible(machine: Machine) -> list[Choice]:
    """The faults that may happen now."""
    faults, cast = machine.faults, machine.cast
    found = []
    if machine.world.store == "redis" and "crash" in faults:
        found += [Choice("crash", caller.name) for caller, _task in machine.inside() if caller.name not in cast.daemons]
    for caller in machine.callers:
        if (
            caller.condition != "ready"
            or caller.late
            or caller.prompt
            or caller.pending is None
            or caller.name == REPLICA
        ):
            continue
        kind = caller.pending.kind
        late = kind in _ARRIVES_LATE and caller.queued is None
        if caller.name in cast.owners:
            late = late or kind in _MESSAGES
            if "crash" in faults:
                found += [Choice("crash", caller.name), *[Choice("crash-late", caller.name)] * late]
            continue
        daemon = caller.name in cast.daemons
        under_way = daemon or (caller.current is not None and caller.current.invoked_ns > 0)
        at_work = under_way or caller.effect is not None or cast.whole
        for fault in faults:
            if fault == "crash" and at_work:
                found.append(Choice("crash", caller.name))
                if late or kind in _MESSAGES:
                    found.append(Choice("crash-late", caller.name))
            elif (
                (fault == "pause" and at_work)
                or (fault == "lost-reply" and kind in _LOSABLE and not caller.pending.alone)
                or (fault == "duplicate" and caller.current is not None and not under_way)
            ):
                found.append(Choice(fault, caller.name))
    return found


async def crash(machine: Machine, caller: Caller, event: Event, *, late: bool) -> None:
    """The caller's process is gone; what it had sent may still arrive, at any time."""
    event.show(caller, "fault", (CRASHES_LATE if late else "(crashes)",))
    event.add(CLOCK)
    cast = machine.cast
    if caller.name in cast.owners:
        await _crash_owner(machine, caller, event, late=late)
        return
    for other in list(machine.callers):
        if other.process == caller.process and other.alive and other.name not in cast.owners:
            if late and other is caller:
                other.late = True
            else:
                await machine.remove(other, event)
    if caller.process in machine.watched and caller.name not in cast.daemons:
        await forget_shared(machine, caller.process)  # which goes with its process
    if caller.name in cast.daemons:
        await start_again(machine, caller, event)


async def start_again(machine: Machine, caller: Caller, event: Event) -> None:
    """Another daemon in the place of one that is gone."""
    successor = machine.cast.start(machine.cast.daemons[caller.name])
    event.woke.append(successor.name)
    await machine.settle(successor, event)


async def _crash_owner(machine: Machine, caller: Caller, event: Event, *, late: bool) -> None:
    """An owner's process is gone with its memory and its mailbox; the next message starts another in its place."""
    event.add(Touch(writes=frozenset({f"owner:{caller.owner}"})))
    if late:
        caller.late = True
    else:
        await machine.remove(caller, event)
    for asker in machine.cast.owner_gone(caller):
        if asker.condition == "waiting":
            event.woke.append(asker.name)
            asker.last, asker.deaf = event, False
            await machine.resume(asker, event, ConnectionLost("the owner is gone"), throw=True)
    successor = machine.cast.take_over(caller)
    if successor is not None:
        event.woke.append(successor.name)
        successor.last = event
        await machine.settle(successor, event)
