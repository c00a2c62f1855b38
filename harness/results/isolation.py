"""The document of an isolation table: what each level prevents, and every case that went otherwise than expected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.explore.anomalies import LEVELS
from harness.results.build import store_document
from harness.results.environment import environment

if TYPE_CHECKING:
    from harness.explore import IsolationTable, Played
    from harness.results.build import Document
    from harness.stores import StoreInfo

SOURCES = (
    "PostgreSQL's documentation, Transaction Isolation: https://www.postgresql.org/docs/current/transaction-iso.html",
    "Hermitage, CC-BY 4.0: https://github.com/ept/hermitage",
)
"""Where the expected cells come from."""


@dataclass(frozen=True, slots=True)
class AskedIsolation:
    """On what it was played, and how that is done again."""

    stores: Sequence[StoreInfo]
    reproduce: str
    started_at: str
    duration_s: float


def isolation_document(table: IsolationTable, asked: AskedIsolation) -> Document:
    """The `race.isolation/1` document."""
    return {
        "schema": "race.isolation/1",
        "levels": [
            {"level": level, "prevents": {one.code: table.prevents(level, one) for one in table.anomalies}}
            for level in LEVELS
        ],
        "expected": [
            {"level": level, "prevents": {one.code: one.expected(level) for one in table.anomalies}}
            for level in LEVELS
        ],
        "as_expected": all(
            table.prevents(level, one) is one.expected(level) for level in LEVELS for one in table.anomalies
        ),
        "anomalies": {one.code: one.name for one in table.anomalies},
        "means": {one.code: one.means for one in table.anomalies},
        "differs": [{**_case(played), "says": _says(played)} for played in table.played if played.differs],
        "cases": [_case(played) for played in table.played],
        "reason": table.stopped,
        "sources": list(SOURCES),
        "stores": [store_document(info) for info in asked.stores],
        "reproduce": asked.reproduce,
        "environment": environment(),
        "started_at": asked.started_at,
        "duration_s": round(asked.duration_s, 3),
        "complete": table.complete,
    }  # fmt: skip


def _case(played: Played) -> Document:
    return {
        "level": played.level,
        "anomaly": played.anomaly.code,
        "case": played.case.what,
        "expected": played.expected,
        "prevents": played.prevents,
        "ends": dict(played.ends),
        "steps": [
            {
                "step": answer.number,
                "caller": answer.transaction,
                "command": answer.statement,
                "reply": answer.reply,
                "blocked": answer.waited,
            }
            for answer in played.answers
        ],
    }


def _says(played: Played) -> str:
    """`lost update occurred at repeatable read, which should prevent it`."""
    what = f" ({played.case.what})" if played.case.what else ""
    name = f"{played.anomaly.name}{what}"
    if played.prevents is False:
        return f"{name} occurred at {played.level}, which should prevent it"
    if played.prevents:
        return f"{name} was prevented at {played.level}, where it can occur by what is known"
    return f"{name} at {played.level} ended as no known ending does, which shows nothing: {_ends(played)}"


def _ends(played: Played) -> str:
    told = {"COMMIT": "committed", "ROLLBACK": "rolled back", "waits": "waits for ever"}
    return ", ".join(f"{one} {told.get(end, f'refused with {end}')}" for one, end in played.ends.items())
