"""Latencies: percentiles in milliseconds, and cheap to record."""

import pytest

from harness.judge import Latencies


def recorded(*durations_us: int) -> Latencies:
    """Latencies of so many microseconds."""
    latencies = Latencies()
    for duration in durations_us:
        latencies.add(duration * 1000)
    return latencies


def test_percentiles() -> None:
    """A thousand durations from 1 to 1000 us, to three digits."""
    found = recorded(*range(1, 1001)).percentiles()
    expected = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999, "max": 1.0}
    assert pytest.approx(found, rel=2e-3) == expected


def test_extremes_are_kept_in_range() -> None:
    """Nothing is too short or too long to be counted."""
    found = recorded(0, 10_000_000_000)
    assert len(found) == 2
    assert pytest.approx(3_600_000, rel=1e-3) == found.percentiles()["max"]


def test_nothing_recorded_gives_nothing() -> None:
    """No percentiles of nothing."""
    assert Latencies().percentiles() == {}


def test_a_distribution_counts_everything() -> None:
    """Steps of equal width in the logarithm, without a gap; each counts what is up to its bound."""
    found = recorded(95, 95, 950, 9_500).distribution()
    assert [step for step in found if step[1]] == [(0.1, 2), (1.0, 1), (10.0, 1)]
    assert len(found) == 2 * 16 + 1
    assert Latencies().distribution() == []
