"""Thresholds in k6's grammar: `violations == 0`, `p(99) < 50ms`, `relative_throughput > 0.5`.

k6 writes `aggregation operator value` (grafana.com/docs/k6, "Thresholds"); its operators and `p(N)`, `med` and `max`
are kept, a bare time is in milliseconds as there. Units are ours: they are checked against what is measured.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from harness.model import UsageError
from harness.strategy.loader import nearest

Measure = Literal["load", "cost", "explored"]
Dimension = Literal["count", "ratio", "time", "rate"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure that can be asked for: what it is measured by, its dimension, what it counts."""

    measure: Measure
    dimension: Dimension
    says: str


METRICS: Mapping[str, Metric] = {
    "violations": Metric("load", "count", "bursts that broke"),
    "violation_rate": Metric("load", "ratio", "share of the bursts that broke"),
    "errors": Metric("load", "count", "errors and give-ups shown to callers"),
    "stuck": Metric("load", "count", "requests never answered"),
    "overruns": Metric("load", "count", "effects that outlived their own lease"),
    "p": Metric("cost", "time", "a percentile of the latency, under sustained load"),
    "med": Metric("cost", "time", "the same as p(50)"),
    "max": Metric("cost", "time", "the longest latency, under sustained load"),
    "throughput": Metric("cost", "rate", "requests a second, under sustained load"),
    "relative_throughput": Metric("cost", "ratio", "starts a second over those of the fastest that held beside it"),
    "retries": Metric("cost", "count", "tries that were for nothing"),
    "retry_rate": Metric("cost", "ratio", "such tries for each request"),
}
PERCENTILES = {"50": "p50", "90": "p90", "95": "p95", "99": "p99", "99.9": "p999"}

_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "===": operator.eq,
    "!=": operator.ne,
}
_FORM = re.compile(
    r"\s*(?P<name>[a-z_]+)\s*(?:\(\s*(?P<argument>[0-9.]+)\s*\))?\s*"
    r"(?P<operator>===|==|!=|<=|>=|<|>)\s*(?P<value>[0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*(?P<unit>us|ms|s|%|/s)?\s*"
)
_UNITS: Mapping[Dimension, Mapping[str, float]] = {
    "count": {"": 1.0},
    "ratio": {"": 1.0, "%": 0.01},
    "time": {"": 1.0, "us": 0.001, "ms": 1.0, "s": 1000.0},
    "rate": {"": 1.0, "/s": 1.0},
}


@dataclass(frozen=True, slots=True)
class Threshold:
    """One condition on one figure; `value` is in milliseconds, a share of one, a number a second or a count."""

    text: str
    name: str
    sign: str
    value: float
    percentile: str = ""

    @property
    def metric(self) -> Metric:
        """What it is about."""
        return METRICS[self.name]

    def met(self, actual: float) -> bool:
        """Whether the figure is as it must be."""
        return _OPERATORS[self.sign](actual, self.value)


def parse_threshold(text: str) -> Threshold:
    """A threshold from its text. Raises UsageError, with what would be right."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise UsageError(f"'{text}' is no threshold: write NAME OPERATOR VALUE, as in 'p(99) < 50ms'")
    name, argument, unit = found["name"], found["argument"], found["unit"] or ""
    if name not in METRICS:
        raise UsageError(f"'{text}': nothing is measured that is called '{name}'; {nearest(name, METRICS)}")
    if (name == "p") != (argument is not None):
        raise UsageError(f"'{text}': write p(99) for a percentile; no other figure takes a number in brackets")
    percentile = ""
    if argument is not None:
        known = {float(one): field for one, field in PERCENTILES.items()}
        try:
            percentile = known[float(argument)]
        except (KeyError, ValueError):
            raise UsageError(
                f"'{text}': of the percentiles, {', '.join(f'p({one})' for one in PERCENTILES)} are kept"
            ) from None
    units = _UNITS[METRICS[name].dimension]
    if unit not in units:
        right = ", ".join(one for one in units if one) or "none"
        raise UsageError(f"'{text}': {name} is not measured in {unit}; units: {right}")
    tidy = f"{name}({argument})" if argument is not None else name
    tidy += f" {found['operator']} {found['value']}{unit}"
    return Threshold(tidy, name, found["operator"], float(found["value"]) * units[unit], percentile)
