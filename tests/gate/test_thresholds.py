"""Thresholds: what they mean, and one line for what they cannot mean."""

from __future__ import annotations

import pytest

from harness.gate.thresholds import parse_threshold
from harness.model import UsageError


@pytest.mark.parametrize(
    ("text", "name", "value", "met", "missed"),
    [
        ("violations == 0", "violations", 0, 0, 1),
        ("violations===0", "violations", 0, 0, 1),
        ("p(99) < 50ms", "p", 50, 49.9, 50),
        ("p(95)<200", "p", 200, 199, 200),
        ("p( 99.9 ) <= 0.5s", "p", 500, 500, 501),
        ("med <= 700us", "med", 0.7, 0.7, 0.8),
        ("max != 0", "max", 0, 1, 0),
        ("relative_throughput > 0.5", "relative_throughput", 0.5, 0.51, 0.5),
        ("relative_throughput >= 50%", "relative_throughput", 0.5, 0.5, 0.49),
        ("throughput > 1000/s", "throughput", 1000, 1001, 1000),
        ("violation_rate < 1%", "violation_rate", 0.01, 0.009, 0.01),
    ],
)
def test_meaning(text: str, name: str, value: float, met: float, missed: float) -> None:
    """Name, value in its own unit, and on which side of it a figure has to lie."""
    threshold = parse_threshold(text)
    assert (threshold.name, threshold.value) == (name, pytest.approx(value))
    assert (threshold.met(met), threshold.met(missed)) == (True, False)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("violations", "is no threshold"),
        ("violations = 0", "is no threshold"),
        ("violations == -1", "is no threshold"),
        ("violation == 0", "did you mean violations"),
        ("p < 5ms", "write p"),
        ("med(50) < 5ms", "write p"),
        ("p(97) < 5ms", r"p\(95\)"),
        ("p(9.9.9) < 5ms", r"p\(95\)"),
        ("violations == 0ms", "not measured in ms; units: none"),
        ("p(99) < 5%", "not measured in %; units: us, ms, s"),
    ],
)
def test_refused(text: str, says: str) -> None:
    """What is wrong, and what would be right."""
    with pytest.raises(UsageError, match=says):
        parse_threshold(text)
