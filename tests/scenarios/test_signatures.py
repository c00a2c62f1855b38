"""What the bundled scenarios say of their operations is what their rules do: by it histories of others are refused."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from harness import Attempt, Request, Scenario
from harness.strategy.loader import scenarios

if TYPE_CHECKING:
    from collections.abc import Iterator

LETTERS = "abc"
ELSEWHERE = {("result", rule) for rule in ("drop", "wait", "replace")}
"""What is asked under another rule only."""


@pytest.mark.parametrize("kind", scenarios(), ids=lambda kind: str(kind.name))
def test_rules_answer_what_is_declared(kind: type[Scenario]) -> None:
    """Every decision that walks from an idle key come upon is declared, of every rule; none is declared for nothing."""
    given: set[tuple[str, str]] = set()
    for name in kind().all_rules():
        scenario = kind().under(name)
        rule, rng = scenario.all_rules()[name], Random(7)
        for _walk in range(100):
            now_ms = 1_000_000
            state = dict.fromkeys(scenario.burst(rng, 3)[0].keys, scenario.initial_value)
            for number, one in enumerate(asked(scenario, rng)):
                now_ms += rng.choice([1, 7_000, 70_000])
                request = one._replace(id=f"r{number}", attempt=rng.choice(LETTERS))
                if len(request.keys) > len(state) or (request.operation, name) in ELSEWHERE:
                    continue
                outcome = rule(state, request, now_ms)
                state.update(outcome.changes)
                given.add((request.operation, outcome.reply.decision))
    declared = {(name, one) for name, known in kind.operations.items() for one in known.decisions}
    assert declared == given
    assert all(known.decision in {"", *known.decisions} for known in kind.operations.values())


def asked(scenario: Scenario, rng: Random) -> Iterator[Request]:
    """A dozen requests of bursts; of attempts, of what their flows may ask."""
    for _turn in range(12):
        item = rng.choice(scenario.burst(rng, 3))
        if isinstance(item, Attempt):
            operation, known = rng.choice([*scenario.operations.items()])
            own = item.args if rng.random() < 0.7 else {}
            args = {name: own.get(name, anything(kind, rng)) for name, kind in known.args.items()}
            yield Request(operation, item.keys, args)
        else:
            yield item


def anything(kind: type, rng: Random) -> Any:
    """A value of that type."""
    return rng.choice(LETTERS) if kind is str else rng.randrange(3)
