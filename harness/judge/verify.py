"""Judges a whole history: piece by piece, then what it comes to, and one broken piece to show."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from harness.judge.explain import says
from harness.judge.findings import Finding
from harness.judge.partitions import Budget
from harness.judge.pieces import History, Piece
from harness.judge.score import Conclusion, Score
from harness.judge.turns import Subject, judge, take_turns
from harness.model import Effect, Evidence, Operation

_EXPLAIN_S = 0.5

Told = Callable[[int, int, int], None]
"""Is told how many pieces are done, of how many, and how many are broken."""


@dataclass(frozen=True, slots=True)
class Contradiction:
    """One broken piece: what was broken, and the operations and effects that show it.

    `unordered` are the fewest that no order explains, `longest` the longest order of what came before them;
    `concerned` are those that a breach names. `rest_needed`: without the state at rest there would be an order.
    """

    piece: str
    says: str
    evidence: Evidence
    finding: Finding
    unordered: tuple[Operation, ...]
    longest: tuple[Operation, ...]
    concerned: tuple[Operation, ...]
    effects: tuple[Effect, ...]
    rest_needed: bool


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
    names = [invariant.name for invariant in subject.invariants]
    if history.header is None:
        return score.conclude_alone(names)
    closing = history.closing
    facts = (
        score.facts(None, 0, 0, lost=None, complete=False)
        if closing is None
        else score.facts(
            closing.control, closing.control_bursts, closing.control_broken, lost=closing.lost,
            complete=closing.complete,
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
    evidence = piece.evidence(subject.initial_value)
    budget = Budget(explain_s=_EXPLAIN_S)
    finding, rest_needed = judge(evidence, subject, piece, Budget(explain_s=0.0)), False
    if finding.order == "illegal":
        without = judge(replace(evidence, rest=None), subject, piece, budget)
        rest_needed = without.order != "illegal"
        explained = judge(evidence, subject, piece, budget) if rest_needed else without
        finding = replace(finding, unordered=explained.unordered, longest=explained.longest)
    by_id = {operation.request.id: operation for operation in evidence.operations}
    breaches = [breach for found in finding.breaches.values() for breach in found]
    names = {name for breach in breaches for name in breach.operations} | set(finding.stuck)
    concerned = tuple(one for one in evidence.operations if names & {one.request.id, one.request.attempt})
    return Contradiction(
        piece.name,
        _says(finding, rest_needed=rest_needed),
        evidence,
        finding,
        tuple(by_id[name] for name in finding.unordered if name in by_id),
        tuple(by_id[name] for name in finding.longest if name in by_id),
        concerned,
        tuple(effect for effect in evidence.effects if effect.attempt in names),
        rest_needed,
    )


def _says(finding: Finding, *, rest_needed: bool) -> str:
    wordless = not any(finding.breaches.values())
    if wordless and finding.order == "illegal" and not rest_needed:
        return "no one-at-a-time order explains the answers"
    return says(finding)
