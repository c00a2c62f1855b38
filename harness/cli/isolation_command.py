"""race isolation: what each isolation level of a PostgreSQL prevents."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from harness.cli import output as out
from harness.cli.options import Output, command_line, output_options, postgres_options, stores_of
from harness.cli.progress import shown

if TYPE_CHECKING:
    from harness.burst import StoresOptions
    from harness.explore import IsolationTable
    from harness.stores import StoreInfo

_CONNECTIONS = 6
"""Of three transactions, who looks on, who guards the schema, and who asks at the end."""


@click.command("isolation")
@postgres_options
@output_options
@click.pass_context
def command(context: click.Context, /, **options: Any) -> int:
    """Play every isolation anomaly at every level of a PostgreSQL: which are prevented, which occur.

    The cases are Hermitage's, their steps let through one at a time. Exit 1: a cell is not as it is known to be.
    """  # fmt: skip
    from harness.report import isolation_screen
    from harness.results.isolation import AskedIsolation, isolation_document

    output = Output.of(options)
    out.check(output)
    began, started_at = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    with shown("isolation", quiet=output.quiet) as progress:
        table, infos = _played(stores_of(options), progress)
    asked = AskedIsolation(infos, command_line(context, None), started_at, time.monotonic() - began)
    document = isolation_document(table, asked)
    code = out.isolation_code(document, output)
    out.deliver(document, output, isolation_screen(document, code, out.paint()))
    return code


def _played(options: StoresOptions, progress: Callable[[Any], None]) -> tuple[IsolationTable, list[StoreInfo]]:
    import uvloop

    from harness.burst import Progress
    from harness.explore import ANOMALIES, play_anomalies
    from harness.stores import Stores, require_connections

    async def go() -> tuple[IsolationTable, list[StoreInfo]]:
        async with Stores(
            postgres_url=options.postgres_url, allow_hosts=options.allow_hosts, need={"postgres"}
        ) as stores:
            for info in stores.infos:
                require_connections(info, _CONNECTIONS)
            table = await play_anomalies(
                stores, ANOMALIES, lambda done, total: progress(Progress("playing", done, total, "cases"))
            )
            lost = await stores.lost()
            return table if lost is None else table.lost(lost), list(stores.infos)

    return uvloop.run(go())
