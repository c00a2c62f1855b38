"""The document of one flow: each case with what it came to and what happened step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.flows import BROKEN, CONTROL, FAULTS, FLOWS, broken_claims
from harness.model import Verdict
from harness.results.build import store_document
from harness.results.environment import environment
from harness.results.flows import as_claimed, cell_document

if TYPE_CHECKING:
    from harness.flows import FlowCell, FlowRun, FlowStep
    from harness.results.build import Document
    from harness.results.flows import AskedFlows


def flow_document(run: FlowRun, asked: AskedFlows) -> Document:
    """The `race.flow/1` document."""
    bound = asked.bound
    verdict, reason = run.judged
    shown = run.broken or (run.cells[1:] if len(run.faults) == 1 else [])
    return {
        "schema": "race.flow/1",
        "scenario": bound.cell.scenario,
        "flow": run.flow,
        "what": FLOWS[run.flow],
        "strategy": bound.cell.strategy,
        "rule": bound.cell.rule,
        "seed": asked.seed,
        "verdict": verdict.value,
        "reason": reason,
        "claim": _claim(run, asked),
        "as_claimed": _met(run, verdict),
        "faults": {fault: FAULTS[fault] for fault in run.faults},
        "cases": [_case(cell, asked) for cell in run.cells],
        "control": {
            "flow": CONTROL,
            "cases": [cell_document(cell, bound) for cell in run.controls],
            "broke": sum(cell.end in BROKEN for cell in run.controls),
        },
        "counterexample": _drawn(shown[0], asked) if shown and shown[0].steps else None,
        "stores": [store_document(info) for info in asked.stores],
        "reproduce": asked.reproduce,
        "environment": environment(),
        "started_at": asked.started_at,
        "duration_s": round(asked.duration_s, 3),
        "complete": run.complete,
    }


def _case(cell: FlowCell, asked: AskedFlows) -> Document:
    return {**cell_document(cell, asked.bound), "broken": cell.end in BROKEN, "steps": _steps(cell.steps)}


def _claim(run: FlowRun, asked: AskedFlows) -> Document:
    """What the flow says of itself under these faults."""
    broken = broken_claims(run.flow, run.faults)
    words = asked.bound.scenario.ends
    said = [f"{FAULTS[fault]}: {words.get(end, end)}" for fault, end in broken.items()]
    return {"kind": "breaks" if broken else "holds", "reason": "; ".join(said), "under": list(broken)}


def _met(run: FlowRun, verdict: Verdict) -> bool | None:
    """Whether every case came to what is claimed; None where one shows nothing, and none failed."""
    met = [as_claimed(cell) for cell in run.cells]
    if False in met:
        return False
    return None if None in met or verdict is Verdict.INCONCLUSIVE or not run.complete else True


def _drawn(cell: FlowCell, asked: AskedFlows) -> Document:
    """A case as the drawings of this library want it: a column for each process."""
    names = list(dict.fromkeys(step.process for step in cell.steps))
    return {
        "fault": cell.fault,
        "says": asked.bound.scenario.ends.get(cell.end, cell.end) if cell.end else cell.reason,
        "fits": True,
        "why": None,
        "columns": [[_column(name), _column(name)] for name in sorted(names)],
        "steps": _steps(cell.steps),
    }


def _column(process: str) -> str:
    return f"process {process}"


def _steps(steps: Sequence[FlowStep]) -> list[Document]:
    """In the order of their times, milliseconds from the first."""
    begin = steps[0].at_ns if steps else 0
    return [
        {
            "step": number,
            "caller": _column(step.process),
            "at_ms": round((step.at_ns - begin) / 1e6, 3),
            "command": step.what,
            "reply": step.told,
            "blocked": False,
            "outcome": "",
        }
        for number, step in enumerate(steps, start=1)
    ]
