"""race compare --table: a scenario's own table, whose lines are not all strategies under one rule."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from harness.cli import output as out
from harness.cli.options import Output, command_line, seed_or_new, stores_of
from harness.cli.progress import shown
from harness.model import UsageError

if TYPE_CHECKING:
    from harness.burst.cells import Bound
    from harness.explore import Brief
    from harness.stores import Stores

BUDGET_S = 40.0
EXPLORE_S = 10.0
_ITS_OWN = ("strategies", "rules", "flow", "bursts", "processes", "connections", "size", "keys", "work_us", "think_ms")


def own_table(context: click.Context, options: dict[str, Any]) -> int:
    """Make the table; the exit code."""
    from harness.burst import Load
    from harness.burst.tables import tabled
    from harness.explore import explore_briefly, wrong_in_order
    from harness.report.table import table_screen
    from harness.results.tables import table_document
    from harness.strategy.loader import find_scenario, nearest

    output, seed, name, scenario = (
        Output.of(options),
        seed_or_new(options["seed"]),
        options["table"],
        options["scenario"],
    )
    tables = find_scenario(scenario)().all_tables()
    if name not in tables:
        there = nearest(name, tables) if tables else "it has none"
        raise UsageError(f"unknown table '{name}' of {Path(scenario).stem}; {there}")
    for parameter in context.command.params:
        if parameter.name in _ITS_OWN and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE:
            raise UsageError(f"a table has lines and loads of its own: leave out {parameter.opts[-1]}")
    out.check(output)
    explored: list[Brief] = []

    async def explore(bound: Bound, stores: Stores) -> bool:
        found = await explore_briefly(
            bound, stores, Load(seed=seed), EXPLORE_S, sizes=(2,), every=wrong_in_order(bound)
        )
        explored.append(found)
        return found.complete

    with shown(Path(scenario).stem, quiet=output.quiet) as progress:
        made = asyncio.run(
            tabled(
                scenario,
                tables[name],
                seed,
                budget_s=BUDGET_S if options["budget_s"] is None else options["budget_s"],
                stores_options=stores_of(options),
                progress=progress,
                then=explore,
            )
        )
    document = table_document(name, tables[name], made, explored, reproduce=command_line(context, seed))
    code = out.comparison_code(document, output)
    out.deliver(document, output, table_screen(document, code, out.paint()))
    return code
