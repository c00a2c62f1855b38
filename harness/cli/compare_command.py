"""race compare: the same rule under every strategy."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from harness.cli import completion
from harness.cli import output as out
from harness.cli.failure import INTERRUPTED
from harness.cli.options import (
    SUSTAINED_CONNECTIONS,
    WORK_US,
    AtLeast,
    Output,
    Sectioned,
    command_line,
    load_options,
    names,
    output_options,
    seed_or_new,
    store_options,
    stores_of,
)
from harness.cli.progress import shown
from harness.model import UsageError

if TYPE_CHECKING:
    from harness.burst import Load
    from harness.burst.cells import Bound
    from harness.results import Document
    from harness.stores import Stores

BUDGET_S, ALL_BUDGET_S = 40.0, 600.0
EXPLORE_S = 3.0
"""Seconds in which every order of two requests is looked at, for each strategy; most need a fraction."""
KEPT_S = 0.5
"""Seconds of the budget kept for that."""


@click.command("compare", cls=Sectioned)
@click.argument("scenario", required=False, shell_complete=completion.scenario)
@click.option("--all", "whole", is_flag=True, help="Every scenario and rule, shortly: the whole matrix.")
@click.option(
    "--strategies",
    default="all",
    show_default=True,
    metavar="A,B",
    shell_complete=completion.strategies,
    help="Names; all, redis, postgres.",
)
@click.option("--rules", default="", metavar="A,B", help="Rules to compare, or all; the first without it.")
@click.option(
    "--table",
    default="",
    metavar="NAME",
    shell_complete=completion.table,
    help="A table of the scenario's own: race list SCENARIO.",
)
@click.option(
    "--flow",
    default="",
    metavar="A,B",
    shell_complete=completion.flows,
    help="Flows of one attempt, or all: another table.",
)
@click.option("--bursts", type=AtLeast(1), default=1000, show_default=True, help="Most bursts for each.")
@load_options
@click.option(
    "--budget",
    "budget_s",
    type=AtLeast(1, float),
    metavar="S",
    help=f"Seconds for all of it; what there was no time for is named.  [{BUDGET_S:g}; with --all {ALL_BUDGET_S:g}]",
)
@store_options
@output_options
@click.pass_context
def command(context: click.Context, /, **options: Any) -> int:
    """Run SCENARIO under many strategies: who breaks, what each costs, what to choose.

    Bursts give the verdict, sustained load the cost; all take turns, more than once. With --all instead of SCENARIO,
    the whole library: the matrix is written to matrix.json and matrix.md in the results folder.
    """  # fmt: skip
    for name, what in (("rules", "rule"), ("table", "table"), ("flow", "flow")):
        if not options[name].strip(" ,") and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UsageError(f"--{name} names no {what}")  # a shell's variable that was empty, say
    if options["scenario"] is None and not options["whole"]:
        raise click.MissingParameter(ctx=context, param=next(iter(context.command.params)))
    if options["table"] and not options["whole"]:
        from harness.cli.table_command import own_table

        return own_table(context, options)
    if options["flow"] and not options["whole"]:
        from harness.cli.flow_table import flow_table

        return flow_table(context, options)
    from harness.burst import Load

    output, seed = Output.of(options), seed_or_new(options["seed"])
    strategies = names(options["strategies"])
    if not strategies:
        raise UsageError("--strategies names no strategy: say which of race list, or leave it out")
    load = Load(
        processes=options["processes"],
        connections=options["connections"] or SUSTAINED_CONNECTIONS,
        bursts=options["bursts"],
        size=options["size"],
        keys=options["keys"],
        work_us=WORK_US if options["work_us"] is None else options["work_us"],
        think_ms=options["think_ms"],
        seed=seed,
    )
    if any("=" in name for name in strategies):
        raise UsageError("a comparison takes one strategy for all roles: give each its own with race run --strategy")
    if options["whole"]:
        return _matrix(context, options, output, load, strategies)
    return _comparison(context, options, output, load, strategies)


def _comparison(
    context: click.Context, options: dict[str, Any], output: Output, load: Load, strategies: list[str]
) -> int:
    from harness.burst import compare
    from harness.explore import explore_briefly, wrong_in_order
    from harness.report import comparison_screen
    from harness.results import comparison_document
    from harness.results.exploration import explored_document

    scenario = options["scenario"]
    rules = rules_of(scenario, options["rules"])
    out.check(output)
    explored: list[Document | None] = []

    async def explore(bound: Bound, stores: Stores) -> bool:
        found = await explore_briefly(bound, stores, load, EXPLORE_S, sizes=(2,), every=wrong_in_order(bound))
        explored.append(explored_document(found))
        return found.complete

    with shown(Path(scenario).stem, quiet=output.quiet) as progress:
        compared = asyncio.run(
            compare(
                scenario,
                strategies,
                rules,
                load,
                budget_s=BUDGET_S if options["budget_s"] is None else options["budget_s"],
                stores_options=stores_of(options),
                progress=progress,
                then=explore,
                then_s=KEPT_S,
                strict=options["budget_s"] is not None,  # else all have all of their turns, on a slow machine, too
            )
        )
    document = comparison_document(compared, load, explored, reproduce=command_line(context, load.seed))
    code = out.comparison_code(document, output)
    out.deliver(document, output, comparison_screen(document, code, out.paint()))
    return code


def _matrix(context: click.Context, options: dict[str, Any], output: Output, load: Load, strategies: list[str]) -> int:
    """Everything. The tables in the results folder are those of the last matrix that came to its end."""
    from harness.gate.matrix import Matrix
    from harness.report.matrix import matrix_markdown, matrix_screen
    from harness.results.matrix import matrix_text
    from harness.results.save import write_file

    if any(options[name] for name in ("scenario", "rules", "flow", "table")):
        raise UsageError("--all takes every scenario and every rule: leave out SCENARIO, --rules, --flow and --table")
    tables = {name: output.results.folder / f"matrix.{name}" for name in ("json", "md")}
    out.check(output, *tables.values())
    budget_s = ALL_BUDGET_S if options["budget_s"] is None else options["budget_s"]

    def saved(so_far: Document) -> None:
        with contextlib.suppress(UsageError):  # a full disk: what comes at the end tells
            output.results.keep(so_far)

    with shown("everything", quiet=output.quiet) as progress:
        made = Matrix(
            strategies, load, budget_s, stores_of(options), command_line(context, load.seed), progress,
            strict=options["budget_s"] is not None, says=_silent if output.quiet else _says, saved=saved,
        )  # fmt: skip
        document = made.run()
    code = INTERRUPTED if document["reason"] == "interrupted" else out.comparison_code(document, output)
    out.deliver(document, output, matrix_screen(document, code, out.paint()))
    if document["complete"]:
        write_file(tables["json"], matrix_text(document))
        write_file(tables["md"], matrix_markdown(document))
    return code


def _says(text: str) -> None:
    sys.stderr.write(f"{text}\n")  # not by click, which knows nothing of the bar that is being drawn there


def _silent(_text: str) -> None:
    pass


def rules_of(scenario: str, text: str) -> list[str]:
    """The rules asked for; `all` are those of the scenario. Raises UsageError."""
    from harness.strategy.loader import find_scenario

    if text.strip() != "all":
        return names(text)
    return list(find_scenario(scenario)().all_rules())
