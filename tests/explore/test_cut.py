"""A schedule that is cut because it does not end shows nothing of those who had not come to their turn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.burst.cells import bind
from harness.burst.plan import Cell, Load
from harness.explore import Exploration, Explorer, Options, searching
from harness.model import Verdict

if TYPE_CHECKING:
    from tests.explore.conftest import Stage


LOOKING = '''
"""A consumer that looks into its list again and again, and is right."""

from harness import Claim, Strategy


class Looking(Strategy):
    """One consumer."""

    name = "looking"
    summary = "a consumer that never sleeps"

    def claims(self, conditions):
        """Holds."""
        return Claim("holds", "one consumer")

    def daemons(self):
        """One."""
        return {"consumer": self.consume}

    async def apply(self, session, request, rule):
        """Put it there and wait."""
        own = session.token()
        await session.redis("RPUSH", session.own_key("list"), f"{own} {request.key}")
        await session.redis("BLPOP", session.own_key(own), 0)
        state = await self.values.load(session, request.keys)
        session.decided_at(0)
        return (await session.decide(rule, state, request)).reply

    async def consume(self, session, rule):
        """Look, for ever."""
        while True:
            found = await session.redis("LPOP", session.own_key("list"))
            if found is not None:
                await session.redis("RPUSH", session.own_key(found.decode().split()[0]), "go on")
'''


@pytest.mark.long
@pytest.mark.parametrize("search", ["exhaustive", "random"])
def test_who_had_no_turn_is_not_stuck(stage: Stage, tmp_path: Path, search: str) -> None:
    """The scheduler lets the consumer look two thousand times before anybody asks: no verdict comes of that."""
    script = tmp_path / "looking.py"
    script.write_text(LOOKING)
    cell = Cell("register", str(script))

    async def work() -> Exploration:
        options = Options(size=1, search=search, every=True, most_schedules=3, budget_s=20)
        async with Explorer(bind(cell, Load(size=1)), stage.stores, options) as explorer:
            return await explorer.explore(searching(options))

    found = stage.run(work())
    assert found.verdict is not Verdict.VIOLATED, found.reason
    assert found.verdict is not Verdict.PROVED
    if search == "exhaustive":
        assert any("was cut after" in cap for cap in found.caps)
