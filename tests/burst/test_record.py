"""The record: what is written can be read back, also from a worker that died."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.burst.evidence import Groups
from harness.burst.record import SIZE, Reading, Recorder
from harness.model import Reply, Request, Status, UsageError


@pytest.fixture
def files() -> Iterator[tuple[int, int]]:
    """The two files of a worker."""
    with tempfile.TemporaryFile() as entries, tempfile.TemporaryFile() as words:
        yield entries.fileno(), words.fileno()


def write(recorder: Recorder, key: str, reply: Reply | None, burst: int = 0) -> None:
    """One operation from 10 to 20 ns."""
    mark = recorder.begin("add", recorder.place((key,)), {"n": 1}, "http", caller=3, burst=burst, attempt=7, now_ns=10)
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


def test_entries_continue_over_segments(files: tuple[int, int]) -> None:
    """The file grows by segments; none of the entries is lost at their borders."""
    recorder = Recorder(0, *files)
    count = 70_000
    for number in range(count):
        write(recorder, f"k{number % 7}", Reply("added", {"value": number}))
    reading = Reading(0, *files)
    values = [entry.value for _number, entry in reading.entries()]
    assert values == list(range(count))
    assert reading.end(0) == count
    assert reading.entry(65_536).value == 65_536
    assert os.fstat(files[0]).st_size % SIZE == 0


def test_sustained_entries_are_grouped_by_connected_keys(files: tuple[int, int]) -> None:
    """Keys that one request names together are judged together."""
    recorder = Recorder(0, *files)
    for keys in (("a", "b"), ("c",), ("b", "d"), ("e",)):
        mark = recorder.begin("move", recorder.place(keys), {}, "", 0, 0, -1, 1)
        recorder.end(mark, Reply("ok"), 0, 0, 2)
    groups = Groups([Reading(0, *files)], [(0, recorder.count)])
    found = sorted((one.keys, len(one.operations)) for one in groups.evidence(None, None, 0))
    assert found == [(("a", "b", "d"), 2), (("c",), 1), (("e",), 1)]
