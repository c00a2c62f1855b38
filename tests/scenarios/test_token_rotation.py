"""The rules of token-rotation, and what its invariants say of hand-made evidence."""

from __future__ import annotations

from typing import Any

import pytest

from harness import Breach, Evidence, Reply, Request
from harness.model import Operation, Status
from harness.strategy.loader import find_scenario

KEY = "family:1"
SCENARIO = find_scenario("token-rotation")()
RULES = SCENARIO.all_rules()
NOW = 5_000


def rotate(token: str = "t0", number: int = 1) -> Request:
    """Use a token."""
    return Request("rotate", (KEY,), {"token": token}, id=f"r{number}")


def family(current: str, previous: str = "t0", until_ms: int = NOW + 1) -> dict[str, Any]:
    """A family whose first token was used."""
    return {"current": current, "previous": previous, "until_ms": until_ms}


def given(token: str) -> Reply:
    """What is told with a live token."""
    return Reply("rotated", {"token": token})


REVOKED, REFUSED = Reply("revoked"), Reply("refused")


@pytest.mark.parametrize(
    ("rule", "value", "token", "reply", "after"),
    [
        ("replay", None, "t0", given("t-r1"), family("t-r1", until_ms=NOW + 10_000)),
        ("replay", family("t1"), "t1", given("t-r1"), family("t-r1", "t1", NOW + 10_000)),
        ("replay", family("t1"), "t0", given("t1"), family("t1")),
        ("replay", family("t1", until_ms=NOW), "t0", REVOKED, family("", until_ms=NOW)),
        ("replay", family("t2", "t1"), "t0", REVOKED, family("", "t1")),
        ("replay", family(""), "t0", REVOKED, family("")),
        ("strict", None, "t0", given("t-r1"), family("t-r1", until_ms=NOW)),
        ("strict", family("t1", until_ms=NOW), "t0", REVOKED, family("", until_ms=NOW)),
        ("refuse", None, "t0", given("t-r1"), family("t-r1", until_ms=NOW)),
        ("refuse", family("t1"), "t0", REFUSED, family("t1")),
    ],
)
def test_the_rules(rule: str, value: Any, token: str, reply: Reply, after: Any) -> None:
    """A live token is rotated; what becomes of a used one is the question."""
    outcome = RULES[rule]({KEY: value}, rotate(token), NOW)
    assert (reply, after) == (outcome.reply, {KEY: value, **outcome.changes}[KEY])


def told(*replies: Reply | None) -> list[Breach]:
    """What the invariants say where callers were told this."""
    operations = [
        Operation(rotate(number=number), "w", 1, 2, Status.OK if reply else Status.UNKNOWN, reply, NOW, NOW)
        for number, reply in enumerate(replies)
    ]
    evidence = Evidence("burst", (KEY,), operations)
    return [breach for known in SCENARIO.invariants() for breach in known.check(evidence)]


def test_one_successor_for_all() -> None:
    """Given to everybody, or to nobody who could tell."""
    assert told(given("t1"), given("t1"), None) == []


def test_a_family_that_forks() -> None:
    """Three successors are two too many."""
    assert [Breach("t0 has 3 successors", ("r0", "r1", "r2"), 2)] == told(given("t1"), given("t2"), given("t3"))


@pytest.mark.parametrize("reply", [REVOKED, REFUSED])
def test_an_honest_client_that_is_refused(reply: Reply) -> None:
    """Nobody stole anything."""
    assert [*(part for breach in told(given("t1"), reply) for part in (breach.amount, breach.operations))] == [
        1,
        ("r1",),
    ]


def test_a_family_survives_its_layouts() -> None:
    """As JSON and as a row."""
    value = family("t1")
    assert value == SCENARIO.values.parse(SCENARIO.values.encode(value).encode())
    assert value == SCENARIO.rows.value(SCENARIO.rows.row(value))
    assert SCENARIO.view(value, NOW) == ("t1", "t0")
