"""Figures: never more certain than they are."""

from __future__ import annotations

import pytest

from harness.report.figures import bound, interval, milliseconds, per_second, percent, plural, seconds


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (0, "0"),
        (1, "100"),
        (0.996, "99.6"),
        (0.9996, "99.96"),
        (0.0004, "0.04"),
        (0.3333, "33.3"),
        (1e-6, "0.0001"),
        (1 - 1e-6, "99.9999"),
    ],
)
def test_a_rate_is_never_rounded_to_all_or_none(rate: float, text: str) -> None:
    """Only nought is 0 and only one is 100."""
    assert percent(rate) == text


def test_an_interval_is_widened_by_rounding() -> None:
    """The lower end is rounded down and the upper end up."""
    assert interval({"low": 0.98979, "high": 0.99891}) == "98.9-99.9"
    assert interval({"low": 0.98979, "high": 1.0}) == "98.9-100"


@pytest.mark.parametrize(
    ("high", "text"),
    [
        (0.0029912, "0.30"),
        (0.03, "3.0"),
        (0.25, "25"),
        (0.00029952, "0.030"),
        (0.000998, "0.10"),
        (0.00998, "1.0"),
        (1.0, "100"),
    ],
)
def test_a_bound_is_rounded_up(high: float, text: str) -> None:
    """Two digits that count."""
    assert bound({"high": high}) == text


def test_units() -> None:
    """Times, rates and counts as they are read aloud."""
    assert [seconds(2.13), seconds(41.3), seconds(185)] == ["2.1 s", "41 s", "3 min 5 s"]
    assert [milliseconds(0.213), milliseconds(12.71), milliseconds(1234.5), milliseconds(None)] == [
        "0.21",
        "12.7",
        "1,234",
        "-",
    ]
    assert [per_second(23562.1), per_second(3.21), per_second(None)] == ["23,562", "3.2", "-"]
    assert [plural(1, "process"), plural(2, "process"), plural(1000, "burst")] == [
        "1 process",
        "2 processes",
        "1,000 bursts",
    ]
