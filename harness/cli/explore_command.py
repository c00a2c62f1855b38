"""race explore: every interleaving of one burst, and the smallest that breaks."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli import completion
from harness.cli import output as out
from harness.cli.flow_run import EXPLORE
from harness.cli.options import (
    PROCESSES,
    SEED,
    AtLeast,
    BurstSize,
    Output,
    Sectioned,
    command_line,
    faults_of,
    output_options,
    seed_or_new,
    store_options,
    stores_of,
)
from harness.cli.progress import shown
from harness.model import UsageError

if TYPE_CHECKING:
    from harness.burst import Cell
    from harness.burst.cells import Bound
    from harness.explore import Exploration, Options, Schedule
    from harness.results.build import Document
    from harness.stores import StoreInfo

_MOST_CALLERS = 64
_FAULTS = "crash,pause,lost-reply,duplicate"


def _no_flow(_context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    """Refuse what cannot be scheduled. Raises UsageError."""
    if value is not None:
        raise UsageError(f"--flow cannot be explored: {EXPLORE}")


@click.command("explore", cls=Sectioned)
@click.argument("scenario", shell_complete=completion.scenario)
@click.option(
    "--strategy",
    required=True,
    metavar="NAME[:VARIANT]",
    shell_complete=completion.strategy,
    help="How the rule is protected.",
)
@click.option("--rule", default="", metavar="NAME", help="One of the scenario's rules; the first without it.")
@click.option(
    "--size",
    type=BurstSize(most=_MOST_CALLERS, reason="the orders of a burst of three can take minutes"),
    default=2,
    show_default=True,
    help="Requests in the burst.",
)
@click.option("--faults", metavar="LIST", help=f"Of {_FAULTS}; or all.")
@click.option("--flow", hidden=True, expose_value=False, callback=_no_flow)
@click.option("--all", "every", is_flag=True, help="Go on after the first violation, and count.")
@click.option(
    "--search",
    type=click.Choice(["exhaustive", "random", "pct"]),
    default="exhaustive",
    show_default=True,
    metavar="HOW",
    help="exhaustive, random or pct.",
)
@click.option(
    "--max-schedules", "most", type=AtLeast(1), default=100_000, show_default=True, help="Stop after so many."
)
@click.option("--max-switches", "switches", type=AtLeast(0), help="Between callers that could go on, in a schedule.")
@click.option("--max-faults", "most_faults", type=AtLeast(1), default=1, show_default=True, help="In a schedule.")
@click.option("--processes", type=AtLeast(1), default=PROCESSES, show_default=True, help="Callers share their memory.")
@click.option("--seed", type=SEED, help="Draws the burst; chosen and printed without it.")
@click.option(
    "--budget",
    "budget_s",
    type=AtLeast(0.1, float),
    default=60.0,
    show_default=True,
    metavar="S",
    help="Seconds after which no schedule begins.",
)
@click.option(
    "--save", type=click.Path(path_type=Path), metavar="FILE", help="Write the smallest schedule: race replay."
)
@store_options
@output_options
@click.pass_context
def command(context: click.Context, /, **options: Any) -> int:
    """Run SCENARIO's burst in every order of its steps, one step at a time, on a real store.

    The orders that differ only in independent steps are run once. Stops at the first violation.
    """  # fmt: skip
    import uvloop

    from harness.burst.cells import bind
    from harness.burst.plan import Cell, Load
    from harness.explore import FAULTS, Options, explore_alone
    from harness.report import exploration_screen

    output, seed = Output.of(options), seed_or_new(options["seed"])
    faults = tuple(faults_of(options))
    faults = FAULTS if "all" in faults else faults
    for fault in faults:
        if fault not in FAULTS:
            raise UsageError(f"unknown fault '{fault}'; there are: {', '.join(FAULTS)}")
    asked = Options(
        size=options["size"], processes=options["processes"], faults=faults, most_faults=options["most_faults"],
        search=options["search"], every=options["every"], most_schedules=options["most"],
        most_switches=options["switches"], seed=seed, budget_s=options["budget_s"],
    )  # fmt: skip
    save: Path | None = options["save"]
    out.check(output, *([save] if save is not None else []))
    load = Load(processes=asked.processes, size=asked.size)
    bound = bind(Cell(options["scenario"], options["strategy"], options["rule"]), load)
    if bound.claim.kind == "not-applicable":
        raise UsageError(f"{options['strategy']} does not apply to {options['scenario']}: {bound.claim.reason}")
    began, started_at = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    with shown(Path(bound.cell.scenario).stem, quiet=output.quiet) as progress:
        found, smallest, infos = uvloop.run(explore_alone(bound, stores_of(options), asked, progress))
    file, unsaved = None, None
    try:
        file = saved(save, output, bound.cell, asked, smallest, started_at)
    except UsageError as error:  # a disk that was filled meanwhile: what was found is shown first
        unsaved = error
    document = _document(bound, asked, found, smallest, infos, file, command_line(context, seed), began, started_at)
    code = out.result_code(document, output)
    out.deliver(document, output, exploration_screen(document, code, out.paint()))
    if unsaved is not None:
        raise unsaved
    return code


def saved(
    save: Path | None, output: Output, cell: Cell, options: Options, smallest: Schedule | None, started_at: str
) -> str | None:
    """Where the smallest schedule was written: to the file asked for, and always among the results."""
    from harness.explore import schedule_document
    from harness.results.save import write_file

    if smallest is None:
        return None
    document = {**schedule_document(cell, options, smallest), "started_at": started_at}
    kept = output.results.keep_schedule(document)
    if save is not None:
        write_file(save, json.dumps(document, indent=2) + "\n")
    return str(save or kept)


def _document(
    bound: Bound, options: Options, found: Exploration, smallest: Schedule | None, infos: list[StoreInfo],
    file: str | None, reproduce: str, began: float, started_at: str,
) -> Document:  # fmt: skip
    from harness.results.exploration import Explored, exploration_document

    explored = Explored(
        bound.cell, options, bound.claim, infos, reproduce, started_at, time.monotonic() - began, file
    )  # fmt: skip
    return exploration_document(explored, found, smallest)
