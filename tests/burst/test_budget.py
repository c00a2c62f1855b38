"""A budget that has run out: whoever has not had a turn has none, what was measured stays, and it is said."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from harness.burst import Load
from harness.burst.bench import Bench
from harness.burst.engine import Limit, _in_turns
from harness.judge import Budget, Finding
from harness.model import Evidence, UsageError


class _Bench:
    """Notes whose turn it was; after `turns` of them the budget has run out."""

    interrupted = False

    def __init__(self, turns: int, limit: Limit) -> None:
        self.turns, self.limit = turns, limit
        self.had: list[str] = []

    async def bursts(self, tally: Any, *_given: Any) -> None:
        self.had.append(tally.bound.strategy.title)
        if len(self.had) == self.turns:
            self.limit.until = 0.0

    async def sustained(self, *_given: Any) -> None: ...

    async def probe(self, *_given: Any) -> None: ...


@pytest.mark.parametrize(
    ("turns", "had", "reason"),
    [
        (99, "abcabc", ""),
        (5, "abcab", "1 were loaded once instead of twice"),
        (2, "ab", "1 were not loaded, 2 were loaded once instead of twice"),
    ],
)
def test_whoever_comes_too_late(turns: int, had: str, reason: str) -> None:
    """Of three with two turns each."""
    limit = Limit(9.0, math.inf)
    bench = _Bench(turns, limit)
    tallies: list[Any] = [
        (SimpleNamespace(bound=SimpleNamespace(strategy=SimpleNamespace(title=name)), failures=[]),) * 2
        for name in "abc"
    ]
    asyncio.run(_in_turns(bench, tallies, Load(), Load(), 0.1, lambda _progress: None, limit, 2))  # type: ignore[arg-type]
    assert "".join(bench.had) == had
    assert limit.reason(3) == (reason and f"the budget of 9 s ran out: of 3 rows {reason}")
    late = [bursts.bound.strategy.title for bursts, _sustained in tallies if bursts.failures]
    assert late == sorted({*"abc"} - {*had})


def test_what_is_kept_of_it() -> None:
    """For what comes after the load; what is left out of either is told together."""
    limit = Limit(9.0, time.monotonic() + 60)
    sooner = limit.less(100)
    assert (limit.past(), sooner.past()) == (False, True)
    sooner.left_out["not loaded"] += 1
    assert limit.reason(2) == "the budget of 9 s ran out: of 2 rows 1 were not loaded"


def test_only_a_budget_that_was_asked_for_is_kept(race: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a default nobody is to lose a turn: on a slow machine it takes longer."""
    strict: list[bool] = []

    async def compared(*_asked: Any, **more: Any) -> None:
        strict.append(more["strict"])
        raise UsageError("enough")

    monkeypatch.setattr("harness.burst.compare", compared)
    for words in ((), ("--budget", "30")):
        assert race("compare", "counter", *words).stderr == "race: enough\n"
    assert strict == [False, True]


def test_what_cannot_be_held_any_more_is_searched_for_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a piece has no verdict the next may only break: all of them share what one was given, and none has none."""
    given: list[float] = []

    def judged(_evidence: Any, _spec: Any, _invariants: Any, _kind: Any, budget: Budget) -> Finding:
        given.append(budget.seconds)
        return Finding("unknown")

    monkeypatch.setattr("harness.burst.bench.judge_evidence", judged)
    bench = Bench(SimpleNamespace(infos=[]), None, lambda _progress: None)  # type: ignore[arg-type]
    for unjudged, unanswered in ((0, 0), (0, 0), (1, 0), (0, 1)):
        tally: Any = SimpleNamespace(unjudged=unjudged, unanswered=unanswered)
        bench._judged(tally, SimpleNamespace(spec=None), Evidence("", (), ()), (), "sustained")  # type: ignore[arg-type]
    bench._doubtful_s = -1.0
    bench._judged(tally, SimpleNamespace(spec=None), Evidence("", (), ()), (), "sustained")  # type: ignore[arg-type]
    whole, again, *doubtful, least = given
    assert whole == again > doubtful[0] >= doubtful[1] > least > 0
