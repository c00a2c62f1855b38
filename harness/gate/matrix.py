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
from harness.gate.pace import Pace, Share
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
_COMPARE_S = 4.0
"""Seconds that `compare` takes off its budget for starting servers."""


def _nothing(_text: str) -> None:
    pass


def _unsaved(_document: Document) -> None:
    pass


@dataclass(slots=True)
class Matrix:
    """One matrix to be made: of these strategies, as for `compare`, in about `budget_s` seconds.

    `strict`: where they are too few, cells have one turn instead of two, and scenarios that would not be done in time
    are left out, which the document says. A cell never has less than a turn: nothing would be shown by it.
    """

    names: Sequence[str]
    load: Load
    budget_s: float
    stores: StoresOptions
    reproduce: str
    told: Callable[[Progress], None]
    strict: bool = False
    says: Callable[[str], None] = _nothing
    """Is told at the start how long it will take."""
    saved: Callable[[Document], None] = _unsaved
    """Is given, after each scenario, the document of what was measured so far: who is killed has no other chance."""

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
        pace = Pace(self.budget_s, started, len(left), strict=self.strict)

        def so_far(reason: str, *, complete: bool) -> Document:
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

        self.says(pace.estimate())
        with lasting(self.stores) as stores:
            try:
                names = list(dict.fromkeys(cell.scenario for cell in left))
                for number, scenario in enumerate(names):
                    mine = [cell for cell in left if cell.scenario == scenario]
                    before = sum(cell.scenario in names[:number] for cell in left)
                    share = pace.share(len(mine), len(left) - before, len(names) - number)
                    if share is None:
                        complete, reason = False, pace.ran_out()
                        continue
                    telling = self._telling(before, mine, len(left))
                    with pace.measuring(share, len(mine)):
                        done.append(self._compared(scenario, mine, share, stores, telling))
                    if not done[-1]["complete"]:
                        complete, reason = False, "interrupted"
                        break
                    self.saved(so_far("the run did not come to its end", complete=False))
            except KeyboardInterrupt:
                complete, reason = False, "interrupted"
            except RaceError as error:
                if not done:
                    raise
                complete, reason = False, str(error)
        return so_far(reason, complete=complete)

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
        share: Share,
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
                budget_s=_COMPARE_S + share.each_s * len(cells),
                stores_options=stores,
                progress=telling,
                then=explore,
                then_s=_KEPT_S,
                rounds=share.rounds,
            )
        )
        return comparison_document(compared, load, explored, reproduce=self.reproduce)


def _busiest(done: Sequence[Document]) -> float | None:
    """The largest share of the processors that others had during a scenario; None where nobody knows."""
    shares = [one["environment"]["others_cpu"] for one in done]
    return max((share for share in shares if share is not None), default=None)


def _place(cell: LibraryCell) -> dict[str, str]:
    return {"scenario": cell.scenario, "rule": cell.rule, "strategy": cell.strategy}
