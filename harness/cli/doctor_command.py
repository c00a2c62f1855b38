"""race doctor: whether race can work here, and what to do where it cannot."""

from __future__ import annotations

import time
from typing import Any

import click

from harness.cli import output as out
from harness.cli.failure import INCONCLUSIVE, OK
from harness.cli.options import store_options


@click.command("doctor")
@store_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(redis_url: str | None, postgres_url: str | None, allow_hosts: tuple[str, ...], as_json: bool) -> int:
    """Look at Python, this machine and the stores: versions, limits, clocks, and every right that race needs.

    Embedded servers are started and ended, given ones get a key and a schema that go at the end. Exit 3: something
    fails without which race cannot work.
    """  # fmt: skip
    import uvloop

    from harness.doctor import Asked, document, examine_machine, examine_servers
    from harness.report.doctor import doctor_screen

    began = time.monotonic()
    groups = [examine_machine(), *uvloop.run(examine_servers(Asked(redis_url, postgres_url, allow_hosts)))]
    found: dict[str, Any] = document(groups, time.monotonic() - began)
    code = INCONCLUSIVE if found["state"] == "failed" else OK
    click.echo(out.as_json(found) if as_json else doctor_screen(found, code, out.paint()), nl=False, color=True)
    return code
