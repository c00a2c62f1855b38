"""Rules against documents: a pass is earned, a failure says why, what shows nothing is neither."""

from __future__ import annotations

from typing import Any

import pytest

from harness.gate.measuring import Measured
from harness.gate.plan import Guarded
from harness.gate.rules import rules_of
from harness.gate.thresholds import parse_threshold
from tests import measurements
from tests.gate import documents


def marks(measured: Measured, *thresholds: str, verdict: str = "", explored: str = "") -> list[tuple[str, str]]:
    """Mark and actual value of each rule."""
    asked = tuple(parse_threshold(text) for text in thresholds)
    guarded = Guarded("counter", "lua", verdict=verdict, explored=explored, thresholds=asked)
    return [(one["mark"], one["actual"]) for one in rules_of(guarded, measured, None)]


@pytest.mark.parametrize(
    ("wanted", "found", "mark"),
    [
        ("proved", "proved", "passed"),
        ("proved", "bounded", "failed"),
        ("proved", "violated", "failed"),
        ("proved", "inconclusive", "unclear"),
        ("bounded", "proved", "passed"),
        ("bounded", "bounded", "passed"),
        ("bounded", "violated", "failed"),
        ("violated", "violated", "passed"),
        ("violated", "proved", "failed"),
        ("violated", "inconclusive", "unclear"),
    ],
)
def test_explored(wanted: str, found: str, mark: str) -> None:
    """Proved is better than bounded; a limit reached is no proof."""
    measured = Measured(explored=documents.exploration(found))
    assert marks(measured, explored=wanted) == [(mark, f"{found}, 7 schedules")]


@pytest.mark.parametrize(("wanted", "found", "mark"), [
    ("proved", "bounded", "unclear"), ("bounded", "bounded", "unclear"), ("violated", "bounded", "unclear"),
    ("proved", "violated", "failed"),
])  # fmt: skip
def test_an_interrupted_search_fails_nothing(wanted: str, found: str, mark: str) -> None:
    """What it came to before is no answer, but for a schedule that breaks."""
    measured = Measured(explored={**documents.exploration(found), "complete": False})
    assert marks(measured, explored=wanted) == [(mark, f"{found}, 7 schedules")]


@pytest.mark.parametrize(
    ("wanted", "result", "mark"),
    [
        ("held", measurements.held(), "passed"),
        ("held", measurements.violated(), "failed"),
        ("held", measurements.inconclusive(), "unclear"),
        ("violated", measurements.violated(), "passed"),
        ("violated", measurements.held(), "failed"),
        ("violated", measurements.inconclusive(), "unclear"),
    ],
)
def test_loaded(wanted: str, result: Any, mark: str) -> None:
    """What was wanted, what was found otherwise, and what shows nothing."""
    ((found, _actual),) = marks(Measured(load=documents.result(result)), verdict=wanted)
    assert found == mark


def test_no_violation_in_a_load_that_finds_nothing_is_no_pass() -> None:
    """Its control did not break; a violation that was seen is one all the same."""
    unshown = Measured(load=documents.result(measurements.inconclusive()))
    assert marks(unshown, "violations == 0", "errors == 0", "violations > 0") == [
        ("unclear", "0"),
        ("unclear", "0"),
        ("failed", "0"),
    ]
    shown = Measured(load=documents.result(measurements.violated()))
    assert marks(shown, "violations == 0", "violation_rate < 1%", "violations > 900") == [
        ("failed", "996"),
        ("failed", "99.6 %"),
        ("passed", "996"),
    ]


def test_costs() -> None:
    """The row of the cell itself, with its units."""
    measured = Measured(cost=documents.cost())
    assert marks(
        measured, "p(99) < 2ms", "p(95) < 0.5ms", "max<1s", "throughput > 1000", "relative_throughput > 0.9",
        "retries == 0", "retry_rate < 1%",
    ) == [
        ("passed", "1.25 ms"), ("failed", "0.60 ms"), ("passed", "12.7 ms"), ("passed", "28,410/s"),
        ("failed", "0.80"), ("passed", "0"), ("passed", "0.00"),
    ]  # fmt: skip


def test_what_was_not_measured_is_unclear() -> None:
    """Interrupted, or nothing beside it to compare with."""
    assert marks(Measured(), "violations == 0", "p(99) < 1ms", verdict="held", explored="proved") == [
        ("unclear", "-")
    ] * 4  # fmt: skip
    alone = documents.cost()
    alone["rows"][0]["relative_throughput"] = None
    assert marks(Measured(cost=alone), "relative_throughput > 0.5") == [("unclear", "-")]
    unshown = documents.cost()
    unshown["rows"][0]["verdict"] = "inconclusive"
    assert marks(Measured(cost=unshown), "p(99) < 2ms", "p(99) < 1ms") == [("unclear", "1.25 ms")] * 2
