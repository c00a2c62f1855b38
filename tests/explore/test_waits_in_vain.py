"""A flow that waits for its turn in vain: it may count its tries, or lose its patience, in the other one's middle."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.explore import Exhaustive, Options
from harness.model import Verdict
from tests.explore.conftest import Stage

pytestmark = pytest.mark.stores
SCENARIO = """
from harness import *
from harness.strategy.loader import find_scenario
Base = find_scenario("double-submit")
def overlap(evidence):
    works = sorted(evidence.effects, key=lambda work: work.began_ns)
    for one, other in zip(works, works[1:]):
        if one.ended_ns is None or other.began_ns < one.ended_ns:
            yield Breach("two worked at once", (one.attempt, other.attempt))
class Mine(Base):
    name = "mine"
    rules = {{"wait": Base().all_rules()["wait"]}}
    forms, other_forms = {{}}, {{}}
    leases_ms = {leases_ms}
    def invariants(self): return [Invariant("alone", "one works at a time", overlap)]
    async def flow(self, flow):
        {body}
        if told.decision in {worked}:
            await flow.effect("work")
            await flow.apply("finish")
"""
WAITS = """
        told = await flow.apply("start")
        while told.decision == "wait" and await flow.wait():
            told = await flow.apply("start")"""
COUNTS = """
        for number in range(5):
            told = await flow.apply("start")
            if told.decision != "wait" or not await flow.wait():
                break"""


def mine(folder: Path, body: str, worked: set[str], leases_ms: int = 2_000) -> str:
    """A scenario whose flow works after one of these answers."""
    path = folder / "mine.py"
    path.write_text(SCENARIO.format(leases_ms=leases_ms, body=body.strip(), worked=sorted(worked)))
    return str(path)


@pytest.mark.parametrize("strategy", ["watch", "pg-for-update", "actor"])
@pytest.mark.parametrize(
    ("body", "worked", "verdict"),
    [
        (WAITS, {"accepted"}, Verdict.PROVED),
        (WAITS, {"accepted", "wait"}, Verdict.PROVED),  # its patience is longer than any lease
        (COUNTS, {"accepted"}, Verdict.PROVED),
        (COUNTS, {"accepted", "wait"}, Verdict.VIOLATED),
    ],
    ids=["waits", "outlasted", "counts", "counts-and-goes-on"],
)
def test_who_waits_in_vain(
    stage: Stage, tmp_path: Path, strategy: str, body: str, worked: set[str], verdict: Verdict
) -> None:
    """No proof where it then goes on all the same."""
    path, options = mine(tmp_path, body, worked), Options(budget_s=20)
    found, smallest = stage.explore(path, strategy, Exhaustive, options, shrink=True)
    assert found.verdict is verdict, (found.reason, found.caps)
    if smallest is not None:
        assert "persist" in {choice.kind for choice in smallest.choices}
        assert smallest.says == "two worked at once"


def test_whose_patience_ends(stage: Stage, tmp_path: Path) -> None:
    """Where no lease runs out before, in a key or in a row."""
    path = mine(tmp_path, WAITS, {"accepted", "wait"}, leases_ms=0)
    found, _ = stage.explore(path, "pg-for-update", Exhaustive, Options())
    assert found.verdict is Verdict.VIOLATED, found.reason


@pytest.mark.matrix
def test_who_has_to_be_come_to(stage: Stage, tmp_path: Path) -> None:
    """A consumer that has to take what is asked is let go on by nobody: that is said."""
    found, _ = stage.explore(mine(tmp_path, COUNTS, {"accepted"}), "queue", Exhaustive, Options(budget_s=60))
    assert found.verdict is Verdict.BOUNDED
    assert any("is not tried in vain" in cap for cap in found.caps)
