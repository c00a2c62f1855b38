"""Servers for these tests: embedded ones, or those that RACE_TEST_REDIS_URL and RACE_TEST_POSTGRES_URL name."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.stores import PostgresTarget, RedisTarget, parse_postgres, parse_redis
from harness.stores.embedded import Embedded
from tests import servers
from tests.servers import PrivateValkey


@pytest.fixture(scope="session")
def until() -> Callable[[Callable[[], object]], None]:
    """Wait for a condition, with a deadline."""
    return servers.until


@pytest.fixture(scope="session")
def embedded() -> Iterator[Embedded]:
    """A folder with a guard, for servers that all tests share."""
    embedded = Embedded.open()
    yield embedded
    embedded.close()


@pytest.fixture(scope="session")
def embedded_postgres(embedded: Embedded) -> PostgresTarget:
    """An embedded PostgreSQL, whatever the environment names."""
    return asyncio.run(embedded.start_postgres())


@pytest.fixture(scope="session")
def redis(request: pytest.FixtureRequest) -> RedisTarget:
    """The Redis or Valkey under test."""
    if url := os.environ.get("RACE_TEST_REDIS_URL"):
        return parse_redis(url)
    embedded: Embedded = request.getfixturevalue("embedded")
    return asyncio.run(embedded.start_valkey())


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> PostgresTarget:
    """The PostgreSQL under test."""
    if url := os.environ.get("RACE_TEST_POSTGRES_URL"):
        return parse_postgres(url)
    target: PostgresTarget = request.getfixturevalue("embedded_postgres")
    return target


@pytest.fixture
def valkey() -> Iterator[Callable[..., PrivateValkey]]:
    """Start Valkeys with options of one's own."""
    folders: list[Path] = []
    started: list[PrivateValkey] = []

    def start(*options: str) -> PrivateValkey:
        folders.append(Path(tempfile.mkdtemp(prefix="rt-")))
        started.append(PrivateValkey(folders[-1], options))
        return started[-1]

    yield start
    for server in started:
        server.kill()
    for folder in folders:
        shutil.rmtree(folder)
