"""Judges a whole history: piece by piece, then what it comes to, and one broken piece to show."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.judge.contradiction import Contradiction, contradict
from harness.judge.findings import asked_of
from harness.judge.pieces import History, Piece
from harness.judge.score import Conclusion, Score
from harness.judge.turns import Subject, judge, take_turns
from harness.model import Evidence

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
    score, broken = Score(), list[tuple[bool, int, Piece]]()
    pieces = [piece for piece in history.pieces if len(piece) or piece.effects or piece.left]
    for done, judged in enumerate(take_turns(pieces, subject, until), start=1):
        finding, piece = judged.finding, pieces[judged.place]
        score.weigh(judged.weight, finding, alone=history.header is None)
        if finding.broken:
            broken.append((not any(finding.breaches.values()), len(piece), piece))
        if told is not None:
            told(done, len(pieces), len(broken))
    for piece in history.pieces:
        if piece.probes:
            score.weigh_probes(Evidence(piece.name, (), (), probes=piece.probes), subject.invariants)
    return Verification(history, score, _conclude(history, subject, score), _contradiction(broken, subject))


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
            complete=closing.complete, meeting=closing.meeting,
        )
    )  # fmt: skip
    return score.conclude(facts, names, history.header.strategy)


def _contradiction(broken: Sequence[tuple[bool, int, Piece]], subject: Subject) -> Contradiction | None:
    """One of the broken pieces, looked at again for as little as possible that shows it.

    The smallest, but where an invariant is broken as well, in the domain's words, rather such a one.
    """
    if not broken:
        return None
    _wordless, _size, piece = min(broken, key=lambda one: one[:2])
    return contradict(
        piece.evidence(subject.initial_value), lambda evidence, budget: judge(evidence, subject, piece, budget)
    )
