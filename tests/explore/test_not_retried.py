"""Who is refused by the store and does not try again: what was to be written down is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.explore import Exhaustive, Options
from harness.model import Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from tests.explore.conftest import Stage

pytestmark = pytest.mark.stores
REPORTED = """
from harness import *
from harness.strategy.loader import find_scenario
class Reported(find_scenario("refund")):
    name, forms, claims, refusals = "reported", {}, {}, ()
    operations = {
        "refund": Signature({}, {}, "", ("booked",)),
        "report": Signature({}, {}, "", ("failed",)),
    }
    def rule(self, state, request, now_ms):
        payment, told = state[request.key], {"refund": "sent", "report": "failed"}[request.operation]
        refunds = {**payment["refunds"], request.attempt: [20, told]}
        return Outcome({request.key: {**payment, "refunds": refunds}}, Reply("booked" if told == "sent" else told))
    def burst(self, rng, size):
        return [Attempt(("payment",), {"fails": number == 0}) for number in range(size)]
    async def flow(self, flow):
        await flow.apply("refund")
        if flow.attempt.args["fails"]:
            await flow.apply("report")
        else:
            await flow.effect("transfer")
    def invariants(self):
        return [Invariant("booked is sent", "what the books call sent was sent", unsent)]
def unsent(evidence):
    went = {one.attempt for one in evidence.effects}
    for payment in (evidence.rest or {}).values():
        for name, (amount, told) in payment["refunds"].items():
            if told == "sent" and name not in went:
                yield Breach(f"{amount} failed to go back, and the books call them sent", (name,))
"""
LOST = "20 failed to go back, and the books call them sent"


@pytest.fixture
def reported(tmp_path: Path) -> str:
    """Of two refunds one fails, and that is reported once; each reads all of them and writes its own."""
    script = tmp_path / "reported.py"
    script.write_text(REPORTED, encoding="utf-8")
    return str(script)


@pytest.mark.parametrize(
    ("strategy", "says", "errors"),
    [
        ("pg-serializable:no-retry", LOST, {"40001"}),
        ("pg-repeatable-read:no-retry", "", set()),
        pytest.param("pg-serializable", "", set(), marks=pytest.mark.long),  # every order of every retry
        ("pg-advisory", "", set()),
    ],
)
def test_a_failure_that_is_reported_once(
    stage: Stage, reported: str, strategy: str, says: str, errors: set[str]
) -> None:
    """Of a crossing that only serializable refuses: the whole transaction again writes it; who waits is not refused."""
    found, smallest = stage.explore(reported, strategy, Exhaustive, Options(every=True, budget_s=60), shrink=True)
    assert ("" if smallest is None else smallest.says, set(found.errors)) == (says, errors)
    assert found.verdict is (Verdict.VIOLATED if says else Verdict.PROVED), found.reason
    if smallest is not None:
        (refused,) = [step for step in smallest.steps if "40001" in str(step.reply) and step.command[0] != "ROLLBACK"]
        assert refused.caller == next(iter(smallest.steps)).caller
    else:
        assert all("'failed'" in repr(outcome) for outcome in found.outcomes)
