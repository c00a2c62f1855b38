"""Intervals and comparisons against known values, and against what they promise."""

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.judge import compare_rates, interval, ratio_interval
from harness.judge.statistics import beta_cdf


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (412, 500, 0.78773, 0.85638),
        (996, 1000, 0.98979, 0.99891),
        (1, 10, 0.00253, 0.44502),
        (10, 10, 0.69150, 1.0),
        (5_000_000, 10_000_000, 0.49969, 0.50031),
    ],
)
def test_exact_interval(successes: int, trials: int, low: float, high: float) -> None:
    """Two-sided Clopper-Pearson intervals, as other programs compute them."""
    found = interval(successes, trials)
    assert (low, high, False) == (round(found.low, 5), round(found.high, 5), found.one_sided)


@pytest.mark.parametrize("trials", [1, 10, 1000, 10_000_000])
def test_none_of_n_gets_the_one_sided_bound(trials: int) -> None:
    """0 of n: the rate that shows nothing with a chance of 5 %; about 3/n."""
    found = interval(0, trials)
    assert (found.low, found.one_sided) == (0.0, True)
    assert pytest.approx(0.05) == (1 - found.high) ** trials
    assert trials < 100 or pytest.approx(3 / trials, rel=0.01) == found.high


def test_without_trials_everything_is_possible() -> None:
    """Nothing tried, nothing known; impossible counts are refused."""
    assert interval(0, 0)[1:3] == (0.0, 1.0)
    with pytest.raises(ValueError, match="3 of 2"):
        interval(3, 2)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.floats(0.01, 0.99))
def test_coverage_is_at_least_what_is_promised(trials: int, rate: float) -> None:
    """Whatever the true rate, the intervals that miss it have a chance of at most 5 % or, at 0, 10 %."""
    missed = 0.0
    for successes in range(trials + 1):
        found = interval(successes, trials)
        if not found.low <= rate <= found.high:
            chance = math.comb(trials, successes) * rate**successes
            missed += chance * (1 - rate) ** (trials - successes)
    assert missed <= 0.1


@given(st.integers(1, 5000), st.data())
def test_more_successes_never_lower_the_interval(trials: int, data: st.DataObject) -> None:
    """The bounds rise with the number of successes and lie around the rate."""
    successes = data.draw(st.integers(1, trials))
    one, more = interval(successes, trials), interval(min(trials, successes + 1), trials)
    assert one.low <= more.low
    assert one.high <= more.high
    assert one.low <= one.rate <= one.high


@given(st.integers(1, 400), st.integers(1, 400), st.floats(0.001, 0.999))
def test_incomplete_beta_is_a_binomial_tail(a: int, b: int, x: float) -> None:
    """I_x(a, b) is the chance of at least a successes in a + b - 1 trials, and symmetric."""
    assert pytest.approx(1 - beta_cdf(1 - x, b, a), abs=1e-9) == beta_cdf(x, a, b)
    trials = a + b - 1
    if trials < 60:
        tail = sum(math.comb(trials, k) * x**k * (1 - x) ** (trials - k) for k in range(a, trials + 1))
        assert pytest.approx(tail, abs=1e-9) == beta_cdf(x, a, b)


@pytest.mark.parametrize(
    ("first", "second", "p_value"),
    [
        ((8, 10), (1, 6), 0.034965),
        ((1, 10), (11, 14), 0.002759),
        ((0, 10), (0, 10), 1.0),
        ((10, 10), (10, 10), 1.0),
        ((1000, 10_000), (1100, 10_000), 0.022379),
    ],
)
def test_fisher_exact(first: tuple[int, int], second: tuple[int, int], p_value: float) -> None:
    """Known two-sided p-values of Fisher's exact test."""
    assert p_value == round(compare_rates(first, second).p_value, 6)


@given(st.integers(1, 25), st.integers(1, 25), st.data())
def test_fisher_counts_tables_that_are_no_likelier(trials_1: int, trials_2: int, data: st.DataObject) -> None:
    """The p-value is the sum over all tables with these margins, done the slow way."""
    k_1, k_2 = data.draw(st.integers(0, trials_1)), data.draw(st.integers(0, trials_2))
    total = k_1 + k_2
    ways = {
        k: math.comb(trials_1, k) * math.comb(trials_2, total - k)
        for k in range(max(0, total - trials_2), min(total, trials_1) + 1)
    }
    expected = sum(way for way in ways.values() if way <= ways[k_1]) / sum(ways.values())
    found = compare_rates((k_1, trials_1), (k_2, trials_2))
    assert pytest.approx(expected, abs=1e-9) == found.p_value
    assert found.low <= found.difference <= found.high


def test_comparing_millions_is_quick_and_symmetric() -> None:
    """Ten million trials on either side; exchanging them changes the sign only."""
    first, second = (5_000_000, 10_000_000), (5_003_000, 10_000_000)
    there, back = compare_rates(first, second), compare_rates(second, first)
    assert pytest.approx(0.1798576, abs=1e-6) == there.p_value
    assert pytest.approx(there.p_value) == back.p_value
    assert pytest.approx(there.difference) == -back.difference


def test_ratios_have_the_interval_of_the_rank_test() -> None:
    """Of five and five at 95 % the third smallest and largest of all quotients; none for three and three."""
    found = ratio_interval([1, 2, 4, 8, 16], [2, 4, 8, 16, 32])
    quotients = sorted(two / one for one in (1, 2, 4, 8, 16) for two in (2, 4, 8, 16, 32))
    assert found == pytest.approx((2.0, quotients[2], quotients[-3], 0.95))
    assert ratio_interval([1, 2, 3], [1, 2, 3]) is None
    assert ratio_interval([1, 2, 0, 4], [1, 2, 3, 4]) is None


def test_ratio_intervals_cover() -> None:
    """In at least 95 of 100 samples the true ratio lies within."""
    random = Random(7)
    draws = [
        ratio_interval(
            [random.lognormvariate(0, 0.4) for _ in range(8)], [random.lognormvariate(0.5, 0.4) for _ in range(8)]
        )
        for _ in range(400)
    ]
    covered = sum(found is not None and found.low <= math.exp(0.5) <= found.high for found in draws)
    assert covered >= 0.93 * 400
