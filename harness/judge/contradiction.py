"""A broken piece of evidence, looked at again for as little as possible that shows it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from harness.judge.explain import says
from harness.judge.findings import Finding
from harness.judge.partitions import Budget
from harness.model import Effect, Evidence, Operation

_EXPLAIN_S = 2.0

Ask = Callable[[Evidence, Budget], Finding]
"""Judges evidence within a budget, again."""


@dataclass(frozen=True, slots=True)
class Contradiction:
    """One broken piece: what was broken, and the operations and effects that show it.

    `unordered` are the fewest that no order explains, `longest` the longest order of what came before them;
    `concerned` are those that a breach names. `rest_needed`: without the state at rest no contradiction was
    found. `fewest`: there was time to look for fewer operations, to the end.
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
    fewest: bool


def contradict(evidence: Evidence, ask: Ask, seconds: float = 20.0, finding: Finding | None = None) -> Contradiction:
    """What shows that this evidence is broken, as far as the search for it gets in so many seconds.

    `finding` is what it was found to be, where it has been judged.
    """
    until = time.monotonic() + seconds

    def asked(again: Evidence, share: float) -> Finding:
        left_s = max(0.0, until - time.monotonic()) * share
        explain_s = min(_EXPLAIN_S, left_s / 2)
        return ask(again, Budget(seconds=left_s - explain_s, explain_s=explain_s))

    finding, rest_needed = finding or ask(evidence, Budget(seconds=seconds, explain_s=0.0)), False
    if finding.order == "illegal":
        explained = asked(replace(evidence, rest=None), 1.0 if evidence.rest is None else 0.5)
        if evidence.rest is not None and explained.order != "illegal":
            rest_needed = True
            explained = asked(evidence, 1.0)
        if explained.order == "illegal":
            finding = replace(
                finding, unordered=explained.unordered, longest=explained.longest, fewest=explained.fewest
            )
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
        finding.fewest,
    )


def _says(finding: Finding, *, rest_needed: bool) -> str:
    wordless = not any(finding.breaches.values())
    if wordless and finding.order == "illegal" and not rest_needed:
        return "no one-at-a-time order explains the answers"
    return says(finding)
