"""The README says what is so: its commands run, its examples are the files, its targets exist."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.strategy.loader import scenarios, strategies

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = ROOT / "examples"


def blocks(*languages: str) -> list[str]:
    """The fenced blocks of the README in any of these languages."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language in languages]


def commands() -> list[list[str]]:
    """Every command that the README shows after a prompt, or as a line of a shell script."""
    lines = [line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]
    lines += [line for block in blocks("sh") for line in block.splitlines() if line.strip()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def is_race(words: list[str]) -> bool:
    """Whether it is ours to run."""
    return words[0] in {"race", ".venv/bin/race"}


RACE = list(dict.fromkeys(tuple(words[1:]) for words in commands() if is_race(words)))
LOADS = [words for words in RACE if words[0] in {"run", "compare"} and "--redis-url" not in words]
EXPLORED = [words for words in RACE if words[0] == "explore"]
CHECKS = [words for words in RACE if words[0] == "check"]
QUIET = [words for words in RACE if words[0] not in {"run", "compare", "explore", "check"}]
SERVERS = [words for words in RACE if "--redis-url" in words]


def short(words: tuple[str, ...]) -> tuple[str, ...]:
    """The command with less load, where it does not say how much."""
    add: list[str] = []
    if "--bursts" not in words:
        add += ["--bursts", "40" if words[0] == "run" else "16"]
    if "--budget" not in words:
        add += ["--budget", "10" if words[0] == "run" else "2"]
    if "--duration" in words:
        at = words.index("--duration") + 1
        words = (*words[:at], "0.5", *words[at + 1 :])
    return (*words, *add)


def breaks(words: tuple[str, ...]) -> bool:
    """Whether it runs a strategy that the README says breaks."""
    strategy = words[words.index("--strategy") + 1] if "--strategy" in words else ""
    return strategy == "naive" or ":" in strategy


@pytest.fixture
def away(tmp_path: Path) -> Path:
    """A folder far from the sources that holds a copy of the examples."""
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def race(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `race` in a folder, with no server but its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RACE_")}
    return subprocess.run(
        [sys.executable, "-m", "harness", *words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.long
@pytest.mark.parametrize("words", LOADS, ids=" ".join)
def test_loads(words: tuple[str, ...], away: Path) -> None:
    """Every load that is shown runs as shown, from any folder, and ends as told."""
    for _ in range(3):  # on a busy machine requests may not overlap: then it says so, and nothing else
        ended = race(*short(words), cwd=away)
        if ended.returncode != 3:
            break
    told = f"history saved in {words[words.index('--history') + 1]}\n" if "--history" in words else ""
    assert (ended.returncode, ended.stderr) == (1 if breaks(words) else 0, told)


@pytest.mark.parametrize("words", EXPLORED, ids=" ".join)
def test_explorations(words: tuple[str, ...], away: Path) -> None:
    """Every exploration that is shown ends as told."""
    ended = race(*words, cwd=away)
    found = breaks(words) or "--faults" in words
    assert (ended.returncode, ended.stderr) == (1 if found else 0, "")


@pytest.mark.load
@pytest.mark.long
@pytest.mark.xdist_group("load")
def test_checks(away: Path) -> None:
    """The gates that are shown pass, one after the other in one folder."""
    ended = [race(*words, cwd=away) for words in CHECKS]
    assert [(one.returncode, one.stderr) for one in ended] == [(0, "")] * len(CHECKS), [one.stdout for one in ended]


def test_a_gate_of_ones_own(away: Path) -> None:
    """From nothing to a gate that passes, fails as shown when the fix is broken, and passes again."""
    for words in (words for words in RACE if words[0] == "new"):
        race(*words, cwd=away)
    (away / "race.toml").write_text(blocks("toml")[1])
    (broken,) = (block for block in blocks("text") if "seat_fix.py" in block)
    fix = away / "seat_fix.py"
    right = fix.read_text()
    assert race("check", cwd=away).returncode == 0
    (begun,) = re.findall(r"`(if \(redis.call\('GET' )\.\.\.`", README)
    fix.write_text("".join(line for line in right.splitlines(keepends=True) if not line.startswith(begun.strip())))
    failed = race("check", "--github", cwd=away)
    (error,) = failed.stderr.splitlines()
    line = re.search(r"^::error file=seat_fix.py,line=(\d+),", error)
    assert (failed.returncode, broken in failed.stdout, line is not None) == (1, True, True), failed.stdout
    assert line is not None
    assert fix.read_text().splitlines()[int(line[1]) - 1].startswith("class ")
    fix.write_text(right)
    assert race("check", cwd=away).returncode == 0


@pytest.mark.load
@pytest.mark.long
@pytest.mark.xdist_group("load")
def test_tests(away: Path) -> None:
    """The tests that are shown pass in a user's folder."""
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "examples/test_tickets.py"]
    ended = subprocess.run(words, cwd=away, capture_output=True, text=True, timeout=90, check=False)
    assert (ended.returncode, "3 passed" in ended.stdout) == (0, True), ended.stdout


@pytest.mark.parametrize("words", QUIET, ids=" ".join)
def test_commands_without_a_load(words: tuple[str, ...], away: Path) -> None:
    """The others print something and succeed."""
    ended = race(*words, cwd=away)
    assert (ended.returncode, ended.stderr, bool(ended.stdout)) == (0, "", True)


@pytest.mark.parametrize("words", SERVERS, ids=" ".join)
def test_commands_for_own_servers(words: tuple[str, ...], away: Path) -> None:
    """With nothing behind the addresses: understood, then one line that says so."""
    nowhere = [re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:1", word) for word in words]
    ended = race(*nowhere, cwd=away)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (3, "", 1)


def test_other_commands() -> None:
    """Make's targets and the file for docker compose are there; nothing else is asked of a reader."""
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    others = [words for words in commands() if not is_race(words)]
    assert {words[0] for words in others} <= {"make", "docker"}
    assert {words[1] for words in others if words[0] == "make"} <= set(targets)
    assert {words[1] for words in others if words[0] == "docker"} <= {"compose"}
    assert (ROOT / "docker-compose.yml").is_file()


def test_commands_in_prose() -> None:
    """Targets named in the text are there, too."""
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"`make ([a-z]+)`", README)) <= set(targets)


def test_examples_are_the_files() -> None:
    """What a reader would copy is what is tested."""
    for name in ("tickets.py", "fix.py", "test_tickets.py"):
        shown = re.search(
            rf"^<!-- (?:from )?examples/{name} -->\n```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL
        )
        assert shown is not None
        assert shown[1] in (EXAMPLES / name).read_text(encoding="utf-8")
    assert blocks("toml")[0] in (EXAMPLES / "race.toml").read_text(encoding="utf-8")
    (steps,) = blocks("yaml")
    assert steps in (EXAMPLES / "github" / "race.yml").read_text(encoding="utf-8")


def test_the_form_of_a_history_is_the_files() -> None:
    """The lines shown are those of the example that is verified."""
    lines = (EXAMPLES / "register.jsonl").read_text(encoding="utf-8").splitlines()
    shown = [line for block in blocks("json") for line in block.splitlines()]
    assert shown == lines[: len(shown)]


def test_a_first_scenario_is_short() -> None:
    """About fifteen lines of code."""
    lines = (EXAMPLES / "tickets.py").read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line.strip()]) <= 15


def test_links() -> None:
    """Every file that the README points to is there."""
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_names() -> None:
    """Every strategy and scenario is in its place, and the figures have theirs."""
    rows = re.findall(r"^\| `([a-z-]+)` \|", README, re.MULTILINE)
    assert {strategy.name for strategy in strategies()} <= set(rows)
    assert all(f"`{scenario.name}`" in README for scenario in scenarios())
    assert all(README.count(f"<!-- {mark} -->") == 1 for mark in ("compare:begin", "compare:end"))


@pytest.mark.load
@pytest.mark.long
@pytest.mark.xdist_group("load")
@pytest.mark.parametrize(
    ("strategy", "code"),
    [("mutex", 1), ("examples/fix.py", 0), ("pg-read-committed", 1)],
)
def test_tickets_with_an_invariant(strategy: str, code: int, away: Path) -> None:
    """The tickets with the README's invariant: an eleventh is sold only where order breaks."""
    (invariant,) = (block for block in blocks("python") if "Breach(" in block)
    tickets = (away / "examples" / "tickets.py").read_text(encoding="utf-8")
    (away / "invariant.py").write_text(f"from harness import Breach, Invariant\n{tickets}\n{invariant}")
    load = ("--size", "12", "--bursts", "20")
    ended = race("run", "invariant.py", "--strategy", strategy, *load, cwd=away)
    assert (ended.returncode, "tickets were sold" in ended.stdout) == (code, code == 1)
