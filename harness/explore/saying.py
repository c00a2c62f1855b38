"""What broke in a schedule, in one sentence: in the domain's words where it has any."""

from __future__ import annotations

from collections.abc import Sequence

from harness.explore.faults import CRASHES_LATE
from harness.judge import NO_ORDER, Explanation, Finding
from harness.model import Evidence
from harness.strategy import Scenario, disordered


def broke(finding: Finding, scenario: Scenario, evidence: Evidence) -> str:
    """The first breach; else that no order explains it, as the scenario says that; "" where nothing broke."""
    if not finding.broken:
        return ""
    for breaches in finding.breaches.values():
        if breaches:
            return breaches[0].says
    if finding.order == "illegal":
        return disordered(scenario, evidence, NO_ORDER)
    return f"{len(finding.stuck)} requests were never answered"


def arrived_late(found: Explanation) -> str | None:
    """What a dead process had sent came in after others had gone on without it; None where nothing did."""
    for place, row in enumerate(found.rows):
        if row.command == CRASHES_LATE:
            late = next((later for later in found.rows[place + 1 :] if later.letter == row.letter), None)
            if late is not None:
                sent = f"What {row.letter} had sent before it crashed at {row.number} arrived at {late.number}"
                return f"{sent}: others had gone on without it."
    return None


def locked_out(finding: Finding) -> str:
    """Of a deadlock: whatever else is wrong then comes of it."""
    return f"a deadlock: {len(finding.stuck)} requests were never answered"


def waits(ring: Sequence[str]) -> str:
    """Who waits for whom: `A waits for B, and B for A`."""
    (first, second), *others = zip(ring, [*ring[1:], ring[0]], strict=True)
    return "".join((f"{first} waits for {second}", *(f", and {one} for {other}" for one, other in others), "."))
