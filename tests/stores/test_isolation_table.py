"""The isolation table on the server under test."""

from __future__ import annotations

import asyncio
import os

from harness.explore.isolation import EXPECTED, LEVELS, Played, play, prevents
from harness.stores import PostgresTarget, Stores


def test_every_cell(postgres: PostgresTarget) -> None:
    """All thirty, on whatever PostgreSQL it is; and nothing of ours stays there."""
    url = os.environ.get("RACE_TEST_POSTGRES_URL") or (
        f"postgresql://{postgres.user}@/{postgres.database}?host={postgres.host}&port={postgres.port}"
    )

    async def work() -> list[Played]:
        async with Stores(postgres_url=url, need={"postgres"}) as stores:
            return await play(stores)

    played = asyncio.run(work())
    for level in LEVELS:
        assert {name for name, prevented in prevents(played, level).items() if prevented} == EXPECTED[level]
