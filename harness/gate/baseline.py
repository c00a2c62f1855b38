"""A baseline: the document of an earlier check. Absolute figures are compared on the same machine only.

Elsewhere a cell is compared by ratios within each run: its throughput and its p99 over those of the strategies
measured beside it, which met the same machine at the same time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.gate.rules import NOT_REACHED, Mark, cost_row, rule
from harness.model import UsageError, Verdict
from harness.report.figures import milliseconds, per_second
from harness.results.environment import machine

if TYPE_CHECKING:
    from harness.gate.measuring import Measured
    from harness.gate.plan import Guarded

SCHEMA = "race.check/1"
Document = dict[str, Any]


class Baseline:
    """An earlier check, to compare figures with. `alike`: it was made on this machine."""

    def __init__(self, path: Path, tolerance: float) -> None:
        """Read it. Raises UsageError."""
        self.path = path
        self.tolerance = tolerance
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UsageError(f"cannot read the baseline {path}: {error.strerror}") from None
        except ValueError as error:
            raise UsageError(f"the baseline {path} is no JSON: {error}") from None
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise UsageError(f"{path} is no baseline ({SCHEMA}): race check --save-baseline FILE makes one")
        self.alike = document.get("machine") == machine()
        self._cells: Mapping[tuple[str, str, str], Document] = {
            (cell["scenario"], cell["strategy"], cell["rule"]): cell for cell in document["cells"]
        }

    def rules(self, guarded: Guarded, measured: Measured) -> list[Document]:
        """Whether a cell's cost is no worse than it was, where that was measured then and now."""
        if not guarded.asks("cost"):
            return []
        was = self._cells.get((guarded.scenario, guarded.strategy, guarded.rule))
        before = None if was is None else was["cost"]
        if before is None or cost_row(before) is None:
            return [rule("baseline", "unclear", "-", why=f"{self.path} has no cost of this cell: save it again")]
        if measured.cost is None:
            return [rule("baseline", "unclear", "-", why=NOT_REACHED)]
        if self.alike and _servers(before) == _servers(measured.cost):
            return self._absolute(before, measured.cost)
        return self._relative(before, measured.cost)

    def _absolute(self, before: Document, now: Document) -> list[Document]:
        old, new = cost_row(before), cost_row(now)
        assert old is not None
        assert new is not None
        return [
            self._compared(
                "throughput", old["throughput_per_s"], new["throughput_per_s"], now, more_is_better=True,
                unit=lambda value: f"{per_second(value)}/s",
            ),
            self._compared(
                "p(99)", old["latency_ms"].get("p99"), new["latency_ms"].get("p99"), now, more_is_better=False,
                unit=lambda value: f"{milliseconds(value)} ms",
            ),
        ]  # fmt: skip

    def _relative(self, before: Document, now: Document) -> list[Document]:
        """Over the strategies that were measured beside it both times."""
        common = sorted(
            {row["strategy"] for row in before["rows"][1:]} & {row["strategy"] for row in now["rows"][1:]}
        )  # fmt: skip
        if not common:
            why = "another machine or server, and nothing was measured beside it both times"
            return [rule("baseline", "unclear", "-", why=why, reproduce=now["reproduce"])]
        over = f"over {', '.join(common)}"
        return [
            self._compared(
                f"throughput {over}", _ratio(before, common, _throughput), _ratio(now, common, _throughput), now,
                more_is_better=True, unit=lambda value: f"{value:.2f}",
            ),
            self._compared(
                f"p(99) {over}", _ratio(before, common, _p99), _ratio(now, common, _p99), now,
                more_is_better=False, unit=lambda value: f"{value:.2f}",
            ),
        ]  # fmt: skip

    def _compared(
        self, what: str, old: float | None, new: float | None, now: Document, *, more_is_better: bool, unit: Any
    ) -> Document:
        sign, limit = (">=", 1 - self.tolerance) if more_is_better else ("<=", 1 + self.tolerance)
        text = f"{what} {sign} {limit:.2f} x baseline"
        if not old or new is None:
            return rule(text, "unclear", "-", why="it was not measured both times", reproduce=now["reproduce"])
        actual = f"{unit(new)}, was {unit(old)}"
        row = cost_row(now)
        if row is None or row["verdict"] == Verdict.INCONCLUSIVE:
            why = row["reason"] if row else NOT_REACHED
            return rule(text, "unclear", actual, why=why, reproduce=now["reproduce"])
        good = new >= old * limit if more_is_better else new <= old * limit
        mark: Mark = "passed" if good else "failed"
        return rule(text, mark, actual, reproduce=now["reproduce"])


def _servers(cost: Document) -> list[Any]:
    return sorted([store["kind"], store["product"], store["version"], store["embedded"]] for store in cost["stores"])


def _throughput(row: Document) -> float | None:
    value: float | None = row["starts_per_s"]
    return value


def _p99(row: Document) -> float | None:
    value: float | None = row["latency_ms"].get("p99")
    return value


def _ratio(cost: Document, names: list[str], figure: Any) -> float | None:
    """The cell's own figure over the geometric mean of the others: no single one of them decides."""
    own = figure(cost["rows"][0])
    others = [figure(row) for row in cost["rows"][1:] if row["strategy"] in names]
    if not own or not others or not all(others):
        return None
    product = 1.0
    for other in others:
        product *= other
    return float(own / product ** (1 / len(others)))
