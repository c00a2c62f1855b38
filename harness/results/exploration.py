"""The document of an exploration: its verdict, how far it went, and the smallest schedule that breaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.explore.shrink import faults, switches
from harness.results.build import claim_document, counterexample_document, store_document
from harness.results.claims import explored_as_claimed
from harness.results.environment import environment

if TYPE_CHECKING:
    from harness.burst import Cell
    from harness.explore import Brief, Exploration, Options, Schedule
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
        "as_claimed": explored_as_claimed(explored.claim, found.verdict, found.errors, options.faults),
        "search": options.search,
        "exhausted": found.exhausted,
        "schedules": found.schedules,
        "pruned": found.pruned,
        "violated": found.violated,
        "errors": dict(sorted(found.errors.items())),
        "overruns": found.overruns,
        "schedules_per_s": round(found.schedules / found.elapsed_s, 1) if found.elapsed_s else None,
        "size": options.size,
        "processes": options.processes,
        "faults": list(options.faults),
        "max_faults": options.most_faults,
        "counterexample": smallest_document(smallest, explored.file),
        "stores": [store_document(info) for info in explored.stores],
        "reproduce": explored.reproduce,
        "environment": environment(),
        "started_at": explored.started_at,
        "duration_s": round(explored.duration_s, 3),
        "complete": found.complete,
    }


def explored_document(brief: Brief | None) -> Document | None:
    """What exploring in passing found, without the schedule; None where nothing was explored."""
    if brief is None:
        return None
    return {
        "verdict": brief.verdict.value,
        "reason": brief.reason,
        "size": brief.options.size,
        "schedules": brief.schedules,
        "order": brief.order.value,
    }


def minimised(document: Document, brief: Brief, file: str | None) -> Document:
    """A run's result with the smallest schedule in place of the one that the load met, which it keeps.

    Where exploring found none, what the load met stays, and `exploration` says why.
    """
    met, smallest = document["counterexample"], smallest_document(brief.smallest, file)
    shown = met if smallest is None else {**smallest, "observed": met}
    return {**document, "exploration": explored_document(brief), "counterexample": shown}


def smallest_document(schedule: Schedule | None, file: str | None) -> Document | None:
    """A schedule drawn, and where it is saved."""
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
