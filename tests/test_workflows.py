"""The workflows and the action: right by their schemas, careful by zizmor, and doing what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
OURS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
USERS = sorted((ROOT / "examples" / "github").glob("*.yml"))
ACTION = ROOT / "action.yml"
PROGRAMS = Path(sys.executable).parent


def read(path: Path) -> Any:
    """A workflow as data."""
    return YAML(typ="safe").load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("schema", "files"), [("github-workflows", [*OURS, *USERS]), ("github-actions", [ACTION])])
def test_by_their_schemas(schema: str, files: list[Path]) -> None:
    """As GitHub reads them."""
    ended = subprocess.run(
        [PROGRAMS / "check-jsonschema", "--builtin-schema", f"vendor.{schema}", *files],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ended.returncode, len(files) > 0) == (0, True), ended.stdout


def test_they_are_careful() -> None:
    """No more rights than needed, no credentials left behind, every action pinned, nothing injected."""
    ended = subprocess.run(
        [PROGRAMS / "zizmor", "--offline", "--no-progress", "--quiet", *OURS, *USERS, ACTION],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout


def test_one_pin_for_each_action() -> None:
    """What is used in two places is the same everywhere."""
    steps = [line.split("uses: ")[1] for path in (*OURS, *USERS, ACTION) for line in path.read_text().splitlines()
             if "uses: " in line and "uses: ./" not in line]  # fmt: skip
    assert len(set(steps)) == len({step.split("@")[0] for step in steps})


def test_the_steps_of_the_action(tmp_path: Path) -> None:
    """What it runs reaches race check: a file with a blank in its name, and more words."""
    (step,) = (step for step in read(ACTION)["runs"]["steps"] if step.get("name") == "race check")
    (tmp_path / "my gate.toml").write_text('[[cells]]\nscenario = "counter"\nstrategy = "lua"\n')
    ended = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}", "CONFIG": "my gate.toml",
             "ARGUMENTS": "--dry-run --seed 7"},
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.endswith("seed 7\n")


@pytest.mark.parametrize("path", USERS, ids=lambda path: path.stem)
def test_commands_of_the_users_workflows(path: Path) -> None:
    """They install what is published, and every command of race in them is one."""
    from harness.cli.commands import race

    (job,) = read(path)["jobs"].values()
    runs = [step["run"].split() for step in job["steps"] if "run" in step]
    assert runs[0] == ["pip", "install", "race-harness"]
    assert {words[0] for words in runs[1:]} == {"race"}
    assert {words[1] for words in runs[1:]} <= set(race.list_commands(None))
