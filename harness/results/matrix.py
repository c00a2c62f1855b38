"""The document of a matrix: every cell of the library, measured shortly, against its claim."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.model import Verdict

Document = dict[str, Any]

SCHEMA = "race.matrix/1"

_ROW = (
    "strategy", "rule", "store", "verdict", "reason", "order", "invariants", "explored", "exploration", "claim",
    "as_claimed", "violations", "overlap", "starts_per_s", "latency_ms", "retries", "errors",
)  # fmt: skip
"""What is kept of a comparison's rows: not the parts of each load, nor its distribution."""
_LATENCIES = ("p50", "p99")


def matrix_rows(comparison: Mapping[str, Any]) -> list[Document]:
    """The rows of one scenario's comparison, by the words of a matrix; each rule has a fastest of its own."""
    rows = [
        {
            "scenario": comparison["scenario"],
            **{name: row[name] for name in _ROW},
            "as_claimed": _met(row),
            "latency_ms": {name: row["latency_ms"][name] for name in _LATENCIES if name in row["latency_ms"]},
        }
        for row in comparison["rows"]
    ]
    fastest = {(one["rule"], one["store"]): one for one in references(rows)}
    for row in rows:
        best = fastest.get((row["rule"], row["store"]))
        pace = row["starts_per_s"]
        row["relative_throughput"] = round(pace / best["starts_per_s"], 4) if best and pace is not None else None
    return rows


def _met(row: Mapping[str, Any]) -> bool | None:
    """Whether the claim is met. A schedule that breaks bears out a claim to break, where a short load met none."""
    met: bool | None = row["as_claimed"]
    if met is None and row["claim"]["kind"] == "breaks" and row["explored"] == Verdict.VIOLATED.value:
        return True
    return met


def references(rows: Iterable[Mapping[str, Any]]) -> list[Document]:
    """Of each scenario, rule and store the fastest that held as it claims."""
    best: dict[tuple[str, str, str], Mapping[str, Any]] = {}
    for row in rows:
        place = (row["scenario"], row["rule"], row["store"])
        if not (Verdict(row["verdict"]).good and row["as_claimed"] and row["starts_per_s"]):
            continue
        if place not in best or row["starts_per_s"] > best[place]["starts_per_s"]:
            best[place] = row
    return [{**{name: row[name] for name in _PLACE}, "starts_per_s": row["starts_per_s"]} for row in best.values()]


_PLACE = ("scenario", "rule", "store", "strategy")


def matrix_document(
    comparisons: Sequence[Mapping[str, Any]],
    not_applicable: Sequence[Mapping[str, str]],
    missing: Sequence[Mapping[str, str]],
    **about: Any,
) -> Document:
    """The `race.matrix/1` document. `missing` are the cells that were not come to.

    `about`: seed, load, budget_s, reproduce, environment, started_at, duration_s, complete, reason.
    """
    rows = [row for comparison in comparisons for row in matrix_rows(comparison)]
    stores = {info["kind"]: info for comparison in comparisons for info in comparison["stores"]}
    met = [row["as_claimed"] for row in rows]
    return {
        "schema": SCHEMA,
        "seed": about["seed"],
        "load": about["load"],
        "budget_s": about["budget_s"],
        "stores": [stores[kind] for kind in sorted(stores, reverse=True)],
        "counts": {
            "cells": len(rows),
            "as_claimed": met.count(True),
            "not_as_claimed": met.count(False),
            "unclear": met.count(None),
            "not_applicable": len(not_applicable),
            "missing": len(missing),
        },
        "references": references(rows),
        "rows": rows,
        "not_applicable": [dict(one) for one in not_applicable],
        "missing": [dict(one) for one in missing],
        **{
            name: about[name] for name in ("reproduce", "environment", "started_at", "duration_s", "complete", "reason")
        },
    }


def matrix_text(document: Mapping[str, Any]) -> str:
    """The document as a file that is kept: a line for each of its rows, so that two of them can be compared."""
    parts = []
    for name, value in document.items():
        if isinstance(value, list) and value:
            rows = ",\n".join(f"    {json.dumps(row)}" for row in value)
            parts.append(f"  {json.dumps(name)}: [\n{rows}\n  ]")
        else:
            parts.append(f"  {json.dumps(name)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"
