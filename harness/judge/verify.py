"""Judges a whole history: piece by piece, then what it comes to, and one broken piece to show."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from harness.judge.contradiction import Contradiction, contradict
from harness.judge.findings import Finding, asked_of
from harness.judge.partitions import Budget
from harness.judge.pieces import History, Piece
from harness.judge.score import Conclusion, Score
from harness.judge.turns import Subject, judge, take_turns
from harness.model import Evidence

_EXPLAINED_S, _LEAST_S = 20.0, 1.0
"""To explain what is broken takes so long at most; so long it may take when the budget has been spent on judging."""

_NOTHING = Finding("unknown")

Told = Callable[[int, int, int], None]
"""Is told how many pieces are done, of how many, and how many are broken."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What a history comes to."""

    history: History
    score: Score
    conclusion: Conclusion
    contradiction: Contradiction | None


def verify(history: History, subject: Subject, budget_s: float, told: Told | None = None) -> Verification:
    """Judge every piece, for about so many seconds."""
    until = time.monotonic() + budget_s
    score, broken = Score(), 0
    shown: tuple[bool, int, int] | None = None
    found = _NOTHING
    pieces = [piece for piece in history.pieces if len(piece) or piece.effects or piece.left]
    for done, judged in enumerate(take_turns(pieces, subject, until), start=1):
        finding, piece = judged.finding, pieces[judged.place]
        score.weigh(judged.weight, finding, piece.name, alone=history.header is None)
        if finding.broken:
            broken += 1
            # To be shown: the smallest, but where an invariant is broken as well, in the domain's words, rather that.
            this = (not any(finding.breaches.values()), len(piece), judged.place)
            if shown is None or this < shown:
                shown, found = this, finding
        if told is not None:
            told(done, len(pieces), broken)
    for piece in history.pieces:
        if piece.probes:
            score.weigh_probes(Evidence(piece.name, (), (), piece.effects, probes=piece.probes), subject.invariants)
    contradiction = None
    if shown is not None:
        left_s = min(_EXPLAINED_S, max(_LEAST_S, until - time.monotonic()))
        contradiction = _contradiction(pieces[shown[-1]], found, subject, left_s)
    return Verification(history, score, _conclude(history, subject, score), contradiction)


def _conclude(history: History, subject: Subject, score: Score) -> Conclusion:
    mode = history.header.mode if history.header is not None else "sustained"
    names = [*dict.fromkeys([*asked_of(subject.invariants, mode), *score.asked])]
    if history.header is None:
        return score.conclude_alone(names)
    closing = history.closing
    facts = (
        score.facts(None, 0, 0, lost=None, complete=False)
        if closing is None
        else score.facts(
            closing.control, closing.control_bursts, closing.control_broken, lost=closing.lost,
            complete=closing.complete, meeting=closing.meeting, control_needed=closing.control_needed,
        )
    )  # fmt: skip
    return score.conclude(facts, names, history.header.strategy)


def _contradiction(piece: Piece, finding: Finding, subject: Subject, seconds: float) -> Contradiction:
    """A broken piece, looked at again for as little as possible that shows it."""

    def ask(evidence: Evidence, budget: Budget) -> Finding:
        return judge(evidence, subject, piece, budget)

    return contradict(piece.evidence(subject.initial_value), ask, seconds, finding)
