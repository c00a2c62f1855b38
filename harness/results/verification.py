"""The document of a verified history: what it came to, and what shows that it is broken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.judge.statistics import interval
from harness.results.contradiction import contradiction_document
from harness.results.environment import race_version

if TYPE_CHECKING:
    from harness.judge import Verification
    from harness.results.build import Document

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Asked:
    """What `race verify` was asked, and how long it took: `reading_s` of `duration_s` before anything was judged."""

    history: str
    scenario: str
    rule: str
    reproduce: str
    duration_s: float
    reading_s: float


def verification_document(verified: Verification, asked: Asked) -> Document:
    """The `race.verification/1` document."""
    history, score, concluded = verified.history, verified.score, verified.conclusion
    header, closing = history.header, history.closing
    return {
        "schema": "race.verification/1",
        "history": asked.history,
        "scenario": asked.scenario,
        "rule": asked.rule,
        "run": None if header is None else {**header._asdict(), "complete": closing is not None and closing.complete},
        "verdict": concluded.verdict.value,
        "reason": concluded.reason,
        "unjudged_why": score.unjudged_why,
        "order": concluded.order.value,
        "invariants": {name: verdict.value for name, verdict in concluded.invariants.items()},
        "counts": {
            "pieces": len(history.pieces),
            "judged": score.judged,
            "apart": score.apart,
            "unjudged": score.unjudged,
            "undecided": score.undecided,
            "unanswered": score.unanswered,
            "unfinished": history.unfinished,
            "operations": sum(history.statuses.values()),
            **{status: history.statuses.get(status, 0) for status in ("ok", "failed", "unknown")},
            "effects": history.effects,
        },
        "violations": _violations(verified),
        "control": _control(verified),
        "counterexample": contradiction_document(verified.contradiction) if verified.contradiction else None,
        "reproduce": asked.reproduce,
        "race": race_version(),
        "duration_s": round(asked.duration_s, 3),
        "reading_s": round(asked.reading_s, 3),
    }


def _violations(verified: Verification) -> Document:
    score = verified.score
    broken, judged = score.broken, score.judged
    rates = None
    if verified.history.header is not None and judged:
        found = interval(min(broken, judged), judged, CONFIDENCE)
        rates = {"rate": broken / judged, "low": found.low, "high": found.high, "confidence": CONFIDENCE}
    return {
        "pieces": broken,
        "judged": judged,
        "order": score.order_broken,
        "by_invariant": {name: number for name, number in score.by_invariant.items() if number},
        "amounts": dict(score.amounts),
        "rates": rates,
    }


def _control(verified: Verification) -> Document | None:
    closing = verified.history.closing
    if closing is None or closing.control is None:
        return None
    bursts, broken = closing.control_bursts, closing.control_broken
    return {"name": closing.control, "bursts": bursts, "broken": broken, "rate": broken / bursts if bursts else None}
