"""A lock that a killed worker keeps for ever: no rule breaks by that, and nobody gets in any more."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.burst import Cell, Load, Measurement, run
from harness.burst.anew import ANSWERED, _found, ask_anew, shut_out
from harness.burst.bench import Bench
from harness.burst.cells import bind
from harness.burst.tally import Tally
from harness.model import STUCK, Operation, Request, Status, Verdict

SAYS = "a new request after every lease had passed was aborted"
ADDED = ["ok", "added", {"value": 1}, 90, 91, 9, "", 6]
ABORTED = ["ok", "aborted", {}, 0, 0, 9, "", 6]
UNANSWERED = ["unknown", None, {}, 0, 0, None, STUCK, 6]
DENIED = ["unknown", None, {}, 0, 0, None, "NOPERM", 6]

LOCKS = """
from harness import ABORTED
from harness.strategy.loader import find_strategy
Lua = find_strategy("lua")[0]
class Leased(Lua):
    name = "leased"
    lease = ("PX", 1_000)
    async def apply(self, session, request, rule):
        lock = session.key(f"lock:{request.key}")
        if await session.redis("SET", lock, "1", "NX", *self.lease) is None:
            return ABORTED
        await session.sleep_ms(20)
        reply = await super().apply(session, request, rule)
        await session.redis("DEL", lock)
        return reply
class Kept(Leased):
    name = "kept"
    lease = ()
"""


def asked(place: int = 1) -> Operation:
    """A request of a killed worker."""
    return Operation(Request("add", (f"counter:{place}",), id=f"3-{place}"), "3.0", 1, None, Status.UNKNOWN, None)


def test_who_was_told_to_try_later_is_asked_about() -> None:
    """Or who was told nothing; whoever got an answer, of the rule or of the store, has shown enough."""
    told = {"3-1": ADDED, "3-2": ABORTED, "3-3": UNANSWERED, "3-4": DENIED}
    found = shut_out({7: [asked(1), asked(2)], 8: [asked(3), asked(4)]}, told)
    assert found == [(7, asked(2)), (8, asked(3))]


@pytest.mark.parametrize(
    ("answers", "broken", "says", "questions"),
    [
        ([ADDED, ABORTED], 1, SAYS, 2),
        ([ABORTED, ADDED], 1, SAYS, 1),
        ([UNANSWERED, ADDED], 1, "a new request after every lease had passed was never answered", 1),
        ([ADDED, ADDED], 0, "", 2),
        ([DENIED, ADDED], 0, "", 2),
    ],
)
def test_somebody_asks_anew(answers: list[list[Any]], broken: int, says: str, questions: int) -> None:
    """Under another id, until one is shut out: each would take as long."""
    ids: list[str] = []

    async def one(_tally: Tally, _bound: Any, _do: str, _load: Load, *, requests: list[list[Any]]) -> dict[str, Any]:
        ids.append(requests[0][3])
        return {"told": {ids[-1]: answers[len(ids) - 1]}}

    async def lost() -> None:
        pass

    tally = Tally(bind(Cell("counter", "lua"), Load()), None)
    tally.shut = [(number, asked(number)) for number in (1, 2)]
    bench = cast("Bench", SimpleNamespace(one=one, stores=SimpleNamespace(lost=lost), interrupted=False))
    asyncio.run(ask_anew(bench, tally, Load()))
    assert (tally.broken, ids) == (broken, ["3-1++", "3-2++"][:questions])
    assert (tally.counterexample.says if tally.counterexample else "") == says
    assert tally.by_invariant[ANSWERED.name] == broken


@pytest.mark.load
@pytest.mark.long
@pytest.mark.xdist_group("load")
@pytest.mark.parametrize(("strategy", "verdict"), [("Leased", Verdict.HELD), ("Kept", Verdict.VIOLATED)])
def test_a_lock_that_a_killed_worker_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str, verdict: Verdict
) -> None:
    """That it held was said of both: those who are told to try again, for ever, break no rule."""
    looked: list[Any] = []

    def found_out(*args: Any) -> bool:
        looked.append(args)
        return _found(*args)

    monkeypatch.setattr("harness.burst.anew._found", found_out)
    script = tmp_path / "locks.py"
    script.write_text(LOCKS, encoding="utf-8")
    for seed in range(5, 15):  # until one is killed who has the lock
        load = Load(bursts=24, size=4, connections=4, kills=3, seed=seed)
        found: Measurement = asyncio.run(run(Cell("counter", f"{script}#{strategy}"), load))
        if looked:
            break
    assert looked
    assert found.verdict is verdict, found.reason
    assert (ANSWERED.name in found.invariants) == (verdict is Verdict.VIOLATED)
