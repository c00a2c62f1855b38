"""Exact intervals for rates, and for how much two runs differ.

Nothing here is an approximation where an exact answer is affordable; what is, says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist, median
from typing import NamedTuple

_TINY = 1e-300
_EPSILON = 1e-15
_MAX_TERMS = 1_000_000


class Interval(NamedTuple):
    """A rate with its confidence interval. `one_sided`: only `high` is a bound, `low` is 0."""

    rate: float
    low: float
    high: float
    confidence: float
    one_sided: bool = False


class RateComparison(NamedTuple):
    """Two rates compared: Fisher's exact p-value, and second minus first with its interval."""

    p_value: float
    difference: float
    low: float
    high: float
    confidence: float


class RatioInterval(NamedTuple):
    """How many times larger a second sample is: the estimate with its interval."""

    ratio: float
    low: float
    high: float
    confidence: float


def interval(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """A rate's exact interval (Clopper & Pearson, Biometrika 1934).

    Two-sided; for 0 of n the one-sided upper bound, 1 - (1 - confidence)**(1/n), about 3/n at
    95 %. Without trials everything is possible: 0 to 1. Raises ValueError for impossible counts.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} of {trials} is no rate")
    if trials == 0:
        return Interval(math.nan, 0.0, 1.0, confidence)
    if successes == 0:
        return Interval(0.0, 0.0, upper_bound_of_none(trials, confidence), confidence, one_sided=True)
    tail = (1 - confidence) / 2
    low = _beta_quantile(tail, successes, trials - successes + 1)
    high = 1.0
    if successes < trials:
        high = _beta_quantile(1 - tail, successes + 1, trials - successes)
    return Interval(successes / trials, low, high, confidence)


def upper_bound_of_none(trials: int, confidence: float = 0.95) -> float:
    """The largest rate that still shows nothing in `trials` with probability 1 - confidence."""
    if trials < 1:
        return 1.0
    return -math.expm1(math.log1p(-confidence) / trials)


def compare_rates(first: tuple[int, int], second: tuple[int, int], confidence: float = 0.95) -> RateComparison:
    """Compare two rates, each given as (successes, trials).

    The p-value is Fisher's exact, two-sided; the interval of the difference is Newcombe's hybrid
    of two Wilson intervals (Statistics in Medicine 1998, method 10). Raises ValueError without trials.
    """
    for successes, trials in (first, second):
        if not 0 <= successes <= trials or trials == 0:
            raise ValueError(f"{successes} of {trials} is no rate")
    rate_1, low_1, high_1 = _wilson(*first, confidence)
    rate_2, low_2, high_2 = _wilson(*second, confidence)
    difference = rate_2 - rate_1
    low = difference - math.hypot(rate_2 - low_2, high_1 - rate_1)
    high = difference + math.hypot(high_2 - rate_2, rate_1 - low_1)
    p_value = _fisher(first[0], first[1], second[0], second[1])
    return RateComparison(p_value, difference, max(-1.0, low), min(1.0, high), confidence)


def ratio_interval(first: Sequence[float], second: Sequence[float], confidence: float = 0.95) -> RatioInterval | None:
    """How many times larger the values of the second sample are (Hodges & Lehmann 1963), none of them assumed normal.

    The interval is Mann-Whitney's test turned around: every ratio that the test would not reject, exact without ties.
    None where a value is not above 0, or where there are too few for this confidence: four and four at 95 %.
    """
    if not first or not second or min(*first, *second) <= 0:
        return None
    shifts = sorted(math.log(two) - math.log(one) for one in first for two in second)
    left_out = _shifts_left_out(len(first), len(second), (1 - confidence) / 2)
    if not left_out:
        return None
    low, high = shifts[left_out - 1], shifts[len(shifts) - left_out]
    return RatioInterval(math.exp(median(shifts)), math.exp(low), math.exp(high), confidence)


# The incomplete beta function


def beta_cdf(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), a > 0, b > 0.

    Lentz's method on its continued fraction (Abramowitz & Stegun 26.5.8).
    """
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    log_front = a * math.log(x) + b * math.log1p(-x) - _log_beta(a, b)
    if x < (a + 1) / (a + b + 2):
        return math.exp(log_front) * _beta_fraction(x, a, b) / a
    return 1 - math.exp(log_front) * _beta_fraction(1 - x, b, a) / b


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _beta_fraction(x: float, a: float, b: float) -> float:
    total, c = 1.0, 1.0
    d = 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > _TINY else _TINY)
    total = d
    for m in range(1, _MAX_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for part in (even, odd):
            d = 1 + part * d
            d = 1 / (d if abs(d) > _TINY else _TINY)
            c = 1 + part / c
            c = c if abs(c) > _TINY else _TINY
            step = c * d
            total *= step
        if abs(step - 1) < _EPSILON:
            break
    return total


def _beta_quantile(probability: float, a: float, b: float) -> float:
    """Where I_x(a, b) reaches a probability: Newton's steps, kept inside a shrinking bracket."""
    low, high = 0.0, 1.0
    x = a / (a + b)
    log_norm = _log_beta(a, b)
    for _step in range(100):
        error = beta_cdf(x, a, b) - probability
        if error > 0:
            high = x
        else:
            low = x
        density = math.exp((a - 1) * math.log(x) + (b - 1) * math.log1p(-x) - log_norm)
        moved = x - error / density if density > 0 else low
        following = moved if low < moved < high else (low + high) / 2
        if abs(following - x) <= 1e-14 * x:
            return following
        x = following
    return x


# Two rates


def _wilson(successes: int, trials: int, confidence: float) -> tuple[float, float, float]:
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate = successes / trials
    scale = 1 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / scale
    half = z / scale * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    return rate, max(0.0, centre - half), min(1.0, centre + half)


def _fisher(successes_1: int, trials_1: int, successes_2: int, trials_2: int) -> float:
    """Two-sided: the chance of all tables that are no likelier than this one."""
    successes, trials = successes_1 + successes_2, trials_1 + trials_2
    lowest, highest = max(0, successes - trials_2), min(successes, trials_1)

    def log_chance(k: int) -> float:
        return _log_choose(trials_1, k) + _log_choose(trials_2, successes - k) - _log_choose(trials, successes)

    def ratio_up(k: int) -> float:
        """The chance of k + 1 over that of k."""
        return (trials_1 - k) * (successes - k) / ((k + 1) * (trials_2 - successes + k + 1))

    # As likely as this one, but for rounding: lgamma of large counts is good to some 1e-8.
    limit = log_chance(successes_1) + 1e-7
    mode = (trials_1 + 1) * (successes + 1) // (trials + 2)
    mode = min(max(mode, lowest), highest)
    if log_chance(mode) <= limit:
        return 1.0
    last_low = _last(lambda k: log_chance(k) <= limit, lowest - 1, mode)
    first_high = _last(lambda k: log_chance(k) > limit, mode, highest + 1) + 1
    total = 0.0
    if last_low >= lowest:
        chance, k = math.exp(log_chance(last_low)), last_low
        least = chance * 1e-17
        while k >= lowest and chance > least:
            total += chance
            k -= 1
            chance = chance / ratio_up(k) if k >= lowest else 0.0
    if first_high <= highest:
        chance, k = math.exp(log_chance(first_high)), first_high
        least = chance * 1e-17
        while k <= highest and chance > least:
            total += chance
            chance = chance * ratio_up(k) if k < highest else 0.0
            k += 1
    return min(1.0, total)


def _last(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The last number from `low` (where it is taken to hold) below `high` for which it holds."""
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            low = middle
        else:
            high = middle
    return low


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


# Two samples


def _shifts_left_out(size_1: int, size_2: int, tail: float) -> int:
    """Which of the sorted differences bounds them all but for this probability; 0 where none does."""
    ways = [1]  # of U = 0, 1, ... : the number of partitions that fit into a box, as a Gaussian binomial
    for step in range(1, size_2 + 1):
        ways = _times(ways, size_1 + step)
        ways = _over(ways, step)
    total, sum_, place = math.comb(size_1 + size_2, size_2), 0, 0
    while sum_ + ways[place] <= tail * total:
        sum_ += ways[place]
        place += 1
    return place


def _times(ways: list[int], power: int) -> list[int]:
    """A polynomial times 1 - q**power."""
    longer = [*ways, *[0] * power]
    return [value - (longer[place - power] if place >= power else 0) for place, value in enumerate(longer)]


def _over(ways: list[int], power: int) -> list[int]:
    """A polynomial over 1 - q**power, without a remainder."""
    found: list[int] = []
    for place, value in enumerate(ways):
        found.append(value + (found[place - power] if place >= power else 0))
    return found[: len(ways) - power]
