"""race run: one strategy under load."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from harness.cli import completion, over_http
from harness.cli import output as out
from harness.cli.flow_run import flow_run
from harness.cli.options import (
    AtLeast,
    Output,
    Sectioned,
    command_line,
    load_of,
    load_options,
    output_options,
    seed_or_new,
    service_options,
    store_options,
    stores_of,
)
from harness.cli.progress import shown
from harness.cli.smallest import Smallest
from harness.model import UsageError

KILLS = 5


@click.command("run", cls=Sectioned)
@click.argument("scenario", shell_complete=completion.scenario)
@click.option(
    "--strategy", metavar="NAME[:VARIANT]", shell_complete=completion.strategy, help="How the rule is protected."
)
@click.option("--rule", default="", metavar="NAME", help="One of the scenario's rules; the first without it.")
@click.option(
    "--flow",
    metavar="NAME",
    shell_complete=completion.flow,
    help="One attempt, carried this way, under faults that are really made.",
)
@click.option(
    "--faults",
    metavar="A,B",
    shell_complete=completion.flow_faults,
    help="With --flow: of twice, lost, killed, gone.  [all]",
)
@click.option(
    "--mode",
    type=click.Choice(["burst", "sustained"]),
    default="burst",
    show_default=True,
    help="Bursts for the verdict, sustained load for the cost.",
)
@click.option("--bursts", type=AtLeast(1), default=1000, show_default=True, help="How many bursts.")
@click.option(
    "--duration",
    "duration_s",
    type=AtLeast(0.1, float),
    default=5.0,
    show_default=True,
    help="Seconds of sustained load.",
)
@load_options
@click.option(
    "--kill-workers",
    "kills",
    type=AtLeast(0, most=1000, reason="each is replaced, which takes a moment"),
    default=0,
    is_flag=False,
    flag_value=str(KILLS),
    metavar="[N]",
    help=f"SIGKILL workers in the middle of bursts.  [{KILLS}]",
)
@click.option(
    "--budget", "budget_s", type=AtLeast(0.1, float), metavar="S", help="Seconds after which no burst begins."
)
@click.option("--history", type=click.Path(path_type=Path), metavar="FILE", help="Write every operation; .gz works.")
@store_options
@service_options
@output_options
@click.pass_context
def command(context: click.Context, /, **options: Any) -> int:
    """Run SCENARIO under one strategy, on a real store, and judge what happened.

    SCENARIO and the strategy are names (see race list) or scripts: ./my_rule.py
    With --target or --url the bursts go to a service over HTTP, in a strategy's place. With --flow it is one attempt,
    what it asks of the outside included, and what becomes of it when something fails.
    """  # fmt: skip
    if options["flow"] is not None:
        return flow_run(context, options)
    if options["faults"] is not None:
        raise UsageError(f"--faults is for --flow; or race explore {options['scenario']} --strategy NAME --faults all")
    if over_http.asked(options):
        return over_http.run(context, options)
    if options["strategy"] is None:
        strategy = next(one for one in context.command.params if one.name == "strategy")
        raise click.MissingParameter(ctx=context, param=strategy)
    from harness.burst import Cell, run
    from harness.judge import Recording
    from harness.report import result_screen
    from harness.results import result_document

    output, seed = Output.of(options), seed_or_new(options["seed"])
    load = load_of({**options, "bursts": _bursts(context, options)}, seed)
    if load.kills and load.mode != "burst":
        raise UsageError("--kill-workers kills in the middle of bursts: leave out --mode sustained")
    cell = Cell(options["scenario"], options["strategy"], options["rule"])
    history: Path | None = options["history"]
    out.check(output, *([history] if history is not None else []))
    smallest = Smallest(load)
    with shown(Path(cell.scenario).stem, quiet=output.quiet) as progress:
        measured = asyncio.run(
            run(
                cell,
                load,
                stores_options=stores_of(options),
                budget_s=options["budget_s"],
                progress=progress,
                recording=Recording(history) if history is not None else None,
                then=smallest.look,
            )
        )
    document = result_document(measured, reproduce=command_line(context, seed))
    document = smallest.with_found(document, output, measured)
    code = out.result_code(document, output)
    out.deliver(document, output, result_screen(document, code, out.paint()))
    if history is not None and not output.quiet:
        click.echo(f"history saved in {history}", err=True)
    return code


def _bursts(context: click.Context, options: dict[str, Any]) -> int:
    """As many as were asked for; else no more than the scenario has time for."""
    from click.core import ParameterSource

    from harness.strategy.loader import find_scenario

    asked: int = options["bursts"]
    said = context.get_parameter_source("bursts") is not ParameterSource.DEFAULT
    if said:
        return asked
    try:
        return min(asked, find_scenario(options["scenario"]).bursts)
    except UsageError:  # the run itself says it
        return asked
