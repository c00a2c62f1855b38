"""Bursts at every cell that `race serve` serves, under every rule: over HTTP it does what its strategy claims.

`python -m tests.serve.sweep` asks them all and prints what differs; the test asks one of every scenario.
"""

from __future__ import annotations

import asyncio
import dataclasses
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

from harness.burst.cells import Bound, bind
from harness.burst.fleet import Fleet
from harness.burst.plan import Cell, Load
from harness.burst.tally import Tally
from harness.http.bench import HttpBench
from harness.http.engine import behind
from harness.http.site import HttpOptions, find_site
from harness.model import RaceError
from harness.results.claims import shown_to_callers, unnamed
from harness.strategy.loader import bundled, find_scenario
from tests.serve.conftest import Server, serving

LOAD = Load(processes=2, seed=1, size=2)
BURSTS, ROUNDS = 6, 10
"""At once, and how often at most until what claims to break has broken."""
ROOM = 250
"""Cells that PostgreSQL as race starts it has connections for."""


def cells() -> list[Bound]:
    """Every bundled cell that applies: those of a scenario's first rule first."""
    first: list[Bound] = []
    others: list[Bound] = []
    for scenario in bundled("scenario"):
        for place, rule in enumerate(find_scenario(scenario)().all_rules()):
            found = (bind(Cell(scenario, strategy, rule), LOAD) for strategy in bundled("strategy"))
            (others if place else first).extend(one for one in found if one.claim.kind != "not-applicable")
    Random(1).shuffle(others)
    return first + others


def one_of_each() -> list[Bound]:
    """A cell of every scenario under its first rule, each under a strategy not had before, if any."""
    chosen: dict[str, Bound] = {}
    for scenario in bundled("scenario"):
        rule = next(iter(find_scenario(scenario)().all_rules()))
        had = {bound.cell.strategy for bound in chosen.values()}
        found = [bind(Cell(scenario, strategy, rule), LOAD) for strategy in bundled("strategy")]
        found = [bound for bound in found if bound.claim.kind != "not-applicable"]
        chosen[scenario] = next((bound for bound in found if bound.cell.strategy not in had), found[0])
    return list(chosen.values())


def by_server(every: Sequence[Bound]) -> Iterator[list[Bound]]:
    """As many at a time as one server has room for."""
    group: list[Bound] = []
    for one in every:
        if one.strategy.store == "postgres" and sum(had.strategy.store == "postgres" for had in group) == ROOM:
            yield group
            group = []
        group.append(one)
    yield group


async def differing(server: Server, asked: Iterable[Bound], until: float) -> tuple[int, list[str]]:
    """How many cells were asked until then (monotonic s), and what of them is not as claimed."""
    site, _names = find_site(HttpOptions(url=f"{server.told['url']}/counter/naive"), "", {})
    await site.open()
    found, count = [], 0
    async with Fleet(site, LOAD.processes, module="harness.http.worker") as fleet:
        bench = HttpBench(site, fleet, lambda _progress: None)
        for bound in asked:
            if time.monotonic() > until:
                break
            count += 1
            path = f"/{bound.cell.scenario}/{bound.cell.strategy}?rule={bound.cell.rule}"
            if says := await _differs(bench, bound, server.ask("GET", path).body):
                found.append(f"{path}: {says}")
    return count, found


async def _differs(bench: HttpBench, bound: Bound, about: dict[str, Any]) -> str:
    """What is not as claimed; "" where all is."""
    if about["claim"]["kind"] != bound.claim.kind:
        return f"it is said to claim {about['claim']['kind']}"
    tally = Tally(dataclasses.replace(bound, strategy=behind(bound, bound.strategy.title, about)), None)
    breaks = bound.claim.kind == "breaks"
    try:
        for _round in range(ROUNDS if breaks else 1):
            await bench.bursts(tally, LOAD, BURSTS)
            if tally.broken or tally.failures:
                break
    except RaceError as error:
        return str(error)
    if tally.failures:
        return tally.failures[0]
    if not breaks and (shown := unnamed(bound.claim, shown_to_callers(tally.errors, tally.decisions))):
        return f"callers were shown {', '.join(shown)}"
    if not tally.judged or tally.undecided == tally.judged:
        return "nothing was decided"
    if tally.broken and not breaks:
        return f"claims to hold, and {tally.broken} of {tally.judged} broke"
    if breaks and not tally.broken:
        return f"claims to break, and none of {tally.judged} did"
    return ""


def sweep(every: Sequence[Bound], budget_s: float) -> tuple[int, list[str]]:
    """How many of these cells were asked within so many seconds, and what differs."""
    until, count, found = time.monotonic() + budget_s, 0, []
    for group in by_server(every):
        if time.monotonic() > until:
            break
        with tempfile.TemporaryDirectory() as folder, serving(Path(folder), "--connections", "4") as server:
            asked, differ = asyncio.run(differing(server, group, until))
        count += asked
        found += differ
    return count, found


if __name__ == "__main__":
    asked, differ = sweep(cells(), 3600.0)
    sys.stdout.write("\n".join([*differ, f"{len(differ)} of {asked} cells differ"]) + "\n")
    sys.exit(bool(differ))
