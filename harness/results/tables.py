"""The document of a scenario's own table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.model import RaceError, UsageError, Verdict, described
from harness.results.build import claim_document, load_document, overlap_document, store_document, violations_document
from harness.results.claims import as_claimed, both_as_claimed, shown_to_callers
from harness.results.environment import environment
from harness.results.exploration import explored_document

if TYPE_CHECKING:
    from harness.burst.tables import Tabled, TableRow
    from harness.explore import Brief
    from harness.results.build import Document
    from harness.strategy import Seen, Table


def table_document(name: str, table: Table, made: Tabled, explored: Sequence[Brief], *, reproduce: str) -> Document:
    """The `race.table/1` document. `explored` says for each row, in their order, what exploring found."""
    return {
        "schema": "race.table/1",
        "scenario": made.scenario,
        "table": name,
        "title": table.title,
        "says": table.says,
        "columns": [" ".join(filter(None, column.heading)) for column in table.columns],
        "headings": [list(column.heading) for column in table.columns],
        "loads": {name: {**load_document(load), "slow_ms": load.slow_ms} for name, load in made.loads.items()},
        "rows": [_row(table, row, brief) for row, brief in zip(made.rows, explored, strict=False)],
        "not_applicable": [{"what": what, "reason": reason} for what, reason in made.not_applicable],
        "seed": made.seed,
        "stores": [store_document(info) for info in made.stores],
        "reproduce": reproduce,
        "environment": {**environment(), "others_cpu": made.others},
        "started_at": made.started_at,
        "duration_s": round(made.duration_s, 3),
        "complete": made.complete,
    }


def _row(table: Table, row: TableRow, brief: Brief) -> Document:
    """A line: its cells as they are shown, and what they are made of."""
    found, bound = row.found, row.bound
    shown = shown_to_callers(found.counts.errors, found.counts.by_decision)
    verdict = Verdict.VIOLATED if any(row.broken.values()) else found.verdict
    return {
        "what": row.seen.line.what,
        "strategy": bound.cell.strategy,
        "rule": bound.cell.rule,
        "store": bound.strategy.store,
        "cells": _cells(table, _told(row.seen, brief)),
        "figures": {load: figures._asdict() for load, figures in row.seen.figures.items()},
        "broken": dict(row.broken),
        "verdict": verdict.value,
        "reason": found.reason,
        "order": found.order.value,
        "invariants": {name: one.value for name, one in found.invariants.items()},
        "refused": dict(row.seen.refused),
        "exploration": explored_document(brief),
        "explored": brief.verdict.value,
        "says": brief.smallest.says if brief.smallest is not None else "",
        "violations": violations_document(found),
        "overlap": overlap_document(found.overlap),
        "claim": claim_document(found.claim),
        "as_claimed": both_as_claimed(found.claim, as_claimed(found.claim, verdict, shown), brief.verdict.value),
        "errors": shown,
    }


def _told(seen: Seen, brief: Brief) -> Seen:
    """What bursts could not tell, on a busy machine, is told by every order of two requests."""
    order, rule = seen.order, seen.rule
    if order is Verdict.INCONCLUSIVE and brief.order is not Verdict.INCONCLUSIVE:
        order = Verdict.HELD if brief.order.good else Verdict.VIOLATED
    if rule is Verdict.INCONCLUSIVE and brief.verdict.good:
        rule = Verdict.HELD
    elif rule is Verdict.INCONCLUSIVE and brief.smallest is not None and brief.smallest.sharp:
        rule = Verdict.VIOLATED
    return seen._replace(order=order, rule=rule)


def _cells(table: Table, seen: Seen) -> list[Document]:
    """What the columns say. Raises UsageError: they are the scenario's."""
    try:
        return [{"load": load, "texts": [str(text) for text in texts]} for load, texts in table.rows(seen)]
    except RaceError:
        raise
    except Exception as error:
        raise UsageError(described(error)) from error
