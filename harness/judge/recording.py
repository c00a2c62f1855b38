"""Writes the history of a run while it runs: one burst or one group of keys after the other."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

from harness.judge.history import (
    VERSION,
    Closing,
    Header,
    Signatures,
    closing_line,
    effect_line,
    left_line,
    operation_line,
)
from harness.model import NOTHING, Evidence, Operation, UsageError

_FLUSH_S = 1.0
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


class Recording:
    """A history on its way to a file, compressed where its name ends in .gz. Every error is a UsageError.

    Nothing is touched before `begin`. Left without `end`, the file lacks its closing line, which
    tells a reader that its run was cut short.
    """

    def __init__(self, path: Path) -> None:
        """The file, which is replaced."""
        self._path = path
        self._file: IO[bytes] | None = None
        self._signatures: Signatures = NOTHING
        self._effects = 0
        self._flushed_s = 0.0

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        if self._file is not None:
            file, self._file = self._file, None
            try:
                file.close()
            except OSError as failed:
                if kind is None:
                    raise self._cannot(failed) from failed

    def begin(self, header: Header, signatures: Signatures) -> None:
        """Open the file and say which run this is."""
        self._signatures = signatures
        try:
            if self._path.suffix == ".gz":
                self._file = cast("IO[bytes]", gzip.open(self._path, "wb", compresslevel=3))  # noqa: SIM115 - __exit__ closes it
            else:
                self._file = self._path.open("wb")
        except OSError as failed:
            raise self._cannot(failed) from failed
        self._write([{"history": VERSION, **header._asdict()}])
        self._flush()

    def piece(self, evidence: Evidence, burst: int | None = None) -> None:
        """Write one burst, or without a number one group of keys, and how it was left."""
        lines = [operation_line(one, self._signatures, burst, probe=False) for one in evidence.operations]
        lines += [effect_line(one, self._effects + number, burst) for number, one in enumerate(evidence.effects)]
        self._effects += len(evidence.effects)
        self._write([*lines, left_line(evidence, burst)])
        if time.monotonic() - self._flushed_s > _FLUSH_S:  # so that little is lost with a run that is killed
            self._flush()

    def probes(self, operations: Iterable[Operation], burst: int) -> None:
        """Write the probes of a burst."""
        self._write([operation_line(one, self._signatures, burst, probe=True) for one in operations])

    def end(self, closing: Closing) -> None:
        """Write the closing line."""
        self._write([closing_line(closing)])
        self._flush()

    def _write(self, lines: list[Mapping[str, Any]]) -> None:
        assert self._file is not None
        text = "".join(f"{_encode(line)}\n" for line in lines)
        try:
            self._file.write(text.encode(errors="surrogatepass"))
        except OSError as failed:
            raise self._cannot(failed) from failed

    def _flush(self) -> None:
        assert self._file is not None
        try:
            self._file.flush()
        except OSError as failed:
            raise self._cannot(failed) from failed
        self._flushed_s = time.monotonic()

    def _cannot(self, error: OSError) -> UsageError:
        return UsageError(f"cannot write history {self._path}: {error.strerror or error}; --history chooses another")
