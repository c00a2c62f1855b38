"""The other rules of cron-job: fields that are written apart or together, and a lock that leaves no trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.explore import Exhaustive, Options
from harness.model import Verdict

if TYPE_CHECKING:
    from tests.explore.conftest import Stage

UNDONE = "it was set to every 10 minutes, and is every 1"
TWICE = "the job ran 2 times at tick 7"


@pytest.mark.parametrize(
    ("strategy", "says"),
    [
        ("naive", UNDONE),
        ("pg-read-committed", UNDONE),
        ("naive:fields", ""),
        ("pg-read-committed:columns", ""),
        ("lua", ""),
        ("pg-conditional", ""),
        ("pg-version", ""),
    ],
)
def test_who_saves_the_whole_record(stage: Stage, strategy: str, says: str) -> None:
    """Undoes what another wrote in a field of its own; who writes its own field only does not, without any lock."""
    found, smallest = stage.explore("cron-job", strategy, Exhaustive, Options(every=True), rule="edit", shrink=True)
    assert ("" if smallest is None else smallest.says) == says
    assert found.verdict is (Verdict.VIOLATED if says else Verdict.PROVED), found.reason
    if not says:
        outcomes = [*map(repr, found.outcomes)]
        assert all(f"'every': 10, 'last': {6 + ('run' in text)}" in text for text in outcomes), outcomes
        assert any("run" in text for text in outcomes)


@pytest.mark.parametrize("strategy", ["naive:fields", "pg-read-committed:columns", "pg-procedure:no-lock"])
def test_to_write_one_s_own_field_is_no_claim(stage: Stage, strategy: str) -> None:
    """Where both decide on the field that both write, both run."""
    found, smallest = stage.explore("cron-job", strategy, Exhaustive, Options(), shrink=True)
    assert found.verdict is Verdict.VIOLATED
    assert smallest is not None
    assert smallest.says == TWICE


@pytest.mark.parametrize("strategy", ["redis-lock", "pg-for-update", "pg-advisory:try"])
def test_a_lock_that_leaves_no_trace(stage: Stage, strategy: str) -> None:
    """Order held, rule violated: whose clock is late runs the tick again, one after the other."""
    found, smallest = stage.explore("cron-job", strategy, Exhaustive, Options(), rule="unrecorded", shrink=True)
    assert found.verdict is Verdict.VIOLATED
    assert smallest is not None
    assert (smallest.says, smallest.finding.order) == (TWICE, "legal")


def test_who_does_not_get_the_lock_leaves_it(stage: Stage) -> None:
    """One runs; the other one gives up, or comes after it and is told that it is not due."""
    found, _ = stage.explore("cron-job", "pg-advisory:try", Exhaustive, Options(every=True))
    assert (found.verdict, set(found.errors)) == (Verdict.BOUNDED, {"aborted"}), found.reason
    assert all(text.count("'run'") == 1 for text in map(repr, found.outcomes))
    assert {"'aborted'" in text for text in map(repr, found.outcomes)} == {True, False}
