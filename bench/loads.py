"""One load after the other on the same servers."""

from __future__ import annotations

import asyncio

from harness.burst import Cell, Load, Measurement, StoresOptions, run
from harness.model import Verdict


async def measured(cell: Cell, load: Load, options: StoresOptions) -> Measurement:
    """One run in an event loop of its own, as from the prompt: nothing is left over from the run before."""
    return await asyncio.to_thread(asyncio.run, run(cell, load, stores_options=options))


def per_second(measurement: Measurement) -> float:
    """Store commands or statements a second."""
    return measurement.commands / measurement.elapsed_s


def verdict(measurement: Measurement) -> str:
    """The verdict, with its reason where nothing could be said."""
    if measurement.verdict is Verdict.INCONCLUSIVE:
        return f"{measurement.verdict} ({measurement.reason})"
    return measurement.verdict.value
