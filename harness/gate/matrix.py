"""Every scenario under every strategy and rule, shortly: what each cell claims, against a load and every order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from harness.burst import Load, Progress, StoresOptions, compare
from harness.burst.cells import Bound
from harness.burst.engine import named
from harness.explore import explore_briefly, wrong_in_order
from harness.gate.check import lasting
from harness.model import RaceError
from harness.results.build import comparison_document, load_document
from harness.results.environment import environment
from harness.results.exploration import explored_document
from harness.results.matrix import matrix_document
from harness.stores import Stores
from harness.strategy.library import LibraryCell, claimed
from harness.strategy.loader import find_scenario, find_strategy, scenarios

Document = dict[str, Any]

EXPLORE_S = 1.0
"""Seconds in which every order of two requests is looked at, for each cell; most need a twentieth of it."""
_KEPT_S = 0.12
"""Seconds of a cell's budget kept for that, as most need."""
_LEAST_S = 0.3
"""Seconds for a cell, whatever the budget: with fewer no control would break often enough."""
_START_S, _COMPARE_S = 1.5, 4.0
"""Seconds until a scenario's load begins, and those that `compare` takes off its budget for starting servers."""


@dataclass(slots=True)
class Matrix:
    """One matrix to be made: of these strategies, as for `compare`, in about `budget_s` seconds."""

    names: Sequence[str]
    load: Load
    budget_s: float
    stores: StoresOptions
    reproduce: str
    told: Callable[[Progress], None]

    def run(self) -> Document:
        """Scenario after scenario; its `race.matrix/1` document. What was measured before an interrupt is in it."""
        started, started_at = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
        cells = [
            replace(claimed(scenario, rule, *find_strategy(name)), strategy=name)  # a script by its path, as in compare
            for scenario in scenarios()
            for rule in scenario().all_rules()
            for name in named(self.names)
        ]
        apart = [cell for cell in cells if cell.claim.kind == "not-applicable"]
        left = [cell for cell in cells if cell.claim.kind != "not-applicable"]
        done: list[Document] = []
        complete, reason = True, ""
        with lasting(self.stores) as stores:
            try:
                names = list(dict.fromkeys(cell.scenario for cell in left))
                for number, scenario in enumerate(names):
                    mine = [cell for cell in left if cell.scenario == scenario]
                    before = sum(cell.scenario in names[:number] for cell in left)
                    # What a scenario takes beyond its share (it waits for leases, say) the others have less.
                    spare_s = self.budget_s - (time.monotonic() - started) - _START_S * (len(names) - number)
                    each_s = max(_LEAST_S, spare_s / (len(left) - before))
                    done.append(self._compared(scenario, mine, each_s, stores, self._telling(before, mine, len(left))))
                    complete = done[-1]["complete"]
                    if not complete:
                        reason = "interrupted"
                        break
            except KeyboardInterrupt:
                complete, reason = False, "interrupted"
            except RaceError as error:
                if not done:
                    raise
                complete, reason = False, str(error)
        there = {(one["scenario"], row["strategy"], row["rule"]) for one in done for row in one["rows"]}
        return matrix_document(
            done,
            [{**_place(cell), "reason": cell.claim.reason} for cell in apart],
            [_place(cell) for cell in left if (cell.scenario, cell.strategy, cell.rule) not in there],
            seed=self.load.seed,
            load=load_document(self.load),
            budget_s=self.budget_s,
            reproduce=self.reproduce,
            environment={**environment(), "others_cpu": _busiest(done)},
            started_at=started_at,
            duration_s=round(time.monotonic() - started, 3),
            complete=complete,
            reason=reason,
        )

    def _telling(self, before: int, cells: Sequence[LibraryCell], total: int) -> Callable[[Progress], None]:
        """What a scenario's turns are of all the cells."""

        def tell(progress: Progress) -> None:
            if progress.unit == "turns":
                done = before + len(cells) * progress.done / progress.total
                self.told(Progress(f"{cells[0].scenario}, {progress.what}", done, total, "cells"))

        return tell

    def _compared(
        self,
        scenario: str,
        cells: Sequence[LibraryCell],
        each_s: float,
        stores: StoresOptions,
        telling: Callable[[Progress], None],
    ) -> Document:
        """One scenario under all of its rules: its comparison. Strategies that no rule of it can have are left out."""
        load = self.load
        explored: list[Document | None] = []

        async def explore(bound: Bound, there: Stores) -> bool:
            found = await explore_briefly(bound, there, load, EXPLORE_S, sizes=(2,), every=wrong_in_order(bound))
            explored.append(explored_document(found))
            return found.complete

        compared = asyncio.run(
            compare(
                scenario,
                list(dict.fromkeys(cell.strategy for cell in cells)),
                list(find_scenario(scenario)().all_rules()),
                load,
                budget_s=_COMPARE_S + each_s * len(cells),
                stores_options=stores,
                progress=telling,
                then=explore,
                then_s=_KEPT_S,
            )
        )
        return comparison_document(compared, load, explored, reproduce=self.reproduce)


def _busiest(done: Sequence[Document]) -> float | None:
    """The largest share of the processors that others had during a scenario; None where nobody knows."""
    shares = [one["environment"]["others_cpu"] for one in done]
    return max((share for share in shares if share is not None), default=None)


def _place(cell: LibraryCell) -> dict[str, str]:
    return {"scenario": cell.scenario, "rule": cell.rule, "strategy": cell.strategy}
