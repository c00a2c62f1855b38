"""What is explored once a load has broken something."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.burst import Load
from harness.burst.anew import ANSWERED
from harness.cli.smallest import Smallest
from harness.model import Verdict


@pytest.mark.parametrize(
    ("broken", "order", "crash"),
    [
        ({ANSWERED.name: 1, "every add counts once": 0}, Verdict.HELD, True),
        ({ANSWERED.name: 1, "every add counts once": 1}, Verdict.HELD, False),
        ({ANSWERED.name: 1}, Verdict.VIOLATED, False),
        ({}, Verdict.VIOLATED, False),
    ],
)
def test_who_was_shut_out_is_shown_by_a_crash(
    monkeypatch: pytest.MonkeyPatch, broken: dict[str, int], order: Verdict, crash: bool
) -> None:
    """Where nothing else broke: a second delivery, which breaks something else, would be shown in its place."""
    asked: list[bool] = []

    async def explore(*_args: Any, crash: bool) -> Any:
        asked.append(crash)
        return SimpleNamespace(complete=True)

    monkeypatch.setattr("harness.explore.explore_briefly", explore)
    measured = SimpleNamespace(verdict=Verdict.VIOLATED, by_invariant=broken, order=order)
    bound, stores = cast("Any", None), cast("Any", None)
    assert asyncio.run(Smallest(Load(kills=2)).look(bound, stores, cast("Any", measured)))
    assert asked == [crash]
