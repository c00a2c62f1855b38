"""The record: what is written can be read back, also from a worker that died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.burst.evidence import Groups
from harness.burst.record import SIZE, Reading, Recorder
from harness.model import Effect, Reply, Request, Status, UsageError


@pytest.fixture
def files() -> Iterator[tuple[int, int]]:
    """The two files of a worker."""
    with tempfile.TemporaryFile() as entries, tempfile.TemporaryFile() as words:
        yield entries.fileno(), words.fileno()


def write(recorder: Recorder, key: str, reply: Reply | None, burst: int = 0) -> None:
    """One operation from 10 to 20 ns."""
    mark = recorder.begin("add", recorder.place((key,)), {"n": 1}, "http", recorder.who(3, burst), attempt=7, now_ns=10)
    if reply is not None:
        recorder.end(mark, reply, 5, 6, 20)


@pytest.mark.parametrize(
    "reply",
    [
        Reply("added", {"value": -(2**62)}),
        Reply("no"),
        Reply("x", {"a": [1, None], "b": "y"}),
        Reply("x", {"value": 2**70}),
    ],
    ids=["integer", "bare", "json", "huge"],
)
def test_an_operation_reads_back_as_written(files: tuple[int, int], reply: Reply) -> None:
    """Every field survives, whatever the reply holds."""
    write(Recorder(2, *files), "k", reply)
    reading = Reading(2, *files)
    ((number, entry),) = reading.entries()
    operation = reading.operation(number, entry)
    assert operation.reply == reply
    assert operation.request == Request("add", ("k",), {"n": 1}, "2-0", "2-a7", "http")
    assert (operation.caller, operation.invoked_ns, operation.returned_ns) == ("2.3", 10, 20)
    assert (operation.status, operation.now_ms, operation.now_max_ms, operation.error) == ("ok", 5, 6, "")


def test_an_operation_without_its_end_is_unknown(files: tuple[int, int]) -> None:
    """A worker that died in the middle leaves an operation that may have taken effect."""
    write(Recorder(0, *files), "k", None)
    reading = Reading(0, *files)
    ((number, entry),) = reading.entries()
    operation = reading.operation(number, entry)
    assert (operation.status, operation.returned_ns, operation.reply) == (Status.UNKNOWN, None, None)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_a_full_disk(files: tuple[int, int]) -> None:
    """One line that blames no script."""
    with Path("/dev/full").open("wb") as full, pytest.raises(UsageError, match=r"cannot record in .*: No space left"):
        Recorder(0, files[0], full.fileno()).place(("user:1",))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_a_disk_that_is_full_before_an_entry(files: tuple[int, int]) -> None:
    """The room is taken before it is mapped: no signal ends the worker, one line does."""
    with Path("/dev/full").open("r+b", buffering=0) as full:
        recorder = Recorder(0, full.fileno(), files[1])
        with pytest.raises(UsageError, match=r"cannot record in .*: No space left"):
            write(recorder, "k", None)


KILLED = """
import os, signal, sys
from harness.burst.record import Recorder
from harness.model import NOTHING, Reply
recorder = Recorder(0, int(sys.argv[1]), int(sys.argv[2]))
place, who = recorder.place(("k",)), recorder.who(3, 1)
recorder.end(recorder.begin("add", place, NOTHING, "", who, 5, 10), Reply("added", {"value": 7}), 1, 2, 20)
recorder.instant("work", place, who, 5, 21, 22)
recorder.effect("mail", place, who, 5, 23)
recorder.begin("undo", place, {"by": 1}, "cron", who, 5, 24)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_worker_wrote_is_there(files: tuple[int, int]) -> None:
    """All of it, each entry the moment it was written: an effect that had begun, a request that had no answer yet."""
    died = subprocess.run([sys.executable, "-c", KILLED, *map(str, files)], pass_fds=files, check=False)
    assert died.returncode == -signal.SIGKILL
    reading = Reading(0, *files)
    added, worked, mailed, undone = (entry for _number, entry in reading.entries())
    assert reading.operation(0, added).reply == Reply("added", {"value": 7})
    assert reading.effect(worked) == Effect("work", "0-a5", ("k",), 21, 22, "0.3")
    assert reading.effect(mailed) == Effect("mail", "0-a5", ("k",), 23, None, "0.3")
    left = reading.operation(3, undone)
    assert (left.status, left.request) == ("unknown", Request("undo", ("k",), {"by": 1}, "0-3", "0-a5", "cron"))
    assert {entry.burst for _number, entry in reading.entries()} == {1}


def test_keys_are_not_taken_for_what_a_request_says(files: tuple[int, int]) -> None:
    """A role with its arguments has a number of its own, whatever keys are called."""
    recorder = Recorder(0, *files)
    recorder.place(("cron", "{}"))
    recorder.begin("add", recorder.place(("k",)), {}, "cron", 0, -1, 1)
    reading = Reading(0, *files)
    ((number, entry),) = reading.entries()
    assert reading.operation(number, entry).request == Request("add", ("k",), {}, "0-0", "", "cron")


def test_entries_continue_over_segments(files: tuple[int, int]) -> None:
    """The file grows by segments; none of the entries is lost at their borders."""
    recorder = Recorder(0, *files)
    count = 20_000
    for number in range(count):
        write(recorder, f"k{number % 7}", Reply("added", {"value": number}))
    reading = Reading(0, *files)
    values = [entry.value for _number, entry in reading.entries()]
    assert values == list(range(count))
    assert reading.end(0) == count
    assert reading.entry(16_384).value == 16_384
    assert os.fstat(files[0]).st_size % SIZE == 0


def test_sustained_entries_are_grouped_by_connected_keys(files: tuple[int, int]) -> None:
    """Keys that one request names together are judged together."""
    recorder = Recorder(0, *files)
    for keys in (("a", "b"), ("c",), ("b", "d"), ("e",)):
        mark = recorder.begin("move", recorder.place(keys), {}, "", 0, -1, 1)
        recorder.end(mark, Reply("ok"), 0, 0, 2)
    groups = Groups([Reading(0, *files)], [(0, recorder.count)])
    found = sorted((one.keys, len(one.operations)) for one in groups.evidence(None, None, 0))
    assert found == [(("a", "b", "d"), 2), (("c",), 1), (("e",), 1)]
