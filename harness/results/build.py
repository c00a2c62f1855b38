"""Turns what the engine measured into documents: plain dicts, ready for JSON and for every rendering."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from harness.judge.statistics import interval
from harness.model import Claim, Verdict
from harness.results.claims import as_claimed, both_as_claimed, explored_as_claimed, shown_to_callers
from harness.results.contradiction import contradiction_document
from harness.results.environment import environment

if TYPE_CHECKING:
    from harness.burst import CompareRow, Comparison, Counts, Load, Measurement, Overlap
    from harness.judge import Contradiction, Explanation
    from harness.stores import StoreInfo

CONFIDENCE = 0.95
KILLED = ("crash", "duplicate")
"""What it means for an attempt that a worker is killed, and its open requests are asked again."""

Document = dict[str, Any]


def result_document(measured: Measurement, *, reproduce: str, where: Document | None = None) -> Document:
    """The `race.result/1` document of one run. `reproduce` is the command that does it again.

    `where` is the `environment()` of a run that is looked at again and again.
    """
    shown = shown_to_callers(measured.counts.errors, measured.counts.by_decision)
    return {
        "schema": "race.result/1",
        "scenario": measured.cell.scenario,
        "strategy": measured.cell.strategy,
        "rule": measured.cell.rule,
        "seed": measured.load.seed,
        "verdict": measured.verdict.value,
        "reason": measured.reason,
        "order": measured.order.value,
        "invariants": {name: verdict.value for name, verdict in measured.invariants.items()},
        "claim": claim_document(measured.claim),
        "as_claimed": explored_as_claimed(
            measured.claim, measured.verdict, shown, KILLED if measured.load.kills else ()
        ),
        "load": load_document(measured.load),
        "store": measured.store,
        "stores": [store_document(info) for info in measured.stores],
        "service": None,
        "counts": asdict(measured.counts),
        "overlap": overlap_document(measured.overlap),
        "violations": violations_document(measured),
        "throughput_per_s": _per_second(measured.counts.requests, measured.elapsed_s),
        "commands_per_s": _per_second(measured.commands, measured.elapsed_s),
        "latency_ms": dict(measured.latency_ms),
        **repeats_document(measured),
        "counterexample": counterexample_document(measured.counterexample, measured.contradiction),
        "exploration": None,
        "reproduce": reproduce,
        "environment": {**(where or environment()), "others_cpu": measured.others},
        "started_at": measured.started_at,
        "duration_s": round(measured.duration_s, 3),
        "complete": measured.complete,
    }


def comparison_document(
    compared: Comparison, load: Load, explored: Sequence[Document | None] = (), *, reproduce: str
) -> Document:
    """The `race.comparison/1` document of one rule under many strategies.

    `explored` says for each row, in their order, what exploring found.
    """
    rows = [row_document(row, found) for row, found in zip_longest(compared.rows, explored)]
    fastest = _fastest(rows)
    for row in rows:
        row["relative_throughput"] = _relative(row, fastest.get(row["store"]))
    return {
        "schema": "race.comparison/1",
        "scenario": compared.scenario,
        "seed": compared.seed,
        "load": load_document(load),
        "stores": [store_document(info) for info in compared.stores],
        "references": {store: row["strategy"] for store, row in fastest.items()},
        "rows": rows,
        "not_applicable": [{"strategy": strategy, "reason": reason} for strategy, reason in compared.not_applicable],
        "reproduce": reproduce,
        "environment": {**environment(), "others_cpu": compared.others},
        "started_at": compared.started_at,
        "duration_s": round(compared.duration_s, 3),
        "complete": compared.complete,
        "reason": compared.reason,
        "missing": [{"strategy": cell.strategy, "rule": cell.rule} for cell in compared.missing],
    }


def row_document(row: CompareRow, explored: Document | None = None) -> Document:
    """One strategy of a comparison: the verdict comes from bursts, the cost from sustained load.

    The claim is met where both the load and every order of a small burst bear it out.
    """
    burst, sustained = row.burst, row.sustained
    verdict = _either(burst.verdict, sustained.verdict)
    shown = _sum(_shown(burst.counts), _shown(sustained.counts))
    verdict_by_order = None if explored is None else explored["verdict"]
    starts = sustained.counts.attempts or sustained.counts.requests
    return {
        "strategy": row.strategy,
        "rule": row.rule,
        "store": row.store,
        "verdict": verdict.value,
        "reason": burst.reason,
        "order": _either(burst.order, sustained.order).value,
        "invariants": {
            name: _either(found, sustained.invariants.get(name, found)).value
            for name, found in burst.invariants.items()
        },
        "explored": verdict_by_order,
        "exploration": explored,
        "claim": claim_document(burst.claim),
        "as_claimed": both_as_claimed(burst.claim, as_claimed(burst.claim, verdict, shown), verdict_by_order),
        "violations": violations_document(burst),
        "sustained_violations": violations_document(sustained),
        "overlap": overlap_document(burst.overlap),
        "starts_per_s": _per_second(starts, sustained.elapsed_s),
        "throughput_per_s": _per_second(sustained.counts.requests, sustained.elapsed_s),
        "commands_per_s": _per_second(sustained.commands, sustained.elapsed_s),
        "relative_throughput": None,
        "latency_ms": dict(sustained.latency_ms),
        **repeats_document(sustained),
        "retries": burst.counts.retries + sustained.counts.retries,
        "requests": burst.counts.requests + sustained.counts.requests,
        "errors": shown,
        "overruns": burst.counts.overruns + sustained.counts.overruns,
        "endings": dict(burst.endings),
    }


def claim_document(claim: Claim) -> Document:
    """What a strategy says of itself."""
    return {
        "kind": claim.kind,
        "reason": claim.reason,
        "breaks_under": list(claim.breaks_under),
        "errors": list(claim.errors),
    }


def load_document(load: Load) -> Document:
    """How hard and how long."""
    return {
        "mode": load.mode,
        "processes": load.processes,
        "connections": load.connections,
        "bursts": load.bursts,
        "burst_size": load.size,
        "duration_s": load.duration_s,
        "keys": load.keys,
        "work_us": load.work_us,
        "think_ms": load.think_ms,
        "kills": load.kills,
    }


def store_document(info: StoreInfo) -> Document:
    """A server that was used."""
    return {
        "kind": info.kind,
        "product": info.product,
        "version": info.version,
        "embedded": info.embedded,
        "durability": info.durability,
    }


def overlap_document(overlap: Overlap) -> Document:
    """The proof that the load could find anything."""
    return {
        "control": overlap.control,
        "control_bursts": overlap.control_bursts,
        "control_broken": overlap.control_broken,
        "control_needed": overlap.control_needed,
        "control_rate": _rate(overlap.control_broken, overlap.control_bursts),
        "release_spread_us": overlap.release_spread_us,
        "arrival_spread_us": overlap.arrival_spread_us,
        "meeting": None if overlap.meeting is None else overlap.meeting._asdict(),
    }


def repeats_document(measured: Measurement) -> Document:
    """How latencies are spread, and what each part of the load showed."""
    return {
        "distribution": [list(step) for step in measured.distribution],
        "parts": [asdict(part) for part in measured.parts],
    }


def violations_document(measured: Measurement) -> Document:
    """How many of the judged bursts broke, with an interval; one-sided from above where none did."""
    broken, judged = measured.broken_bursts, measured.judged_bursts
    found = interval(min(broken, judged), judged, CONFIDENCE) if judged else None
    return {
        "bursts": broken,
        "judged": judged,
        "total": max(broken, sum(measured.by_invariant.values())),
        "rate": _rate(broken, judged),
        "low": found.low if found else None,
        "high": found.high if found else None,
        "confidence": CONFIDENCE,
        "unordered": measured.unordered_bursts,
        "by_invariant": dict(measured.by_invariant),
        "amounts": dict(measured.amounts),
    }


def counterexample_document(found: Explanation | None, shown: Contradiction | None = None) -> Document | None:
    """One broken burst, step by step, and the operations that show that it is: data for every rendering."""
    if found is None:
        return None
    return {
        **(contradiction_document(shown) if shown is not None else {}),
        "columns": [list(column) for column in found.columns],
        "steps": [
            {
                "step": row.number,
                "caller": row.letter,
                "command": row.command,
                "reply": row.reply,
                "blocked": row.blocked,
                "outcome": row.outcome,
                **({"values": row.values} if row.values else {}),
            }
            for row in found.rows
        ],
        "fits": found.fits,
        "why": found.why,
        "says": found.says,
    }


def _fastest(rows: Iterable[Document]) -> dict[str, Document]:
    """For each store the row that held and answered most starts a second."""
    fastest: dict[str, Document] = {}
    for row in rows:
        if not Verdict(row["verdict"]).good or not row["starts_per_s"]:
            continue
        best = fastest.get(row["store"])
        if best is None or row["starts_per_s"] > best["starts_per_s"]:
            fastest[row["store"]] = row
    return fastest


def _relative(row: Document, fastest: Document | None) -> float | None:
    if fastest is None or row["starts_per_s"] is None:
        return None
    return float(round(row["starts_per_s"] / fastest["starts_per_s"], 4))


def _either(burst: Verdict, sustained: Verdict) -> Verdict:
    """What bursts say, unless the sustained load broke it: that load has no control of its own."""
    return sustained if sustained is Verdict.VIOLATED else burst


def _shown(counts: Counts) -> dict[str, int]:
    return shown_to_callers(counts.errors, counts.by_decision)


def _sum(*counts: dict[str, int]) -> dict[str, int]:
    codes = sorted({code for count in counts for code in count})
    return {code: sum(count.get(code, 0) for count in counts) for code in codes}


def _rate(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _per_second(count: int, elapsed_s: float) -> float | None:
    return round(count / elapsed_s, 1) if elapsed_s > 0 else None
