"""Invariants are asked of whatever callers were told: that they gave up, nothing, an error. None fails by it."""

from __future__ import annotations

from random import Random

import pytest

from harness import ABORTED, Effect, Evidence, Scenario
from harness.model import Operation, Status
from harness.strategy.loader import scenarios
from tests.scenarios.test_signatures import LETTERS, asked

BEGAN_MS = 1_000_000_000


def walked(scenario: Scenario, rng: Random) -> Evidence:
    """A dozen requests one after the other, of which every other one was told something else than the rule says."""
    rule, now_ms = scenario.all_rules()[scenario.executed], BEGAN_MS
    asked_for = list(asked(scenario, rng))
    keys = tuple(dict.fromkeys(key for request in asked_for for key in request.keys))
    state = dict.fromkeys(keys, scenario.initial_value)
    operations, effects = [], []
    for number, one in enumerate(asked_for):
        now_ms += rng.choice([1, 7_000, 70_000])
        at_ns = now_ms * 1_000_000
        request = one._replace(id=f"r{number}", attempt=rng.choice(LETTERS))
        status = rng.choice([Status.OK, Status.OK, Status.UNKNOWN, Status.FAILED])
        reply = None
        if status is Status.OK:
            outcome = rule(state, request, now_ms)
            reply = rng.choice([ABORTED, outcome.reply])
            if reply != ABORTED:
                state.update(outcome.changes)
        returned = None if status is Status.UNKNOWN else at_ns + 10
        operations.append(Operation(request, LETTERS[number % 3], at_ns, returned, status, reply, now_ms, now_ms))
        ends = rng.choice([None, at_ns + 40])
        effects.append(Effect(rng.choice(("work", "charge")), request.attempt, request.keys, at_ns + 20, ends))
    initial = dict.fromkeys(keys, scenario.initial_value)
    rest = rng.choice([None, state])
    return Evidence("burst", keys, operations, effects, initial, rest, now_ms, tuple(operations[-2:]))


@pytest.mark.parametrize("kind", scenarios(), ids=lambda kind: str(kind.name))
def test_no_invariant_fails(kind: type[Scenario]) -> None:
    """Under every rule."""
    for name in kind().all_rules():
        scenario, rng = kind().under(name), Random(5)
        for _walk in range(40):
            evidence = walked(scenario, rng)
            for invariant in scenario.invariants():
                list(invariant.check(evidence))
            scenario.overruns(evidence)
            scenario.disorder(evidence)
