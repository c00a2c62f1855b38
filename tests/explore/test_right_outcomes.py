"""What is right, where it was wrong: what both callers are told, and what is left, in every order of two."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.explore import Exhaustive, Options
from harness.model import Verdict

if TYPE_CHECKING:
    from tests.explore.conftest import Stage

RIGHT = {
    "last-owner": (
        ("lua", "actor", "pg-for-update", "pg-for-update:parent", "pg-advisory", "pg-serializable"),
        ["left", "refused"],
        {"['ann']", "['bob']"},
    ),
    "counter": (
        ("pg-for-update", "pg-for-update:refreshed", "pg-conditional", "pg-version", "pg-repeatable-read"),
        ["added", "added"],
        {"2"},
    ),
    "invoice-number": (
        ("lua", "pg-unique", "pg-conditional:total"),
        ["issued", "issued"],
        {"{'r1': 1, 'r2': 2}", "{'r1': 2, 'r2': 1}"},
    ),
    "cron-job": (
        ("lua", "pg-unique", "pg-conditional", "pg-advisory"),
        ["not due", "run"],
        {"{'every': 1, 'last': 7}"},
    ),
    "booking": (
        ("lua", "actor", "pg-exclusion", "pg-for-update:parent", "pg-advisory", "pg-serializable"),
        ["booked", "taken"],
        {"{'r1': [10, 11]}", "{'r2': [10, 11]}"},
    ),
    "refund": (
        ("lua", "actor", "pg-conditional:total", "pg-advisory", "pg-serializable"),
        ["refunded", "refused"],
        {f"{{'captured': 100, 'refunds': {{'{name}': [60, 'sent']}}}}" for name in ("r1", "r2")},
    ),
}


@pytest.mark.parametrize(
    ("scenario", "strategy"), [(name, strategy) for name, (strategies, *_) in RIGHT.items() for strategy in strategies]
)
def test_what_is_right(stage: Stage, scenario: str, strategy: str) -> None:
    """Whoever comes second is told so, and nobody is shown an error."""
    _strategies, decisions, left = RIGHT[scenario]
    found, _ = stage.explore(scenario, strategy, Exhaustive, Options(every=True))
    assert (found.verdict, found.errors) == (Verdict.PROVED, {}), found.reason
    for told, rest, _violated in found.outcomes:
        said = sorted(word for word in {*decisions} for one in told if f"decision='{word}'" in repr(one))
        assert (said, {*rest} <= left) == (decisions, True)


@pytest.mark.parametrize("strategy", ["lua", "actor", "pg-advisory", "pg-serializable"])
def test_who_is_refused_is_told_how_much_is_left(stage: Stage, strategy: str) -> None:
    """Of 100 the other one has sixty."""
    found, _ = stage.explore("refund", strategy, Exhaustive, Options(every=True))
    assert {repr(told).count("{'left': 40}") for told, _rest, _violated in found.outcomes} == {1}


@pytest.mark.parametrize("strategy", ["lua", "actor", "pg-conditional", "pg-for-update", "pg-serializable"])
def test_both_are_given_the_same_successor(stage: Stage, strategy: str) -> None:
    """Who comes second with a token is neither refused nor given one of its own."""
    found, _ = stage.explore("token-rotation", strategy, Exhaustive, Options(every=True))
    assert found.verdict is Verdict.PROVED, found.reason
    given = {tuple(repr(told).count(f"'token': 't-{name}'") for name in ("r1", "r2")) for told, *_ in found.outcomes}
    assert given == {(2, 0), (0, 2)}


FREE = "{'plan': 'free', 'pending': '', 'closed': True, 'known': ['a1']}"
PRO = "{'plan': 'pro', 'pending': '', 'closed': False, 'known': ['a2']}"
TOLD_AND_LEFT = {
    # One has the slot, and the other one is told.
    ("booking", "slots"): (
        ("atomic", "lua", "watch", "pg-unique", "pg-conditional", "pg-for-update", "pg-serializable"),
        Verdict.PROVED,
        {(("booked", "taken"), "{'r1': [10, 11]}", False), (("booked", "taken"), "{'r2': [10, 11]}", False)},
    ),
    # Paid is applied once and once known, created is applied whenever it comes, and what counts is how things stand.
    ("webhook", "re-read"): (
        ("lua", "watch", "actor", "pg-unique", "pg-conditional", "pg-for-update"),
        Verdict.PROVED,
        {
            (
                ("applied", "applied", "duplicate"),
                "{'status': 'active', 'version': 2, 'credits': 100, 'seen': ['e2', 'e1']}",
                False,
            )
        },
    ),
    # Whoever finds it finished ends a plan that was paid for, whatever keeps them apart.
    ("subscription", "error-cancels"): (
        ("lua", "actor", "pg-for-update"),
        Verdict.VIOLATED,
        {
            (("active", "ended", "known", "pending", "refused"), FREE, True),
            (("active", "pending", "refused"), PRO, False),
        },
    ),
}


@pytest.mark.parametrize(
    ("scenario", "rule", "strategy"),
    [(*cell, one) for cell, (strategies, *_) in TOLD_AND_LEFT.items() for one in strategies],
)
def test_what_each_is_told_and_what_is_left(stage: Stage, scenario: str, rule: str, strategy: str) -> None:
    """In every order of two, under rules that are not the scenario's first: all that may come of it, and no more."""
    _strategies, verdict, outcomes = TOLD_AND_LEFT[scenario, rule]
    found, _ = stage.explore(scenario, strategy, Exhaustive, Options(every=True, seed=1), rule=rule)
    assert (found.verdict, found.order, found.errors) == (verdict, Verdict.PROVED, {}), found.reason
    seen = {
        (tuple(sorted(reply.partition("decision='")[2].partition("'")[0] for *_, reply in told)), *rest, violated)
        for told, rest, violated in found.outcomes
    }
    assert seen == outcomes


@pytest.mark.parametrize(
    ("scenario", "strategy", "says"),
    [
        ("counter", "pg-for-update:lock-after-read", "2 adds were acknowledged but the counter shows 1"),
        ("counter", "pg-for-update:lock-on-refresh", "2 adds were acknowledged but the counter shows 1"),
        ("counter", "redis-lock:read-first", "2 adds were acknowledged but the counter shows 1"),
        ("last-owner", "pg-read-committed", "everybody has left: the team has no owner"),
        ("last-owner", "pg-repeatable-read", "everybody has left: the team has no owner"),
        ("last-owner", "pg-for-update:parent-after-read", "everybody has left: the team has no owner"),
        ("invoice-number", "pg-read-committed", "2 invoices have the number 1"),
        ("booking", "pg-repeatable-read", "booked twice: 10 to 11 and 10 to 11"),
        ("booking", "pg-for-update", "booked twice: 10 to 11 and 10 to 11"),
        ("refund", "pg-for-update", "120 were refunded of 100 captured"),
        ("get-or-create", "pg-repeatable-read", "there are 2 rows of one name"),
        ("booking", "pg-read-committed:random-sleep", "booked twice: 10 to 11 and 10 to 11"),
    ],
)
def test_what_does_not_help(stage: Stage, scenario: str, strategy: str, says: str) -> None:
    """A lock that is taken after what is decided on was read, a snapshot, a transaction, to sleep before it."""
    found, smallest = stage.explore(scenario, strategy, Exhaustive, Options(), shrink=True)
    assert found.verdict is Verdict.VIOLATED
    assert smallest is not None
    assert smallest.says == says


def test_who_locks_the_others_is_shown_a_deadlock(stage: Stage) -> None:
    """One leaves, and the other one is ended, or refused."""
    found, _ = stage.explore("last-owner", "pg-for-update:others", Exhaustive, Options(every=True))
    assert (found.verdict, set(found.errors)) == (Verdict.PROVED, {"40P01"})
    ends = {("'40P01'" in repr(told), "refused" in repr(told)) for told, _rest, _violated in found.outcomes}
    assert ends == {(True, False), (False, True)}
