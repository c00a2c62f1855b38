"""The isolation table on the server under test."""

from __future__ import annotations

import asyncio
import os

from harness.explore import ANOMALIES, LEVELS, IsolationTable, play_anomalies
from harness.stores import PostgresTarget, Stores


def test_every_cell(postgres: PostgresTarget) -> None:
    """All thirty, on whatever PostgreSQL it is; and nothing of ours stays there."""
    url = os.environ.get("RACE_TEST_POSTGRES_URL") or (
        f"postgresql://{postgres.user}@/{postgres.database}?host={postgres.host}&port={postgres.port}"
    )

    async def work() -> IsolationTable:
        async with Stores(postgres_url=url, need={"postgres"}) as stores:
            return await play_anomalies(stores, ANOMALIES)

    table = asyncio.run(work())
    found = {(level, one.code): table.prevents(level, one) for level in LEVELS for one in ANOMALIES}
    assert found == {(level, one.code): one.expected(level) for level in LEVELS for one in ANOMALIES}
