"""Making a schedule small, where many take part and it was drawn at random."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import pytest

from harness.explore import Choice, switches
from harness.explore.shrink import shrink

STEPS = {"A": 6, "B": 6, "consumer1": 8, "consumer2": 8}


@dataclass(frozen=True)
class Played:
    """A schedule of programs that do nothing; what breaks is an order of some of their steps."""

    choices: list[Choice]
    without: frozenset[str] = frozenset()
    sharp: bool = True

    @property
    def says(self) -> str:
        """It breaks where the consumers cross, and then the callers."""
        at = {}
        for place, choice in enumerate(self.choices):
            at[choice.caller, sum(one == choice for one in self.choices[:place])] = place
        crossed = at["consumer1", 3] < at["consumer2", 2] < at["consumer1", 5] < at["consumer2", 6]
        return "broken" * (not self.without and crossed and at["consumer1", 6] < at["B", 2] < at["A", 3] < at["B", 4])


def played(choices: Sequence[Choice], without: frozenset[str]) -> Played:
    """What can be done of it; then one after the other, each to its end."""
    left, done = dict(STEPS), []
    for choice in choices:
        if left[choice.caller]:
            left[choice.caller] -= 1
            done.append(choice)
    for caller in [*([done[-1].caller] if done else []), *STEPS]:
        done += [Choice("step", caller)] * left[caller]
        left[caller] = 0
    return Played(done, without)


def crossing(seed: int) -> Played:
    """An order that breaks, drawn."""
    rng = Random(seed)
    first = Played([])
    while not first.choices or not first.says:
        order = [Choice("step", caller) for caller, number in STEPS.items() for _ in range(number)]
        rng.shuffle(order)
        first = Played(order)
    return first


@pytest.mark.parametrize("seed", range(5))
def test_four_who_cross_are_told_in_few_changes_of_hands(seed: int) -> None:
    """The tries are not spent on what was tried, nor first on one caller's steps with all the others' between them."""

    async def play(choices: Sequence[Choice], without: frozenset[str]) -> Played:
        return played(choices, without)

    smallest = asyncio.run(shrink(crossing(seed), play))
    assert smallest.says
    assert switches(smallest.choices) <= 7


def test_how_small_it_becomes_does_not_depend_on_how_busy_the_machine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """While others compute only the clock goes on: it takes twice the time, of which this process has had little."""
    tries: list[int] = []

    async def play(choices: Sequence[Choice], without: frozenset[str]) -> Played:
        tries.append(len(choices))
        return played(choices, without)

    alone = asyncio.run(shrink(crossing(1), play))
    most_s, needed = 1_000.0, len(tries)
    monkeypatch.setattr("time.monotonic", lambda: 2 * most_s * (len(tries) / needed - 1))
    busy = asyncio.run(shrink(crossing(1), play, most_s))
    assert (busy.choices, len(tries)) == (alone.choices, 2 * needed)
