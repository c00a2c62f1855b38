"""What a load consists of: the cell under test, how it is loaded, and a worker's orders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from harness.model import Attempt, Request, UsageError, where
from harness.strategy import Scenario

SLOW = ":h"
"""How the number of a hot key begins; the first is the one that may be slow."""
CONTROL_SHARE = 5
"""Every fifth burst is the control's, so that both meet the same machine at the same time."""


@dataclass(frozen=True, slots=True)
class Load:
    """How hard and how long. `connections` counts those of all processes together.

    `slow_ms`: so many milliseconds longer a decision about the first hot key takes, whoever decides.
    `kills`: so many workers are killed in the middle of bursts, and replaced.
    """

    mode: Literal["burst", "sustained"] = "burst"
    processes: int = 2
    connections: int = 2
    bursts: int = 1000
    size: int = 2
    duration_s: float = 5.0
    keys: int = 64
    work_us: int = 300
    think_ms: float = 0.0
    slow_ms: float = 0.0
    seed: int = 1
    timeout_s: float = 10.0
    kills: int = 0


@dataclass(frozen=True, slots=True)
class Cell:
    """A scenario under a strategy with one of its rules, as named on the command line."""

    scenario: str
    strategy: str
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Orders:
    """What every worker is told to do next. Bursts are numbered through a whole run.

    `cells` holds the cell under test and, where there is one, its control; in sustained
    mode only the first is used. `budget_s` is for what may be slow, a service: past so many seconds no further burst
    begins.
    """

    cells: tuple[Cell, ...]
    load: Load
    first: int
    count: int
    deadline_s: float
    budget_s: float | None = None

    def cell_of(self, burst: int) -> int:
        """Which of `cells` this burst belongs to."""
        if len(self.cells) == 1:
            return 0
        return 1 if is_control(burst) else 0


def is_control(burst: int) -> bool:
    """Whether a burst is the control's, where there is one."""
    return burst % CONTROL_SHARE == CONTROL_SHARE - 1


def rename(keys: Sequence[str], number: int | str) -> tuple[str, ...]:
    """Keys of their own for burst or hot key `number`: `user` becomes `user:17`."""
    return tuple(f"{key}:{number}" for key in keys)


def slow(key: str) -> bool:
    """Whether it is the first hot key."""
    _name, hot, number = key.rpartition(SLOW)
    return bool(hot) and number.endswith("-0")


def drawn(scenario: Scenario, seed: int, burst: int, size: int) -> Sequence[Request | Attempt]:
    """The requests of one burst as the scenario names them. Raises UsageError, and whatever its script raises."""
    items = scenario.burst(Random(f"{seed}:{burst}"), size)
    if not isinstance(items, Sequence):
        raise UsageError(f"{where(scenario.burst)}a burst must return a list of requests, not {items!r:.60}")
    for item in items:
        if not isinstance(item, Request | Attempt):
            raise UsageError(f"{where(scenario.burst)}a burst consists of Requests or Attempts, not of {item!r:.60}")
        keys: object = item.keys
        if isinstance(keys, str):  # a tuple of one forgotten: its letters would be taken for keys
            raise UsageError(f"{where(scenario.burst)}the keys of a request are a tuple: ('{keys}',), not '{keys}'")
        if not keys:
            raise UsageError(f"{where(scenario.burst)}a request names at least one key: what it is about")
    return items


def draw(scenario: Scenario, seed: int, burst: int, size: int) -> Sequence[Request | Attempt]:
    """The requests of one burst, the same in every process for the same seed."""
    return [item._replace(keys=rename(item.keys, burst)) for item in drawn(scenario, seed, burst, size)]


def keys_of(items: Sequence[Request | Attempt]) -> tuple[str, ...]:
    """All keys that these requests name, once each, in order."""
    return tuple(dict.fromkeys(key for item in items for key in item.keys))


def orders_from(data: dict[str, Any]) -> Orders:
    """Orders as they came over the pipe."""
    return Orders(
        cells=tuple(Cell(**cell) for cell in data["cells"]),
        load=Load(**data["load"]),
        first=data["first"],
        count=data["count"],
        deadline_s=data["deadline_s"],
        budget_s=data["budget_s"],
    )
