"""The judge: is there an order, do the invariants hold, and how sure is that.

`judge_evidence` judges one burst or group of keys, `conclude` turns tallies into verdicts, `check_order`
searches a whole history in partitions, `explain` makes a violation readable as data.
"""

from harness.judge.connected import Connected
from harness.judge.contradiction import Contradiction, contradict
from harness.judge.explain import NO_ORDER, Explanation, Ordered, Row, attributed, explain, order_steps, unanswered
from harness.judge.findings import Finding, Kind, asked_of, failed, judge_evidence
from harness.judge.history import Closing, Header
from harness.judge.latency import Latencies
from harness.judge.partitions import Budget, OrderFound, check_order, partition
from harness.judge.pieces import History, Piece
from harness.judge.reading import HistoryFile
from harness.judge.recording import Recording
from harness.judge.score import Conclusion, Score, overlapped, weight_of
from harness.judge.states import Rest, freeze
from harness.judge.statistics import (
    Interval,
    RateComparison,
    RatioInterval,
    compare_rates,
    interval,
    ratio_interval,
)
from harness.judge.turns import Subject
from harness.judge.verdicts import NEEDED_CONTROL_RATE, Facts, Meeting, conclude, conclude_part
from harness.judge.verify import Verification, verify

__all__ = [
    "NEEDED_CONTROL_RATE",
    "NO_ORDER",
    "Budget",
    "Closing",
    "Conclusion",
    "Connected",
    "Contradiction",
    "Explanation",
    "Facts",
    "Finding",
    "Header",
    "History",
    "HistoryFile",
    "Interval",
    "Kind",
    "Latencies",
    "Meeting",
    "OrderFound",
    "Ordered",
    "Piece",
    "RateComparison",
    "RatioInterval",
    "Recording",
    "Rest",
    "Row",
    "Score",
    "Subject",
    "Verification",
    "asked_of",
    "attributed",
    "check_order",
    "compare_rates",
    "conclude",
    "conclude_part",
    "contradict",
    "explain",
    "failed",
    "freeze",
    "interval",
    "judge_evidence",
    "order_steps",
    "overlapped",
    "partition",
    "ratio_interval",
    "unanswered",
    "verify",
    "weight_of",
]
