"""race worker: makes bursts for a race ui --master."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from harness.cli.failure import INTERRUPTED, OK, tell
from harness.cli.options import PROCESSES, THINK_MS, WORK_US, AtLeast, Sectioned, store_options, stores_of
from harness.cli.ui_command import MASTER_PORT, check_flags, need_locust


@click.command("worker", cls=Sectioned)
@click.argument("flags", nargs=-1, type=click.UNPROCESSED, metavar="[-- LOCUST'S FLAGS]")
@click.option(
    "--master-host", default="127.0.0.1", show_default=True, metavar="HOST", help="Where race ui --master is."
)
@click.option(
    "--master-port", type=AtLeast(1, most=65_535, reason="ports end there"), default=MASTER_PORT, show_default=True,
    help="Its --master-bind-port.",
)  # fmt: skip
@click.option(
    "--processes", type=AtLeast(1, most=32, reason="each is a Python of its own that waits without sleeping"),
    default=PROCESSES, show_default=True, help="OS processes that a burst is spread over.",
)  # fmt: skip
@click.option("--work", "work_us", type=AtLeast(0), help="Length of the effect, microseconds.  [300]")
@click.option("--think", "think_ms", type=AtLeast(0, float), default=THINK_MS,
              help="Milliseconds added between check and write.")  # fmt: skip
@click.option("--quiet", is_flag=True, help="No remarks.")
@store_options
def command(flags: tuple[str, ...], **options: Any) -> int:
    """Make bursts for a race ui --master, here or on another machine, until it ends.

    Give the stores as this machine reaches them. What it runs is what the master names: scripts must lie here, too.
    """
    need_locust()
    from harness.burst import Cell, Load
    from harness.ui import Host, Wanted

    check_flags(flags)
    load = Load(
        processes=options["processes"], bursts=1 << 30,
        work_us=WORK_US if options["work_us"] is None else options["work_us"],
        think_ms=options["think_ms"],
    )  # fmt: skip
    own = ("--worker", "--master-host", options["master_host"], "--master-port", str(options["master_port"]))
    wanted = Wanted(
        role="worker", cell=Cell("", ""), load=load, options=stores_of(options), quiet=options["quiet"],
        flags=(*own, *flags),
    )  # fmt: skip
    say = _silent if options["quiet"] else tell
    say(f"waiting for race ui --master at {options['master_host']}:{options['master_port']}")
    host = Host(wanted, kept=lambda _document: None, say=say)
    return INTERRUPTED if asyncio.run(host.run()) else OK


def _silent(_line: str) -> None:
    pass
