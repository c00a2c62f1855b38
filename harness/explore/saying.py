"""What broke in a schedule, in one sentence: in the domain's words where it has any."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from harness.explore.caller import Caller, Performed
from harness.explore.faults import CRASHES_LATE, DELIVERED_TWICE, PAUSED
from harness.judge import NO_ORDER, Explanation, Finding, unanswered
from harness.model import Evidence, Operation
from harness.strategy import Scenario, disordered

_CALLED = re.compile(r"\b[A-Z]\d*\b")


def broke(finding: Finding, scenario: Scenario, evidence: Evidence) -> str:
    """The first breach; else that no order explains it, as the scenario says that; "" where nothing broke."""
    if not finding.broken:
        return ""
    for breaches in finding.breaches.values():
        if breaches:
            return breaches[0].says
    if finding.order == "illegal":
        return disordered(scenario, evidence, NO_ORDER)
    return unanswered(finding)


def what_failed(found: Explanation) -> str | None:
    """What a fault has to do with it, where no step shows that: a late arrival, a second delivery, a pause."""
    for place, row in enumerate(found.rows):
        if row.command == CRASHES_LATE:
            late = next((later for later in found.rows[place + 1 :] if later.letter == row.letter), None)
            if late is not None:
                sent = f"What {row.letter} had sent before it crashed at {row.number} arrived at {late.number}"
                return f"{sent}: others had gone on without it."
        if row.command == DELIVERED_TWICE:
            return f"{row.letter}' is the request of {row.letter} once more, and was not taken for the same."
        if row.command == PAUSED:
            after = next((later for later in found.rows[place + 1 :] if later.letter == row.letter), None)
            if after is not None:
                return f"{row.letter} was paused at {row.number}: every lease and window had ended when it went on."
    return None


def locked_out(finding: Finding) -> str:
    """Of a deadlock: whatever else is wrong then comes of it."""
    return f"a deadlock: {unanswered(finding)}"


def waits(ring: Sequence[str], pooled: Collection[str] = ()) -> str:
    """Who waits for whom: `A waits for B, and B for A`. Those `pooled` do so for a connection."""
    holders = [*ring[1:], ring[0]]
    whom = [
        f"a connection that {holder} has" if one in pooled else holder
        for one, holder in zip(ring, holders, strict=True)
    ]
    (first, second), *others = zip(ring, whom, strict=True)
    return "".join((f"{first} waits for {second}", *(f", and {one} for {other}" for one, other in others), "."))


def in_columns(why: str, columns: Sequence[tuple[str, str]], operations: Sequence[Operation]) -> str:
    """With callers called as their columns are: once some were left out, those have other letters."""
    callers = {one.request.id: one.caller for one in operations}
    letters = {callers[first]: letter for letter, first in columns if first in callers and not letter.endswith("'")}
    return _CALLED.sub(lambda name: letters.get(name[0], name[0]), why)


def held_up(callers: Sequence[Caller]) -> str:
    """Of one that waits for ever, for whom; "" where nobody is known to be waited for."""
    ends = {"done": "has been answered", "gone": "is gone"}
    named = {caller.name: caller for caller in callers}
    for caller in callers:
        for holder in caller.waits_for if caller.condition == "blocked" and not caller.serves else ():
            if (end := ends.get(named[holder].condition)) is not None:
                return f"{caller.name} waits for what {holder} holds, and {holder} {end}."
    return ""


def told(performed: Sequence[Performed]) -> dict[tuple[str, str], Operation]:
    """Each delivery of a request that came more than once, by its id and the marks after its caller's name."""
    twice = {one.request.id for one in performed if one.caller.endswith("'")}
    own = [one for one in performed if one.request.id in twice]
    return {(one.request.id, one.caller[len(one.caller.rstrip("'")) :]): one.operation() for one in own}
