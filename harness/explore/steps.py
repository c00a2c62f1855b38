"""One step of a caller on a real store, or on what the scheduler keeps itself: locks, owners, effects."""

from __future__ import annotations

import asyncio
from typing import Any

from harness.burst.shown import word as shown_word
from harness.explore.caller import Caller
from harness.explore.event import Event
from harness.explore.pools import give, read_beside, take
from harness.explore.redis_steps import catch_up, copy_step, redis_step, script_step
from harness.explore.session import WORK, Pending, fixed_touch
from harness.explore.shared_connection import connection_step
from harness.explore.stage import Stage, broke_off, fail, tell
from harness.explore.touch import Touch, writes
from harness.model import ConnectionLost, StatementRefused, StoreFault

CANCELLED = "57014"
STORE_STEPS = frozenset({"redis", "script", "shared", "sql", "commit", "rollback"})


async def take_step(stage: Stage, caller: Caller, event: Event, *, lost: bool) -> None:
    """The caller's next step. `lost`: its reply does not arrive."""
    pending = caller.pending
    assert pending is not None
    caller.tries.ask(pending.words)
    if caller.current is not None and caller.current.invoked_ns == 0:
        caller.current.invoked_ns = event.at - 400
        event.add(Touch(invokes=True))
    caller.last = event
    match pending.kind:
        case "redis":
            await redis_step(stage, caller, pending, event, lost=lost)
        case "script":
            await script_step(stage, caller, pending, event, lost=lost)
        case "shared" | "reconnect":
            await connection_step(stage, caller, pending, event, lost=lost)
        case "sql" | "commit" | "rollback":
            await _sql(stage, caller, pending, event, lost=lost)
        case "catch-up":
            await catch_up(stage, caller, event)
        case "ask" | "tell":
            await _ask(stage, caller, pending, event, lost=lost)
        case kind:
            await _WHOLE.get(kind, _other)(stage, caller, pending, event)


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
            elif not caller.serves:
                event.show(caller, "effect", (f"(sleeps for {pending.ms:,.0f} ms)",))
            caller.condition, caller.due_ms = "sleeping", stage.now_ms + int(pending.ms) + 1
            return
    await stage.resume(caller, event, None)


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
    running.add_done_callback(_read)
    caller.task, caller.sent = running, (pending, event, lost)
    if await stage.answered(caller, event):
        await finish_sql(stage, caller, event)
    else:
        caller.condition, event.blocked = "blocked", True


def _read(running: asyncio.Future[Any]) -> None:
    """Where a schedule ends before its statements, nobody else asks how they ended, and asyncio would print it."""
    if not running.cancelled():
        running.exception()


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
        broke_off(stage, error)
        if caller.victim and error.code == CANCELLED:
            error = StatementRefused("40P01", "deadlock detected")
        caller.victim = False
        event.released = True
        event.show(caller, "sql", shown, f"! {error.code}", sent=sent)
        await fail(stage, caller, event, error)
        return
    if not ending and open_ is not None and caller.statement is not None:
        open_.held.add(caller.statement, task.result().count)
    event.show(caller, "sql", shown, "" if ending else task.result(), sent=sent, lost=lost)
    if pending.kind == "commit" and open_ is not None and open_.visible:
        event.made_visible(open_.visible)
    await tell(stage, caller, event, task.result(), lost=lost)


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
    its_own = caller in queue  # which it waits for, for ever: as asyncio's, it is not taken twice
    if not its_own:
        queue.append(caller)
    if its_own or queue[0] is not caller:
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


_WHOLE = {
    "copy": copy_step, "lock": _lock, "unlock": _unlock, "take": take, "give": give, "second": read_beside,
}  # fmt: skip
"""Steps of which no reply is ever lost."""
