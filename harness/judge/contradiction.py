"""A broken piece of evidence, looked at again for as little as possible that shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from harness.judge.explain import says
from harness.judge.findings import Finding
from harness.judge.partitions import Budget
from harness.model import Effect, Evidence, Operation

_EXPLAIN_S = 0.5

Ask = Callable[[Evidence, Budget], Finding]
"""Judges evidence within a budget, again."""


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


def contradict(evidence: Evidence, ask: Ask, seconds: float = 20.0) -> Contradiction:
    """What shows that this evidence is broken; each of the searches for it takes so many seconds at most."""
    budget = Budget(seconds=seconds, explain_s=_EXPLAIN_S)
    finding, rest_needed = ask(evidence, replace(budget, explain_s=0.0)), False
    if finding.order == "illegal":
        without = ask(replace(evidence, rest=None), budget)
        rest_needed = evidence.rest is not None and without.order == "legal"
        explained = ask(evidence, budget) if rest_needed else without
        finding = replace(finding, unordered=explained.unordered, longest=explained.longest)
    by_id = {operation.request.id: operation for operation in evidence.operations}
    breaches = [breach for found in finding.breaches.values() for breach in found]
    names = {name for breach in breaches for name in breach.operations} | set(finding.stuck)
    concerned = tuple(one for one in evidence.operations if names & {one.request.id, one.request.attempt})
    return Contradiction(
        evidence.name,
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
