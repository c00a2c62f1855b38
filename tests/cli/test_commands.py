"""The command line: what each command prints, its exit code, and one line for whatever is wrong."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import harness.burst
from harness.burst import Cell, Load, StoresOptions
from harness.model import StoreUnavailable, UsageError
from tests import measurements

Race = Callable[..., Any]


class Engine:
    """Stands for the engine: remembers what was asked for and gives what it is told to give."""

    def __init__(self) -> None:
        """Gives `naive` and a comparison that is as claimed."""
        self.measured = measurements.violated()
        self.compared = measurements.compared()
        self.error: BaseException | None = None
        self.asked: dict[str, Any] = {}

    async def run(self, cell: Cell, load: Load, **options: Any) -> Any:
        """As harness.burst.run."""
        self.asked = {"cell": cell, "load": load, **options}
        if self.error is not None:
            raise self.error
        return replace(self.measured, cell=cell, load=load)

    async def compare(self, scenario: str, names: list[str], rules: list[str], load: Load, **options: Any) -> Any:
        """As harness.burst.compare."""
        self.asked = {"scenario": scenario, "names": names, "rules": rules, "load": load, **options}
        if self.error is not None:
            raise self.error
        return replace(self.compared, scenario=scenario, seed=load.seed)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The engine's stand-in, in its place."""
    stand_in = Engine()
    monkeypatch.setattr(harness.burst, "run", stand_in.run)
    monkeypatch.setattr(harness.burst, "compare", stand_in.compare)
    return stand_in


NAIVE = ("run", "double-submit", "--strategy", "naive", "--seed", "7")


def test_a_violation_exits_1(race: Race, engine: Engine) -> None:
    """The screen is on stdout, nothing but it; also where breaking is what the strategy claims."""
    ended = race(*NAIVE)
    assert (ended.code, ended.stderr) == (1, "")
    assert ended.stdout.startswith("  VIOLATED  two attempts of one user were at work at once\n")
    assert ended.stdout.endswith("exit 1, 2.1 s\n")


def test_exit_zero_turns_1_into_0(race: Race, engine: Engine) -> None:
    """And nothing else: an inconclusive run stays 3."""
    assert race(*NAIVE, "--exit-zero").code == 0
    engine.measured = measurements.inconclusive()
    assert race(*NAIVE, "--exit-zero").code == 3


@pytest.mark.parametrize(
    ("measured", "code"),
    [
        (measurements.held(), 0),
        (measurements.inconclusive(), 3),
        (measurements.violated(complete=False), 130),
    ],
)
def test_exit_codes_of_run(race: Race, engine: Engine, measured: Any, code: int) -> None:
    """Held 0, inconclusive 3, interrupted 130."""
    engine.measured = measured
    assert race(*NAIVE).code == code


def test_json_is_exactly_one_document(race: Race, engine: Engine) -> None:
    """`--json` prints the document that is also saved and exported, and nothing else."""
    ended = race(*NAIVE, "--json", "--export-json", "out.json")
    document = json.loads(ended.stdout)
    saved = Path("results/runs/latest.json")
    assert (document["schema"], ended.stderr) == ("race.result/1", "")
    assert document == json.loads(saved.read_text()) == json.loads(Path("out.json").read_text())


@pytest.mark.parametrize("command", [NAIVE, ("compare", "double-submit")])
def test_every_export(race: Race, engine: Engine, command: tuple[str, ...]) -> None:
    """Each format in a file of its own; nothing of it is printed, and it is no part of the command to repeat."""
    forms = {"json": "{", "markdown": "# double-submit", "csv": "scenario,", "html": "<!doctype html>"}
    asked = [word for form in forms for word in (f"--export-{form}", f"out.{form}")]
    ended = race(*command, *asked)
    assert ended.stderr == ""
    assert "--export" not in ended.stdout
    for form, begin in forms.items():
        assert Path(f"out.{form}").read_text().lstrip().startswith(begin)


def test_options_reach_the_engine(race: Race, engine: Engine) -> None:
    """Every option ends up where it belongs."""
    race(
        "run", "counter", "--strategy", "lua:x", "--rule", "r", "--mode", "sustained", "--processes", "3",
        "--connections", "8", "--bursts", "9", "--size", "4", "--duration", "1.5", "--keys", "5", "--work", "6",
        "--think", "0.5", "--seed", "7", "--budget", "2", "--redis-url", "redis://127.0.0.1", "--allow-host", "db",
    )  # fmt: skip
    assert engine.asked.pop("progress") is not None
    assert engine.asked.pop("then") is not None
    assert engine.asked == {
        "cell": Cell("counter", "lua:x", "r"),
        "load": Load("sustained", 3, 8, 9, 4, 1.5, 5, 6, 0.5, seed=7),
        "stores_options": StoresOptions("redis://127.0.0.1", None, ("db",)),
        "budget_s": 2.0,
        "recording": None,
    }


def test_defaults(race: Race, engine: Engine) -> None:
    """Two processes, a thousand bursts of two, and a seed that is printed."""
    document = json.loads(race("run", "counter", "--strategy", "lua", "--json").stdout)
    seed = document["seed"]
    assert engine.asked["load"] == Load(seed=seed)
    assert document["reproduce"] == f"race run counter --strategy lua --seed {seed}"


def test_urls_come_from_the_environment(race: Race, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """RACE_REDIS_URL and RACE_POSTGRES_URL stand for the options."""
    monkeypatch.setenv("RACE_POSTGRES_URL", "postgresql://127.0.0.1/test")
    race(*NAIVE)
    assert engine.asked["stores_options"] == StoresOptions(None, "postgresql://127.0.0.1/test", ())


def test_the_command_that_does_it_again(race: Race, engine: Engine) -> None:
    """What differs from the defaults is kept, quoted; where results go is not."""
    ended = race(
        "run", "./my rule.py", "--strategy", "naive", "--size", "8", "--think", "0.5", "--json", "--quiet",
        "--results", "elsewhere", "--export-json", "x.json", "--seed", "7", "--allow-host", "a", "--allow-host", "b",
    )  # fmt: skip
    assert json.loads(ended.stdout)["reproduce"] == (
        "race run './my rule.py' --strategy naive --size 8 --think 0.5 --allow-host a --allow-host b --seed 7"
    )


def test_passwords_are_nowhere(race: Race, engine: Engine) -> None:
    """A password in an address is replaced by the variable that may hold it, on screen and on disk."""
    ended = race(*NAIVE, "--redis-url", "redis://:hunter2@127.0.0.1/0", "--json")
    saved = Path("results/runs/latest.json")
    assert "hunter2" not in ended.stdout + ended.stderr + saved.read_text()
    assert json.loads(ended.stdout)["reproduce"] == (
        'race run double-submit --strategy naive --redis-url "$RACE_REDIS_URL" --seed 7'
    )


def test_compare_exports_everything(race: Race, engine: Engine) -> None:
    """One comparison, as screen, JSON, Markdown and CSV."""
    ended = race(
        "compare", "double-submit", "--strategies", "naive, lua,naive", "--seed", "7", "--export-json", "c.json",
        "--export-markdown", "c.md", "--export-csv", "c.csv",
    )  # fmt: skip
    assert ended.code == 0
    assert ended.stdout.startswith("double-submit under 9 strategies")
    assert engine.asked["names"] == ["naive", "lua"]
    assert engine.asked["budget_s"] == 40.0
    assert json.loads(Path("c.json").read_text())["schema"] == "race.comparison/1"
    assert Path("c.md").read_text().startswith("# double-submit\n")
    assert Path("c.csv").read_text().startswith("scenario,strategy,")


@pytest.mark.parametrize(
    ("rows", "complete", "code"),
    [
        ([measurements.row("naive", measurements.violated(), 9)], True, 0),
        ([measurements.row("lua", measurements.inconclusive(), 9)], True, 3),
        (
            [
                measurements.row("lua", measurements.inconclusive(), 9),
                measurements.row("watch", measurements.violated(claim=measurements.held().claim), 9),
            ],
            True,
            1,
        ),
        ([measurements.row("naive", measurements.violated(), 9)], False, 130),
        ([], True, 3),
    ],
)
def test_exit_codes_of_compare(race: Race, engine: Engine, rows: Any, complete: bool, code: int) -> None:
    """All as claimed 0, a failed claim 1, one that could not be tried 3, interrupted 130."""
    engine.compared = measurements.compared(rows=rows, complete=complete)
    assert race("compare", "double-submit").code == code


def test_rules_of_compare(race: Race, engine: Engine) -> None:
    """`all` stands for every rule of the scenario."""
    race("compare", "double-submit", "--rules", "all")
    assert engine.asked["rules"] == ["drop", "wait", "join", "replace"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("run", "counter", "--strategy", "naive", "--size", "1"), "a burst of 1 cannot overlap: use --size 2 or more"),
        (("run", "counter", "--strategy", "naive", "--size", "0"), "--size must be 2 or more, not 0"),
        (("run", "counter", "--strategy", "naive", "--bursts", "-3"), "--bursts must be 1 or more, not -3"),
        (("run", "counter", "--strategy", "naive", "--keys", "x"), "--keys must be a whole number, not 'x'"),
        (("run", "counter", "--strategy", "naive", "--seed", "x"), "--seed must be a whole number, not 'x'"),
        (("run", "counter", "--strategy", "naive", "--think", "nan"), "--think must be 0 or more, not nan"),
        (("run", "counter", "--strategy", "naive", "--duration", "inf"), "--duration must be 0.1 or more, not inf"),
        (
            ("run", "counter", "--strategy", "naive", "--processes", "33"),
            "--processes must be 32 or less, not 33: each is a Python of its own that waits without sleeping",
        ),
        (
            ("run", "counter", "--strategy", "naive", "--keys", "2000000"),
            "--keys must be 1,000,000 or less, not 2000000: each is prepared before, and read after",
        ),
        (
            ("explore", "counter", "--strategy", "naive", "--size", "65"),
            "--size must be 64 or less, not 65: the orders of a burst of three can take minutes",
        ),
        (
            ("run", "counter", "--strategy", "naive", "--redis-url", ""),
            "--redis-url is empty: give an address, or leave it out for the embedded server",
        ),
        (
            ("isolation", "--postgres-url", " "),
            "--postgres-url is empty: give an address, or leave it out for the embedded server",
        ),
        (
            ("run", "counter"),
            "--strategy is missing: naive, lua, pg-for-update ...; race list has all",
        ),
        (("run",), "SCENARIO is missing: double-submit, counter ...; race list has all"),
        (("replay",), "missing argument 'FILE'; see race replay --help"),
        (("rnu",), "unknown command 'rnu'; did you mean run?; see race --help"),
        (("schema", "reslut"), "unknown schema 'reslut'; did you mean result?"),
        (("list", "cuonter"), "unknown scenario or strategy 'cuonter'; did you mean counter?"),
        (
            ("compare", "double-submit", "--strategies", ","),
            "--strategies names no strategy: say which of race list, or leave it out",
        ),
        (("run", "counter", "--strategy", "nave"), "unknown strategy 'nave'; did you mean naive?"),
        (("run", "counter", "--strategy", "lua:x"), "unknown variant 'x' of lua; there are: resend, remember"),
        (("run", "counter", "--strategy", "lua", "--rule", "x"), "unknown rule 'x' of counter; there are: default"),
        (
            ("run", "double-submit", "--strategy", "lua", "--rule", "dorp"),
            "unknown rule 'dorp' of double-submit; did you mean drop?",
        ),
        (
            ("run", "counter", "--strategy", "naive", "--results", "/dev/null/x"),
            "cannot write results folder /dev/null/x: Not a directory; --results chooses another",
        ),
        (
            ("run", "counter", "--strategy", "naive", "--export-json", "no/such.json"),
            "cannot write no/such.json: No such file or directory",
        ),
    ],
)
def test_wrong_usage_is_one_line(race: Race, arguments: tuple[str, ...], line: str) -> None:
    """Exit 2, nothing on stdout, one line on stderr that says what to do."""
    ended = race(*arguments)
    assert (ended.code, ended.stdout, ended.stderr) == (2, "", f"race: {line}\n")


def test_an_option_with_a_typing_error(race: Race) -> None:
    """The nearest options are offered."""
    ended = race("run", "counter", "--strategy", "naive", "--brusts", "3")
    assert ended.code == 2
    assert ended.stderr.startswith("race: no such option '--brusts'")
    assert "--bursts" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_store_that_is_not_there(race: Race, engine: Engine) -> None:
    """Exit 3 and the store's own line."""
    engine.error = StoreUnavailable("Redis at 127.0.0.1:1 does not answer:\nstart it")
    ended = race(*NAIVE)
    assert (ended.code, ended.stderr) == (3, "race: Redis at 127.0.0.1:1 does not answer: start it\n")


def test_a_bug_is_one_line_with_its_trace_in_a_file(race: Race, engine: Engine) -> None:
    """No traceback on screen; where it lies is said."""
    engine.error = ZeroDivisionError("division by zero")
    ended = race(*NAIVE)
    said, path = ended.stderr.strip().split("; the trace is in ")
    assert (ended.code, said) == (
        70,
        "race: a bug of race itself, please report it: ZeroDivisionError: division by zero",
    )
    assert "Traceback" in Path(path).read_text()
    Path(path).unlink()


def test_a_bug_with_its_trace_on_screen(race: Race, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """RACE_TRACEBACK=1 shows it."""
    monkeypatch.setenv("RACE_TRACEBACK", "1")
    engine.error = ZeroDivisionError("division by zero")
    assert "Traceback (most recent call last)" in race(*NAIVE).stderr


def test_ctrl_c_before_anything_was_measured(race: Race, engine: Engine) -> None:
    """Exit 130, one line, below the `^C` of the terminal."""
    engine.error = KeyboardInterrupt()
    ended = race(*NAIVE)
    assert (ended.code, ended.stderr) == (130, "\nrace: interrupted\n")


@pytest.mark.parametrize("ignored", [False, True])
def test_being_told_to_end_is_like_ctrl_c(
    race: Race, engine: Engine, monkeypatch: pytest.MonkeyPatch, *, ignored: bool
) -> None:
    """SIGTERM interrupts as SIGINT does, so that servers are stopped; also where a script has SIGINT ignored."""
    if ignored:
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    async def ended_from_outside(*_arguments: Any, **_options: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(harness.burst, "run", ended_from_outside)
    ended = race(*NAIVE)
    assert (ended.code, ended.stderr) == (130, "\nrace: interrupted\n")


def test_being_told_twice_keeps_what_was_measured(race: Race, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """timeout(1) tells the process, and then the group that it leads."""

    async def told_twice(cell: Cell, load: Load, **_options: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            os.kill(os.getpid(), signal.SIGTERM)
        return measurements.violated(cell=cell, load=load, complete=False)

    monkeypatch.setattr(harness.burst, "run", told_twice)
    ended = race(*NAIVE)
    assert (ended.code, ended.stderr) == (130, "")
    assert "of an interrupted run" in ended.stdout


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (errno.ENOSPC, "No space left on device: make room on the disk, then run it again"),
        (errno.EMFILE, "Too many open files: raise the limit of open files (ulimit -n), then run it again"),
    ],
)
def test_what_a_machine_is_out_of(race: Race, engine: Engine, number: int, line: str) -> None:
    """It is no bug of race's."""
    engine.error = OSError(number, os.strerror(number))
    ended = race(*NAIVE)
    assert (ended.code, ended.stderr) == (2, f"race: {line}\n")


def test_a_full_disk_costs_no_result(race: Race, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured is shown, though it cannot be kept."""

    def full(*_arguments: Any) -> Path:
        raise UsageError("cannot write results folder results: No space left on device")

    monkeypatch.setattr("harness.results.shelf.Shelf.keep", full)
    ended = race(*NAIVE)
    assert (ended.code, ended.stderr) == (2, "race: cannot write results folder results: No space left on device\n")
    assert ended.stdout.startswith("  VIOLATED")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_nowhere_to_print() -> None:
    """The full disk may be where the output goes."""
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "harness", "list"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "No space left on device" in ended.stderr


def test_help(race: Race, snapshot: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands in the order in which one needs them."""
    monkeypatch.setenv("COLUMNS", "80")
    ended = race("--help")
    assert ended.code == 0
    snapshot("help.txt", ended.stdout)


@pytest.mark.parametrize("command", ["run", "compare", "explore"])
def test_help_of_a_command(
    race: Race, snapshot: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Every option in a line or two."""
    monkeypatch.setenv("COLUMNS", "80")
    snapshot(f"help-{command}.txt", race(command, "--help").stdout)


def test_version(race: Race) -> None:
    """The version of the distribution."""
    assert race("--version").stdout.startswith("race 0.")


def test_schema(race: Race) -> None:
    """What there is, and each as it is published."""
    assert race("schema").stdout.splitlines()[0].split()[0] == "result"
    assert json.loads(race("schema", "comparison").stdout)["$id"] == "urn:race:comparison:1"


def test_words_that_are_no_text(race: Race) -> None:
    """A file whose name is not in this locale's letters can be neither shown nor saved: one line says so."""
    ended = race("run", "l\udce9t.py", "--strategy", "naive")
    assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert ended.stderr.startswith("race: 'l\\udce9t.py' is no text in this locale")
