"""What must hold, against what was measured: one rule at a time, each with its actual value and a mark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from harness.gate.thresholds import Threshold
from harness.model import Verdict
from harness.report.figures import bound, count, milliseconds, per_second, percent
from harness.results.claims import shown_to_callers

if TYPE_CHECKING:
    from harness.gate.baseline import Baseline
    from harness.gate.measuring import Measured
    from harness.gate.plan import Guarded

Document = dict[str, Any]
Mark = Literal["passed", "failed", "unclear"]

NOT_REACHED = "interrupted before it was measured"


def rule(text: str, mark: Mark, actual: str, *, why: str = "", reproduce: str = "") -> Document:
    """One rule as it stands in the document of a check."""
    return {"rule": text, "mark": mark, "actual": actual, "why": why, "reproduce": reproduce}


def rules_of(guarded: Guarded, measured: Measured, baseline: Baseline | None) -> list[Document]:
    """All rules of a cell, in the order in which they were measured."""
    found = [*_explored(guarded, measured.explored), *_loaded(guarded, measured.load)]
    figures = Figures(measured.load, cost_row(measured.cost))
    reproduce = {"load": measured.load, "cost": measured.cost}
    for threshold in guarded.thresholds:
        source = reproduce[threshold.metric.measure]
        found.append(_threshold(threshold, figures, "" if source is None else source["reproduce"]))
    if baseline is not None:
        found += baseline.rules(guarded, measured)
    return found


def cost_row(cost: Document | None) -> Document | None:
    """The row of the cell itself: it is the first that was compared."""
    return cost["rows"][0] if cost is not None and cost["rows"] else None


def _explored(guarded: Guarded, document: Document | None) -> Iterator[Document]:
    if not guarded.explored:
        return
    text = f'explored = "{guarded.explored}"'
    if document is None:
        yield rule(text, "unclear", "-", why=NOT_REACHED)
        return
    found = document["verdict"]
    wanted = {"proved", "bounded"} if guarded.explored == "bounded" else {guarded.explored}
    number = f"{found}, {count(document['schedules'])} schedule{'s' * (document['schedules'] != 1)}"
    mark: Mark = "passed" if found in wanted else "unclear" if found == "inconclusive" else "failed"
    if found != "violated" and not document["complete"]:
        mark = "unclear"  # interrupted: what was not come to says nothing
    if found == "violated" and document["counterexample"] is not None:
        why = document["counterexample"]["says"]
    else:
        why = document["reason"]
    yield rule(text, mark, number, why="" if mark == "passed" else why, reproduce=document["reproduce"])


def _loaded(guarded: Guarded, document: Document | None) -> Iterator[Document]:
    if not guarded.verdict:
        return
    text = f'verdict = "{guarded.verdict}"'
    if document is None:
        yield rule(text, "unclear", "-", why=NOT_REACHED)
        return
    found, shown = document["verdict"], document["violations"]
    mark: Mark = "passed" if found == guarded.verdict else "unclear" if found == "inconclusive" else "failed"
    actual = f"{found}, {count(shown['bursts'])} of {count(shown['judged'])} bursts"
    if found == "held":
        control = document["overlap"]["control_rate"]
        actual += f" (<= {bound(shown)} %)"
        actual += f", control {percent(control)} %" if control is not None else ""
    why = ""
    if mark != "passed":
        drawn = document["counterexample"]
        why = drawn["says"] if found == "violated" and drawn is not None else document["reason"]
    yield rule(text, mark, actual, why=why, reproduce=document["reproduce"])


class Figures:
    """The figures that thresholds ask for, out of the documents; none of a measurement that shows nothing."""

    def __init__(self, load: Document | None, row: Document | None) -> None:
        """`load` is a result, `row` one of a comparison; None where they were not measured."""
        self._load = load
        self._row = row

    def of(self, threshold: Threshold) -> tuple[float | None, str]:
        """A figure; None with the reason where there is none."""
        if threshold.metric.measure == "load":
            return self._of_load(threshold.name)
        return self._of_cost(threshold)

    def _of_load(self, name: str) -> tuple[float | None, str]:
        load = self._load
        if load is None:
            return None, NOT_REACHED
        if not load["violations"]["judged"]:
            return None, load["reason"]
        counts = load["counts"]
        errors = shown_to_callers(counts["errors"], counts["by_decision"])
        figures: Mapping[str, float] = {
            "violations": load["violations"]["bursts"],
            "violation_rate": load["violations"]["rate"],
            "errors": sum(errors.values()),
            "stuck": counts["stuck"],
            "overruns": counts["overruns"],
        }
        return figures[name], "" if load["verdict"] != Verdict.INCONCLUSIVE else load["reason"]

    def _of_cost(self, threshold: Threshold) -> tuple[float | None, str]:
        row = self._row
        if row is None:
            return None, NOT_REACHED
        retries = row["retries"]
        figures: dict[str, float | None] = {
            "p": row["latency_ms"].get(threshold.percentile),
            "med": row["latency_ms"].get("p50"),
            "max": row["latency_ms"].get("max"),
            "throughput": row["throughput_per_s"],
            "relative_throughput": row["relative_throughput"],
            "retries": retries,
            "retry_rate": retries / row["requests"] if row["requests"] else None,
        }
        why = row["reason"] if row["verdict"] == Verdict.INCONCLUSIVE else ""
        figure = figures[threshold.name]
        if figure is None and not why:
            nobody = threshold.name == "relative_throughput"
            why = "nothing beside it held: there is nothing to compare it with" if nobody else "nothing was answered"
        return figure, why


def _threshold(threshold: Threshold, figures: Figures, reproduce: str) -> Document:
    """A pass is earned: a figure of an inconclusive measurement may fail a threshold, but not pass it."""
    actual, why = figures.of(threshold)
    if actual is None:
        return rule(threshold.text, "unclear", "-", why=why, reproduce=reproduce)
    shown = written(threshold, actual)
    if not threshold.met(actual):
        # Sums only grow: what is too much already stays so. A time or a rate of nothing whole says nothing.
        sure = not why or threshold.metric.dimension == "count"
        return rule(threshold.text, "failed" if sure else "unclear", shown, why=why, reproduce=reproduce)
    return rule(threshold.text, "unclear" if why else "passed", shown, why=why, reproduce=reproduce)


def written(threshold: Threshold, actual: float) -> str:
    """A figure with its unit."""
    match threshold.metric.dimension:
        case "time":
            return f"{milliseconds(actual)} ms"
        case "rate":
            return f"{per_second(actual)}/s"
        case "ratio" if threshold.name == "violation_rate":
            return f"{percent(actual)} %"
        case "ratio":
            return f"{actual:.2f}"
        case _:
            return count(int(actual))
