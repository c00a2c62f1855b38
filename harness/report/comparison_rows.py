"""A comparison's rows as short texts, for every rendering that is a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.report.advice import title
from harness.report.figures import (
    MISSING,
    bound,
    count,
    interval,
    milliseconds,
    per_second,
    percent,
    short_count,
)

Document = Mapping[str, Any]

COLUMNS = (
    ("strategy", "", "strategy"),
    ("broken", "bursts", "broken bursts"),
    ("95 % CI", "in %", "95 % CI in %"),
    ("starts", "per s", "starts/s"),
    ("rel.", "", "relative"),
    ("p99", "ms", "p99 ms"),
    ("re-", "tries", "retries"),
    ("err-", "ors", "errors shown"),
    ("every", "order", "every order of two"),
    ("claim", "", "claim"),
)
"""Headings in two short lines, and in one; all but the first and the last are set flush right."""

_STORES = ("redis", "postgres")
_WIDE = 100_000
"""From here on a rate is written in thousands."""


def groups(document: Document) -> Iterator[tuple[str, list[Document]]]:
    """A heading and the rows of each store: product, version and what survives a crash."""
    for info in sorted(document["stores"], key=lambda info: _STORES.index(info["kind"])):
        rows = [row for row in document["rows"] if row["store"] == info["kind"]]
        if rows:
            yield store_heading(info), rows


def store_heading(info: Document) -> str:
    """`Valkey 9.1.2  embedded, memory only`."""
    where = "embedded" if info["embedded"] else "external"
    return f"{info['product']} {info['version']}  {where}, {info['durability']}"


def cells(row: Document, document: Document) -> list[str]:
    """One text for each of COLUMNS."""
    return [
        title(row, document),
        _broken(row["violations"]),
        _interval(row["violations"]),
        _starts(row["starts_per_s"]),
        MISSING if row["relative_throughput"] is None else f"{row['relative_throughput']:.2f}",
        milliseconds(row["latency_ms"].get("p99")),
        short_count(row["retries"]),
        short_count(sum(row["errors"].values())),
        MISSING if row["explored"] is None else EXPLORED[row["explored"]],
        claim_met(row),
    ]


EXPLORED = {"violated": "broken", "proved": "proved", "bounded": "part", "inconclusive": "?"}
"""What exploring says of every order of a small burst, in six letters."""


def claim_met(row: Document) -> str:
    """`holds` where that is what was claimed and came true, `NO` where it did not, `?` where nobody knows."""
    return {True: str(row["claim"]["kind"]), False: "NO", None: "?"}[row["as_claimed"]]


def control_line(rows: list[Document]) -> str:
    """How often this store's control broke under the same load; empty without one.

    Every row of a rule holds all that its control showed beside any of them: that counts once.
    """
    controls = list({row["rule"]: row["overlap"] for row in rows if row["overlap"]["control_bursts"]}.values())
    if not controls:
        return ""
    broken = sum(overlap["control_broken"] for overlap in controls)
    bursts = sum(overlap["control_bursts"] for overlap in controls)
    name = controls[0]["control"]
    return f"control: {name} broke in {count(broken)} of {count(bursts)} bursts ({percent(broken / bursts)} %)"


def not_applicable(document: Document) -> Iterator[str]:
    """`lua, lua:resend: why`: each reason once, with the names of all that it keeps out."""
    reasons: dict[str, list[str]] = {}
    for entry in document["not_applicable"]:
        reasons.setdefault(entry["reason"], []).append(entry["strategy"])
    for reason, names in reasons.items():
        yield f"{', '.join(dict.fromkeys(names))}: {reason}"


def _broken(violations: Document) -> str:
    return f"{violations['bursts']}/{violations['judged']}"


def _starts(rate: float | None) -> str:
    return per_second(rate) if rate is None or rate < _WIDE else short_count(round(rate))


def _interval(violations: Document) -> str:
    if not violations["judged"]:
        return MISSING
    if not violations["bursts"]:
        return f"<={bound(violations)}"
    return interval(violations, digits=1)
