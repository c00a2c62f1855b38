"""What recording costs: one worker in this process, with its recorder and with one that writes nothing."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from bench.figures import Figure, Spread, ratio
from harness.burst import Cell, Load
from harness.burst.plan import Orders
from harness.burst.record import OPERATION, Mark, Recorder
from harness.burst.rendezvous import size
from harness.burst.worker import Worker
from harness.model import Reply, Status
from harness.stores import Stores

_CONNECTIONS = 50
_SLICE_S = 0.15
_FEWEST = 60
"""Pairs: of fewer the median is a matter of luck, and of longer ones, too, for fewer are of one mood of the machine."""


class Silent(Recorder):
    """Counts, because numbers make ids, and writes nothing."""

    def place(self, keys: tuple[str, ...]) -> int:  # noqa: ARG002 - as the recorder's
        """Nothing."""
        return 0

    def begin(
        self,
        operation: str,  # noqa: ARG002
        place: int,  # noqa: ARG002
        args: Mapping[str, Any],  # noqa: ARG002
        role: str,  # noqa: ARG002
        who: int,  # noqa: ARG002
        attempt: int,  # noqa: ARG002
        now_ns: int,  # noqa: ARG002
        kind: int = OPERATION,  # noqa: ARG002
    ) -> Mark:
        """Count."""
        self.count += 1
        return 0

    def end(self, mark: Mark, reply: Reply, now_ms: int, now_max_ms: int, returned_ns: int) -> None:
        """Nothing."""

    def end_badly(self, mark: Mark, status: Status, error: str, now_ms: int, now_max_ms: int, returned_ns: int) -> None:
        """Nothing."""

    def instant(
        self,
        name: str,  # noqa: ARG002
        place: int,  # noqa: ARG002
        who: int,  # noqa: ARG002
        attempt: int,  # noqa: ARG002
        began_ns: int,  # noqa: ARG002
        ended_ns: int,  # noqa: ARG002
    ) -> None:
        """Count."""
        self.count += 1

    def effect_end(self, mark: Mark, now_ns: int) -> None:
        """Nothing."""


async def recording(rounds: int, seconds: float) -> list[Figure]:
    """A command a request, and the worst there is: an attempt of two commands with an effect in between."""
    return [await _cost(Cell(scenario, "atomic"), rounds, seconds) for scenario in ("counter", "double-submit")]


async def _cost(cell: Cell, rounds: int, seconds: float) -> Figure:
    """The same sustained load with and without a record, in many short pairs of neighbours in time.

    What else the machine does slows a pair down as a whole, or one half of it: the median of the pairs' ratios
    is not moved by the few that were hit, and which half comes first changes from pair to pair.
    """
    pairs = max(_FEWEST, round(rounds * seconds / (2 * _SLICE_S)))
    load = Load(mode="sustained", processes=1, connections=_CONNECTIONS, keys=1000, duration_s=_SLICE_S, work_us=0)
    rates: dict[str, list[float]] = {"recorded": [], "not recorded": []}
    costs: dict[str, list[float]] = {name: [] for name in rates}
    async with Stores(need={"redis"}) as stores:
        with ExitStack() as files:
            entries, words, steps, meeting = (files.enter_context(tempfile.TemporaryFile()) for _ in range(4))
            meeting.truncate(size(1))
            worker = Worker(
                {
                    "worker": 0, "id": 0, "processes": 1, "stores": stores.describe(), "entries_fd": entries.fileno(),
                    "words_fd": words.fileno(), "steps_fd": steps.fileno(), "meeting_fd": meeting.fileno(),
                    "owner_fds": [],
                }
            )  # fmt: skip
            recorders = [("recorded", worker.recorder), ("not recorded", Silent(0, entries.fileno(), words.fileno()))]
            for number in range(-1, pairs):  # the first pair warms up
                for name, recorder in recorders if number % 2 else reversed(recorders):
                    worker.recorder = recorder
                    worker.rendezvous.reset()
                    spent_s = time.process_time()
                    # The same keys again: new ones are words to be written, once in a run.
                    done = await worker.sustained(Orders((cell,), load, 1, 1, load.timeout_s))
                    ((_, began),) = done["released"]
                    spent_s = time.process_time() - spent_s
                    if number >= 0:
                        costs[name].append(spent_s * 1e6 / done["commands"])
                        rates[name].append(done["commands"] / ((done["ended"] - began) / 1e9))
            worker.rendezvous.close()
            for sessions in worker.sessions.values():
                for session in sessions:
                    await session.close()
    compares = (
        f"store commands a second of {cell.scenario} under {cell.strategy} in one process of {_CONNECTIONS} connections"
        f", sustained and recorded, over the same with a recorder that writes nothing, {pairs} pairs of {_SLICE_S:g} s;"
        " not judged"
    )
    return Figure(
        f"{cell.scenario}, recorded / not", compares, value=ratio(rates["recorded"], rates["not recorded"]), target=0.9,
        parts={
            **{f"{name}, commands/s": Spread.over(found) for name, found in rates.items()},
            **{f"{name}, processor time a command, us": Spread.over(found) for name, found in costs.items()},
        },
    )  # fmt: skip
