"""Tables as CSV: figures as they are, one line for each strategy of a comparison."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.model import ABORTED

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


def result_csv(document: Document) -> str:
    """One line with the fields of a comparison's, so that runs can be put below each other."""
    counts, pace = document["counts"], document["throughput_per_s"]
    if document["load"]["mode"] != "sustained" or not counts["requests"]:
        pace = None
    elif pace is not None and counts["attempts"]:
        pace = round(pace * counts["attempts"] / counts["requests"], 1)
    shown = {**counts["errors"], ABORTED.decision: counts["by_decision"].get(ABORTED.decision, 0)}
    row = {**document, "starts_per_s": pace, "relative_throughput": None, "retries": counts["retries"], "errors": shown}
    return lines_of(FIELDS, [_line(document, row)])


def exploration_csv(document: Document) -> str:
    """One line; faults are joined by a plus sign."""
    names = (
        "scenario", "strategy", "rule", "verdict", "as_claimed", "search", "faults", "size", "processes", "schedules",
        "violated", "pruned", "exhausted", "schedules_per_s", "seed",
    )  # fmt: skip
    row = {**document, "faults": "+".join(document["faults"])}
    return lines_of(names, [[row[name] for name in names]])


def check_csv(document: Document) -> str:
    """One line for each rule."""
    names = ("rule", "mark", "actual", "why", "reproduce")
    rules = [("saved schedule", one) for one in document["schedules"]]
    rules += [(cell["name"], one) for cell in document["cells"] for one in cell["rules"]]
    return lines_of(("cell", *names), ([cell, *(one[name] for name in names)] for cell, one in rules))


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
