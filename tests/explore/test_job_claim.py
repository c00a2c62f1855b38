"""The other rules of job-claim: a job that is handed out twice, and a completion that does not look."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.explore import Exhaustive, Options
from harness.model import Verdict
from harness.results.claims import breaks

if TYPE_CHECKING:
    from tests.explore.conftest import Stage

RUN_TWICE = "j1 was run 2 times"
NO_ORDER = "no one-at-a-time order explains the answers and what was left behind"


@pytest.mark.parametrize("strategy", ["lua", "pg-conditional", "pg-skip-locked", "pg-skip-locked:wait"])
def test_a_job_that_is_handed_out_twice_runs_once(stage: Stage, strategy: str) -> None:
    """One worker is told to go, the other that it is not his."""
    found, _ = stage.explore("job-claim", strategy, Exhaustive, Options(), rule="named")
    assert found.verdict is Verdict.PROVED, found.reason


@pytest.mark.parametrize("strategy", ["lua", "watch", "actor", "pg-conditional", "pg-for-update", "pg-skip-locked"])
def test_of_two_that_hold_a_job_one_runs_it(stage: Stage, strategy: str) -> None:
    """The claim in the job's own store refuses the second, who comes at any time: also when the first has finished."""
    found, _ = stage.explore("job-claim", strategy, Exhaustive, Options(every=True), rule="redelivered")
    assert found.verdict is Verdict.PROVED, found.reason
    ends = {
        tuple(text.count(f"'{one}'") for one in ("none", "completed", "late")) for text in map(repr, found.outcomes)
    }
    assert ends == {(1, 1, 0)}


@pytest.mark.parametrize("strategy", ["naive", "watch:no-multi", "pg-read-committed"])
def test_a_claim_that_both_make(stage: Stage, strategy: str) -> None:
    """Both find it free, and both run it."""
    found, smallest = stage.explore("job-claim", strategy, Exhaustive, Options(), rule="redelivered", shrink=True)
    assert smallest is not None
    assert (found.verdict, smallest.says, smallest.finding.order) == (Verdict.VIOLATED, RUN_TWICE, "illegal")


@pytest.mark.parametrize("strategy", ["watch", "actor", "pg-for-update", "pg-serializable", "redis-lock:whole-flow"])
def test_to_be_enqueued_once_is_no_claim(stage: Stage, strategy: str) -> None:
    """Order held, rule violated: it is in the queue once, and handed out twice. One after the other breaks it, too."""
    found, smallest = stage.explore("job-claim", strategy, Exhaustive, Options(), rule="unique-enqueue", shrink=True)
    assert smallest is not None
    assert (found.verdict, smallest.says, smallest.finding.order) == (Verdict.VIOLATED, RUN_TWICE, "legal")


@pytest.mark.parametrize("strategy", ["pg-skip-locked", "pg-skip-locked:wait", "pg-conditional", "pg-version"])
def test_a_lock_on_one_s_own_job_does_not_keep_the_other_s_away(stage: Stage, strategy: str) -> None:
    """Two jobs that exclude each other are two rows: each is locked, or written, by one."""
    found, smallest = stage.explore("job-claim", strategy, Exhaustive, Options(), rule="one-lock", shrink=True)
    assert found.verdict is Verdict.VIOLATED
    assert smallest is not None
    assert smallest.says == "j1 and j2 ran together"


@pytest.mark.parametrize(
    "strategy", ["lua", "pg-for-update", "pg-version:root", "pg-serializable", "pg-advisory", "pg-unique"]
)
def test_what_looks_at_all_jobs_does(stage: Stage, strategy: str) -> None:
    """One is given out, and the other worker is told that there is none."""
    found, _ = stage.explore("job-claim", strategy, Exhaustive, Options(), rule="one-lock")
    assert found.verdict is Verdict.PROVED, found.reason


@pytest.mark.parametrize(
    ("strategy", "verdict"),
    [
        ("lua", "proved"),
        ("pg-conditional", "proved"),
        ("pg-version", "proved"),
        ("pg-repeatable-read", "proved"),
        ("pg-skip-locked:wait", "proved"),
        ("pg-skip-locked", "violated"),
        ("pg-read-committed", "violated"),
    ],
)
def test_who_may_take_the_first_only_meets_the_other_at_its_row(stage: Stage, strategy: str, verdict: str) -> None:
    """Where the head of the line is the only one to have, one row is enough; unless it is skipped while locked."""
    found, _ = stage.explore("job-claim", strategy, Exhaustive, Options(), rule="head-of-line")
    assert str(found.verdict) == verdict, found.reason


@pytest.mark.parametrize("strategy", ["lua", "watch", "actor", "pg-conditional", "pg-for-update", "pg-version"])
def test_the_first_end_stays(stage: Stage, strategy: str) -> None:
    """Of a cancel and a late completion one is told that it counts: as the job shows at rest."""
    found, _ = stage.explore("job-claim", strategy, Exhaustive, Options(every=True), rule="ended")
    assert found.verdict is Verdict.PROVED, found.reason
    ends = {("'completed'" in text, "'too late'" in text, "'done'" in text) for text in map(repr, found.outcomes)}
    assert ends == {(True, True, True), (False, False, False)}


def test_two_ends_where_nobody_counts_the_rows(stage: Stage) -> None:
    """The statement is conditional, and whoever comes second is not told: both send their notices."""
    found, smallest = stage.explore(
        "job-claim", "pg-conditional:ignore-count", Exhaustive, Options(), rule="ended", shrink=True
    )
    assert found.verdict is Verdict.VIOLATED
    assert smallest is not None
    assert smallest.says in {"j3 was cancelled, and is done", "j3 was completed, and is cancelled"}


@pytest.mark.parametrize("strategy", ["lua", "actor", "pg-serializable", "pg-skip-locked"])
def test_no_order_helps_a_rule_that_does_not_look(stage: Stage, strategy: str) -> None:
    """Order held, rule violated: first cancelled, then done."""
    found, smallest = stage.explore("job-claim", strategy, Exhaustive, Options(), rule="blind", shrink=True)
    assert found.verdict is Verdict.VIOLATED
    assert smallest is not None
    assert (smallest.says, smallest.finding.order) == ("j3 was cancelled, and is done", "legal")


def test_who_comes_too_late_for_one_job_is_told_that_there_is_none(stage: Stage) -> None:
    """Rule held, order violated: nobody is given another's job, but one that is free is left lying."""
    found, smallest = stage.explore("job-claim", "pg-conditional", Exhaustive, Options(), shrink=True)
    assert found.verdict is Verdict.VIOLATED
    assert smallest is not None
    assert (smallest.says, smallest.finding.order) == (NO_ORDER, "illegal")
    assert not any(smallest.finding.breaches.values())


@pytest.mark.parametrize(
    ("strategy", "rule", "options", "verdict"),
    [
        ("pg-skip-locked", "named", Options(), "violated"),
        ("pg-skip-locked:wait", "named", Options(), "proved"),
        ("pg-skip-locked", "any", Options(), "proved"),
        ("pg-skip-locked", "any", Options(size=3, seed=4), "violated"),
        ("pg-skip-locked", "ended", Options(), "proved"),
    ],
    ids=str,
)
def test_a_dead_worker_s_lock_is_no_claim(
    stage: Stage, strategy: str, rule: str, options: Options, verdict: str
) -> None:
    """What was skipped is free again once its holder has died; who waits for it gets it.

    Where any job will do, and there are two, it takes a third worker to be told that there is none. Where nobody looks
    for a job nothing is skipped.
    """
    options = replace(options, faults=("crash",))
    explorer = stage.explorer("job-claim", strategy, options, rule)
    found, _ = stage.explore("job-claim", strategy, Exhaustive, options, rule=rule)
    assert str(found.verdict) == verdict, found.reason
    assert breaks(explorer.bound.claim, ("crash",)) is ((strategy, rule) in SKIPPED)


SKIPPED = {("pg-skip-locked", "named"), ("pg-skip-locked", "any")}


def test_who_does_not_wait_is_told(stage: Stage) -> None:
    """Of two who want one job one has it; the other is told that it is taken, or, while the row is locked, 55P03."""
    found, _ = stage.explore("job-claim", "pg-for-update:nowait", Exhaustive, Options(every=True), rule="named")
    assert (found.verdict, set(found.errors)) == (Verdict.PROVED, {"55P03"}), found.reason
    ends = {(text.count("'claimed'"), "55P03" in text) for text in (repr(told) for told, *_ in found.outcomes)}
    assert ends == {(1, True), (1, False)}


MIXED = """
from harness.strategy.loader import find_scenario
Known = find_scenario("job-claim")
class Mixed(Known):
    name = "mixed"
    def burst(self, rng, size):
        return [Known().under("any").burst(rng, 1)[0], Known().under("ended").burst(rng, 1)[0]]
"""


@pytest.mark.parametrize(
    ("strategy", "errors", "lost"),
    [("pg-serializable:no-retry", {"40001"}, True), ("pg-serializable", set(), False), ("pg-for-update", set(), False)],
)
def test_a_mark_that_is_lost(stage: Stage, tmp_path: Path, strategy: str, errors: set[str], lost: bool) -> None:
    """A worker's last word is refused with 40001 for another's claim of another job: unless said again, it is lost.

    Whoever is shown an answer finds it in the state.
    """
    script = tmp_path / "mixed.py"
    script.write_text(MIXED, encoding="utf-8")
    found, _ = stage.explore(str(script), strategy, Exhaustive, Options(every=True))
    assert (found.verdict, set(found.errors)) == (Verdict.PROVED, errors), found.reason
    ends = {"completed" in text and "'j3': ['done', 'w0']" in text for text in map(repr, found.outcomes)}
    assert ends == ({True, False} if lost else {True})
    assert not any("completed" in text and "'j3': ['claimed'" in text for text in map(repr, found.outcomes))
