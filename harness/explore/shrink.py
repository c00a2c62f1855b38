"""Making a violating schedule small: fewer callers, no faults, fewer switches between callers.

Of each kind of move one after the other is tried, and again from where one has helped; once none of any kind helps,
no request, fault, switch or step can be left out, and no two neighbours exchanged, so that there is less to read.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import islice, pairwise
from math import inf
from typing import Generic, Protocol, TypeVar

from harness.explore.event import Choice

_MOST_WIDE = 300
"""So many of the moves that there are most of, and that only save some of the others."""
_LONG, _MOST_STEPS = 500, 20_000
"""Steps of all tries together that are so long: of a schedule of thousands, of callers that poll on and on, a few."""
_BUSY = 6
"""So many times as long as it may take it lasts by the clock, where others keep the machine busy or a store is far."""
_REQUEST = re.compile(r"[A-Z]\d*")
"""The name of a caller of the burst: neither of a daemon, nor of an owner, nor of a second delivery."""


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


def measure(choices: Sequence[Choice]) -> tuple[int, int, int, int, int]:
    """What is to become small: callers, faults, switches, messages of the dead that arrive late, steps."""
    kinds = [choice.kind for choice in choices]
    odd = faults(choices) + kinds.count("persist")
    return len({choice.caller for choice in choices}), odd, switches(choices), kinds.count("crash-late"), len(choices)


async def shrink(first: T, play: Callable[[Sequence[Choice], frozenset[str]], Awaitable[T]], most_s: float = inf) -> T:
    """The smallest violating schedule that can be reached from `first` by leaving out and moving together.

    `play(choices, without)` runs a schedule in which the callers `without` take no part. None is begun after `most_s`
    of this process's own time: how small it becomes must not depend on how busy the machine is.
    """
    shrinking = _Shrinking(first, play, most_s)
    while await shrinking.once():
        pass
    return shrinking.best


Move = tuple[list[Choice], str]
"""What is to be tried, and the caller that takes no part in it any more, "" where all do."""


class _Shrinking(Generic[T]):
    """The smallest schedule so far, and what has been tried."""

    def __init__(
        self, first: T, play: Callable[[Sequence[Choice], frozenset[str]], Awaitable[T]], most_s: float
    ) -> None:  # fmt: skip
        """`most_s`: of this process's own time."""
        self.best = first
        self._play = play
        self._until = time.process_time() + most_s
        self._at_last = time.monotonic() + most_s * _BUSY
        self._without: frozenset[str] = frozenset()
        self._known: set[tuple[tuple[Choice, ...], frozenset[str]]] = set()
        self._wide_left = _MOST_WIDE
        self._steps = 0

    async def once(self) -> bool:
        """Every move of every kind. Whether one has helped, and there is time for another round."""
        before = measure(self.best.choices)
        for moves in (_without_a_request, _without_a_fault, _begun_only, _joined, _interrupted, _with_a_step_less,
                      _exchanged):  # fmt: skip
            place, helped = 0, True
            while helped:
                helped = False
                for choices, caller in islice(moves(self.best.choices), place, None):
                    if self._is_over(wide=moves is _interrupted):
                        break
                    if await self._helps(choices, self._without | {caller} if caller else self._without):
                        helped = True  # what comes next has taken its place
                        break
                    place += 1
        return measure(self.best.choices) < before and not self._is_over(wide=False)

    def _is_over(self, *, wide: bool) -> bool:
        self._wide_left -= wide
        late = time.process_time() > self._until or time.monotonic() > self._at_last
        return late or self._steps > _MOST_STEPS or (wide and self._wide_left < 0)

    async def _helps(self, choices: Sequence[Choice], without: frozenset[str]) -> bool:
        """Whether it breaks as plainly, and is smaller."""
        if (one := (tuple(choices), without)) in self._known:
            return False
        self._known.add(one)
        tried = await self._play(choices, without)
        self._steps += len(tried.choices) * (len(tried.choices) > _LONG)
        if not tried.says or tried.sharp < self.best.sharp or measure(tried.choices) >= measure(self.best.choices):
            return False
        self.best, self._without = tried, without
        return True


def _without_a_request(choices: Sequence[Choice]) -> Iterator[Move]:
    for caller in dict.fromkeys(choice.caller for choice in choices):
        if _REQUEST.fullmatch(caller):
            yield [choice for choice in choices if choice.caller != caller], caller


def _without_a_fault(choices: Sequence[Choice]) -> Iterator[Move]:
    """Or with the step that it was part of, or without what arrives late."""
    for place, (kind, caller) in enumerate(choices):
        if kind not in {"step", "victim", "time"}:
            yield [*choices[:place], *choices[place + 1 :]], ""
        if kind == "lost-reply":
            yield [*choices[:place], Choice("step", caller), *choices[place + 1 :]], ""
        if kind == "crash-late":
            yield [*choices[:place], Choice("crash", caller), *choices[place + 1 :]], ""


def _begun_only(choices: Sequence[Choice]) -> Iterator[Move]:
    """Only the beginning: from there on one after the other, each as far as it gets."""
    for eighth in range(1, 8):
        yield list(choices[: len(choices) * eighth // 8]), ""


def _with_a_step_less(choices: Sequence[Choice]) -> Iterator[Move]:
    """A try too early, which came to nothing."""
    for place, choice in enumerate(choices):
        if choice.kind == "step":
            yield [*choices[:place], *choices[place + 1 :]], ""


def _exchanged(choices: Sequence[Choice]) -> Iterator[Move]:
    """Two neighbours: what the later one does may then be done with, or never be needed."""
    for place, (one, other) in enumerate(pairwise(choices)):
        if one.caller != other.caller:
            yield [*choices[:place], other, one, *choices[place + 2 :]], ""


def _joined(choices: Sequence[Choice]) -> Iterator[Move]:
    """A block and the last one of the same caller's brought together, at the place of the one or of the other."""
    blocks = list(_blocks(choices))
    for place in range(2, len(blocks)):
        for earlier in range(place - 2, -1, -1):
            if blocks[earlier][0].caller == blocks[place][0].caller:
                order = [*blocks[: earlier + 1], blocks[place], *blocks[earlier + 1 : place], *blocks[place + 1 :]]
                yield [choice for block in order for choice in block], ""
                order = [*blocks[:earlier], *blocks[earlier + 1 : place], blocks[earlier], *blocks[place:]]
                yield [choice for block in order for choice in block], ""
                break


def _interrupted(choices: Sequence[Choice]) -> Iterator[Move]:
    """One caller's steps, with the others' between them, all or the first: what most races come down to."""
    for some in (False, True):  # of the others all, then the first of them
        for caller in dict.fromkeys(choice.caller for choice in choices):
            own = [choice for choice in choices if choice.caller == caller]
            others = sorted((choice for choice in choices if choice.caller != caller), key=lambda one: one.caller)
            for place in range(1, len(own)):
                for left in range(1, len(others)) if some else range(1):
                    order = [*own[:place], *others[: len(others) - left], *own[place:], *others[len(others) - left :]]
                    if switches(order) < switches(choices):
                        yield order, ""


def _blocks(choices: Sequence[Choice]) -> Iterator[list[Choice]]:
    block: list[Choice] = []
    for choice in choices:
        if block and block[-1].caller != choice.caller:
            yield block
            block = []
        block.append(choice)
    if block:
        yield block
