"""A roster in one document, or in rows, or in a set: two add, one is removed meanwhile, or the team is deleted."""

from __future__ import annotations

from ast import literal_eval
from typing import TYPE_CHECKING

import pytest

from harness.explore import Exhaustive, Options
from harness.model import Verdict

if TYPE_CHECKING:
    from tests.explore.conftest import Stage

HOLD = (
    "lua", "watch", "actor", "pg-for-update", "pg-advisory", "pg-serializable", "pg-conditional",
    "pg-unique:foreign-key",
)  # fmt: skip


def left(rest: tuple[str, ...]) -> str:
    """The team at rest."""
    (value,) = map(literal_eval, rest)
    return f"{value['open']} {' '.join(value['members'])}"


@pytest.mark.parametrize(("rule", "rest"), [("add", "True alice bob zed"), ("remove", "True alice")])
@pytest.mark.parametrize("strategy", [*HOLD, "atomic"])
def test_what_was_told_is_so(stage: Stage, strategy: str, rule: str, rest: str) -> None:
    """Whoever comes first, and nobody is shown an error."""
    found, _ = stage.explore("roster", strategy, Exhaustive, Options(every=True), rule=rule)
    assert (found.verdict, found.errors) == (Verdict.PROVED, {}), found.reason
    assert {left(value) for _told, value, _violated in found.outcomes} == {rest}


@pytest.mark.parametrize("strategy", HOLD)
def test_nobody_is_left_of_a_team_that_is_no_more(stage: Stage, strategy: str) -> None:
    """Added before it, and gone with it; or refused."""
    found, _ = stage.explore("roster", strategy, Exhaustive, Options(every=True), rule="delete")
    assert (found.verdict, found.errors) == (Verdict.PROVED, {}), found.reason
    assert {left(value) for _told, value, _violated in found.outcomes} == {"False "}
    added = {("'added'" in repr(told), "'no team'" in repr(told)) for told, _value, _violated in found.outcomes}
    assert added == {(True, False), (False, True)}


@pytest.mark.parametrize(
    ("strategy", "rule", "says"),
    [
        ("naive", "add", "bob was added, and is not in"),
        ("mutex", "add", "bob was added, and is not in"),
        ("pg-read-committed", "add", "bob was added, and is not in"),
        ("pg-for-update:lock-after-read", "remove", "zed was removed, and is in"),
        ("pg-advisory:same-statement", "remove", "alice was added, and is not in"),
        ("pg-read-committed", "delete", "alice and zed are in a team that was deleted"),
        ("pg-unique:no-foreign-key", "delete", "alice is in a team that was deleted"),
    ],
)
def test_who_is_lost_and_who_is_left(stage: Stage, strategy: str, rule: str, says: str) -> None:
    """A list written back, a lock of one of two processes, a lock after the look, a look that locks nothing."""
    found, smallest = stage.explore("roster", strategy, Exhaustive, Options(), rule=rule, shrink=True)
    assert found.verdict is Verdict.VIOLATED, found.reason
    assert smallest is not None
    assert smallest.says == says


def test_in_one_process_its_lock_is_enough(stage: Stage) -> None:
    """Until there are two."""
    found, _ = stage.explore("roster", "mutex", Exhaustive, Options(processes=1), rule="add")
    assert found.verdict is Verdict.PROVED, found.reason


@pytest.mark.parametrize("rule", ["add", "remove", "delete"])
@pytest.mark.parametrize("strategy", ["pg-unique:foreign-key", "pg-unique:no-foreign-key"])
def test_of_what_a_foreign_key_ties_no_order_is_left_out(stage: Stage, strategy: str, rule: str) -> None:
    """The reduced search comes to what the full one does."""
    reduced, _ = stage.explore("roster", strategy, Exhaustive, Options(every=True), rule=rule)
    full, _ = stage.explore("roster", strategy, lambda: Exhaustive(reduce=False), Options(every=True), rule=rule)
    assert (reduced.exhausted, full.exhausted) == (True, True)
    assert reduced.outcomes == full.outcomes
