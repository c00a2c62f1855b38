"""Bursts at a service: one run, judged as any other."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

from harness.burst.cells import Bound, bind_classes, control_of
from harness.burst.door import Door
from harness.burst.engine import closing, measured
from harness.burst.fleet import Fleet
from harness.burst.measurement import Measurement, Progress
from harness.burst.plan import Cell, Load
from harness.burst.tally import Tally
from harness.http.bench import HttpBench
from harness.http.decisions import check_decisions
from harness.http.schemes import speaks_other
from harness.http.site import HttpOptions, Site, find_site
from harness.http.strategy import OverHttp
from harness.judge import Header, Recording
from harness.model import RaceError, StoreUnavailable, UsageError
from harness.strategy.loader import find_scenario

BUDGET_S = 60.0
"""Seconds after which no burst begins, unless other are asked for: somebody else's service may be slow."""
MOST_REQUESTS = 1_000_000


def _quiet(_progress: Progress) -> None:
    pass


async def run(
    scenario: str,
    rule: str,
    load: Load,
    options: HttpOptions,
    *,
    control: bool = True,
    budget_s: float = BUDGET_S,
    progress: Callable[[Progress], None] = _quiet,
    recording: Recording | None = None,
) -> tuple[Measurement, Site]:
    """Load a service and judge it. Raises RaceError; cancelled, it gives what was measured, marked incomplete."""
    started, started_at = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    if load.bursts * load.size > MOST_REQUESTS:
        raise UsageError(
            f"{load.bursts:,} bursts of {load.size} are more than {MOST_REQUESTS:,} requests: ask for fewer"
        )
    kind = find_scenario(scenario)
    site, named = find_site(options, rule, kind.operations)
    if named is not None and named[0] not in {scenario, kind.name}:
        raise UsageError(f"--url names {named[0]}, not {scenario}")
    title = named[1] if named is not None else str(getattr(site.service, "title", "") or type(site.service).name)
    bound = _bound(scenario, title or "service", rule, load)
    check_decisions(site.service, bound)
    await site.open()
    if site.about:
        bound = dataclasses.replace(bound, strategy=behind(bound, title, site.about), claim=site.claim(bound.claim))
    beside = _control(site, bound, load) if control else None
    async with AsyncExitStack() as stack:
        fleet = await stack.enter_async_context(Fleet(site, load.processes, module="harness.http.worker"))
        bench = HttpBench(site, fleet, progress)
        tally = Tally(bound, beside, recording)
        service = site.service
        tally.door = Door(service.arrival_us, service.handler_us)
        try:
            await bench.alone(site, tally, load)
        except RaceError as error:
            raise await _explained(site, error) from None
        if recording is not None:
            stack.enter_context(recording)
            recording.begin(Header(scenario, bound.cell.rule, title, load.seed, load.mode), bound.scenario.operations)
        if not tally.failures:
            await bench.bursts(tally, load, load.bursts, started + budget_s)
        if 2 * tally.expired > tally.judged:
            tally.failures.append(f"a login ran out in {tally.expired:,} bursts: too few are whole")
        await bench.probe(tally, load)
        lost = await site.lost()
        whole = not bench.interrupted
        if recording is not None:
            recording.end(closing(tally, lost, complete=whole))
        found = measured(tally, load, site.infos, lost, started_at, time.monotonic() - started, complete=whole)
        return dataclasses.replace(found, others=bench.others()), site


async def _explained(site: Site, error: RaceError) -> RaceError:
    """The same, and where a service did not understand HTTP because it speaks HTTPS, that it does."""
    if site.place.tls or not (isinstance(error, StoreUnavailable) or "answered 400" in str(error)):
        return error
    other = await speaks_other(site.place)
    return StoreUnavailable(f"{error}; {other}") if other else error


def _bound(scenario: str, title: str, rule: str, load: Load) -> Bound:
    """The scenario with a service in the place of a strategy. Raises UsageError."""
    bound = bind_classes(Cell(scenario, title, rule), find_scenario(scenario), OverHttp, "", load)
    return dataclasses.replace(bound, strategy=OverHttp(bound.scenario, title))


def behind(bound: Bound, title: str, about: Mapping[str, Any]) -> OverHttp:
    """The strategy behind race serve, by what it says of this cell."""
    return OverHttp(bound.scenario, title, about["store"], about.get("whole_for", ()))


def _control(site: Site, bound: Bound, load: Load) -> Bound | None:
    """The control that race serve has beside a cell: the strategy known to break, on the same store and server."""
    path = site.about.get("control")
    if not path:
        return None
    name = str(path).rsplit("/", 1)[-1]
    beside = control_of(bound, load)
    if beside is None or beside.cell.strategy != name:
        return None
    title = OverHttp(beside.scenario, name, bound.strategy.store)
    return dataclasses.replace(beside, strategy=title)
