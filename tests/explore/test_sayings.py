"""Why a schedule breaks, in one sentence, where it is a fault, or who waits for whom."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from harness.explore import Exhaustive, Options
from harness.judge import Explanation
from harness.model import Verdict
from harness.report.exploration import lines_below
from harness.results.exploration import smallest_document
from tests.explore.conftest import Stage
from tests.explore.test_connections import LOCKED
from tests.explore.test_in_vain import ANYWAY
from tests.explore.test_outside import written

pytestmark = pytest.mark.stores
LATE = "What owner had sent before it crashed at 3 arrived at 7: others had gone on without it."
TWICE = "A' is the request of A once more, and was not taken for the same."
PAUSED = "A was paused at 1: every lease and window had ended when it went on."
KEPT = "B waits for what A holds, and A has been answered."


def smallest(stage: Stage, scenario: str, strategy: str, options: Options) -> Explanation:
    """Of a cell that breaks."""
    _, found = stage.explore(scenario, strategy, Exhaustive, options, shrink=True)
    assert found is not None
    return found.explanation()


@pytest.mark.parametrize(
    ("scenario", "strategy", "fault", "why"),
    [
        ("register", "actor", "crash", LATE),
        ("counter", "atomic", "duplicate", TWICE),
        ("token-rotation", "lua", "pause", PAUSED),
    ],
)
def test_a_fault(stage: Stage, scenario: str, strategy: str, fault: str, why: str) -> None:
    """What arrives when others have gone on, what comes twice, and what time has passed over."""
    assert smallest(stage, scenario, strategy, Options(faults=(fault,))).why == why


def test_one_request_that_was_told_yes_and_no(stage: Stage) -> None:
    """Is not one that was refused for no reason."""
    found = smallest(stage, "rate-limit", "actor", Options(faults=("duplicate",)))
    assert found.says == "one request, delivered twice, was told limited and admitted left 0"


def test_each_delivery_shows_what_it_was_told(stage: Stage) -> None:
    """The second one not what the first was told, nor the other way round."""
    found = smallest(stage, "counter", "atomic", Options(faults=("duplicate",)))
    assert [(row.letter, row.outcome, row.values) for row in found.rows if row.outcome] == [
        ("A", "added", "value=1"), ("A'", "added", "value=2"),
    ]  # fmt: skip
    found = smallest(stage, "double-submit", "actor", Options(faults=("duplicate",)))
    assert [(row.letter, row.outcome) for row in found.rows if row.command.startswith("ASK owner finish")] == [
        ("A", "finished"), ("A'", "lost"),
    ]  # fmt: skip


def test_a_crash_is_no_answer(stage: Stage) -> None:
    """Of one that had been answered before."""
    found = smallest(stage, "idempotency-key", "naive", Options(faults=("crash",)))
    assert [row.outcome for row in found.rows if row.command == "(crashes)"] == [None]
    assert "go" in {row.outcome for row in found.rows}


def test_who_tries_in_vain_is_named(stage: Stage, tmp_path: Path) -> None:
    """No fault, and no mere switch either."""
    options = Options()
    found, schedule = stage.explore("counter", written(tmp_path, ANYWAY), Exhaustive, options, shrink=True)
    assert found.verdict is Verdict.VIOLATED
    drawn = smallest_document(schedule, None)
    assert drawn is not None
    document = {"counterexample": drawn, "verdict": "violated", "overruns": 0, "errors": {}}
    below = dict(islice(lines_below(document), 1))
    assert below["Smallest"].endswith(" between callers; B tries in vain")


def test_what_is_waited_for_is_shown(stage: Stage, tmp_path: Path) -> None:
    """Although it is never answered."""
    body = LOCKED.format(early="pass").replace("pg_advisory_unlock(hashtext($1))", "hashtext($1)")
    found = smallest(stage, "counter", written(tmp_path, body, "postgres"), Options())
    assert (found.says, found.why) == ("1 request was never answered", KEPT)
    last = found.rows[-1]
    assert (last.letter, last.command, last.reply, last.outcome) == (
        "B", "SELECT pg_advisory_lock(hashtext(counter))", "(waits)", "stuck",
    )  # fmt: skip


def test_a_ring_is_shown(stage: Stage) -> None:
    """With the locks that are waited for, not only those that are held."""
    found = smallest(stage, "team-move", "mutex:caller-order", Options(processes=1))
    assert [(row.letter, row.command, row.reply) for row in found.rows] == [
        ("A", "lock red", ""), ("B", "lock blue", ""), ("B", "lock red", "(waits)"), ("A", "lock blue", "(waits)"),
    ]  # fmt: skip


def test_an_answer_has_the_names_that_commands_have(stage: Stage, tmp_path: Path) -> None:
    """Not those of this run."""
    body = """
        await redis("RPUSH", key + ":q", 1)
        await redis("BLPOP", key + ":q", 0)
        value = int(await redis("GET", key) or 0) + 1
        await redis("SET", key, value)"""
    found = smallest(stage, "counter", written(tmp_path, body), Options())
    assert {row.reply for row in found.rows if row.command.startswith("BLPOP")} == {"[counter:q, 1]"}
