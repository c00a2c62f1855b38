"""race compare --flow: one attempt under every flow, with every fault really made."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli import output as out
from harness.cli.options import Output, command_line, names, seed_or_new, stores_of
from harness.cli.progress import shown
from harness.model import UsageError

if TYPE_CHECKING:
    from harness.burst import StoresOptions
    from harness.burst.cells import Bound
    from harness.flows import FlowCell
    from harness.stores import StoreInfo, Stores

STRATEGY = "pg-for-update"
"""What transitions are made under where nobody says: flows differ alike under every one that holds."""
_CONNECTIONS = 40
"""Of two processes of a durable flow with all their threads, and who looks on."""


def flow_table(context: click.Context, options: dict[str, Any]) -> int:
    """Make the table; the exit code."""
    from harness.burst.cells import bind
    from harness.burst.plan import Cell, Load
    from harness.flows import flows_named, refuse
    from harness.report.flows import flows_screen
    from harness.results.flows import AskedFlows, flows_document

    output, seed = Output.of(options), seed_or_new(options["seed"])
    flows = flows_named(names(options["flow"]))
    strategies, rules = names(options["strategies"]), names(options["rules"])
    strategies = [STRATEGY] if strategies == ["all"] else strategies
    if len(strategies) != 1 or len(rules) > 1 or "all" in rules or not flows:
        raise UsageError("--flow takes one strategy and one rule at a time: --strategies and --rules name one each")
    bound = bind(Cell(options["scenario"], strategies[0], rules[0] if rules else ""), Load())
    refuse(bound, flows)
    out.check(output)
    began, started_at = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    with shown(Path(bound.cell.scenario).stem, quiet=output.quiet) as progress:
        cells, complete, infos = asyncio.run(_made(bound, stores_of(options), flows, seed, progress))
    asked = AskedFlows(bound, seed, infos, command_line(context, seed), started_at, time.monotonic() - began)
    document = flows_document(cells, asked, complete=complete)
    code = out.flows_code(document, output)
    out.deliver(document, output, flows_screen(document, code, out.paint()))
    return code


@asynccontextmanager
async def opened(bound: Bound, options: StoresOptions) -> AsyncIterator[Stores]:
    """The stores of a flow, which can take what it asks for; PostgreSQL, where steps are written down, is one."""
    from harness.stores import require, require_connections

    async with options.stores({bound.strategy.store, "postgres"}) as stores:
        for info in stores.infos:
            require_connections(info, _CONNECTIONS)
            if info.kind == bound.strategy.store:
                require(info, bound.strategy.needs, bound.cell.strategy)
        yield stores


async def _made(
    bound: Bound, options: StoresOptions, flows: list[str], seed: int, progress: Callable[[Any], None]
) -> tuple[list[FlowCell], bool, list[StoreInfo]]:
    from harness.flows import flow_table as made

    async with opened(bound, options) as stores:
        cells, complete = await made(bound, stores, flows, seed, progress)
        return cells, complete, list(stores.infos)
