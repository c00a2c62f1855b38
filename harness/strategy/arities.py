"""How many keys a request names, as a scenario's bursts show."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from random import Random

from harness.model import Request, Signature
from harness.strategy.scenario import Scenario

_DRAWN = 40


def arities(scenario: Scenario) -> dict[str, set[int]]:
    """How many keys each operation takes: "" is for those of attempts. Raises whatever the script raises."""
    found: dict[str, set[int]] = {}
    for number in range(_DRAWN):
        for item in scenario.burst(Random(number), 2 + number % 4):
            operation = item.operation if isinstance(item, Request) else ""
            found.setdefault(operation, set()).add(len(item.keys))
    return found


def signatures(scenario: Scenario) -> Mapping[str, Signature]:
    """The scenario's operations; one that does not say how many keys it takes takes as many as in bursts.

    Only where those always name one: of several there may be any number.
    """
    try:
        drawn = arities(scenario)
    except Exception:  # the user's script: what is wrong with its bursts is told where they are run
        return scenario.operations

    def seen(operation: str) -> Collection[int]:
        counts = drawn.get(operation) or drawn.get("", set())
        return counts if counts == {1} else ()

    return {name: one if one.keys else one._replace(keys=seen(name)) for name, one in scenario.operations.items()}
