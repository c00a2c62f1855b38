"""A saved schedule played again: it still breaks, no longer does, or does not fit the program any more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.burst.cells import bind
from harness.burst.plan import Load
from harness.explore import Replay, Schedule, commands, opened, read_schedule
from harness.results.build import counterexample_document

if TYPE_CHECKING:
    from harness.burst import Cell, StoresOptions
    from harness.burst.cells import Bound
    from harness.results.build import Document


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of it. `says`: what breaks or broke; `why`: what does not fit; `drawn`: what was done now."""

    outcome: Literal["violated", "fixed", "misfit"]
    cell: Cell
    says: str
    why: str = ""
    drawn: Document | None = None


def replay(path: Path, stores: StoresOptions, cell: Cell | None = None, bound: Bound | None = None) -> Replayed:
    """Play the schedule of a file on its own cell, or on the one given. Raises RaceError."""
    import uvloop

    saved, options, choices, data = read_schedule(path)
    cell = cell or saved
    bound = bound or bind(cell, Load(processes=options.processes, size=options.size))

    async def go() -> Schedule | None:
        async with opened(bound, stores, options) as (_stores, explorer):
            return await explorer.steady(Replay(choices), tuple(data.get("without", ())))

    return _said(cell, uvloop.run(go()), data)


def _said(cell: Cell, played: Schedule | None, data: Mapping[str, Any]) -> Replayed:
    says = str(data["says"])
    if played is None:
        return Replayed("misfit", cell, says, f"{cell.strategy} does other things now: the schedule no longer fits")
    if played.says:
        return Replayed("violated", cell, played.says, drawn=counterexample_document(played.explanation()))
    if commands(played) != data["commands"]:
        why = f"{cell.strategy} sends other commands now: the schedule shows nothing about it"
        return Replayed("misfit", cell, says, why)
    return Replayed("fixed", cell, says)
