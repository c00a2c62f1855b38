"""What is published: an sdist, a wheel built from it, `race-harness` from that wheel in a new environment."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("distribution")  # built once

ROOT = Path(__file__).resolve().parents[1]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


def made(*words: str | Path, cwd: Path = ROOT) -> None:
    """Run a command that must succeed, with no index to ask."""
    ended = subprocess.run(
        [str(word) for word in words], cwd=cwd, capture_output=True, text=True, check=False,
        env={**os.environ, "PIP_NO_INDEX": "1"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist and the wheel, as `make dist` builds them."""
    folder = tmp_path_factory.mktemp("dist")
    made(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder)
    (sdist,) = folder.glob("race_harness-*.tar.gz")
    made(*PIP, "wheel", "--no-build-isolation", "--no-deps", "-w", folder, sdist)
    (wheel,) = folder.glob("race_harness-*.whl")
    return sdist, wheel


@pytest.fixture(scope="session")
def fresh(published: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a new environment that has the wheel, and beside it only what the lock names.

    To install what the lock names again would take a minute: a line in a .pth file brings it from this environment,
    where race itself is an editable install that such a line does not bring.
    """
    home = tmp_path_factory.mktemp("fresh")
    venv.create(home, with_pip=False, symlinks=True)
    made(*PIP, "--python", home / "bin" / "python", "install", "--no-deps", published[1])
    (site,) = home.glob("lib/python*/site-packages")
    (site / "locked.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin"


def ran(program: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run it with nothing of this environment's."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RACE_", "PYTHON"))}
    return subprocess.run(
        [str(program), *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def tracked(*under: str) -> set[str]:
    """What git knows of; without git, as in an sdist, there is nothing to compare with."""
    ended = subprocess.run(["git", "ls-files", *under], cwd=ROOT, capture_output=True, text=True, check=False)
    return set(ended.stdout.split()) or pytest.skip("no git")


def test_the_wheel_takes_one_name(published: tuple[Path, Path]) -> None:
    """The scripts, schemas and templates travel inside `harness`; tests and tools stay at home."""
    with zipfile.ZipFile(published[1]) as archive:
        names = archive.namelist()
        (entries,) = (archive.read(name).decode() for name in names if name.endswith("entry_points.txt"))
    assert {top for name in names if not (top := name.split("/")[0]).endswith(".dist-info")} == {"harness"}
    assert tracked("harness") - set(names) == set()
    assert "[pytest11]\nrace = harness.pytest_plugin" in entries
    bundled = {"scenarios/order.txt", "scenarios/counter.sql", "strategies/naive.py", "results/matrix.json"}
    assert {f"harness/_bundled/{name}" for name in bundled} <= set(names)


def test_the_sdist_holds_what_its_tests_need(published: tuple[Path, Path]) -> None:
    """All that is tracked, but what only git reads."""
    with tarfile.open(published[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert tracked() - names == set()


@pytest.mark.long
def test_it_works_in_an_environment_of_its_own(fresh: Path, tmp_path: Path) -> None:
    """The command that finds a bug, with the scripts and servers that came along."""
    where = ran(fresh / "python", "-c", "import harness; print(harness.__file__)", cwd=tmp_path)
    assert where.stdout.startswith(str(fresh.parent))
    found = ran(fresh / "race-harness", "run", "counter", "--strategy", "naive", "--bursts", "200", cwd=tmp_path)
    assert (found.returncode, found.stderr, (fresh / "race").is_file()) == (1, "", True)


@pytest.mark.parametrize(
    ("tag", "released", "says"),
    [
        ("v1.2.3", "## [1.2.3] - 2026-01-31", ""),
        (
            "v1.2.4",
            "## [1.2.3] - 2026-01-31",
            "the tag is v1.2.4, and pyproject.toml says 1.2.3: the tag must be v1.2.3",
        ),
        ("v1.2.3", "## [1.2.3] - unreleased", "CHANGELOG.md has no line `## [1.2.3] - YYYY-MM-DD`"),
    ],
)
def test_a_tag_is_the_version(tag: str, released: str, says: str, tmp_path: Path) -> None:
    """What a release refuses."""
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n{released}\n")
    wrong: Any = runpy.run_path(str(ROOT / ".ci" / "tagged.py"))["wrong"]
    assert wrong(tag, tmp_path) == says
