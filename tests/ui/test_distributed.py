"""One master and three workers on loopback: judged together, and one of them killed in the middle."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.servers import PrivateValkey, free_port, until
from tests.ui.sessions import Session, gone

pytestmark = [pytest.mark.load, pytest.mark.long, pytest.mark.xdist_group("load")]


@pytest.fixture
def valkey() -> Iterator[PrivateValkey]:
    """A server that all of them reach."""
    folder = Path(tempfile.mkdtemp(prefix="rt-"))
    server = PrivateValkey(folder, ("--appendonly", "no"))
    yield server
    server.kill()
    shutil.rmtree(folder)


@pytest.fixture
def crew(tmp_path: Path, valkey: PrivateValkey) -> Iterator[list[Session]]:
    """A master that begins when three have come, and the three."""
    port = str(free_port())
    master = Session(
        tmp_path, "ui", "double-submit", "--strategy", "lua", "--size", "4", "--headless", "--json", "--quiet",
        "--master", "--master-bind-port", port, "--redis-url", valkey.url, "--", "--expect-workers", "3",
        "-u", "24", "-r", "300", "-t", "5s",
    )  # fmt: skip
    workers = [
        Session(tmp_path, "worker", "--master-port", port, "--redis-url", valkey.url, "--processes", "2")
        for _ in range(3)
    ]
    yield [master, *workers]
    for session in (master, *workers):
        session.close()


def test_a_worker_is_killed_in_the_middle(crew: list[Session], valkey: PrivateValkey) -> None:
    """All three are judged; the one that dies is told of, what it had open is unknown, and nothing is said to hold."""
    master, *workers = crew
    until(lambda: all(len(worker.workers()) == 2 for worker in workers))
    valkey.at_work(1_000)
    family = [process for session in crew for process in session.family()]
    stopped = workers[1].workers()
    for process in stopped:  # so that bursts are open when it dies
        process.suspend()
    time.sleep(0.3)
    os.kill(workers[1].process.pid, signal.SIGKILL)
    for process in stopped:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()
    code, stdout, stderr = master.ended()
    document = json.loads(stdout)
    counts = document["counts"]
    assert (code, document["verdict"], document["violations"]["bursts"], stderr) == (3, "inconclusive", 0, "")
    assert "was lost, " in document["reason"]
    assert counts["errors"] == {"worker-lost": counts["unknown"]}
    assert counts["unknown"] > 0
    assert counts["bursts"] > 10
    assert document["overlap"]["control_bursts"] > 0
    assert [worker.ended()[0] for worker in workers] == [0, -9, 0]
    assert gone(family)
