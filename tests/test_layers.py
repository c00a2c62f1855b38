"""The shape of the code: no file holds two ideas, and the public API is one screen."""

from __future__ import annotations

import re
import subprocess
import tokenize
import tomllib
from pathlib import Path

import pytest

import harness

ROOT = Path(__file__).resolve().parents[1]
LONGEST_FILE = 500


def sources() -> list[Path]:
    """Every Python file that belongs to the project."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.py"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    names = listed.stdout.split() or [
        str(path.relative_to(ROOT))
        for folder in ("harness", "scenarios", "strategies", "tests")
        for path in (ROOT / folder).rglob("*.py")
    ]
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def first_token(path: Path) -> int:
    """What a file begins with, apart from comments; the rest is not read."""
    beside = {tokenize.ENCODING, tokenize.COMMENT, tokenize.NL}
    with path.open("rb") as source:
        return next(token.type for token in tokenize.tokenize(source.readline) if token.type not in beside)


def test_no_file_is_long() -> None:
    """A file of more than 500 lines holds two ideas."""
    lengths = {path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines()) for path in sources()}
    assert {path: length for path, length in lengths.items() if length > LONGEST_FILE} == {}


def test_every_file_says_what_it_is() -> None:
    """The first line of a file is a docstring; an empty file needs none."""
    firsts = {path.relative_to(ROOT): first_token(path) for path in sources()}
    assert [path for path, first in firsts.items() if first not in {tokenize.STRING, tokenize.ENDMARKER}] == []


def test_the_public_api_is_one_screen() -> None:
    """Every public name can be imported, they are sorted, and there are few enough to read."""
    assert [name for name in harness.__all__ if not hasattr(harness, name)] == []
    assert sorted(harness.__all__, key=lambda name: (not name.isupper(), name)) == harness.__all__
    assert len(harness.__all__) <= 60


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_locks_name_versions_and_hashes_only(lock: str) -> None:
    """A lock pins what pyproject.toml asks for, by hash, and knows no address to fetch it from."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {re.split(r"[>=;]", line)[0].strip() for line in project["dependencies"]}
    if "dev" in lock:
        wanted |= {re.split(r"[>=;]", line)[0].strip() for line in project["optional-dependencies"]["dev"]}
    assert wanted - set(re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE)) == set()
    assert re.findall(r"//|^-", text, re.MULTILINE) == []
    assert [line for line in text.splitlines() if not re.match(r"([a-z0-9-]+==|    --hash=sha256:)", line)] == []
