"""A caller that tries again and again in vain, while all others are slow, until its tries run out or it does otherwise.

A poll that found nothing changed waits for somebody to change something, as if whoever is waited for always went on in
time. He need not: what a program does once it has no patience left, or at its third try, it then does in his middle.
All those tries are one choice of the schedule, and one event: between them nobody else takes a step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.explore.caller import same_words
from harness.explore.passing import soonest_ms
from harness.explore.steps import take_step
from harness.explore.touch import EVERYTHING

if TYPE_CHECKING:
    from harness.explore.caller import Caller
    from harness.explore.event import Event
    from harness.explore.machine import Machine

PERSIST = "persist"
_MOST_TRIES = 120
_MOST_POLLS = 8
"""Of who never gives up."""
_MOST_SERVING = 50
UNTRIED = "a flow that waits for its turn, and asks otherwise each time or has to be served, is not tried in vain"
_TRY_MS = 8
"""A try and the pause after it."""


def may_persist(machine: Machine) -> list[Caller]:
    """Those who wait between two tries, and have not yet tried in vain in this schedule."""
    waiting = (caller for caller in machine.callers if caller.condition == "parked")
    return [caller for caller in waiting if can_persist(caller) and not caller.tries.in_vain]


def can_persist(caller: Caller) -> bool:
    """Whether somebody who waits between two tries does so in a loop of its program's, and may lose its patience."""
    its_own = caller.pending is not None and bool(caller.pending.words)
    return (its_own or caller.turn) and not (caller.serves or caller.owner)


def loop_of(caller: Caller) -> object:
    """The loop in which somebody waits between two tries: whose, where, or what a flow asks for in it."""
    assert caller.pending is not None
    if not caller.turn:
        return caller.name, caller.pending.words, caller.tries.loops
    return caller.name, tuple(caller.plain(" ".join(words)) for words in caller.tries.in_turn)


async def persist(machine: Machine, caller: Caller, event: Event) -> None:
    """Try after try, for as long as each does what the last one did.

    Of a flow that waits for its turn the first try may be another one than those that follow: then it is begun, and
    may be tried in vain once it waits again.
    """
    turn, tries, more = caller.turn, 0, True
    last = caller.tries.in_turn if turn else caller.tries.asked
    most = _MOST_POLLS if turn or caller.patience_ms == math.inf else _MOST_TRIES
    soonest = await soonest_ms(machine)  # what is tried in vain changes nothing, and until then nothing else does
    until_ms = math.inf if soonest is None else machine.now_ms + soonest
    event.add(EVERYTHING)
    while more and tries < most:
        tries += 1
        shown = len(event.steps)
        if machine.now_ms + _TRY_MS < until_ms:
            machine.now_ms += _TRY_MS
        more = await _same_again(machine, caller, event, last)
        if more:
            del event.steps[shown:]
    if turn:
        if not more and tries == 1 and caller.condition == "ready" and not caller.tries.begun:
            caller.tries.begun = True
            return
        if not more and (tries == 1 or caller.condition in {"waiting", "blocked"}):
            machine.caps.add(UNTRIED)
        if more and _outwaits(machine, caller, soonest):
            more = False
            machine.now_ms += int(caller.patience_ms)
            await machine.resume(caller, event, value=False)
    caller.tries.in_vain, caller.tries.went_on = True, not more
    if tries > 1:
        event.show(caller, "effect", (f"(tries {tries - 1:,} times more, in vain)",))


def _outwaits(machine: Machine, caller: Caller, soonest: int | None) -> bool:
    """Whether a flow has lost its patience before anything ends by itself: a key, a lease that is kept in a row."""
    leases_ms = machine.cast.cell.scenario.leases_ms
    return (soonest is None or soonest > caller.patience_ms) and not 0 < leases_ms <= caller.patience_ms


async def _same_again(machine: Machine, caller: Caller, event: Event, last: Sequence[tuple[str, ...]]) -> bool:
    """Whether another try does what the last one did; up to where it does something else."""
    caller.tries.asked, caller.tries.in_turn = [], []
    await machine.resume(caller, event, value=True)
    for words in last:
        await _served(machine, caller, event)
        if caller.condition != "ready" or caller.pending is None or same_words(caller.pending.words) != words:
            return False
        await take_step(machine, caller, event, lost=False)
    await _served(machine, caller, event)
    return caller.condition == "parked"


async def _served(machine: Machine, caller: Caller, event: Event) -> None:
    """Let owners go on until they have answered: who asks in vain is answered each time."""
    for _ in range(_MOST_SERVING):
        ready = (one for one in machine.callers if one.name in machine.cast.owners and one.condition == "ready")
        owner = next((one for one in ready if one.pending is not None), None)
        if caller.condition != "waiting" or owner is None:
            return
        await take_step(machine, owner, event, lost=False)


def went_on(machine: Machine) -> bool:
    """Whether one that tried in vain then did something that others notice, or was told more than that it gave up."""
    for place, event in enumerate(machine.events):
        name = event.choice.caller
        if event.choice.kind == PERSIST and machine.cast.named(name).tries.went_on:
            after = any(step.caller == name for later in machine.events[place + 1 :] for step in later.steps)
            if after or machine.cast.decided(name, event.at):
                return True
    return False
