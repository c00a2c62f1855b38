"""Reads a history from a file, line by line, compressed or not."""

from __future__ import annotations

import gzip
import zlib
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

from harness.judge.history import (
    Closing,
    Header,
    MalformedError,
    Signatures,
    closing_of,
    decode,
    effect_of,
    header_of,
    left_of,
    operation_of,
    optional,
)
from harness.judge.pieces import Collector, History, LateError
from harness.model import UsageError

_TELL_EVERY = 4_096
_LONGEST = 16 << 20
"""Bytes of a line: a file without line ends would be read until the memory is full."""
_GZIP = b"\x1f\x8b"
_OTHERS = {
    b"\x28\xb5\x2f\xfd": "compressed by zstd", b"\xfd7zXZ": "compressed by xz", b"BZh": "compressed by bzip2",
    b"PK\x03\x04": "a ZIP archive", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16",
}  # fmt: skip
"""How files begin that are not read, and what they are."""

Told = Callable[[int, int], None]
"""Is told how many bytes of how many have been read."""


class HistoryFile:
    """A history file; `header` is None where no run wrote it. Raises UsageError for whatever is wrong with it.

    A run that was killed leaves a last line, or a compressed block, that is not whole: such a tail is
    left out. In any other file it is an error.
    """

    def __init__(self, path: Path) -> None:
        """To be opened as a context."""
        self.path = path
        self.header: Header | None = None
        self._number = 0
        self._first: bytes | None = None

    def __enter__(self) -> Self:
        """Open it and read its first line."""
        with ExitStack() as opened:
            try:
                self._raw = opened.enter_context(self.path.open("rb"))
                self._size = self.path.stat().st_size
                self._stream = _unpacked(self._raw)
            except OSError as error:
                raise self._cannot(error) from error
            self._lines = self._read()
            self._first = next(self._lines, None)
            if self._first is None:
                raise UsageError(f"{self.path}:1: the file is empty")
            for begins, what in _OTHERS.items():
                if self._first.startswith(begins):
                    raise UsageError(f"{self.path}:1: this is {what}; a history is UTF-8, plain or compressed by gzip")
            try:
                self._first = self._first.removeprefix(BOM_UTF8)  # as editors on Windows leave it
                line = decode(self._first)
                if "history" in line:
                    self.header, self._first = header_of(line), None
            except MalformedError as error:
                raise self._wrong(error) from None
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self._opened.close()

    def read(self, signatures: Signatures, told: Told | None = None) -> History:
        """Read all of it. `signatures` say what can be asked of the scenario."""
        lines = _Lines(signatures, foreign=self.header is None)
        for text in self._texts():
            try:
                lines.take(decode(text), self._number)
            except MalformedError as error:
                if self._may_be_cut_off and lines.closing is None and not text.endswith(b"\n"):
                    break
                raise self._wrong(error) from None
            if told is not None and not self._number % _TELL_EVERY:
                told(self._raw.tell(), self._size)
        try:
            history = lines.collector.history(self.header, lines.closing)
        except LateError as error:
            raise UsageError(f"{self.path}:{error.number}: {error}") from None
        if not history.statuses and self.header is None:
            raise UsageError(f"{self.path}:{self._number}: there is no operation in this file")
        return history

    @property
    def _may_be_cut_off(self) -> bool:
        return self.header is not None

    def _texts(self) -> Iterator[bytes]:
        if self._first is not None:
            yield self._first
        yield from self._lines

    def _read(self) -> Iterator[bytes]:
        """Lines that are not blank; `_number` is the last one's."""
        try:
            while text := self._stream.readline(_LONGEST + 1):
                self._number += 1
                if len(text) > _LONGEST:
                    raise UsageError(
                        f"{self.path}:{self._number}: a line of more than {_LONGEST >> 20} MiB: this is no history"
                    )
                if not text.isspace():
                    yield text
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            if not (self._may_be_cut_off and isinstance(error, EOFError)):
                raise UsageError(f"{self.path}:{self._number + 1}: cannot be unpacked: {error}") from None
        except OSError as error:
            raise self._cannot(error) from error

    def _wrong(self, error: MalformedError) -> UsageError:
        return UsageError(f"{self.path}:{self._number}: {error}")

    def _cannot(self, error: OSError) -> UsageError:
        return UsageError(f"cannot read history {self.path}: {error.strerror or error}")


def _unpacked(raw: Any) -> IO[bytes]:
    """The stream itself, or what it is compressed from: told by its first bytes, not by its name."""
    return cast("IO[bytes]", gzip.GzipFile(fileobj=raw) if raw.peek(2)[:2] == _GZIP else raw)


class _Lines:
    """Sorts lines by their kind."""

    def __init__(self, signatures: Signatures, *, foreign: bool) -> None:
        self.collector = Collector()
        self._foreign = foreign
        self.closing: Closing | None = None
        self._signatures = signatures

    def take(self, line: Mapping[str, Any], number: int) -> None:
        """One line. Raises MalformedError."""
        burst = optional(line, "burst", int, None)
        if "op" in line:
            probe = optional(line, "probe", bool, False)
            self.collector.operation(operation_of(line, self._signatures, foreign=self._foreign), burst, probe=probe)
        elif "effect" in line:
            self.collector.effect(effect_of(line), burst, number)
        elif "rest" in line:
            self.collector.left(left_of(line), burst, number)
        elif "end" in line:
            if self.closing is not None:
                raise MalformedError("'end' was there before")
            self.closing = closing_of(line)
        elif "history" in line:
            raise MalformedError("'history' belongs on the first line")
        else:
            raise MalformedError("neither an operation ('op') nor an effect ('effect')")
