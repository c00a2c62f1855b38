"""The judge: is there an order, do the invariants hold, and how sure is that.

`judge_evidence` judges one burst or group of keys, `conclude` turns tallies into verdicts, `check_order`
searches a whole history in partitions, `explain` makes a violation readable as data.
"""

from harness.judge.explain import Explanation, Ordered, Row, explain, order_steps
from harness.judge.findings import STUCK, Finding, judge_evidence
from harness.judge.latency import Latencies
from harness.judge.partitions import Budget, OrderFound, check_order, partition
from harness.judge.states import Rest, freeze
from harness.judge.statistics import (
    Interval,
    RateComparison,
    SampleComparison,
    compare_rates,
    compare_samples,
    interval,
)
from harness.judge.verdicts import NEEDED_CONTROL_RATE, Facts, conclude, conclude_part

__all__ = [
    "NEEDED_CONTROL_RATE",
    "STUCK",
    "Budget",
    "Explanation",
    "Facts",
    "Finding",
    "Interval",
    "Latencies",
    "OrderFound",
    "Ordered",
    "RateComparison",
    "Rest",
    "Row",
    "SampleComparison",
    "check_order",
    "compare_rates",
    "compare_samples",
    "conclude",
    "conclude_part",
    "explain",
    "freeze",
    "interval",
    "judge_evidence",
    "order_steps",
    "partition",
]
