"""Tables as CSV: figures as they are, one line for each strategy of a comparison."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
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
    return lines_of(FIELDS, (_line(document, row) for row in document["rows"]))


def lines_of(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A heading and lines; truth is written as in JSON, what is not known is empty."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(names)
    words = {True: "true", False: "false", None: ""}
    for row in rows:
        writer.writerow([words[value] if value is None or isinstance(value, bool) else value for value in row])
    return target.getvalue()


def _line(document: Document, row: Document) -> list[Any]:
    violations, latency = row["violations"], row["latency_ms"]
    return [
        document["scenario"], row["strategy"], row["rule"], row["store"], row["verdict"], row["claim"]["kind"],
        row["as_claimed"],
        violations["bursts"], violations["judged"], violations["rate"], violations["low"], violations["high"],
        violations["confidence"], row["starts_per_s"], row["throughput_per_s"], row["relative_throughput"],
        *(latency.get(name) for name in ("p50", "p90", "p99", "p999", "max")),
        row["retries"], sum(row["errors"].values()), document["seed"],
    ]  # fmt: skip
