"""What shows that a piece of evidence is broken, as data for every rendering."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.judge.history import effect_line, operation_line
from harness.model import NOTHING, Effect, Operation

if TYPE_CHECKING:
    from harness.judge import Contradiction


def contradiction_document(found: Contradiction) -> dict[str, Any]:
    """Operations and effects as lines of a history."""
    evidence, finding = found.evidence, found.finding
    return {
        "piece": found.piece,
        "keys": list(evidence.keys),
        "says": found.says,
        "breaches": [
            {
                "invariant": name,
                "says": breach.says,
                "operations": list(breach.operations),
                "amount": breach.amount,
            }
            for name, breaches in finding.breaches.items()
            for breach in breaches
        ],
        "order": "violated" if finding.order == "illegal" else "held" if finding.order == "legal" else "inconclusive",
        "operations": len(evidence.operations),
        "unordered": _lines(found.unordered),
        "longest": _lines(found.longest),
        "fewest": found.fewest,
        "concerned": _lines(found.concerned),
        "effects": _effects(found.effects),
        "rest": dict(evidence.rest) if found.rest_needed and evidence.rest is not None else None,
    }


def _lines(operations: Sequence[Operation]) -> list[Any]:
    """Operations as a history holds them; every decision is named."""
    return [_listed(operation_line(one, NOTHING, None, probe=False)) for one in operations]


def _effects(effects: Sequence[Effect]) -> list[Any]:
    return [_listed(effect_line(one, number, None)) for number, one in enumerate(effects)]


def _listed(line: dict[str, Any]) -> dict[str, Any]:
    return {**line, "keys": list(line["keys"])}
