"""The document of a flow table: what one attempt came to under each flow and each fault."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.flows import FAULTS, FLOWS
from harness.results.build import store_document
from harness.results.environment import environment

if TYPE_CHECKING:
    from harness.burst.cells import Bound
    from harness.flows import FlowCell
    from harness.results.build import Document
    from harness.stores import StoreInfo


@dataclass(frozen=True, slots=True)
class AskedFlows:
    """What was asked for, on what, and how that is done again."""

    bound: Bound
    seed: int
    stores: Sequence[StoreInfo]
    reproduce: str
    started_at: str
    duration_s: float


def flows_document(cells: Sequence[FlowCell], asked: AskedFlows, *, complete: bool) -> Document:
    """The `race.flows/1` document."""
    bound = asked.bound
    flows = list(dict.fromkeys(cell.flow for cell in cells))
    met = [as_claimed(cell) for cell in cells]
    return {
        "schema": "race.flows/1",
        "scenario": bound.cell.scenario,
        "strategy": bound.cell.strategy,
        "rule": bound.cell.rule,
        "seed": asked.seed,
        "faults": dict(FAULTS),
        "flows": [
            {
                "flow": flow,
                "what": FLOWS[flow],
                "cells": [cell_document(cell, bound) for cell in cells if cell.flow == flow],
            }
            for flow in flows
        ],
        "as_claimed": False if False in met else None if None in met or not met else True,
        "stores": [store_document(info) for info in asked.stores],
        "reproduce": asked.reproduce,
        "environment": environment(),
        "started_at": asked.started_at,
        "duration_s": round(asked.duration_s, 3),
        "complete": complete,
    }


def as_claimed(cell: FlowCell) -> bool | None:
    """Whether it came to what is claimed; None where the fault could not be made."""
    return None if cell.end is None else cell.end == cell.claimed


def cell_document(cell: FlowCell, bound: Bound) -> Document:
    """One attempt: what it came to, and what is claimed."""
    words = bound.scenario.ends
    return {
        "fault": cell.fault,
        "end": cell.end,
        "says": None if cell.end is None else words.get(cell.end, cell.end),
        "claimed": cell.claimed,
        "claimed_says": words.get(cell.claimed, cell.claimed),
        "as_claimed": as_claimed(cell),
        "reason": cell.reason,
        "effects": dict(cell.effects),
        "value": cell.value,
    }
