"""Requests of a burst are sent to several processes of a service, where its answers tell them apart."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from harness.http.apart import Apart
from harness.http.connection import Line, Shared
from harness.http.perform import HttpSession
from harness.http.place import Place

PERIODS, BURSTS = 400, 5


class Drawn(Line):
    """A line whose connection leads to a process drawn at random, as those to a shared port do."""

    def __init__(self, rng: Random) -> None:
        """Connected at once."""
        super().__init__(Place("127.0.0.1", 8000), None, Shared())
        self._rng = rng
        self.process = ""
        self.draw()

    def draw(self) -> None:
        """Connect anew."""
        self.process = self._rng.choice("ab")

    async def drop(self) -> None:
        """Hang up."""
        self.draw()


@pytest.mark.parametrize(("told", "most", "least"), [(True, 0.8, 0.68), (False, 0.55, 0.45)])
def test_most_bursts_reach_two_processes(told: bool, most: float, least: float) -> None:
    """Three in four, with connections that are new every five bursts; one in two where answers name no process.

    Not all of them: some races are seen within one process only.
    """
    rng = Random(7)

    async def share() -> float:
        two = 0
        apart = [Apart(number) for number in range(2)]
        for _ in range(PERIODS):
            lines = [Drawn(rng) for _ in range(2)]
            sessions = [HttpSession(f"{number}.0", line) for number, line in enumerate(lines)]
            for _ in range(BURSTS):
                two += lines[0].process != lines[1].process
                for number, session in enumerate(sessions):
                    session.process = lines[number].process if told else ""
                    await apart[number].part([session])
        return two / (PERIODS * BURSTS)

    assert least < asyncio.run(share()) < most


def test_callers_of_one_process_part() -> None:
    """Each caller of a process has a process of the service for itself, as far as there are so many."""
    rng = Random(7)

    async def kept() -> list[str]:
        lines = [Drawn(rng) for _ in range(4)]
        sessions = [HttpSession(f"0.{number}", line) for number, line in enumerate(lines)]
        apart = Apart(0)
        for _ in range(40):
            for session, line in zip(sessions, lines, strict=True):
                session.process = line.process
            await apart.part(sessions)
        return [line.process for line in lines]

    assert asyncio.run(kept()) == ["a", "b", "a", "b"]
