"""One flow: under no fault, then under each that was asked for; `inline` beside it shows that the faults bite.

Each case is one attempt whose fault is really made, so there is no rate: it came to its end, or it did not. That it did
means something only where plain code, under the same fault in the same run, did not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.burst.cells import Bound
from harness.burst.measurement import Progress
from harness.flows.claims import BROKEN, CONTROL, FAULTS
from harness.flows.table import FlowCell, played
from harness.model import Verdict
from harness.stores import Stores


@dataclass(frozen=True, slots=True)
class FlowRun:
    """What was found: the flow's cells, the first without a fault, and the control's."""

    flow: str
    faults: Sequence[str]
    cells: Sequence[FlowCell]
    controls: Sequence[FlowCell]
    complete: bool

    @property
    def broken(self) -> list[FlowCell]:
        """The cases that came to a bad end."""
        return [cell for cell in self.cells if cell.end in BROKEN]

    @property
    def judged(self) -> tuple[Verdict, str]:
        """The verdict; and why, where there is none."""
        if self.broken:
            return Verdict.VIOLATED, ""
        reason = self._unclear()
        return (Verdict.INCONCLUSIVE, reason) if reason else (Verdict.HELD, "")

    def _unclear(self) -> str:
        """Why nothing follows from this; "" where something does."""
        if not self.complete:
            return "it was interrupted"
        alone = next((cell for cell in self.cells if not cell.fault), None)
        for cell in self.cells:
            if cell.end is None:
                return f"{named(cell.fault)}: {cell.reason}"
        if alone is None or alone.end != "once":
            return "without a fault the attempt did not come to its end: a fault on top shows nothing"
        if [cell.fault for cell in self.cells] != ["", *self.faults]:
            return "not every fault was made"
        broke = {cell.fault for cell in self.controls if cell.end in BROKEN}
        idle = [named(fault) for fault in self.faults if fault not in broke]
        return f"{CONTROL}, the control, did not break either: {', '.join(idle)}" if idle else ""


def named(fault: str) -> str:
    """A fault in words."""
    return FAULTS.get(fault, "without a fault")


async def flow_run(
    bound: Bound, stores: Stores, flow: str, faults: Sequence[str], seed: int, progress: Callable[[Progress], Any]
) -> FlowRun:
    """One attempt without a fault, one under each, and the control's. Raises RaceError."""
    asked = [(flow, fault) for fault in ("", *faults)]
    asked += [(CONTROL, fault) for fault in faults] if flow != CONTROL else []
    cells, complete = await played(bound, stores, asked, seed, progress)
    mine = [cell for cell in cells if cell.flow == flow]
    controls = [cell for cell in cells if cell.flow == CONTROL and cell.fault]
    return FlowRun(flow, faults, mine, controls, complete)
