"""The record of a load: one fixed-size entry per operation and effect, outside the worker.

Each worker writes into a file that its parent made, unlinked and mapped by both: what a
killed worker wrote before it died is still there, an operation without its end is `unknown`,
and nothing is left on disk whoever dies. An entry's head is written before the request is
sent and its tail after the answer, of both what it is last. 80 bytes an entry: a minute of eighty
thousand operations a second stays near 400 MB of disk.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from harness.model import NOTHING, Effect, Operation, Reply, Request, Status, UsageError

SIZE = 80
# What an entry holds when its request is sent: who, attempt, when, keys, what was said, what was asked for. Then its
# answer: the instant from and to, when, value, ending. Recording costs a large part of a fast command's time, and each
# number that is handed over its share: so caller and burst are one, and a word and the kind of what it names. A large
# integer is sooner made a C long than a long long, which is the same where both have 64 bits.
_L = "l" if struct.calcsize("l") == 8 else "q"
_HEAD = struct.Struct(f"@3{_L}II{_L}")
_TAIL = struct.Struct(f"@5{_L}")
_INSTANT = struct.Struct(f"@3{_L}I4x{_L}16x{_L}16x")
_ENDED = struct.Struct(f"@16x{_L}16x")
_ENTRY = struct.Struct("<IIqqIII3xBqqqqI3xB")
_TAIL_AT = _HEAD.size
_pack_head, _pack_tail, _pack_instant = _HEAD.pack_into, _TAIL.pack_into, _INSTANT.pack_into
assert _ENTRY.size == _INSTANT.size == _HEAD.size + _TAIL.size == SIZE
assert sys.byteorder == "little", "two numbers that are written as one are read as two"
_NO_WORD = 0
_KIND_AT, _BURST_AT = 56, 32
"""The bits at which a kind stands over the number of a word, and a burst over a caller."""
_SEGMENT = (1 << 14) * SIZE
"""Bytes: it is a millisecond in which nothing else is done, and larger ones cost no less an entry."""
_CACHED = 200_000

OPERATION, EFFECT, PROBE = 1, 2, 3
_OPEN, _BARE, _INT, _JSON, _FAILED, _UNKNOWN = range(6)
"""How an operation ended: not yet; answered without values, with an integer, with others; with an error."""
_KINDS = range(6)

Mark = int
"""Where an entry lies in the file."""


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
        self._codes: tuple[dict[str, int], ...] = tuple({} for _ in _KINDS)
        """By kind, names of operations, effects and decisions with it: few, asked for all the time."""
        self._map: mmap.mmap
        self._end = 0
        """Where the file ends: there is no room in it yet."""

    def _grow(self) -> None:
        """Make room for a segment more, and map the file anew: only what is written to then takes memory."""
        # Write first: writing to a mapped hole of a full disk would kill the process.
        with _room():
            _write_nought(self._fd, self._end, self._end + _SEGMENT)
        self._end += _SEGMENT
        self._map = mmap.mmap(self._fd, self._end)

    def place(self, keys: tuple[str, ...]) -> int:
        """What stands for these keys in an entry: once for all of an attempt's requests and effects."""
        number = self._words.known.get(keys)
        return self._words.number(keys, keys) if number is None else number

    @staticmethod
    def who(caller: int, burst: int) -> int:
        """What stands for a caller in a burst."""
        return burst << _BURST_AT | caller

    @staticmethod
    def burst_of(who: int) -> int:
        """The burst of these."""
        return who >> _BURST_AT

    def _code(self, kind: int, name: str) -> int:
        code = self._codes[kind][name] = kind << _KIND_AT | self._words.number(name, name)
        return code

    def begin(
        self,
        operation: str,
        place: int,
        args: Mapping[str, Any],
        role: str,
        who: int,
        attempt: int,
        now_ns: int,
        kind: int = OPERATION,
    ) -> Mark:
        """Write that a request is about to be sent. `place` stands for its keys, `attempt` -1 for none."""
        try:
            what = self._codes[kind][operation]
        except KeyError:
            what = self._code(kind, operation)
        said = _NO_WORD if args is NOTHING and not role else self._said(role, args)
        at = self.count * SIZE
        if at == self._end:
            self._grow()
        self.count += 1
        _pack_head(self._map, at, who, attempt, now_ns, place, said, what)
        return at

    def _said(self, role: str, args: Mapping[str, Any]) -> int:
        if not role and not args:
            return _NO_WORD
        plain = dict(args)
        return self._words.number((None, role, _as_json("arguments of a request", plain)), [role, plain])

    def end(self, mark: Mark, reply: Reply, now_ms: int, now_max_ms: int, returned_ns: int) -> None:
        """Write the answer."""
        decision, values = reply
        if not values:
            kind, value = _BARE, 0
        elif type(only := values.get("value")) is int and len(values) == 1:
            kind, value = _INT, only
        else:
            kind, value = _JSON, self._values(values)
        try:
            ending = self._codes[kind][decision]
        except KeyError:
            ending = self._code(kind, decision)
        at = mark + _TAIL_AT
        try:
            _pack_tail(self._map, at, now_ms, now_max_ms, returned_ns, value, ending)
        except struct.error:  # an integer out of 64 bits
            value, ending = self._values(values), self._code(_JSON, decision)
            _pack_tail(self._map, at, now_ms, now_max_ms, returned_ns, value, ending)

    def _values(self, values: Mapping[str, Any]) -> int:
        plain = dict(values)
        return self._words.number((None, _as_json("values of a reply", plain)), plain)

    def end_badly(self, mark: Mark, status: Status, error: str, now_ms: int, now_max_ms: int, returned_ns: int) -> None:
        """Write that there was no answer but an error. `returned_ns` 0: the caller was told nothing."""
        kind = _FAILED if status is Status.FAILED else _UNKNOWN
        value = self._words.number(error, error)
        _pack_tail(self._map, mark + _TAIL_AT, now_ms, now_max_ms, returned_ns, value, kind << _KIND_AT)

    def effect(self, name: str, place: int, who: int, attempt: int, now_ns: int) -> Mark:
        """Write that an effect is about to begin."""
        return self.begin(name, place, NOTHING, "", who, attempt, now_ns, EFFECT)

    def effect_end(self, mark: Mark, now_ns: int) -> None:
        """Write that it ended."""
        _ENDED.pack_into(self._map, mark + _TAIL_AT, now_ns)

    def instant(self, name: str, place: int, who: int, attempt: int, began_ns: int, ended_ns: int) -> None:
        """Write an effect that takes no time: in one go, there is nothing between its begin and its end."""
        try:
            what = self._codes[EFFECT][name]
        except KeyError:
            what = self._code(EFFECT, name)
        at = self.count * SIZE
        if at == self._end:
            self._grow()
        self.count += 1
        _pack_instant(self._map, at, who, attempt, began_ns, place, what, ended_ns)


def _as_json(what: str, plain: dict[str, Any]) -> str:
    try:
        return json.dumps(plain, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise UsageError(f"the {what} must be plain JSON, not {plain!r:.60}: {error}") from None


def _write_nought(fd: int, start: int, end: int) -> None:
    """Pages that were written are mapped by many at a time; those that `posix_fallocate` reserves, one by one."""
    while start < end:
        start += os.pwrite(fd, bytes(end - start), start)


class Entry(NamedTuple):
    """One entry as it lies in the file; numbers stand for words."""

    caller: int
    burst: int
    attempt: int
    invoked_ns: int
    keys: int
    said: int
    operation: int
    kind: int
    now_ms: int
    now_max_ms: int
    returned_ns: int
    value: int
    decision: int
    ending: int


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
        while (stop is None or number < stop) and (number + 1) * SIZE <= size:
            wanted = 4096 if stop is None else min(4096, stop - number)
            data = os.pread(self._fd, wanted * SIZE, number * SIZE)
            for fields in _ENTRY.iter_unpack(data[: len(data) // SIZE * SIZE]):
                entry = Entry._make(fields)
                if entry.kind == 0:
                    return
                yield number, entry
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
        role, args = ("", NOTHING) if entry.said == _NO_WORD else words[entry.said]
        request = Request(
            words[entry.operation], self.keys(entry.keys), args, f"{self.worker}-{number}",
            self.attempt(entry.attempt), role,
        )  # fmt: skip
        status, reply, error = Status.OK, None, ""
        kind, decision = entry.ending, words[entry.decision]
        if kind == _BARE:
            reply = Reply(decision)
        elif kind == _INT:
            reply = Reply(decision, {"value": entry.value})
        elif kind == _JSON:
            reply = Reply(decision, words[entry.value])
        else:
            status = Status.FAILED if kind == _FAILED else Status.UNKNOWN
            error = "" if kind == _OPEN else words[entry.value]
        return Operation(
            request, f"{self.worker}.{entry.caller}", entry.invoked_ns, entry.returned_ns or None,
            status, reply, entry.now_ms, entry.now_max_ms, error,
        )  # fmt: skip

    def effect(self, entry: Entry) -> Effect:
        """The effect behind an entry."""
        return Effect(
            self._words[entry.operation], self.attempt(entry.attempt), self.keys(entry.keys),
            entry.invoked_ns, entry.returned_ns or None, f"{self.worker}.{entry.caller}",
        )  # fmt: skip
