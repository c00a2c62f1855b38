"""A comparison as CSV: figures as they are, one line for each strategy."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

Document = Mapping[str, Any]

FIELDS = (
    "scenario", "strategy", "rule", "store", "verdict", "claim", "as_claimed",
    "broken_bursts", "judged_bursts", "rate", "low", "high", "confidence",
    "starts_per_s", "throughput_per_s", "relative_throughput",
    "p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms", "retries", "errors_shown", "seed",
)  # fmt: skip


def comparison_csv(document: Document) -> str:
    """A heading and the rows; what is not known is empty."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(FIELDS)
    for row in document["rows"]:
        writer.writerow(_line(document, row))
    return target.getvalue()


def _line(document: Document, row: Document) -> list[Any]:
    violations, latency = row["violations"], row["latency_ms"]
    return [
        document["scenario"], row["strategy"], row["rule"], row["store"], row["verdict"], row["claim"]["kind"],
        {True: "true", False: "false", None: ""}[row["as_claimed"]],
        violations["bursts"], violations["judged"], violations["rate"], violations["low"], violations["high"],
        violations["confidence"], row["starts_per_s"], row["throughput_per_s"], row["relative_throughput"],
        *(latency.get(name) for name in ("p50", "p90", "p99", "p999", "max")),
        row["retries"], sum(row["errors"].values()), document["seed"],
    ]  # fmt: skip
