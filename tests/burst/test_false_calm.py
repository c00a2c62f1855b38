"""Silence is no praise: everything aborted, nobody answered, a judge that fails: never `held`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from harness.burst import Cell, Load, Measurement, run
from harness.model import Verdict

pytestmark = [pytest.mark.load, pytest.mark.long, pytest.mark.xdist_group("load")]

CHECKS = """
from harness import *
from harness.strategy.loader import find_scenario
class Checks(find_scenario("counter")):
    name = "checks"
    leases_ms = 1
    def invariants(self): return [Invariant("ratio", "it is asked", self.ratio, {applies!r})]
    def ratio(self, evidence): return [Breach("?", amount=1 / 0)]
    def probe(self, key): return Request("add", (key,))
"""
SPEC = """
from harness import *
from harness.strategy.loader import find_scenario
class Fails(find_scenario("counter")):
    name = "fails"
    def {name}(self, *_about, **_more): raise KeyError("where")
"""
SHY = """
from harness import *
class Shy(Strategy):
    name = "shy"
    def claims(self, conditions): return Claim("holds")
    async def apply(self, session, request, rule):
        await session.redis("PING")
        return ABORTED
"""
SILENT = """
import asyncio
from harness import *
class Silent(Strategy):
    name = "silent"
    def claims(self, conditions): return Claim("holds")
    async def apply(self, session, request, rule): await asyncio.sleep(60)
"""
FEW: dict[str, Any] = {"bursts": 60, "size": 4, "connections": 4}
SHORT: dict[str, Any] = {"mode": "sustained", "duration_s": 0.5, "connections": 8, "keys": 4, "work_us": 0}


def told(found: Measurement) -> str:
    """Everything that helps to understand a wrong verdict."""
    return f"{found.verdict} ({found.reason}); order {found.order}, {found.invariants}; {found.counts}"


def script(folder: Path, name: str, text: str) -> str:
    """A script of one's own."""
    path = folder / f"{name}.py"
    path.write_text(text)
    return str(path)


def calm(scenario: str, strategy: str, load: dict[str, Any]) -> Measurement:
    """Run one cell with its control, and nothing befalls it."""
    return asyncio.run(run(Cell(scenario, strategy), Load(**load)))


@pytest.mark.parametrize(("kind", "load"), [("burst", FEW), ("sustained", SHORT), ("probe", FEW), ("burst", SHORT)])
def test_an_invariant_that_raises(tmp_path: Path, kind: str, load: dict[str, Any]) -> None:
    """Whatever it is asked of: nothing is known."""
    found = calm(script(tmp_path, "checks", CHECKS.format(applies=(kind,))), "atomic", load)
    asked = kind == load.get("mode", "burst") or (kind == "probe" and load is FEW)
    assert found.verdict is (Verdict.INCONCLUSIVE if asked else Verdict.HELD), told(found)
    assert not asked or "ZeroDivisionError" in found.reason, told(found)
    assert found.invariants.get("ratio") is (Verdict.INCONCLUSIVE if asked else None)


@pytest.mark.parametrize("name", ["allowed", "view", "overruns"])
def test_a_scenario_that_raises_in_the_judge(tmp_path: Path, name: str) -> None:
    """What the judge asks of it is the user's, too."""
    found = calm(script(tmp_path, "fails", SPEC.format(name=name)), "atomic", FEW)
    assert found.verdict is Verdict.INCONCLUSIVE, told(found)
    assert "KeyError" in found.reason


def test_a_sustained_load_that_gives_up(tmp_path: Path) -> None:
    """Everything aborted: nothing broke, and nothing was decided."""
    found = calm("counter", script(tmp_path, "shy", SHY), SHORT)
    assert (found.verdict, found.broken_bursts) == (Verdict.INCONCLUSIVE, 0), told(found)
    assert "aborted" in found.reason


def test_a_sustained_load_that_is_stuck(tmp_path: Path) -> None:
    """Nobody is ever answered although the store lives."""
    found = calm("counter", script(tmp_path, "silent", SILENT), {**SHORT, "timeout_s": 0.5})
    assert (found.verdict, found.counts.stuck) == (Verdict.VIOLATED, SHORT["connections"]), told(found)


def test_a_control_that_never_meets_anybody() -> None:
    """One caller at a time: nothing can break, and that nothing broke is no news."""
    found = calm("counter", "atomic", {**SHORT, "connections": 1, "processes": 1})
    assert found.verdict is Verdict.INCONCLUSIVE, told(found)
