"""Connections that the callers of a virtual process share, so many and no more; and the second one of a caller.

Whoever holds what others wait for, and waits for a connection that those have, waits for ever. A database sees one
half of that ring, the process the other, and neither ends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from harness.burst.shown import word as shown_word
from harness.explore.session import fixed_touch
from harness.explore.stage import broke_off, fail
from harness.model import StoreFault, UsageError

if TYPE_CHECKING:
    from harness.explore.caller import Caller
    from harness.explore.event import Event
    from harness.explore.session import Pending
    from harness.explore.stage import Stage

_PATIENCE_S = 2.0
"""So long a SELECT is waited for that no caller's row can keep waiting."""


class Pool:
    """One process's connections by their numbers, with who has each; and who waits for one, in the order of asking."""

    def __init__(self, size: int) -> None:
        """All are free."""
        self.size = size
        self.taken: dict[int, Caller] = {}
        self.queue: list[Caller] = []

    def take(self, caller: Caller) -> int:
        """The first that is free; 0 where none is, and the caller is last in the queue."""
        for number in range(1, self.size + 1):
            if number not in self.taken:
                self.taken[number] = caller
                return number
        self.queue.append(caller)
        return 0

    def forget(self, caller: Caller) -> None:
        """A caller is gone, with its process and all the connections of that."""
        self.taken = {number: one for number, one in self.taken.items() if one is not caller}
        self.queue = [one for one in self.queue if one is not caller]

    def name_holders(self) -> None:
        """Whoever waits does so for any of those who have one: others first."""
        for caller in self.queue:
            holders = sorted(self.taken.values(), key=lambda holder: holder is caller)
            caller.waits_for = tuple(dict.fromkeys(holder.name for holder in holders))


async def take(stage: Stage, caller: Caller, pending: Pending, event: Event) -> None:
    """Take a connection, or wait until somebody gives one back."""
    event.add(fixed_touch(pending, caller.process, pending.name))
    pool = stage.pools.setdefault((caller.process, pending.name), Pool(int(pending.name)))
    number = pool.take(caller)
    if number:
        await _taken(stage, caller, event, pool, number)
    else:
        caller.condition, event.blocked = "blocked", True
    pool.name_holders()


async def give(stage: Stage, caller: Caller, pending: Pending, event: Event) -> None:
    """Give one back, to whoever has waited longest."""
    event.add(fixed_touch(pending, caller.process, pending.name))
    pool = stage.pools[caller.process, pending.name]
    (number,) = pending.words
    event.show(caller, "lock", (f"gives connection {number} back",))
    del pool.taken[number]
    await stage.resume(caller, event, None)
    if pool.queue and number not in pool.taken:
        following = pool.queue.pop(0)
        pool.taken[number] = following
        following.condition, following.last, following.waits_for = "ready", event, ()
        event.woke.append(following.name)
        await _taken(stage, following, event, pool, number)
    pool.name_holders()


async def _taken(stage: Stage, caller: Caller, event: Event, pool: Pool, number: int) -> None:
    event.show(caller, "lock", (f"takes connection {number} of {pool.size}",))
    await stage.resume(caller, event, number)


async def read_beside(stage: Stage, caller: Caller, pending: Pending, event: Event) -> None:
    """One statement on a caller's second connection: BEGIN, SELECT and COMMIT, of which nobody else sees the parts."""
    text, *args = pending.words
    statement = event.beside(caller, text, args, stage.cast)
    if not statement.kind.only_looks:
        raise UsageError(f"a caller may only read on its second connection, and not '{' '.join(text.split())[:60]}'")
    shown = tuple(stage.cast.plain(shown_word(word)) for word in pending.words)
    try:
        connection = await stage.world.second(caller.place)
        async with asyncio.timeout(_PATIENCE_S):
            rows = await connection.sql(text, *args)
    except TimeoutError:  # of a whole table that is locked, say
        stage.disturbed = f"what {caller.name} reads on its second connection is kept waiting"
        return
    except StoreFault as fault:
        broke_off(stage, fault)
        event.show(caller, "sql", shown, f"! {fault.code}")
        await fail(stage, caller, event, fault)
        return
    event.show(caller, "sql", (*shown, "(on its second connection)"), rows)
    await stage.resume(caller, event, rows)
    if why := statement.unseen():  # by what the program has noted of it
        stage.caps.add(why)


def waiting(pools: Iterable[Pool], callers: Sequence[Caller]) -> Mapping[str, tuple[str, ...]]:
    """Who waits for whom: not who waits for a connection that somebody has who may still go on.

    A lock is waited for until all go on who have it; a connection, until any does.
    """
    blocked = {caller.name: caller.waits_for for caller in callers if caller.condition == "blocked"}
    pooled = {caller.name for pool in pools for caller in pool.queue}
    if not pooled:
        return blocked
    locked = {*blocked}
    while free := [name for name in locked if _goes_on(blocked[name], locked, every=name not in pooled)]:
        locked.difference_update(free)
    return {name: holders for name, holders in blocked.items() if name in locked or name not in pooled}


def _goes_on(holders: Sequence[str], locked: Collection[str], *, every: bool) -> bool:
    may = [holder not in locked for holder in holders]
    return all(may) if every else any(may)
