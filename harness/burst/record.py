"""The record of a load: one fixed-size entry per operation and effect, outside the worker.

Each worker writes into a file that its parent made, unlinked and mapped by both: what a
killed worker wrote before it died is still there, an operation without its end is `unknown`,
and nothing is left on disk whoever dies. An entry's head is written before the request is
sent and its tail after the answer, the status last. 88 bytes an entry: a minute of eighty
thousand operations a second stays near 400 MB of disk.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import struct
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from harness.model import NOTHING, Effect, Operation, Reply, Request, Status, UsageError

SIZE = 88
_HEAD = struct.Struct("<BxxxIIIIIIqq")
_TAIL = struct.Struct("<qqqqIBB")
_TAIL_AT = 44
_ENTRY = struct.Struct("<BxxxIIIIIIqqqqqqIBB6x")
# Of most requests half of an entry is nought: no role, no arguments, a decision without values. What is not
# handed over is not converted either: recording costs a large part of a fast command's time.
_BARE_HEAD = struct.Struct("<BxxxI4xI4xIIqq")
_BARE_TAIL = struct.Struct("<qqq8xIxB")
_INSTANT = struct.Struct("<BxxxI4xI4xIIqq16xq13xB6x")
_pack_head, _pack_bare_head = _HEAD.pack_into, _BARE_HEAD.pack_into
_pack_tail, _pack_bare_tail = _TAIL.pack_into, _BARE_TAIL.pack_into
_pack_instant = _INSTANT.pack_into
_NO_WORD = 0
assert _ENTRY.size == _INSTANT.size == SIZE
assert _HEAD.size == _BARE_HEAD.size == _TAIL_AT
assert _TAIL.size == _BARE_TAIL.size
_SEGMENT = (1 << 16) * SIZE
_POPULATE_WRITE = 23
"""MADV_POPULATE_WRITE of Linux, which `mmap` has no name for: a whole segment's page faults at once cost less."""
_CACHED = 200_000

OPERATION, EFFECT, PROBE = 1, 2, 3
_OPEN, _OK, _FAILED, _UNKNOWN = 0, 1, 2, 3
_STATUS = {Status.OK: _OK, Status.FAILED: _FAILED, Status.UNKNOWN: _UNKNOWN}
_STATUS_OF = {_OPEN: Status.UNKNOWN, _OK: Status.OK, _FAILED: Status.FAILED, _UNKNOWN: Status.UNKNOWN}
_NONE, _INT, _JSON, _ERROR = 0, 1, 2, 3

Mark = tuple[mmap.mmap, int]
"""Where the tail of an entry goes."""


@contextmanager
def _room() -> Iterator[None]:
    """Say that the disk is full. Raises UsageError: no script of the user's is to blame."""
    try:
        yield
    except OSError as error:
        place = tempfile.gettempdir()
        raise UsageError(f"cannot record in {place}: {error.strerror}; make room, or set TMPDIR") from None


def write_whole(fd: int, data: bytes) -> None:
    """All of it, though a file may take less at a time. Raises UsageError."""
    with _room():
        while data:
            data = data[os.write(fd, data) :]


class _Words:
    """Strings and values by number from 1; each new one is written to the side file at once."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._next = _NO_WORD + 1
        self.known: dict[Any, int] = {}

    def number(self, key: Any, value: Any) -> int:
        known = self.known.get(key)
        if known is not None:
            return known
        if len(self.known) >= _CACHED:
            self.known.clear()
        number = self._next
        self._next += 1
        self.known[key] = number
        write_whole(self._fd, json.dumps(value, separators=(",", ":")).encode() + b"\n")
        return number


class Recorder:
    """Writes entries. `entries_fd` and `words_fd` are files made by the parent."""

    def __init__(self, worker: int, entries_fd: int, words_fd: int) -> None:
        """`worker` numbers the process: it is part of every id."""
        self.worker = worker
        self.prefix = f"{worker}-"
        self.count = 0
        self.attempts = 0
        self._fd = entries_fd
        self._words = _Words(words_fd)
        self._names: dict[str, int] = {}  # of operations, decisions and effects: few, asked for all the time
        self._map: mmap.mmap
        self._next = _SEGMENT
        """Where in the mapped segment the next entry goes: there is none yet, as if one were full."""

    def _segment(self) -> int:
        """Map the next segment, in which the entry that is about to be written is the first, at 0."""
        start = self.count * SIZE
        # Reserve first: writing to a mapped hole of a full disk would kill the process.
        with _room():
            _reserve(self._fd, start, _SEGMENT)
        self._map = mmap.mmap(self._fd, _SEGMENT, offset=start)
        with contextlib.suppress(OSError, ValueError):  # before 5.14, or no Linux: page after page, as they are written
            self._map.madvise(_POPULATE_WRITE)
        return 0

    def place(self, keys: tuple[str, ...]) -> int:
        """What stands for these keys in an entry: once for all of an attempt's requests and effects."""
        number = self._words.known.get(keys)
        return self._words.number(keys, keys) if number is None else number

    def _name(self, name: str) -> int:
        number = self._names[name] = self._words.number(name, name)
        return number

    def begin(
        self,
        operation: str,
        place: int,
        args: Mapping[str, Any],
        role: str,
        caller: int,
        burst: int,
        attempt: int,
        now_ns: int,
        kind: int = OPERATION,
    ) -> Mark:
        """Write that a request is about to be sent. `place` stands for its keys, `attempt` -1 for none."""
        name = self._names.get(operation) or self._name(operation)
        at = self._next
        if at == _SEGMENT:
            at = self._segment()
        self._next = at + SIZE
        self.count += 1
        where = self._map
        if role or args:
            words, plain = self._words, dict(args)
            role_number = words.number(role, role) if role else _NO_WORD
            args_number = words.number((None, _as_json("arguments of a request", plain)), plain) if plain else _NO_WORD
            _pack_head(
                where, at, kind, name, role_number, place, args_number, caller, burst, attempt, now_ns
            )  # fmt: skip
        else:
            _pack_bare_head(where, at, kind, name, place, caller, burst, attempt, now_ns)
        return where, at + _TAIL_AT

    def end(self, mark: Mark, reply: Reply, now_ms: int, now_max_ms: int, returned_ns: int) -> None:
        """Write the answer."""
        decision, values = reply
        number = self._names.get(decision) or self._name(decision)
        where, at = mark
        if not values:
            _pack_bare_tail(where, at, now_ms, now_max_ms, returned_ns, number, _OK)
            return
        if len(values) == 1 and type(only := values.get("value")) is int:
            try:
                _pack_tail(where, at, now_ms, now_max_ms, returned_ns, only, number, _INT, _OK)
            except struct.error:  # out of 64 bits
                pass
            else:
                return
        plain = dict(values)
        value = self._words.number((None, _as_json("values of a reply", plain)), plain)
        _pack_tail(where, at, now_ms, now_max_ms, returned_ns, value, number, _JSON, _OK)

    def end_badly(self, mark: Mark, status: Status, error: str, now_ms: int, now_max_ms: int, returned_ns: int) -> None:
        """Write that there was no answer but an error. `returned_ns` 0: the caller was told nothing."""
        value = self._words.number(error, error)
        _pack_tail(*mark, now_ms, now_max_ms, returned_ns, value, 0, _ERROR, _STATUS[status])

    def effect(self, name: str, place: int, caller: int, burst: int, attempt: int, now_ns: int) -> Mark:
        """Write that an effect is about to begin."""
        return self.begin(name, place, NOTHING, "", caller, burst, attempt, now_ns, EFFECT)

    @staticmethod
    def effect_end(mark: Mark, now_ns: int) -> None:
        """Write that it ended."""
        where, at = mark
        _pack_tail(where, at, 0, 0, now_ns, 0, 0, _NONE, _OK)

    def instant(
        self, name: str, place: int, caller: int, burst: int, attempt: int, began_ns: int, ended_ns: int
    ) -> None:
        """Write an effect that takes no time: in one go, there is nothing between its begin and its end."""
        number = self._names.get(name) or self._name(name)
        at = self._next
        if at == _SEGMENT:
            at = self._segment()
        self._next = at + SIZE
        self.count += 1
        _pack_instant(self._map, at, EFFECT, number, place, caller, burst, attempt, began_ns, ended_ns, _OK)


def _as_json(what: str, plain: dict[str, Any]) -> str:
    try:
        return json.dumps(plain, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise UsageError(f"the {what} must be plain JSON, not {plain!r:.60}: {error}") from None


def _reserve(fd: int, start: int, length: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, start, length)
    else:  # macOS
        os.pwrite(fd, bytes(length), start)


class Entry(NamedTuple):
    """One entry as it lies in the file; numbers stand for words."""

    kind: int
    operation: int
    role: int
    keys: int
    args: int
    caller: int
    burst: int
    attempt: int
    invoked_ns: int
    now_ms: int
    now_max_ms: int
    returned_ns: int
    value: int
    decision: int
    value_kind: int
    status: int


class Reading:
    """Reads what one worker wrote, while it still writes or after it died."""

    def __init__(self, worker: int, entries_fd: int, words_fd: int) -> None:
        """The same files that the worker was given."""
        self.worker = worker
        self._fd = entries_fd
        self._words_fd = words_fd
        self._words: list[Any] = [None]
        self._words_at = 0
        self._rest = b""
        self._keys: dict[int, tuple[str, ...]] = {}
        self._map: mmap.mmap | None = None

    def _refresh(self) -> None:
        while data := os.pread(self._words_fd, 1 << 20, self._words_at):
            self._words_at += len(data)
            *lines, self._rest = (self._rest + data).split(b"\n")
            self._words.extend(json.loads(line) for line in lines)

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, Entry]]:
        """Entries from number `start` on, up to the first that was never begun."""
        self._refresh()
        size = os.fstat(self._fd).st_size
        number = start
        while (stop is None or number < stop) and number * SIZE < size:
            wanted = 4096 if stop is None else min(4096, stop - number)
            data = os.pread(self._fd, wanted * SIZE, number * SIZE)
            for fields in _ENTRY.iter_unpack(data[: len(data) // SIZE * SIZE]):
                if fields[0] == 0:
                    return
                yield number, Entry._make(fields)
                number += 1

    def end(self, start: int) -> int:
        """The number after the last entry that was begun, for a worker that can no longer tell."""
        stop = start
        for number, _entry in self.entries(start):
            stop = number + 1
        return stop

    def entry(self, number: int) -> Entry:
        """One entry, picked out of a mapping of the whole file."""
        if self._map is None or (number + 1) * SIZE > len(self._map):
            self._map = mmap.mmap(self._fd, 0, access=mmap.ACCESS_READ)
        return Entry._make(_ENTRY.unpack_from(self._map, number * SIZE))

    def keys(self, number: int) -> tuple[str, ...]:
        """The keys behind a word number, the same tuple each time."""
        known = self._keys.get(number)
        if known is None:
            known = self._keys[number] = tuple(self._words[number])
        return known

    def attempt(self, number: int) -> str:
        """The name of an attempt, or "" for a request that stands alone."""
        return f"{self.worker}-a{number}" if number >= 0 else ""

    def operation(self, number: int, entry: Entry) -> Operation:
        """The operation behind an entry."""
        words = self._words
        args: Mapping[str, Any] = NOTHING if entry.args == _NO_WORD else words[entry.args]
        request = Request(
            words[entry.operation], self.keys(entry.keys), args, f"{self.worker}-{number}",
            self.attempt(entry.attempt), "" if entry.role == _NO_WORD else words[entry.role],
        )  # fmt: skip
        reply, error = None, ""
        if entry.value_kind == _ERROR:
            error = words[entry.value]
        elif entry.status == _OK:
            values: Mapping[str, Any] = NOTHING
            if entry.value_kind == _INT:
                values = {"value": entry.value}
            elif entry.value_kind == _JSON:
                values = words[entry.value]
            reply = Reply(words[entry.decision], values)
        return Operation(
            request, f"{self.worker}.{entry.caller}", entry.invoked_ns, entry.returned_ns or None,
            _STATUS_OF[entry.status], reply, entry.now_ms, entry.now_max_ms, error,
        )  # fmt: skip

    def effect(self, entry: Entry) -> Effect:
        """The effect behind an entry."""
        return Effect(
            self._words[entry.operation], self.attempt(entry.attempt), self.keys(entry.keys),
            entry.invoked_ns, entry.returned_ns or None, f"{self.worker}.{entry.caller}",
        )  # fmt: skip
