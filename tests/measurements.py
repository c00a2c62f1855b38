"""Measurements made by hand, for tests of what is built and rendered from them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from harness.burst import Cell, CompareRow, Comparison, Counts, Load, Measurement, Overlap
from harness.judge import contradict, explain, judge_evidence
from harness.judge.explain import Explanation, Row
from harness.model import Claim, Evidence, Operation, Reply, Request, Status, Verdict
from harness.stores import StoreInfo
from harness.strategy import RuleSpec
from harness.strategy.loader import find_scenario

STARTED = "2026-11-25T04:21:52+00:00"
VALKEY = StoreInfo("redis", "Valkey", "9.1.2", embedded=True, durability="memory only")
POSTGRES = StoreInfo("postgres", "PostgreSQL", "18.6", embedded=True, durability="fsync on, synchronous_commit on")
LATENCY = {"p50": 0.21, "p90": 0.4, "p95": 0.6, "p99": 1.25, "p999": 3.5, "max": 12.7}

READ_READ_WRITE_WRITE = Explanation(
    columns=(("A", "0-start"), ("B", "1-start")),
    rows=(
        Row(1, "A", "GET user:17", "(none)"),
        Row(2, "B", "GET user:17", "(none)"),
        Row(3, "B", "SET user:17 processing", "OK", outcome="accepted"),
        Row(4, "A", "SET user:17 processing", "OK", outcome="accepted"),
    ),
    fits=True,
    why="A decided at 4 on what it read at 1; step 3 had made that untrue.",
    says="two attempts of one user were at work at once",
)


def held(**changes: Any) -> Measurement:
    """`lua` that held in 1,000 bursts while the control broke."""
    measured = Measurement(
        cell=Cell("double-submit", "lua", "drop"),
        store="redis",
        load=Load(seed=7),
        claim=Claim("holds", "a script is one step for everybody else"),
        verdict=Verdict.HELD,
        order=Verdict.HELD,
        invariants={"one at work": Verdict.HELD, "somebody got in": Verdict.HELD},
        reason="none of 1,000 broke, while under the same load naive broke in 248 of 250",
        counts=Counts(
            bursts=1000, requests=3000, attempts=2000, ok=3000,
            by_decision={"accepted": 1000, "rejected": 1000, "finished": 1000},
        ),
        overlap=Overlap("naive", 250, 248, 0.08),
        judged_bursts=1000,
        broken_bursts=0,
        by_invariant={},
        commands=3000,
        elapsed_s=1.5,
        latency_ms=LATENCY,
        counterexample=None,
        stores=[VALKEY],
        started_at=STARTED,
        duration_s=2.1,
        complete=True,
    )  # fmt: skip
    return replace(measured, **changes)


def violated(**changes: Any) -> Measurement:
    """`naive` that broke in nearly every burst."""
    measured = held(
        cell=Cell("double-submit", "naive", "drop"),
        claim=Claim("breaks", "nothing keeps others out between the read and the write"),
        verdict=Verdict.VIOLATED,
        order=Verdict.VIOLATED,
        invariants={"one at work": Verdict.VIOLATED},
        reason="996 of 1,000 broke",
        overlap=Overlap(None, 0, 0, 0.08),
        broken_bursts=996,
        by_invariant={"one at work": 996},
        counterexample=READ_READ_WRITE_WRITE,
    )
    return replace(measured, **changes)


def lost_adds() -> Measurement:
    """`naive` under a sustained load of a counter: two adds of one key were told the same."""
    scenario = find_scenario("counter")()
    told = [(0, 9, 1), (12, 20, 2), (14, 23, 2), (25, 31, 3)]
    adds = [
        Operation(
            Request("add", ("counter:h0-3",), id=f"{number % 2}-{number}"), f"{number % 2}.0", 1000 * began,
            1000 * ended, Status.OK, Reply("added", {"value": value}),
        )
        for number, (began, ended, value) in enumerate(told)
    ]  # fmt: skip
    evidence = Evidence("counter:h0-3", ("counter:h0-3",), adds, rest={"counter:h0-3": 3})
    spec, invariants = RuleSpec(scenario, "default"), scenario.invariants()
    found = contradict(evidence, lambda again, budget: judge_evidence(again, spec, invariants, "sustained", budget))
    return violated(
        cell=Cell("counter", "naive", "default"),
        load=Load(mode="sustained", connections=16, keys=64, seed=7),
        invariants={"every add counts once": Verdict.VIOLATED},
        by_invariant={"every add counts once": 64},
        amounts={"every add counts once": 10412},
        judged_bursts=64,
        broken_bursts=64,
        counterexample=explain(evidence, (), found.finding),
        contradiction=found,
    )


def inconclusive(**changes: Any) -> Measurement:
    """A run whose control hardly broke."""
    reason = "the control naive broke in only 3 of 250: this load would not have found anything"
    measured = held(
        verdict=Verdict.INCONCLUSIVE,
        order=Verdict.INCONCLUSIVE,
        invariants={"one at work": Verdict.INCONCLUSIVE},
        reason=reason,
        overlap=Overlap("naive", 250, 3, 41.0),
        duration_s=14.2,
    )
    return replace(measured, **changes)


def row(strategy: str, burst: Measurement, starts_per_s: float, retries: int = 0, **changes: Any) -> CompareRow:
    """A comparison's row whose sustained load made so many starts in its one second."""
    sustained = replace(
        burst,
        load=replace(burst.load, mode="sustained"),
        counts=Counts(attempts=round(starts_per_s), requests=round(1.5 * starts_per_s), retries=retries),
        elapsed_s=1.0,
        judged_bursts=64,
        broken_bursts=60 if burst.broken_bursts else 0,
        counterexample=None,
        **changes,
    )
    return CompareRow(strategy, "drop", burst.store, burst, sustained)


def postgres(measured: Measurement, strategy: str) -> Measurement:
    """The same on PostgreSQL."""
    overlap = replace(measured.overlap, control="pg-read-committed" if measured.overlap.control else None)
    cell = Cell("double-submit", strategy, "drop")
    return replace(measured, cell=cell, store="postgres", overlap=overlap, stores=[POSTGRES])


def explored() -> list[dict[str, Any] | None]:
    """What exploring found for the first seven rows of `compared`, one of them not explored."""
    verdicts = ("violated", "proved", "bounded", "inconclusive", "violated", None, "proved")
    return [
        verdict and {"verdict": verdict, "reason": "it is so", "size": 2, "schedules": 20}  # type: ignore[misc]
        for verdict in verdicts
    ]


def compared(**changes: Any) -> Comparison:
    """A comparison on both stores in which everybody did as claimed."""
    mutex = violated(
        cell=Cell("double-submit", "mutex", "drop"),
        claim=Claim("breaks", "each process has a lock of its own"),
        overlap=Overlap("naive", 250, 249, 0.08),
        broken_bursts=511,
    )
    serializable = held(
        claim=Claim("holds", "a refused transaction did nothing", errors=("40001", "40P01")),
        counts=Counts(bursts=1000, requests=3000, attempts=2000, retries=731, errors={"40001": 3}),
    )
    comparison = Comparison(
        scenario="double-submit",
        rows=[
            row("naive", violated(), 14663),
            row("atomic", held(), 23562),
            row("lua", held(), 18940),
            row("watch", held(), 5361, 12345),
            row("mutex", mutex, 9856),
            row("pg-read-committed", postgres(violated(), "pg-read-committed"), 2179),
            row("pg-conditional", postgres(held(), "pg-conditional"), 2150),
            row("pg-for-update", postgres(held(), "pg-for-update"), 2217),
            row("pg-serializable", postgres(serializable, "pg-serializable"), 1505, 164),
        ],
        not_applicable=[
            ("own-command", "two keys; one command cannot"),
            ("own-script", "it needs another form"),
            ("own-command:other", "two keys; one command cannot"),
        ],
        stores=[POSTGRES, VALKEY],
        seed=7,
        complete=True,
        duration_s=41.3,
        started_at=STARTED,
    )
    return replace(comparison, **changes)
