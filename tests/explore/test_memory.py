"""What callers of one virtual process share: to look there is no step, and who looks first matters all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.explore import Exhaustive, Options
from harness.model import Verdict
from tests.explore.conftest import Stage
from tests.explore.test_outside import INCR, RACY, written

pytestmark = pytest.mark.stores
CACHED = f"""
        if key in session.memory:
            return Reply("added", {{{{"value": session.memory[key]}}}})
        {INCR}
        session.memory[key] = value"""
NUMBERED = """
        session.memory[key] = value = session.memory.get(key, 0) + 1
        await redis("INCR", key)"""
FIRST = f"""
        if session.memory.get("over"):
            {RACY.replace("value + 1", "value")}; value += 70
        else:
            {INCR}
        session.memory["over"] = True"""


def outcomes(stage: Stage, path: str, processes: int, *, reduce: bool) -> tuple[Verdict, set[object]]:
    """The verdict, and all that could be seen."""
    options = Options(processes=processes, every=True)
    found, _ = stage.explore("counter", path, lambda: Exhaustive(reduce=reduce), options)
    return found.verdict, {(replies, rest) for replies, rest, _broke in found.outcomes}


@pytest.mark.parametrize(
    ("body", "processes", "verdict"),
    [
        (CACHED.format(), 1, Verdict.VIOLATED),  # the second one is told what the first was
        (CACHED.format(), 2, Verdict.PROVED),
        (NUMBERED, 1, Verdict.PROVED),  # its request has begun when it takes its number
        (NUMBERED, 2, Verdict.VIOLATED),
        (FIRST, 1, Verdict.VIOLATED),  # only who comes after somebody else was answered does it wrongly
        (FIRST, 2, Verdict.PROVED),
    ],
    ids=["cached", "cached-apart", "numbered", "numbered-apart", "first", "first-apart"],
)
def test_memory_of_a_process(stage: Stage, tmp_path: Path, body: str, processes: int, verdict: Verdict) -> None:
    """Every order of looking there is run, whatever is left out of the others."""
    path = written(tmp_path, body)
    reduced, unreduced = (outcomes(stage, path, processes, reduce=reduce) for reduce in (True, False))
    assert reduced[0] is unreduced[0] is verdict
    assert len(reduced[1]) == len(unreduced[1])


def test_an_answer_without_a_step_is_judged(stage: Stage, tmp_path: Path) -> None:
    """It is as wrong as any other."""
    body = f"""
        if request.id == "r2":
            return Reply("added", {{{{"value": 9}}}})
        {INCR}"""
    found, _ = stage.explore("counter", written(tmp_path, body.format()), Exhaustive, Options())
    assert found.verdict is Verdict.VIOLATED, found.reason
