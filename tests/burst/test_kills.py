"""Workers that are killed in the middle of bursts: what was applied and not told is not applied again, or is caught."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.burst import Cell, Load, Measurement, run
from harness.burst.evidence import BurstRecord
from harness.burst.kills import Kills, as_order, left_by, merged, most_killed, request_from
from harness.burst.record import Reading, Recorder
from harness.judge.verdicts import Facts, conclude
from harness.model import NOTHING, Operation, Reply, Request, Status, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Ended

SLOW = """
from harness.strategy.loader import find_strategy
Lua = find_strategy("lua")[0]
class Slow(Lua):
    name = "slow"
    async def apply(self, session, request, rule):
        reply = await super().apply(session, request, rule)
        await session.sleep_ms(20)  # applied, and nobody was told yet
        return reply
"""


TWICE = (
    SLOW
    + """
class Twice(Slow):
    name = "twice"
    async def apply(self, session, request, rule):
        begun = await session.redis("SET", f"{session.key(request.key)}:{request.id}", "1", "NX")
        if begun is not None:
            return await super().apply(session, request, rule)
        other = {**request.args, "event": request.args["event"] + "-again"}
        await super().apply(session, request._replace(args=other), rule)
        return Reply("duplicate")
"""
)
"""Whoever asks again is told that it had come, and it is applied once more all the same."""

OWN_TOKEN = (
    SLOW
    + """
class OwnToken(Slow):
    name = "own-token"
    async def apply(self, session, request, rule):
        if await session.redis("SET", session.own_key(session.token()), "1", "NX") is None:
            return Reply("met again")
        return await super().apply(session, request, rule)
class Leaving(OwnToken):
    name = "leaving"
    async def apply(self, session, request, rule):
        reply = await super().apply(session, request, rule)
        await session.redis("QUIT")
        return reply
"""
)
"""Whoever has a token that was there before says so. The second loses its connection at every other request."""


AGAIN_LATER = (
    SLOW
    + """
class AgainLater(Slow):
    name = "again-later"
    async def apply(self, session, request, rule):
        if await session.redis("SET", f"{session.key(request.key)}:{request.id}", "1", "NX") is None:
            await session.sleep_ms(700)
        return await super().apply(session, request, rule)
"""
)
"""The second delivery is answered late, but before anybody loses patience."""

OWNED = """
from harness.strategy.loader import find_strategy
Actor = find_strategy("actor")[0]
class Busy(Actor):
    name = "busy"
    async def own(self, session, request, rule):
        await session.sleep_ms(20)  # who asked may be gone before it is answered
        return await super().own(session, request, rule)
"""

SEEDS = range(5, 17)
LOAD = Load(bursts=24, size=4, connections=4)


def killed(
    folder: Path, variant: str, scenario: str = "counter", text: str = SLOW, kills: int = 4, load: Load = LOAD,
    least: int = 1,
) -> Measurement:  # fmt: skip
    """A strategy that is slow to answer, while workers are killed.

    On a busy machine each may be killed before its request is sent: nothing is asked again then, and others are drawn,
    until `least` were asked again.
    """
    script = folder / "slow.py"
    script.write_text(f"from harness import Reply\n{text}", encoding="utf-8")
    cell = Cell(scenario, f"{script}{variant}")
    for seed in SEEDS:
        found = asyncio.run(run(cell, replace(load, kills=kills, seed=seed)))
        if found.counts.resumed >= least or not kills:
            break
    return found


@pytest.mark.load
@pytest.mark.xdist_group("load")
@pytest.mark.parametrize(("variant", "verdict"), [("#OwnToken:remember", Verdict.HELD), ("#Slow", Verdict.VIOLATED)])
def test_applied_and_not_told(tmp_path: Path, variant: str, verdict: Verdict) -> None:
    """Asked again under its id, a request is known; without that it is applied twice, which is caught.

    Who takes the place of the killed one has tokens of its own: an answer left under that one's is not met again.
    """
    found = killed(tmp_path, variant, text=OWN_TOKEN)
    assert (found.verdict, found.complete) == (verdict, True), found.reason
    assert 2 <= found.counts.killed <= most_killed(4)
    assert found.counts.resumed > 0
    assert found.judged_bursts >= 24


@pytest.mark.load
@pytest.mark.xdist_group("load")
@pytest.mark.parametrize(("variant", "verdict"), [("#Slow", Verdict.HELD), ("#Twice", Verdict.VIOLATED)])
def test_told_that_it_had_come(tmp_path: Path, variant: str, verdict: Verdict) -> None:
    """It had, by the delivery whose worker was killed: that is no violation, and to apply it twice is one."""
    found = killed(tmp_path, variant, "webhook", TWICE)
    assert (found.verdict, found.complete) == (verdict, True), found.reason
    assert found.counts.resumed > 0
    if verdict is Verdict.VIOLATED:
        assert found.invariants["counted once"] is Verdict.VIOLATED


@pytest.mark.load
@pytest.mark.long
@pytest.mark.xdist_group("load")
def test_each_is_given_its_time_again(tmp_path: Path) -> None:
    """They are asked one after the other: all of them take longer than one of them may."""
    load = replace(LOAD, bursts=8, size=16, connections=16, timeout_s=1.0)
    found = killed(tmp_path, "#AgainLater:remember", text=AGAIN_LATER, kills=1, load=load, least=6)
    assert found.counts.resumed >= 6
    assert "did not answer" not in found.reason
    assert (found.judged_bursts, found.complete) == (8, True)


@pytest.mark.load
@pytest.mark.xdist_group("load")
def test_a_new_connection_has_tokens_of_its_own(tmp_path: Path) -> None:
    """Not those of the one that was lost."""
    found = killed(tmp_path, "#Leaving", text=OWN_TOKEN, kills=0)
    assert found.counts.unknown > 0
    assert set(found.counts.by_decision) == {"added"}
    assert (found.verdict, found.broken_bursts) == (Verdict.INCONCLUSIVE, 0), found.reason


@pytest.mark.load
@pytest.mark.xdist_group("load")
def test_with_an_owner(race: Callable[..., Ended]) -> None:
    """A new worker reaches the owner as the old one did; the result says how many were killed."""
    words = ("token-rotation", "--strategy", "actor", "--kill-workers", "2", "--bursts", "40", "--size", "4")
    for seed in SEEDS:
        ended = race("run", *words, "--seed", str(seed))
        if ended.code != 3:  # where no kill struck
            break
    assert ended.code == 0, ended.stdout + ended.stderr
    assert re.search(r"  Killed   [1-6] workers? in the middle of bursts; \d+ open request", ended.stdout)


@pytest.mark.load
@pytest.mark.xdist_group("load")
def test_kills_that_strike_nothing_show_nothing() -> None:
    """That it held says nothing then of a request that is delivered twice."""
    for seed in range(30):
        load = Load(bursts=8, size=2, connections=2, kills=1, seed=seed)
        found = asyncio.run(run(Cell("counter", "lua:remember"), load))
        if not found.counts.resumed:
            break
    assert (found.verdict, found.broken_bursts) == (Verdict.INCONCLUSIVE, 0)
    assert "no killed worker had a request open" in found.reason


def test_a_kill_that_strikes_nothing_is_tried_again() -> None:
    """Sooner, and not for ever."""
    kills = Kills(Load(bursts=100, kills=2, seed=7))
    for requests, left in [(0, 2), (0, 2), (0, 1), (0, 1), (3, 0)]:
        kills.struck(requests)
        assert kills.left == left
    drawn = Kills(Load(bursts=100, kills=1, seed=7))
    before = [drawn.draw(0, 20, control=False) for _ in range(50)]
    drawn.struck(0)
    after = [drawn.draw(0, 20, control=False) for _ in range(50)]
    assert max(one.delay_us for one in after if one) < max(one.delay_us for one in before if one)


@pytest.mark.load
@pytest.mark.xdist_group("load")
def test_an_owner_outlives_those_who_ask(tmp_path: Path) -> None:
    """Several of its answers are for nobody any more: it goes on with the next message all the same."""
    load = replace(LOAD, bursts=8, size=12, connections=12)
    found = killed(tmp_path, "#Busy", "token-rotation", text=OWNED, kills=1, load=load, least=2)
    assert found.counts.resumed >= 2
    assert (found.counts.stuck, found.counts.errors) == (0, {})
    assert (found.judged_bursts, found.broken_bursts, found.complete) == (8, 0, True), found.reason


@pytest.mark.load
@pytest.mark.xdist_group("load")
def test_asked_again_is_shown(race: Callable[..., Ended], tmp_path: Path) -> None:
    """What broke is told as what it is, step by step: one request delivered twice, which the claim leaves out."""
    (tmp_path / "slow.py").write_text(SLOW, encoding="utf-8")
    words = ("--kill-workers", "4", "--bursts", "24", "--size", "4", "--connections", "4")
    for seed in SEEDS:
        ended = race("run", "counter", "--strategy", str(tmp_path / "slow.py"), *words, "--seed", str(seed))
        if ended.code != 0:
            break
    assert ended.code == 1, ended.stdout + ended.stderr
    text = " ".join(ended.stdout.split())
    for told in ("(delivered twice)", "every add counts once: violated", "holds, but not under duplicate: as claimed"):
        assert told in text, ended.stdout


def test_not_under_sustained_load(race: Callable[..., Ended]) -> None:
    """There is no middle of a burst."""
    ended = race("run", "counter", "--strategy", "lua", "--mode", "sustained", "--kill-workers")
    assert (ended.code, ended.stdout) == (2, "")
    assert "leave out --mode sustained" in ended.stderr


def test_the_same_seed_kills_the_same() -> None:
    """And never in a burst of the control's."""
    load = Load(bursts=100, kills=5, seed=7)
    drawn = [[Kills(load).draw(0, 20, control=True) for _ in range(30)] for _ in range(2)]
    assert drawn[0] == drawn[1]
    kills = Kills(load)
    for _ in range(50):
        kill = kills.draw(0, 20, control=True)
        assert kill is not None
        assert (kill.meeting - 1) % 5 != 4
        assert kill.slot in {0, 1}
    kills.left = 0
    assert kills.draw(0, 20, control=True) is None
    assert kills.most(500) == 500


def test_what_a_killed_worker_left(tmp_path: Path) -> None:
    """Requests without an answer, to be asked again under their ids; all it had not ended is cut off."""
    with (tmp_path / "entries").open("w+b") as entries, (tmp_path / "words").open("w+b") as words:
        recorder = Recorder(3, entries.fileno(), words.fileno())
        place = recorder.place(("k",))
        mark = recorder.begin("add", place, NOTHING, "", recorder.who(0, 7), -1, 100)
        recorder.end(mark, Reply("added"), 0, 0, 110)
        recorder.begin("add", place, {"by": 2}, "cron", recorder.who(0, 8), 1, 120)
        left = left_by(Reading(3, entries.fileno(), words.fileno()), (0, 2), [6, 7, 8, 9])
    assert left.cut == {8, 9}
    ((burst, (operation,)),) = left.open.items()
    assert (burst, operation.request) == (8, Request("add", ("k",), {"by": 2}, "3-1", "3-a1", "cron"))
    assert request_from(as_order([operation])[0]) == operation.request


def asked(status: Status, returned_ns: int | None, reply: Reply | None = None) -> Operation:
    """A request of a burst."""
    return Operation(Request("add", ("k",), id="3-1"), "3.0", 5_000_000, returned_ns, status, reply)


@pytest.mark.parametrize(
    ("before", "told", "after"),
    [
        (
            asked(Status.UNKNOWN, None),
            ["ok", "added", {}, 90, 91, 9_000_000, ""],
            ("ok", Reply("added"), 9_000_000, 5, 91),
        ),
        (
            asked(Status.UNKNOWN, None),
            ["ok", "added", {}, 0, 0, 9_000_000, ""],
            ("ok", Reply("added"), 9_000_000, 0, 0),
        ),
        (asked(Status.UNKNOWN, None), ["unknown", None, {}, 0, 0, None, "stuck"], ("unknown", None, None, 0, 0)),
        (
            asked(Status.OK, 6, Reply("added")),
            ["ok", "other", {}, 1, 1, 9, ""],
            ("ok", Reply("added"), 6, 0, 0),
        ),
    ],
)
def test_both_deliveries_are_one_operation(before: Operation, told: list[object], after: tuple[object, ...]) -> None:
    """What the second was told counts; it may have been decided since the first was sent."""
    record = BurstRecord(operations=[before])
    merged(record, {"3-1": [*told, 6_000_000]}, 0, lambda _reply: True)
    (one,) = record.operations
    assert (one.status, one.reply, one.returned_ns, one.now_ms, one.now_max_ms) == after


@pytest.mark.parametrize(("decision", "final"), [("duplicate", False), ("aborted", True)])
def test_what_answers_the_second_only_is_an_operation_of_its_own(decision: str, final: bool) -> None:
    """Of the first nobody knows what became of it; the second was asked after it. So it is of one that gives up."""
    before = asked(Status.UNKNOWN, None)
    record = BurstRecord(operations=[before])
    merged(record, {"3-1": ["ok", decision, {}, 0, 0, 9_000_000, "", 6_000_000]}, 0, lambda _reply: final)
    first, second = record.operations
    assert first == before
    assert (second.request.id, second.request.attempt) == ("3-1+", before.request.attempt)
    assert (second.status, second.reply) == ("ok", Reply(decision))
    assert (second.invoked_ns, second.returned_ns) == (6_000_000, 9_000_000)


@pytest.mark.parametrize(("cut", "verdict"), [(0, Verdict.HELD), (50, Verdict.HELD), (51, Verdict.INCONCLUSIVE)])
def test_enough_must_be_whole(cut: int, verdict: Verdict) -> None:
    """Where most bursts were cut off, nothing is said."""
    facts = Facts(judged=100, cut_off=cut, control="naive", control_bursts=20, control_broken=20)
    assert conclude(facts)[0] is verdict
    assert conclude(Facts(judged=100, cut_off=cut))[0] is Verdict.INCONCLUSIVE
