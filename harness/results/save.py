"""Writes files: whole or not at all, and refused before the load when it cannot work."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from harness.model import UsageError


def check_file(path: Path) -> None:
    """Try whether a file could be written, without touching one that is there. Raises UsageError."""
    try:
        if path.is_dir():
            raise IsADirectoryError(21, "it is a folder", str(path))
        if path.exists():
            with path.open("ab"):
                return
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".try-"):
            pass
    except OSError as error:
        raise UsageError(cannot_write(path, error)) from error


def write_file(path: Path, text: str) -> None:
    """Replace a file by a whole new one; what is no regular file is written straight. Raises UsageError."""
    try:
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
            return
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}-", delete=False
        ) as draft:
            try:
                draft.write(text)
                draft.flush()
                os.fsync(draft.fileno())
                Path(draft.name).chmod(0o666 & ~_umask())
                Path(draft.name).replace(path)
            except BaseException:
                Path(draft.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise UsageError(cannot_write(path, error)) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def cannot_write(path: Path, error: OSError, what: str = "") -> str:
    """One line that says so."""
    return f"cannot write {what}{path}: {error.strerror or error}"
