"""Latencies in an HdrHistogram: three significant digits from 1 us to an hour."""

from __future__ import annotations

import math
from collections import Counter

from hdrh.histogram import HdrHistogram

_LOWEST_US, _HIGHEST_US, _DIGITS = 1, 3_600_000_000, 3
_CHUNK = 1 << 15
_BINS_PER_DECADE = 16
_PERCENTILES = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p999": 99.9}


class Latencies:
    """Durations, recorded in nanoseconds and kept in microseconds.

    Recording one value in the histogram costs about 1 us, so values are counted in chunks first: equal
    ones are recorded once.
    """

    def __init__(self) -> None:
        """Empty."""
        self._histogram = HdrHistogram(_LOWEST_US, _HIGHEST_US, _DIGITS)
        self._chunk: list[int] = []

    def add(self, duration_ns: int) -> None:
        """Record one duration."""
        self._chunk.append(duration_ns // 1000)
        if len(self._chunk) >= _CHUNK:
            self._flush()

    def percentiles(self) -> dict[str, float]:
        """p50, p90, p95, p99, p999 and max in milliseconds; empty when nothing was recorded."""
        self._flush()
        histogram = self._histogram
        if not histogram.get_total_count():
            return {}
        found = {name: histogram.get_value_at_percentile(percent) / 1000 for name, percent in _PERCENTILES.items()}
        return {**found, "max": histogram.get_max_value() / 1000}

    def distribution(self) -> list[tuple[float, int]]:
        """How many took how long: upper bound in milliseconds and number, in equal steps of the logarithm."""
        self._flush()
        bins: Counter[int] = Counter()
        for one in self._histogram.get_recorded_iterator():
            bins[math.ceil(_BINS_PER_DECADE * math.log10(one.value_iterated_to))] += one.count_added_in_this_iter_step
        if not bins:
            return []
        return [
            (float(f"{10 ** (place / _BINS_PER_DECADE) / 1000:.4g}"), bins[place])
            for place in range(min(bins), max(bins) + 1)
        ]

    def __len__(self) -> int:
        """How many durations were recorded."""
        self._flush()
        return int(self._histogram.get_total_count())

    def _flush(self) -> None:
        for value_us, count in Counter(self._chunk).items():
            kept = min(max(value_us, _LOWEST_US), _HIGHEST_US)
            self._histogram.record_value(kept, count)
        self._chunk.clear()
