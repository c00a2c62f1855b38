"""The document of an exploration: its verdict, how far it went, and the smallest schedule that breaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.explore.shrink import faults, switches
from harness.results.build import claim_document, counterexample_document, store_document
from harness.results.environment import environment

if TYPE_CHECKING:
    from harness.burst import Cell
    from harness.explore import Exploration, Options, Schedule
    from harness.model import Claim
    from harness.results.build import Document
    from harness.stores import StoreInfo


@dataclass(frozen=True, slots=True)
class Explored:
    """What was explored, and how it is done again."""

    cell: Cell
    options: Options
    claim: Claim
    stores: Sequence[StoreInfo]
    reproduce: str
    started_at: str
    duration_s: float
    file: str | None = None


def exploration_document(explored: Explored, found: Exploration, smallest: Schedule | None) -> Document:
    """The `race.exploration/1` document."""
    options = explored.options
    return {
        "schema": "race.exploration/1",
        "scenario": explored.cell.scenario,
        "strategy": explored.cell.strategy,
        "rule": explored.cell.rule,
        "seed": options.seed,
        "verdict": found.verdict.value,
        "reason": found.reason,
        "caps": list(found.caps),
        "claim": claim_document(explored.claim),
        "search": options.search,
        "exhausted": found.exhausted,
        "schedules": found.schedules,
        "pruned": found.pruned,
        "violated": found.violated,
        "schedules_per_s": round(found.schedules / found.elapsed_s, 1) if found.elapsed_s else None,
        "size": options.size,
        "processes": options.processes,
        "faults": list(options.faults),
        "counterexample": _counterexample(smallest, explored.file),
        "stores": [store_document(info) for info in explored.stores],
        "reproduce": explored.reproduce,
        "environment": environment(),
        "started_at": explored.started_at,
        "duration_s": round(explored.duration_s, 3),
        "complete": found.complete,
    }


def _counterexample(schedule: Schedule | None, file: str | None) -> dict[str, Any] | None:
    if schedule is None:
        return None
    drawn = counterexample_document(schedule.explanation())
    assert drawn is not None
    return {
        **drawn,
        "says": schedule.says,
        "file": file,
        "context_switches": switches(schedule.choices),
        "faults": faults(schedule.choices),
        "choices": [list(choice) for choice in schedule.choices],
    }
