"""The one schedule that tells most: somebody else's whole add between a decision and its write.

Strategies that make the other one wait have no such schedule; they are tested under load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness import ABORTED, Reply, Request, StatementRefused
from harness.strategy.loader import find_scenario, find_strategy

if TYPE_CHECKING:
    from tests.strategies.conftest import World

COUNTER = find_scenario("counter")()


async def squeezed(world: World, title: str, *, times: int = 1) -> tuple[list[Reply], int]:
    """What callers are told when another one comes `times` times in between, and what is left."""
    kind, variant = find_strategy(title)
    strategy = kind(COUNTER, variant)
    key = await world.seed(COUNTER, strategy)
    replies = []
    left = times

    async def add_one() -> None:
        nonlocal left
        left -= 1
        request = Request("add", (key,), id=f"other {left}")
        replies.append(await world.apply(strategy, request, COUNTER.rule, by="other"))
        world.one.between = add_one if left else None

    world.one.between = add_one
    replies.append(await world.apply(strategy, Request("add", (key,), id="one"), COUNTER.rule))
    return replies, await world.look(strategy, key)


def added(*values: int) -> list[Reply]:
    """What callers are told."""
    return [Reply("added", {"value": value}) for value in values]


@pytest.mark.parametrize("title", ["watch", "pg-serializable", "pg-repeatable-read"])
def test_an_optimistic_strategy_reads_and_decides_again(world: World, title: str) -> None:
    """The second try sees what the other one wrote."""
    assert (added(1, 2), 2) == world.run(squeezed(world, title))


@pytest.mark.parametrize(
    "title",
    [
        "naive",
        "watch:no-multi",
        "watch:ignore-null",
        "watch:two-connections",
        "watch:no-watch",
        "watch:reconnect",
        "watch:watch-after-read",
        "watch:retry-stale",
        "pg-read-committed",
        "pg-for-update:no-lock",
        "pg-for-update:released-early",
        "pg-advisory:wrong-key",
        "pg-advisory:released-early",
        "pg-serializable:read-committed",
        "pg-serializable:retry-stale",
        "mutex",
        "mutex:per-request",
        "redis-lock:ignore-reply",
    ],
)
def test_a_broken_strategy_loses_the_other_add(world: World, title: str) -> None:
    """Both are told 1, and 1 is what is left."""
    assert (added(1, 1), 1) == world.run(squeezed(world, title))


def test_without_a_retry_the_caller_sees_the_refusal(world: World) -> None:
    """Nothing is lost, but 40001 is no answer for a user."""
    with pytest.raises(StatementRefused) as caught:
        world.run(squeezed(world, "pg-serializable:no-retry"))
    assert caught.value.code == "40001"


@pytest.mark.parametrize("title", ["watch", "pg-serializable"])
def test_a_strategy_that_always_loses_gives_up(world: World, title: str) -> None:
    """Tries are bounded; the answer then is `aborted`, and nothing was written."""
    replies, left = world.run(squeezed(world, title, times=100))
    assert ([*added(*range(1, 101)), ABORTED], 100) == (replies, left)
