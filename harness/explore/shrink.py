"""Making a violating schedule small: fewer callers, no faults, fewer switches between callers."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import pairwise
from math import inf
from typing import Protocol, TypeVar

from harness.explore.event import Choice

MOST_TRIES = 300
MOST_STEPS = 20_000
"""Steps of all tries together: of a schedule of thousands, as of callers that poll until they give up, a few."""


class Tried(Protocol):
    """A schedule that was run."""

    says: str

    @property
    def sharp(self) -> bool:
        """Whether it broke something that the domain has words for."""
        ...

    @property
    def choices(self) -> list[Choice]:
        """What was chosen in it, one after the other."""
        ...


T = TypeVar("T", bound=Tried)


def switches(choices: Sequence[Choice]) -> int:
    """How often another caller goes on than the one before."""
    callers = [choice.caller for choice in choices if choice.kind == "step"]
    return sum(1 for one, other in pairwise(callers) if one != other)


def faults(choices: Sequence[Choice]) -> int:
    """How many faults happen."""
    return sum(choice.kind not in {"step", "victim", "time", "later", "persist"} for choice in choices)


def measure(choices: Sequence[Choice]) -> tuple[int, int, int, int]:
    """What is to become small: callers, faults, switches, steps."""
    odd = faults(choices) + sum(choice.kind == "persist" for choice in choices)
    return len({choice.caller for choice in choices}), odd, switches(choices), len(choices)


async def shrink(first: T, play: Callable[[Sequence[Choice], frozenset[str]], Awaitable[T]], most_s: float = inf) -> T:
    """The smallest violating schedule that can be reached from `first` by leaving out and moving together.

    `play(choices, without)` runs a schedule in which the callers `without` take no part. None is begun after `most_s`.
    """
    until = time.monotonic() + most_s
    best, without, tries, steps = first, frozenset[str](), 0, 0
    known: set[tuple[tuple[Choice, ...], frozenset[str]]] = set()
    improved = True
    while improved:
        improved = False
        for candidate, left_out in _candidates(best.choices, without):
            if tries == MOST_TRIES or steps > MOST_STEPS or time.monotonic() > until:
                break
            if (one := (tuple(candidate), left_out)) in known:
                continue
            known.add(one)
            tried = await play(candidate, left_out)
            tries, steps = tries + 1, steps + len(tried.choices)
            if tried.says and tried.sharp >= best.sharp and measure(tried.choices) < measure(best.choices):
                best, without, improved = tried, left_out, True
                break
    return best


def _candidates(choices: Sequence[Choice], without: frozenset[str]) -> Iterator[tuple[list[Choice], frozenset[str]]]:
    for caller in dict.fromkeys(choice.caller for choice in choices):
        if caller and len(caller) == 1:
            yield [choice for choice in choices if choice.caller != caller], without | {caller}
    for place, choice in enumerate(choices):
        if choice.kind not in {"step", "victim", "time"}:
            yield [*choices[:place], *choices[place + 1 :]], without
    for eighth in range(1, 8):  # from there on one after the other, each as far as it gets
        yield list(choices[: len(choices) * eighth // 8]), without
    yield from ((order, without) for order in _joined(choices))
    yield from ((order, without) for order in _interrupted(choices))
    for place, choice in enumerate(choices):  # a try too early, which came to nothing
        if choice.kind == "step":
            yield [*choices[:place], *choices[place + 1 :]], without


def _joined(choices: Sequence[Choice]) -> Iterator[list[Choice]]:
    """A block and the last one of the same caller's brought together, at the place of the one or of the other."""
    blocks = list(_blocks(choices))
    for place in range(2, len(blocks)):
        for earlier in range(place - 2, -1, -1):
            if blocks[earlier][0].caller == blocks[place][0].caller:
                order = [*blocks[: earlier + 1], blocks[place], *blocks[earlier + 1 : place], *blocks[place + 1 :]]
                yield [choice for block in order for choice in block]
                order = [*blocks[:earlier], *blocks[earlier + 1 : place], blocks[earlier], *blocks[place:]]
                yield [choice for block in order for choice in block]
                break


def _interrupted(choices: Sequence[Choice]) -> Iterator[list[Choice]]:
    """One caller's steps, with the others' between them, all or the first: what most races come down to."""
    for some in (False, True):  # of the others all, then the first of them
        for caller in dict.fromkeys(choice.caller for choice in choices):
            own = [choice for choice in choices if choice.caller == caller]
            others = sorted((choice for choice in choices if choice.caller != caller), key=lambda one: one.caller)
            for place in range(1, len(own)):
                for left in range(1, len(others)) if some else range(1):
                    order = [*own[:place], *others[: len(others) - left], *own[place:], *others[len(others) - left :]]
                    if switches(order) < switches(choices):
                        yield order


def _blocks(choices: Sequence[Choice]) -> Iterator[list[Choice]]:
    block: list[Choice] = []
    for choice in choices:
        if block and block[-1].caller != choice.caller:
            yield block
            block = []
        block.append(choice)
    if block:
        yield block
