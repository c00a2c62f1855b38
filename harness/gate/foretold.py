"""What a check would do: which measures, on which store, for how long at most; nothing is started."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.explore import read_schedule
from harness.gate.check import kept_with_cells, saved_schedules
from harness.gate.measuring import beside, bound_of, seconds_for
from harness.stores import parse_postgres, parse_redis

if TYPE_CHECKING:
    from harness.burst import StoresOptions
    from harness.gate.plan import Guarded, Plan

Document = dict[str, Any]

REPLAY_S = 1.0
"""A schedule is replayed in milliseconds; its store has to be there."""
_EMBEDDED: Mapping[str, str] = {"redis": "embedded Valkey", "postgres": "embedded PostgreSQL"}


def foretell(plan: Plan, stores: StoresOptions) -> Document:
    """Every cell and schedule, checked as far as that goes without a store. Raises UsageError."""
    where = _places(stores)
    cells = [_cell(guarded, plan, where) for guarded in plan.cells]
    kept = [one.path for one, _guarded in kept_with_cells(plan)]
    saved = saved_schedules(plan)
    for path in saved:
        read_schedule(path)
    replays = [*map(str, kept), *map(str, saved)]
    return {
        "schema": "race.plan/1",
        "config": str(plan.path),
        "seed": plan.seed,
        "schedules": replays,
        "cells": cells,
        "at_most_s": sum(cell["at_most_s"] for cell in cells) + REPLAY_S * len(replays),
    }


def _cell(guarded: Guarded, plan: Plan, where: Mapping[str, str]) -> Document:
    bound = bound_of(guarded, plan.folder)
    seconds = seconds_for(guarded)
    faults = f", faults: {', '.join(guarded.faults)}" if guarded.faults else ""
    texts = {
        "explored": f"every order of {guarded.size} requests{faults}",
        "load": f"{guarded.bursts:,} bursts of {guarded.load_size}, {guarded.processes} processes",
    }
    if "cost" in seconds:
        others = beside(guarded, bound, plan.folder)
        texts["cost"] = f"sustained load, beside {', '.join(others)}" if others else "sustained load, alone"
    rules = [f'explored = "{guarded.explored}"'] * bool(guarded.explored)
    rules += [f'verdict = "{guarded.verdict}"'] * bool(guarded.verdict)
    return {
        "name": guarded.title,
        "store": where[bound.strategy.store],
        "measures": [
            {"measure": measure, "what": texts[measure], "at_most_s": round(budget_s, 1)}
            for measure, budget_s in seconds.items()
        ],
        "rules": [*rules, *(threshold.text for threshold in guarded.thresholds)],
        "at_most_s": guarded.budget_s,
    }


def _places(stores: StoresOptions) -> Mapping[str, str]:
    """Where each kind of store is, without secrets. Raises UsageError."""
    places = dict(_EMBEDDED)
    if stores.redis_url:
        places["redis"] = f"Redis at {parse_redis(stores.redis_url, stores.allow_hosts).shown}"
    if stores.postgres_url:
        places["postgres"] = f"PostgreSQL at {parse_postgres(stores.postgres_url, stores.allow_hosts).shown}"
    return places
