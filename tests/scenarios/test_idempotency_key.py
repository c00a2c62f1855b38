"""The rules of idempotency-key, and what its invariants say of hand-made evidence."""

from __future__ import annotations

from typing import Any

import pytest

from harness import Breach, Evidence, Reply, Request
from harness.model import Effect, Operation, Status
from harness.strategy.loader import find_scenario

KEY = "key:1"
SCENARIO = find_scenario("idempotency-key")()
RULES = SCENARIO.all_rules()
NOW = 5_000


def ask(operation: str, attempt: str = "a", text: str = "") -> Request:
    """A request of an attempt; `text` is its body, or its answer."""
    args = {"body": text or "x"} if operation == "begin" else {"answer": text or "receipt"}
    return Request(operation, (KEY,), args, id=f"{attempt}-{operation}", attempt=attempt)


def held(attempt: str, until_ms: int = NOW + 1, answer: str | None = None) -> dict[str, Any]:
    """A claim, or an answer."""
    return {"attempt": attempt, "body": "x", "until_ms": until_ms, "answer": answer}


@pytest.mark.parametrize("rule", ["conflict", "wait", "kept"])
@pytest.mark.parametrize(
    ("value", "request_", "decision", "after"),
    [
        (held("b", NOW), ask("begin"), "go", "a"),
        (held("a"), ask("begin"), "go", "a"),
        (held("b", answer="r"), ask("begin"), "replay", "b"),
        (held("b", answer="r"), ask("begin", text="y"), "mismatch", "b"),
        (held("b"), ask("begin", text="y"), "mismatch", "b"),
        (None, ask("complete"), "lost", None),
        (held("a"), ask("complete"), "done", "a"),
        (held("a", answer="receipt"), ask("complete"), "done", "a"),
        (held("a", NOW), ask("complete"), "lost", "a"),
        (held("b"), ask("complete"), "lost", "b"),
    ],
)
def test_the_rules(rule: str, value: Any, request_: Request, decision: str, after: str | None) -> None:
    """What a begin and a complete do, whatever the second is told meanwhile."""
    outcome = RULES[rule]({KEY: value}, request_, NOW)
    left = {KEY: value, **outcome.changes}[KEY]
    assert (decision, after) == (outcome.reply.decision, left and left["attempt"])


@pytest.mark.parametrize(
    ("rule", "meanwhile", "lease_ms"),
    [("conflict", "in progress", 2_000), ("wait", "wait", 2_000), ("kept", "in progress", 1_000_000_000_000)],
)
def test_what_the_rules_differ_in(rule: str, meanwhile: str, lease_ms: int) -> None:
    """What the second is told while the first is at work, and how long a claim lasts."""
    outcome = RULES[rule]({KEY: None}, ask("begin"), NOW)
    assert (Reply("go"), NOW + lease_ms) == (outcome.reply, outcome.changes[KEY]["until_ms"])
    assert Reply(meanwhile) == RULES[rule](outcome.changes, ask("begin", "b"), NOW).reply


@pytest.mark.parametrize(
    ("value", "decision", "after"),
    [
        (held("a"), "released", None),
        (held("b"), "lost", "b"),
        (held("a", answer="r"), "done", "a"),
        (None, "lost", None),
    ],
)
def test_who_has_failed_gives_its_claim_back(value: Any, decision: str, after: str | None) -> None:
    """Its own, as long as it has answered nothing."""
    outcome = RULES["released"]({KEY: value}, ask("release"), NOW)
    left = {KEY: value, **outcome.changes}[KEY]
    assert (decision, after) == (outcome.reply.decision, left and left["attempt"])


def test_without_a_claim_both_go() -> None:
    """Answers alone keep nobody out who comes before them; the first one stays."""
    rule = RULES["cached"]
    assert rule({KEY: None}, ask("begin"), NOW) == ({}, Reply("go"))
    stored = rule({KEY: None}, ask("complete"), NOW).changes
    assert Reply("lost") == rule(stored, ask("complete", "b"), NOW).reply


def operation(request: Request, reply: Reply | None) -> Operation:
    """A request that was answered so, or not at all."""
    status = Status.UNKNOWN if reply is None else Status.OK
    return Operation(request, "w", 1, 2, status, reply, NOW, NOW)


def breaches(invariant: str, *operations: Operation, **more: Any) -> list[Breach]:
    """What one invariant says."""
    (known,) = [known for known in SCENARIO.invariants() if known.name == invariant]
    return list(known.check(Evidence("burst", (KEY,), operations, **more)))


def test_two_charges_are_one_too_many() -> None:
    """Whatever became of the leases: the customer sees two charges."""
    charges = tuple(Effect("charge", attempt, (KEY,), 1, 2) for attempt in "ab")
    assert [Breach("one request was charged 2 times", ("a", "b"), 1)] == breaches("one execution", effects=charges)
    assert breaches("one execution", effects=charges[:1]) == []


def test_two_answers_are_one_too_many() -> None:
    """Who did the work was told its own receipt; who did not must be told the same."""
    done = operation(ask("complete", text="r1"), Reply("done"))
    assert breaches("one answer", done, operation(ask("begin", "b"), Reply("replay", {"answer": "r1"}))) == []
    found = breaches("one answer", done, operation(ask("begin", "b"), Reply("replay", {"answer": "r2"})))
    assert [breach.says for breach in found] == ["2 different answers were given"]


@pytest.mark.parametrize(
    ("replies", "number"),
    [
        ((Reply("go"), Reply("in progress")), 0),
        ((None, Reply("wait")), 0),
        ((Reply("in progress"), Reply("wait")), 1),
        ((Reply("aborted"), Reply("aborted")), 0),
    ],
)
def test_somebody_gets_through(replies: tuple[Reply | None, ...], number: int) -> None:
    """Unless nobody can know what became of a begin."""
    begins = [operation(ask("begin", str(place)), reply) for place, reply in enumerate(replies)]
    assert number == len(breaches("somebody got through", *begins))


@pytest.mark.parametrize(
    ("decision", "number"),
    [("go", 0), ("replay", 0), ("mismatch", 0), ("in progress", 1), ("wait", 1), ("aborted", 1)],
)
def test_nobody_is_locked_out(decision: str, number: int) -> None:
    """After the lease a claim that nobody works on is in nobody's way."""
    assert number == len(breaches("not locked out", probes=(operation(ask("begin"), Reply(decision)),)))


@pytest.mark.parametrize(
    ("decision", "charged", "number"),
    [("go", KEY, 1), ("go", "key:2", 0), ("replay", KEY, 0), ("in progress", KEY, 0)],
)
def test_nobody_is_charged_again(decision: str, charged: str, number: int) -> None:
    """Whoever is let in after the lease charges: that must not have been done."""
    probe = operation(ask("begin", "probe"), Reply(decision))
    effects = (Effect("charge", "a", (charged,), 1, 2),)
    assert number == len(breaches("not charged again", probes=(probe,), effects=effects))


@pytest.mark.parametrize(
    ("replies", "released", "number"),
    [
        ((Reply("go"), Reply("wait")), False, 1),
        ((Reply("go"), Reply("wait")), True, 0),
        ((Reply("wait"), Reply("wait"), Reply("go")), False, 1),
        ((Reply("go"), None), False, 0),
        ((Reply("go"), Reply("replay", {"answer": "r"})), False, 0),
    ],
)
def test_a_failure_is_in_nobody_s_way(replies: tuple[Reply | None, ...], released: bool, number: int) -> None:
    """Unless it kept its claim, and others waited for it."""
    told = [operation(ask("begin", str(place)), reply) for place, reply in enumerate(replies)]
    told += [operation(ask("release", "0"), Reply("released"))] * released
    of = Evidence("burst", (KEY,), told)
    (known,) = [
        one for one in find_scenario("idempotency-key")().under("released").invariants() if "failure" in one.name
    ]
    assert number == len(list(known.check(of)))


def test_what_a_value_means_at_rest() -> None:
    """An answer stays; a claim whose lease ran out is none. Both survive their layouts."""
    for value, view in (
        (held("a", NOW), None),
        (held("a"), ("a", "x", None)),
        (held("a", 1, "receipt"), ("a", "x", "receipt")),
    ):
        assert view == SCENARIO.view(value, NOW)
        assert value == SCENARIO.values.parse(SCENARIO.values.encode(value).encode())
        assert value == SCENARIO.rows.value(SCENARIO.rows.row(value))
