"""The document of the isolation table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.explore.isolation import ANOMALIES, LEVELS, Played, prevents
from harness.results.build import store_document
from harness.results.environment import environment

if TYPE_CHECKING:
    from harness.results.build import Document
    from harness.stores import StoreInfo


def isolation_document(
    played: Sequence[Played], expected: Mapping[str, frozenset[str]], stores: Sequence[StoreInfo], *,
    reproduce: str, started_at: str, duration_s: float,
) -> Document:  # fmt: skip
    """The `race.isolation/1` document. `expected` names for each level the anomalies that it prevents."""
    found = {level: prevents(played, level) for level in LEVELS}
    differs = [
        _difference(played, level, anomaly, expected)
        for level, cells in found.items()
        for anomaly, prevented in cells.items()
        if prevented != (anomaly in expected[level])
    ]
    return {
        "schema": "race.isolation/1",
        "as_expected": not differs,
        "levels": [{"level": level, "prevents": cells} for level, cells in found.items()],
        "anomalies": dict(ANOMALIES),
        "differs": differs,
        "cases": [_case(one) for one in played],
        "stores": [store_document(info) for info in stores],
        "reproduce": reproduce,
        "environment": environment(),
        "started_at": started_at,
        "duration_s": round(duration_s, 3),
        "complete": True,
    }


def _difference(
    played: Sequence[Played], level: str, anomaly: str, expected: Mapping[str, frozenset[str]]
) -> dict[str, Any]:
    shown = [one.seen.told() for one in played if (one.level, one.case.anomaly) == (level, anomaly)]
    return {"level": level, "anomaly": anomaly, "expected": anomaly in expected[level], "seen": shown}


def _case(one: Played) -> dict[str, Any]:
    return {
        "level": one.level,
        "anomaly": one.case.anomaly,
        "case": one.case.title,
        "prevented": one.prevented,
        "waited": sorted(one.seen.waited),
        "errors": {name: code for name, code in one.seen.errors.items() if code},
        "seen": one.seen.told(),
    }
