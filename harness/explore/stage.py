"""What a step needs to know of the schedule that it is part of, and what its caller is told in the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from harness.explore.caller import Caller
from harness.explore.event import Event
from harness.explore.leases import Leases
from harness.explore.program import Cast
from harness.explore.touch import NOWHERE, Touch
from harness.explore.world import World
from harness.model import CommandRefused, ConnectionLost, StatementRefused, StoreFault

if TYPE_CHECKING:
    from harness.explore.pools import Pool


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
    pools: dict[tuple[int, str], Pool]
    watched: dict[int, Touch]

    async def resume(self, caller: Caller, event: Event, value: Any, *, throw: bool = False) -> None:
        """Let a program go on with a reply or an error."""

    async def settle(self, caller: Caller, event: Event) -> None:
        """Let a program go on to the next step that others can notice."""

    async def answered(self, caller: Caller, event: Event) -> bool:
        """Whether a statement ends; False once it is known to wait."""
        ...

    async def remove(self, caller: Caller, event: Event) -> None:
        """A dead caller has done its last."""


async def tell(stage: Stage, caller: Caller, event: Event, reply: Any, *, lost: bool) -> None:
    """An answer, unless it is lost."""
    if caller.late:  # it is dead, but what it had sent still arrived
        await stage.remove(caller, event)
    elif lost:
        await lose(stage, caller, event)
    else:
        await stage.resume(caller, event, reply)


async def lose(stage: Stage, caller: Caller, event: Event) -> None:
    """The connection broke before the reply: what it held goes, and the caller is told so."""
    await stage.world.renew(caller.place)
    if caller.transaction is not None:
        event.end(caller.transaction, committed=False)
        caller.transaction = None
    caller.queued, caller.watched, caller.kept = None, NOWHERE, frozenset()
    await fail(stage, caller, event, ConnectionLost("the reply was lost"))


def broke_off(stage: Stage, fault: StoreFault) -> None:
    """A connection that breaks off is a fault that nobody chose."""
    if isinstance(fault, ConnectionLost):
        stage.disturbed = f"a connection to the store broke off: {fault}"


async def fail(stage: Stage, caller: Caller, event: Event, fault: StoreFault) -> None:
    """That the store said no, or nothing any more."""
    if isinstance(fault, CommandRefused) and not isinstance(fault, StatementRefused):
        caller.queued, caller.watched = None, NOWHERE
    if caller.late:
        await stage.remove(caller, event)
    else:
        await stage.resume(caller, event, fault, throw=True)
