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

BESIDE = """
        mine, {variable} = session.key("mine"), {initial}
        async def look(own):
            {looks}
        async with session.beside("looker", look):
            {works}"""
SEES = f"""
            value = int(await redis("GET", key) or 0) + 1
            if {{}}:
                await redis("SET", key, value)
            else:
                {INCR}"""
TOLD_BY = {
    "list": ("seen", "[]", 'await own.redis("GET", mine); seen.append(1)', SEES.format("seen")),
    "nonlocal": ("seen", "0", 'nonlocal seen; await own.redis("GET", mine); seen = 1', SEES.format("seen")),
    "object": ("seen", "asyncio.Event()", 'await own.redis("GET", mine); seen.set()', SEES.format("seen.is_set()")),
    "default": (
        "seen", "[]", 'await (lambda it=seen: (own.redis("GET", mine), it.append(1))[0])(); seen.append(1)',
        SEES.format("len(seen) > 1"),
    ),
    "caller": (
        "done", "False", 'await own.redis("GET", mine)\n            if done: await own.redis("INCR", key)',
        f'{INCR}; done = True; await redis("GET", mine)',
    ),
}  # fmt: skip
"""By what a daemon and its caller tell each other something, and who tells."""


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


@pytest.mark.parametrize("told_by", TOLD_BY)
def test_variables_that_a_daemon_shares_with_its_caller(stage: Stage, tmp_path: Path, told_by: str) -> None:
    """No step shows them, and without a step of the daemon's before it is ended nothing would be told."""
    variable, initial, looks, works = TOLD_BY[told_by]
    body = BESIDE.format(variable=variable, initial=initial, looks=looks, works=works)
    path = written(tmp_path, body.replace("{", "{{").replace("}", "}}").format())
    reduced, unreduced = (outcomes(stage, path, 2, reduce=reduce) for reduce in (True, False))
    assert reduced[0] is unreduced[0] is Verdict.VIOLATED
    assert len(reduced[1]) == len(unreduced[1])


@pytest.mark.parametrize("processes", [1, 2])
def test_a_daemon_in_its_callers_process_is_no_look_at_its_memory(stage: Stage, processes: int) -> None:
    """Two who poll in one process would wake each other, until their tries run out."""
    options = Options(processes=processes)
    found, _ = stage.explore("double-submit", "redis-lock-renewed", Exhaustive, options)
    assert (found.verdict, found.schedules) == (Verdict.PROVED, 16)


def test_an_answer_without_a_step_is_judged(stage: Stage, tmp_path: Path) -> None:
    """It is as wrong as any other."""
    body = f"""
        if request.id == "r2":
            return Reply("added", {{{{"value": 9}}}})
        {INCR}"""
    found, _ = stage.explore("counter", written(tmp_path, body.format()), Exhaustive, Options())
    assert found.verdict is Verdict.VIOLATED, found.reason
