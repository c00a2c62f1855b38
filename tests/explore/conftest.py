"""Explorations on real stores that are started once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from harness.burst.cells import bind
from harness.burst.plan import Cell, Load
from harness.explore import Exploration, Explorer, Options, Schedule
from harness.explore.search import Search
from harness.stores import Stores

T = TypeVar("T")


class Stage:
    """Stores that stay, and what is explored on them."""

    def __init__(self) -> None:
        """Both stores are started."""
        self._runner = asyncio.Runner()
        self.stores = Stores()
        self._runner.run(self.stores.__aenter__())

    def close(self) -> None:
        """End them."""
        self._runner.run(self.stores.__aexit__(None, None, None))
        self._runner.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What the stores are used for."""
        return self._runner.run(work)

    def explorer(self, scenario: str, strategy: str, options: Options, rule: str = "") -> Explorer:
        """One that is not open yet."""
        bound = bind(Cell(scenario, strategy, rule), Load(processes=options.processes, size=options.size))
        return Explorer(bound, self.stores, options)

    def explore(
        self, scenario: str, strategy: str, search: Callable[[], Search], options: Options, *, shrink: bool = False,
        rule: str = "",
    ) -> tuple[Exploration, Schedule | None]:  # fmt: skip
        """Explore a cell; with `shrink` also its smallest violating schedule."""

        async def go() -> tuple[Exploration, Schedule | None]:
            async with self.explorer(scenario, strategy, options, rule) as explorer:
                found = await explorer.explore(search())
                smallest = await explorer.shrunk(found.first) if shrink and found.first is not None else None
                return found, smallest

        return self._runner.run(go())

    def play(
        self, scenario: str, strategy: str, options: Options, searches: list[Search], without: tuple[str, ...] = ()
    ) -> list[Schedule | None]:
        """One schedule for each search."""

        async def go() -> list[Schedule | None]:
            async with self.explorer(scenario, strategy, options) as explorer:
                return [await explorer.play(search, without) for search in searches]

        return self._runner.run(go())


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    """Both stores."""
    stage = Stage()
    yield stage
    stage.close()
