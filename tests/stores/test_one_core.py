"""On one core while one step is taken at a time, and on all of them again afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os

import pytest

from harness.burst.cells import bind
from harness.burst.plan import Cell, Load
from harness.explore import Explorer, Options
from harness.stores import Embedded, Stores

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="there is one core only"
)


@pytest.mark.parametrize("strategy", ["naive", "pg-read-committed"])
def test_servers_are_kept_beside_the_explorer_and_let_go(strategy: str) -> None:
    """Also where the work fails, and where two explore at once."""
    before = os.sched_getaffinity(0)

    async def work(servers: Embedded) -> None:
        bound = bind(Cell("counter", strategy), Load())
        async with Stores(embedded=servers) as stores:
            pids = servers.running()
            with contextlib.suppress(LookupError):
                async with Explorer(bound, stores, Options()), Explorer(bound, stores, Options()):
                    where = {frozenset(os.sched_getaffinity(pid)) for pid in (0, *pids)}
                    assert [len(cores) for cores in where] == [1]
                    raise LookupError
            assert all(os.sched_getaffinity(pid) == before for pid in (0, *pids))

    servers = Embedded.open()
    try:
        asyncio.run(work(servers))
    finally:
        servers.close()


def test_a_server_has_a_core_of_its_own_while_a_load_leaves_one_free() -> None:
    """Two workers and more may want them all."""
    cores = os.sched_getaffinity(0)
    servers = Embedded.open()
    try:
        asyncio.run(servers.start_valkey())
        stores = Stores(embedded=servers)
        (server,) = servers.running()
        for workers, wanted in ((len(cores) - 1, {max(cores)}), (len(cores), cores)):
            stores.keep_apart(workers)
            assert os.sched_getaffinity(server) == wanted
            assert os.sched_getaffinity(0) == cores
            stores.let_go()
            assert os.sched_getaffinity(server) == cores
    finally:
        servers.close()


def test_servers_of_others_stay_where_they_are() -> None:
    """And so does the thread: it would only be in its own way."""
    before = os.sched_getaffinity(0)
    servers = Embedded.open()
    try:
        asyncio.run(servers.start_valkey())
        stores = Stores(redis_url="redis://127.0.0.1:6379", embedded=servers)
        stores.keep_together("redis")
        assert os.sched_getaffinity(0) == before
        stores.let_go()
        assert os.sched_getaffinity(0) == before
        stores.keep_together("postgres")  # the mutant: of servers that are ours
        assert os.sched_getaffinity(0) != before
        stores.let_go()
    finally:
        servers.close()
    assert os.sched_getaffinity(0) == before
