"""The rule of six-writers, its six copies, and what its invariants say of hand-made evidence."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from harness import Breach, Evidence, Reply, Request
from harness.model import Operation, Status
from harness.strategy import RuleSpec
from harness.strategy.loader import find_scenario, find_strategy

KEY = "account:1"
SCENARIO = find_scenario("six-writers")
WRITERS = ("http", "webhook", "worker", "cron", "admin", "agent")


def ask(role: str = "", amount: int = 60, operation: str = "take", id_: str = "r") -> Request:
    """A request of a writer."""
    return Request(operation, (KEY,), {} if operation == "freeze" else {"amount": amount}, id=id_, role=role)


def account(balance: int, *, frozen: bool = False) -> dict[str, Any]:
    """The value of an account."""
    return {"balance": balance, "frozen": frozen}


@pytest.mark.parametrize(
    ("before", "request_", "reply", "after"),
    [
        (account(100), ask(), Reply("taken", {"left": 40}), account(40)),
        (account(60), ask(), Reply("taken", {"left": 0}), account(0)),
        (account(59), ask(), Reply("refused"), account(59)),
        (account(100, frozen=True), ask(), Reply("refused"), account(100, frozen=True)),
        (account(70), ask(operation="freeze"), Reply("done", {"left": 70}), account(70, frozen=True)),
    ],
)
def test_the_rule(before: Any, request_: Request, reply: Reply, after: Any) -> None:
    """What each request does to an account, by the one method and by each of six copies."""
    copies = SCENARIO().under("copies").duties
    assert tuple(copies) == WRITERS
    for rule in (SCENARIO().rules["method"], *copies.values()):
        outcome = rule({KEY: before}, request_, 0)
        assert (reply, after) == (outcome.reply, {KEY: before, **outcome.changes}[KEY])


@pytest.mark.parametrize(
    ("rule", "role", "frozen", "poor"),
    [
        ("cron-forgets", "cron", "taken", "refused"),
        ("cron-forgets", "http", "refused", "refused"),
        ("bypass", "admin", "taken", "taken"),
        ("bypass", "cron", "refused", "refused"),
        ("method", "cron", "refused", "refused"),
    ],
)
def test_what_a_writer_remembers(rule: str, role: str, frozen: str, poor: str) -> None:
    """Asked by callers who enforce the rule; an owner always knows all of it."""
    scenario = SCENARIO().under(rule)
    lock, owner = (find_strategy(name)[0](scenario) for name in ("redis-lock", "actor"))
    states = {KEY: account(100, frozen=True)}, {KEY: account(10)}

    def told(strategy: Any) -> list[str]:
        applied = strategy.applied(scenario.rules[rule], role)
        return [applied(state, ask(role), 0).reply.decision for state in states]

    assert (told(lock), told(owner)) == ([frozen, poor], ["refused", "refused"])


def test_an_order_has_to_explain_what_was_applied() -> None:
    """Of cron its own copy; where an owner decides, the whole rule."""
    scenario = SCENARIO().under("cron-forgets")
    frozen, taking, reply = {KEY: account(100, frozen=True)}, ask("cron"), Reply("taken", {"left": 40})
    kinds = [find_strategy(name)[0](scenario) for name in ("redis-lock", "actor")]
    found = [
        list(RuleSpec(scenario, "cron-forgets", strategy).allowed(frozen, taking, 0, reply))
        for strategy in (None, *kinds)
    ]
    explained = [{KEY: account(40, frozen=True)}]
    assert found == [explained, explained, []]


@pytest.mark.parametrize(
    ("rule", "strategy", "size", "who"), [("cron-forgets", "", 4, "cron"), ("bypass", "", 3, "admin")]
)
def test_who_has_not_the_whole_rule_is_there(rule: str, strategy: str, size: int, who: str) -> None:
    """In every burst, with somebody whom it hurts."""
    scenario = SCENARIO().under(rule)
    for seed in range(20):
        burst = scenario.burst(Random(seed), size)
        assert (burst[0].role, burst[0].operation, len(burst)) == (who, "take", size)
        assert {one.role for one in burst} <= set(WRITERS)


def done(role: str, decision: str, left: int | None = None, operation: str = "take") -> Operation:
    """A request that was answered so."""
    reply = Reply(decision, {} if left is None else {"left": left})
    return Operation(ask(role, operation=operation, id_=f"{role}-{operation}"), "w", 5, 6, Status.OK, reply)


@pytest.mark.parametrize(
    ("operations", "rest", "breaches"),
    [
        ([done("http", "taken", 40), done("cron", "refused")], account(40), []),
        ([done("http", "taken", 40), done("admin", "done", 40, "freeze")], account(40, frozen=True), []),
        ([done("http", "taken", 40), done("admin", "aborted", operation="freeze")], account(40), []),
        (
            [done("admin", "done", 100, "freeze"), done("cron", "taken", 40)],
            account(40, frozen=True),
            [Breach("cron took 60 from an account that was frozen", ("cron-take",), 60)],
        ),
        (
            [done("admin", "done", 100, "freeze")],
            account(100),
            [Breach("an account that was frozen is not frozen any more")],
        ),
        (
            [done("http", "taken", 40), done("admin", "taken", -20)],
            account(-20),
            [Breach("admin took 60 and left -20", ("admin-take",), 20)],
        ),
        (
            [done("http", "taken", 40), done("agent", "taken", 40)],
            account(40),
            [Breach("http and agent took 120 of 100", ("http-take", "agent-take"), 20)],
        ),
    ],
)
def test_the_invariants(operations: list[Operation], rest: Any, breaches: list[Breach]) -> None:
    """Who is to blame is named; where each was told of enough, all of them are."""
    evidence = Evidence("1", (KEY,), operations, initial={KEY: account(100)}, rest={KEY: rest})
    assert breaches == [breach for one in SCENARIO().invariants() for breach in one.check(evidence)]


@pytest.mark.parametrize("value", [account(0), account(-20), account(10**12), account(7, frozen=True)])
def test_an_account_survives_its_layouts(value: Any) -> None:
    """As a string of Redis and as a row of PostgreSQL."""
    scenario = SCENARIO()
    assert value == scenario.values.parse(scenario.values.encode(value).encode())
    assert value == scenario.rows.value(scenario.rows.row(value))
