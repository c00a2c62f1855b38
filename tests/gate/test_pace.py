"""How long a matrix takes: what a cell may have of a budget, and what does not fit in it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

import harness.gate.matrix
from harness.burst import Load
from harness.burst.measurement import StoresOptions
from harness.gate.matrix import Matrix
from harness.gate.pace import Pace, Share
from harness.strategy.loader import find_scenario
from tests import measurements

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Ended

NOWHERE = StoresOptions("redis://127.0.0.1:1", "postgresql://127.0.0.1:1/race")
"""Servers that nobody asks."""


def pace(budget_s: float, *, cells: int = 100, strict: bool = True, ago_s: float = 0.0) -> Pace:
    """One that began so many seconds ago."""
    return Pace(budget_s, time.monotonic() - ago_s, cells, strict=strict)


def test_turns_are_cut_before_scenarios_are() -> None:
    """With plenty each cell has two turns, with less one, and what does not even fit so has none."""
    shares = [pace(budget_s).share(50, 100, 2) for budget_s in (300, 50, 10)]
    assert [share and share.rounds for share in shares] == [2, 1, None]


def test_no_cell_has_less_than_what_shows_something() -> None:
    """However small the budget: its controls would not break often enough, and nothing be held."""
    shares = [pace(budget_s, strict=strict).share(50, 100, 2) for budget_s in (300, 50) for strict in (True, False)]
    assert all(share is not None and share.each_s >= 0.3 for share in shares)


def test_without_a_budget_of_ones_own_nothing_is_left_out() -> None:
    """The default is an aim: a slow machine takes longer."""
    assert pace(600, strict=False, ago_s=700).share(50, 100, 2) == Share(0.3, 2)


def test_what_has_passed_is_reckoned_with() -> None:
    """Late in a budget a scenario of few cells still fits, one of many does not."""
    late = pace(100, ago_s=90)
    assert late.share(10, 90, 5) == Share(0.3, 1)
    assert late.share(80, 90, 5) is None


def test_a_slow_machine_is_reckoned_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cells took until now the next will take, too."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    slow = Pace(400, 0.0, 100, strict=True)
    assert slow.share(50, 100, 2) is not None
    with slow.measuring(Share(0.3, 2), 20):
        clock[0] = 200.0
    assert slow.share(80, 80, 1) is None


@pytest.mark.parametrize(
    ("budget_s", "strict", "says"),
    [
        (600, False, "1,000 cells: about 11 min on two cores that are idle"),
        (1200, True, "1,000 cells: about 20 min, as --budget says"),
        (60, True, "1,000 cells: about 6 min at least; in the 60 s of --budget some are not come to"),
    ],
)
def test_the_estimate(budget_s: float, strict: bool, says: str) -> None:
    """Before anything runs."""
    assert pace(budget_s, cells=1000, strict=strict).estimate() == says


def matrix(monkeypatch: pytest.MonkeyPatch, compare: Callable[..., Any]) -> None:
    """A library of two scenarios, whose comparisons are these."""
    monkeypatch.setattr(harness.gate.matrix, "scenarios", lambda: (find_scenario("counter"), find_scenario("webhook")))
    monkeypatch.setattr(harness.gate.matrix, "compare", compare)


def test_what_does_not_fit_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its cells, with the reason; what fits is there, after one turn of each."""
    asked = []

    async def compare(scenario: str, *_rest: object, rounds: int, **_options: object) -> Any:
        asked.append((scenario, rounds))
        return measurements.compared()

    matrix(monkeypatch, compare)
    said: list[str] = []
    names = ["naive", "lua", "watch"]
    document = Matrix(names, Load(seed=1), 3, NOWHERE, "", print, strict=True, says=said.append).run()
    assert asked == [("counter", 1)]
    assert (document["complete"], document["reason"]) == (False, "the budget of 3 s ran out")
    missing = {one["scenario"] for one in document["missing"] if one["scenario"] != "counter"}
    assert missing == {"webhook"}
    assert said == ["15 cells: about 6 s at least; in the 3 s of --budget some are not come to"]


@pytest.mark.parametrize(("budget", "code"), [((), 130), (("--budget", "1"), 3)])
def test_the_exit_code(race: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch, budget: Any, code: int) -> None:
    """Of what was interrupted, and of what there was no time for; the estimate is no data."""

    async def compare(*_words: object, **_options: object) -> Any:
        return measurements.compared(rows=[], complete=False)

    def compared(scenario: str, *words: object, **options: object) -> Any:
        return compare(scenario, *words, **options)

    matrix(monkeypatch, compared)
    ended = race("compare", "--all", "--redis-url", NOWHERE.redis_url, "--postgres-url", NOWHERE.postgres_url, *budget)
    assert ended.code == code, ended.stdout + ended.stderr
    assert "cells: about" in ended.stderr
