"""What follows from a comparison: what to choose, what broke and why, what was not looked at."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.report.by_rule import undecided

Document = Mapping[str, Any]

STORE_NAMES = {"redis": "Redis", "postgres": "PostgreSQL"}

_SIMPLEST_FIRST = {
    "redis": ("atomic", "lua", "watch", "redis-lock", "actor"),
    "postgres": ("pg-conditional", "pg-for-update", "pg-advisory", "pg-serializable"),
}
"""The order in which a reader would understand them; whoever is not named is not called simple."""

_NEVER_ADVISED = frozenset({"mutex"})
"""Right with one process only: the next deployment breaks it without a word."""

_AS_FAST = 0.9

NOT_COVERED = (
    "more than two requests in every order; crashes, pauses past a lease, lost or repeated messages"
    " (race explore --faults all); other rules"
)


def advice(document: Document) -> Iterator[tuple[str, str]]:
    """Label and sentence, the most useful first."""
    for store, name in STORE_NAMES.items():
        rows = [row for row in document["rows"] if row["store"] == store]
        if rows:
            yield name, _choice(store, rows)
    yield from _mutex(document)
    if (which := undecided(document)) is not None:
        yield "Your choice", which
    yield "Not covered", NOT_COVERED


def failures(document: Document) -> Iterator[tuple[str, str]]:
    """Every row that did not do as it claims, with the command that shows it; then those without a verdict."""
    for row in document["rows"]:
        if row["as_claimed"] is False:
            by_order = row["verdict"] != "violated" and row["explored"] == "violated"
            command = again(row, document, explore=True) if by_order else again(row, document)
            yield "Failed", f"{title(row, document)} {_difference(row)}; {command}"
    unclear: dict[str, list[Document]] = {}
    for row in document["rows"]:
        if row["as_claimed"] is None:
            unclear.setdefault(row["reason"], []).append(row)
    for reason, rows in unclear.items():
        names = ", ".join(title(row, document) for row in rows)
        yield "Unclear", f"{names}: {reason}" + (f"; {again(rows[0], document)}" if len(rows) == 1 else "")


def title(row: Document, document: Document) -> str:
    """The strategy, and its rule where several are compared."""
    rules = {other["rule"] for other in document["rows"]}
    return f"{row['strategy']} ({row['rule']})" if len(rules) > 1 else str(row["strategy"])


def again(row: Document, document: Document, *, explore: bool = False) -> str:
    """The command that runs one row alone, or explores it."""
    rules = {other["rule"] for other in document["rows"]}
    load = document["load"]
    words = ["race", "explore" if explore else "run", document["scenario"], "--strategy", row["strategy"]]
    words += ["--rule", row["rule"]] if len(rules) > 1 else []
    words += ["--processes", str(load["processes"])] if load["processes"] != 2 else []
    if explore:
        return shlex.join([*words, "--seed", str(document["seed"])])
    words += ["--size", str(load["burst_size"])] if load["burst_size"] != 2 else []
    words += ["--work", str(load["work_us"])] if load["work_us"] != 300 else []
    words += ["--think", f"{load['think_ms']:g}"] if load["think_ms"] else []
    return shlex.join([*words, "--seed", str(document["seed"])])


def _choice(store: str, rows: Sequence[Document]) -> str:
    good = [
        row
        for row in rows
        if row["verdict"] in {"held", "proved", "bounded"}
        and row["as_claimed"]
        and row["strategy"].partition(":")[0] not in _NEVER_ADVISED
    ]
    if not good:
        met = [row["as_claimed"] for row in rows if row["claim"]["kind"] == "holds"]
        if met and set(met) == {None}:
            return "nothing to choose yet: none of these was shown to hold"
        return "none of these held as it claims" if met else "none of these claims to hold"
    fastest = max(good, key=lambda row: row["starts_per_s"] or 0)
    simple = [
        row
        for name in _SIMPLEST_FIRST[store]
        for row in good
        if row["strategy"] == name and name != fastest["strategy"]
    ]
    if not simple or _rank(store, simple[0]) > _rank(store, fastest):
        return f"{fastest['strategy']}: the fastest that held" + (
            ", and the simplest" if len(good) > 1 and _rank(store, fastest) < len(_SIMPLEST_FIRST[store]) else ""
        )
    share = (simple[0]["starts_per_s"] or 0) / (fastest["starts_per_s"] or 1)
    nearly = " (no real difference)" if share >= _AS_FAST else ""
    return (
        f"{simple[0]['strategy']}: the simplest that held, at {share:.2f} of the speed of"
        f" {fastest['strategy']}, the fastest{nearly}"
    )


def _rank(store: str, row: Document) -> int:
    order = _SIMPLEST_FIRST[store]
    return order.index(row["strategy"]) if row["strategy"] in order else len(order)


def _mutex(document: Document) -> Iterator[tuple[str, str]]:
    """Why the lock that looks right in every test with one process broke."""
    for row in document["rows"]:
        if row["strategy"] == "mutex" and row["verdict"] == "violated":
            number = document["load"]["processes"]
            yield "mutex", f"broke because each of {number} processes has a lock of its own; none sees another's"
            return


def _difference(row: Document) -> str:
    said = row["claim"]["kind"]
    if row["verdict"] == "violated":
        return f"claims that it {said}, but broke"
    if row["explored"] == "violated" and said == "holds":
        return "claims that it holds, but there is an order of two requests that breaks it"
    if said == "breaks":
        return "claims that it breaks, but held"
    unnamed = [code for code in row["errors"] if code not in row["claim"]["errors"]]
    return f"showed its callers {', '.join(unnamed)}, which its claim does not name"
