"""An owner for each key: what they do to each other by waiting, and what is lost between two messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.explore import FAULTS, Exhaustive, Options
from harness.model import Verdict
from harness.results.claims import breaks, explored_as_claimed

if TYPE_CHECKING:
    from pathlib import Path

    from tests.explore.conftest import Stage

LOCKED_OUT = "a deadlock: 2 requests were never answered"
LOST = "members before: 2, now: 1"
ONE_LOST = "members before: 1, now: 0"
TWICE = "members before: 2, now: 3"


@pytest.mark.parametrize(
    ("strategy", "rule", "fault", "says"),
    [
        ("actors", "back", "", LOCKED_OUT),
        ("actors", "delete", "crash", LOST),
        ("actors:pass-on", "back", "crash", LOST),
        ("actors:pass-on", "delete", "crash", ""),
        ("actors:resumed-twice", "back", "crash", TWICE),
        ("actors:resumed-twice", "delete", "crash", ""),
        ("actors:resumed-unfenced", "back", "crash", ""),
        ("actors:resumed-unfenced", "delete", "crash", ""),
        ("actors:reentrant", "delete", "", ""),
    ],
)
def test_what_breaks(stage: Stage, strategy: str, rule: str, fault: str, says: str) -> None:
    """Two that ask each other; a crash between two messages; an owner that does what it is asked twice, or late."""
    options = Options(faults=(fault,) if fault else ())
    found, smallest = stage.explore("team-move", strategy, Exhaustive, options, rule=rule, shrink=True)
    assert (found.verdict, smallest is None) == (Verdict.VIOLATED, False), found.reason
    assert smallest is not None
    assert smallest.says == says or not says


def test_the_ring(stage: Stage) -> None:
    """Who waits for whom is told; both owners have taken somebody out, and neither lets the other's in."""
    _, smallest = stage.explore("team-move", "actors", Exhaustive, Options(), shrink=True)
    assert smallest is not None
    explained = smallest.explanation()
    waits = "owner of red waits for owner of blue, and owner of blue for owner of red."
    assert (explained.says, explained.why) == (LOCKED_OUT, waits)
    assert [row.command for row in explained.rows][-1] == "ASK owner of red move:into blue red"


def test_locks_of_one_process_in_a_ring(stage: Stage) -> None:
    """A deadlock is told in the same words, whatever it is that is waited for."""
    options = Options(processes=1)
    _, smallest = stage.explore("team-move", "mutex:caller-order", Exhaustive, options, shrink=True)
    assert smallest is not None
    assert (smallest.says, smallest.explanation().why) == (LOCKED_OUT, "A waits for B, and B for A.")


@pytest.mark.parametrize("rule", ["back", "delete"])
@pytest.mark.parametrize("fault", ["", *FAULTS])
@pytest.mark.parametrize("strategy", ["actors", "actors:pass-on", "actors:resumed"])
def test_claims(stage: Stage, strategy: str, rule: str, fault: str) -> None:
    """Whatever is claimed of two keys is shown; what claims to hold is proved."""
    options = Options(faults=(fault,) if fault else ())
    explorer = stage.explorer("team-move", strategy, options, rule)
    found, _ = stage.explore("team-move", strategy, Exhaustive, options, rule=rule)
    claim = explorer.bound.claim
    assert explored_as_claimed(claim, found.verdict, found.errors, options.faults) is True, found.reason
    assert found.verdict is (Verdict.VIOLATED if breaks(claim, options.faults) else Verdict.PROVED), found.reason


@pytest.mark.long
@pytest.mark.parametrize("scenario", ["counter", "double-submit"])
@pytest.mark.parametrize("fault", ["crash", "duplicate"])
def test_one_key_under_a_fault(stage: Stage, scenario: str, fault: str) -> None:
    """What is written down helps about one key as well: the late write is refused, the second delivery known."""
    options = Options(faults=(fault,))
    found, _ = stage.explore(scenario, "actors:resumed", Exhaustive, options)
    assert found.verdict is Verdict.PROVED, found.reason


@pytest.mark.parametrize("fault", ["crash", "duplicate"])
def test_one_key_without_it(stage: Stage, fault: str) -> None:
    """The same without the part that is written down: three show the late write, two the second delivery."""
    options = Options(faults=(fault,), size=3 if fault == "crash" else 2)
    found, _ = stage.explore("counter", "actors", Exhaustive, options)
    assert found.verdict is Verdict.VIOLATED, found.reason


def test_four_look_in_between(stage: Stage) -> None:
    """Passed on, a member is in no team for a while: two that find each team empty are refused, and nobody was last."""
    claim = stage.explorer("team-move", "actors:pass-on", Options(size=4)).bound.claim
    options = Options(size=4, seed=4)
    found, _ = stage.explore("team-move", "actors:pass-on", Exhaustive, options)
    assert (found.verdict, claim.kind) == (Verdict.VIOLATED, "breaks")
    assert found.first is not None
    assert found.first.finding.order == "illegal"


BROKEN = """
from harness import *
from harness.strategy.loader import find_strategy
class Broken(find_strategy("actors")[0]):
    name = "broken"
    async def own(self, session, request, rule):
        {body}
"""


@pytest.mark.parametrize(
    ("body", "says"),
    [
        # what is refused is not put back
        ('return Reply("refused") if ":back" in request.operation else await super().own(session, request, rule)',
         ONE_LOST),
        # a member is let in before it is out
        (('keys = request.keys\n        if len(keys) == 2 and ":" not in request.operation:\n'
         '            await session.ask(request._replace(operation="move:into"), of=keys[1])\n'
         "        return await super().own(session, request, rule)"), ""),
    ],
)  # fmt: skip
def test_half_a_protocol(stage: Stage, tmp_path: Path, body: str, says: str) -> None:
    """A message that is left out, or sent twice."""
    script = tmp_path / "broken.py"
    script.write_text(BROKEN.format(body=body), encoding="utf-8")
    options = Options()
    found, smallest = stage.explore("team-move", f"{script}:pass-on", Exhaustive, options, rule="delete", shrink=True)
    assert found.verdict is Verdict.VIOLATED, found.reason
    assert smallest is not None
    assert smallest.says == says or not says
