"""Owners of one key each under load: a ring of them is noticed, and nobody waits for ever."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from harness.burst import Cell
from harness.model import Verdict

if TYPE_CHECKING:
    from tests.burst.conftest import Loads

pytestmark = [pytest.mark.load, pytest.mark.xdist_group("load")]


def test_a_ring_is_told(loads: Loads) -> None:
    """Callers are told that they are stuck, long before a burst times out, and nobody is lost by it."""
    began = time.monotonic()
    found = loads.judge(Cell("team-move", "actors"))
    assert found.verdict is Verdict.VIOLATED
    assert found.counts.stuck > 0
    assert found.counts.errors["stuck"] == found.counts.stuck
    assert Verdict.VIOLATED not in found.invariants.values(), found.invariants
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(("strategy", "rule"), [("actors:resumed", "back"), ("actors:pass-on", "delete")])
def test_who_waits_in_one_direction(loads: Loads, strategy: str, rule: str) -> None:
    """Or for nobody: everybody is answered, and nobody lost."""
    found = loads.judge(Cell("team-move", strategy, rule))
    assert (found.verdict, found.counts.stuck) == (Verdict.HELD, 0), found.reason
