"""Shell completion: names of scenarios and strategies, scripts, and the lists that hold them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import BashComplete

from harness.cli.commands import race


def completed(line: str) -> list[str]:
    """What a shell offers at the end of this line."""
    *words, begun = line.removeprefix("race ").split(" ")
    return [item.value for item in BashComplete(race, {}, "race", "_RACE_COMPLETE").get_completions(words, begun)]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("race comp", ["compare"]),
        ("race run double", ["double-submit"]),
        ("race explore counter --strategy pg-re", ["pg-read-committed", "pg-repeatable-read"]),
        ("race run counter --strategy redis-lock:no-t", ["redis-lock:no-token"]),
        ("race run counter --strategy nobody:", []),
        ("race run six-writers --strategy cron=pg-read", ["cron=pg-read-committed"]),
        ("race run six-writers --strategy cron=naive,*=redis-lock:no-t", ["cron=naive,*=redis-lock:no-token"]),
        ("race compare counter --strategies naive,watch,pg-u", ["naive,watch,pg-unique"]),
        ("race compare counter --strategies naive,nai", []),
        ("race list last", ["last-owner"]),
        ("race list lua", ["lua", "lua-function"]),
        ("race explain last", ["last-owner"]),
        ("race explain pg-re", ["pg-read-committed", "pg-repeatable-read"]),
        ("race list redis-lock:no-t", ["redis-lock:no-token"]),
        ("race verify x.jsonl --scenario reg", ["register"]),
        ("race schema is", ["isolation"]),
        ("race new str", ["strategy"]),
        ("race run counter --strategy my_", ["my_fix.py"]),
        ("race run subscription --flow sa", ["saga", "saga:idempotent"]),
        ("race run subscription --flow saga --faults lost,k", ["lost,killed"]),
        ("race compare subscription --flow saga,co", ["saga,compensating"]),
        ("race run ./my_", ["./my_"]),  # a path: the shell's own completion of files
    ],
)
def test_what_is_offered(line: str, offered: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What begins so, and nothing else."""
    monkeypatch.chdir(tmp_path)
    for name in ("my_fix.py", "test_my_fix.py"):
        Path(name).touch()
    assert completed(line) == offered


def test_in_a_shell() -> None:
    """As the README says; no script is executed for it."""
    folder = Path(sys.executable).parent
    code = 'eval "$(_RACE_COMPLETE=bash_source race)"; COMP_WORDS=(race run last); COMP_CWORD=2; '
    code += '_race_completion race last run; echo "${COMPREPLY[@]}"'
    ended = subprocess.run(
        ["bash", "-c", code], capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert (ended.stdout, ended.stderr) == ("last-owner\n", "")
