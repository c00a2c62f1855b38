"""The first thing that a newcomer runs: where something is missing, one line says what to install."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

NO_VENV = '#!/bin/sh\n[ "$1" = -c ]\n'
"""A Python that is new enough, and cannot make an environment."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A fresh clone, as far as make looks at it."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "requirements-dev.lock"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def said(folder: Path, target: str, *variables: str) -> str:
    """What `make` said before it gave up, without its own last line."""
    alone = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    ended = subprocess.run(
        ["make", target, *variables], cwd=folder, env=alone, capture_output=True, text=True, check=False
    )
    *lines, last = ended.stderr.splitlines()
    assert (ended.returncode, last.startswith("make: ***")) == (2, True)
    return "\n".join(lines)


@pytest.mark.parametrize("target", ["demo", "test", "lock"])
def test_no_python_that_is_new_enough(folder: Path, target: str) -> None:
    """Whether none was found or the one that was named is none."""
    install = "install python3, or say make PYTHON=/path/to/python"
    assert said(folder, target, "PYTHON=") == f"race needs Python 3.11 or newer: {install}"
    assert said(folder, target, "PYTHON=/no/such") == f"race needs Python 3.11 or newer; /no/such is none: {install}"


def test_no_venv_module(folder: Path) -> None:
    """Debian and Ubuntu keep it in a package of its own; no half environment is left."""
    python = folder / "python"
    python.write_text(NO_VENV)
    python.chmod(0o755)
    line = "race needs Python's venv module: install it (Debian, Ubuntu: apt install python3-venv)"
    assert said(folder, "demo", f"PYTHON={python}") == line
    assert not (folder / ".venv").exists()


def test_a_python_that_went_away(folder: Path) -> None:
    """An environment outlives an upgrade of the Python that it was made with."""
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "python").symlink_to("/no/such/python")
    assert said(folder, "demo") == "the Python that .venv was made with is gone: make clean, then again"
