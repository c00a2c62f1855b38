"""race isolation: its screen, exports, exit codes, and what happens when something comes between."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import harness.explore
from harness.explore import ANOMALIES, LEVELS, isolation
from harness.results.schema import schema_text
from tests.cli.test_processes import run
from tests.servers import PrivatePostgres

Race = Callable[..., Any]


@pytest.fixture(scope="module")
def postgres() -> Iterator[PrivatePostgres]:
    """A server of these tests."""
    server = PrivatePostgres()
    yield server
    server.close()


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table says that a lost update cannot occur."""
    table = tuple(
        replace(one, prevented_from="read committed") if one.code == "P4" else one for one in ANOMALIES
    )  # fmt: skip
    monkeypatch.setattr(harness.explore, "ANOMALIES", table)


def valid(text: str) -> Any:
    """The document, as its schema has it."""
    document = json.loads(text)
    Draft202012Validator(json.loads(schema_text("isolation"))).validate(document)
    return document


def without_ends(text: str) -> str:
    """Without the heading, which names a version, and the command, which names a server."""
    return text.split("\n", 1)[1].rsplit("Again", 1)[0]


def test_the_table(tmp_path: Path) -> None:
    """Thirty cells, as known, from a prompt; the document is saved, too."""
    ended = run("isolation", "--json", cwd=tmp_path)
    document = valid(ended.stdout)
    (saved,) = (tmp_path / "results" / "runs").glob("*-isolation.json")
    assert (ended.returncode, ended.stderr, json.loads(saved.read_text())) == (0, "", document)
    assert [store["kind"] for store in document["stores"]] == ["postgres"]
    assert document["levels"] == document["expected"]
    assert [entry["level"] for entry in document["levels"]] == list(LEVELS)
    prevented = [sum(entry["prevents"].values()) for entry in document["levels"]]
    assert (prevented, document["differs"], document["complete"]) == ([5, 8, 10], [], True)


def test_screen_and_exports(race: Race, postgres: PrivatePostgres, snapshot: Callable[[str, str], None]) -> None:
    """What is read, in 80 columns; the same as Markdown and CSV."""
    ended = race(
        "isolation", "--postgres-url", postgres.url, "--export-markdown", "i.md", "--export-csv", "i.csv",
        "--export-json", "i.json",
    )  # fmt: skip
    assert (ended.code, ended.stderr) == (0, "")
    assert max(map(len, ended.stdout.splitlines()[:-3])) <= 80  # an address may be long
    snapshot("isolation.txt", without_ends(ended.stdout))
    snapshot("isolation.md", without_ends(Path("i.md").read_text()))
    snapshot("isolation.csv", Path("i.csv").read_text())
    assert valid(Path("i.json").read_text())["schema"] == "race.isolation/1"


@pytest.mark.usefixtures("wrong")
def test_a_cell_that_differs(race: Race, postgres: PrivatePostgres, snapshot: Callable[[str, str], None]) -> None:
    """What was expected, what was seen, and how: exit 1."""
    ended = race("isolation", "--postgres-url", postgres.url)
    assert (ended.code, ended.stderr) == (1, "")
    assert max(map(len, ended.stdout.splitlines()[:-3])) <= 80
    snapshot("isolation-differs.txt", without_ends(ended.stdout))
    ended = race("isolation", "--postgres-url", postgres.url, "--json", "--exit-zero")
    (differing,) = valid(ended.stdout)["differs"]
    seen = {name: differing[name] for name in ("level", "anomaly", "expected", "prevents")}
    assert (ended.code, seen) == (
        0,
        {"level": "read committed", "anomaly": "P4", "expected": True, "prevents": False},
    )


def test_an_ending_that_shows_nothing(race: Race, postgres: PrivatePostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no difference, but nothing is as expected either: exit 3."""
    anomaly = ANOMALIES[0]
    odd = replace(anomaly, cases=(replace(anomaly.cases[0], occurs=(), prevented=()),))
    monkeypatch.setattr(harness.explore, "ANOMALIES", (odd,))
    ended = race("isolation", "--postgres-url", postgres.url)
    assert (ended.code, "0 of 3 cells" in ended.stdout) == (3, True)
    assert "  Differs   dirty write at read committed ended as no known ending does" in ended.stdout


def test_ctrl_c(race: Race, monkeypatch: pytest.MonkeyPatch, postgres: PrivatePostgres) -> None:
    """Exit 130; what was seen is kept, and marked incomplete."""
    honest, plays = isolation.Server.play, iter(range(100))

    async def play(*arguments: Any) -> Any:
        if next(plays) == 15:
            signal.raise_signal(signal.SIGINT)
        return await honest(*arguments)

    monkeypatch.setattr(isolation.Server, "play", play)
    ended = race("isolation", "--postgres-url", postgres.url, "--json")
    document = valid(ended.stdout)
    seen = [one for entry in document["levels"] for one in entry["prevents"].values() if one is not None]
    assert (ended.code, ended.stderr, document["complete"], len(seen)) == (130, "", False, 12)


def test_a_server_that_is_not_there(race: Race) -> None:
    """One line, exit 3; a host beyond loopback is asked for, exit 2."""
    ended = race("isolation", "--postgres-url", "postgresql://postgres@127.0.0.1:1/postgres")
    assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (3, "", 1)
    ended = race("isolation", "--postgres-url", "postgresql://postgres@db.example/postgres")
    assert (ended.code, ended.stdout, "--allow-host db.example" in ended.stderr) == (2, "", True)
