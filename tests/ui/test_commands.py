"""race ui and race worker: what they refuse, in one line, before anything is started."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import util
from pathlib import Path

import pytest

from tests.conftest import Ended
from tests.ui.sessions import Session

Race = Callable[..., Ended]


@pytest.fixture
def taken() -> Iterator[str]:
    """A port that somebody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield str(listening.getsockname()[1])


@pytest.mark.parametrize("command", [("ui", "double-submit", "--strategy", "lua"), ("worker",)])
def test_without_the_extra(race: Race, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]) -> None:
    """One line says how to get it."""
    find = util.find_spec
    monkeypatch.setattr(
        "harness.ui.host.find_spec", lambda name: None if name == "locust" else find(name)
    )  # fmt: skip
    assert race(*command) == Ended(2, "", "race: race ui needs Locust: pip install 'race-harness[ui]'\n")


def test_locust_is_not_imported_by_race_itself() -> None:
    """It would patch the sockets and threads of this process."""
    code = (
        "import sys; from harness.cli.entry import run; import harness.ui.host\n"
        "run(['ui', 'double-submit', '--strategy', 'lua', '--', '--worker'])\n"
        "print([name for name in ('locust', 'gevent', 'flask', 'harness.ui.swarm') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
    assert ended.stderr == "race: --worker cannot stand after --: that is race worker\n"


def test_the_port_is_in_use(race: Race, taken: str) -> None:
    """Another one is asked for."""
    ended = race("ui", "double-submit", "--strategy", "lua", "--port", taken)
    assert ended == Ended(
        2, "", f"race: cannot listen on 127.0.0.1:{taken}: Address already in use; --port chooses another\n"
    )


def test_the_port_for_workers_is_in_use(race: Race, taken: str) -> None:
    """Likewise."""
    ended = race(
        "ui", "double-submit", "--strategy", "lua", "--master", "--master-bind-port", taken,
        "--redis-url", "redis://127.0.0.1:1",
    )  # fmt: skip
    assert (ended.code, ended.stderr.endswith("; --master-bind-port chooses another\n")) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("ui", "doble-submit", "--strategy", "lua"), "unknown scenario 'doble-submit'; did you mean double-submit?"),
        (("ui", "double-submit", "--strategy", "lua", "--size", "1"),
         "a burst of 1 cannot overlap: use --size 2 or more"),
        (("ui", "double-submit", "--strategy", "lua", "--", "-f", "mine.py"),
         "-f cannot stand after --: race brings its own locustfile"),
        (("ui", "double-submit", "--strategy", "lua", "--", "--processes=4"),
         "--processes cannot stand after --: race ui --master, and race worker as often as you like"),
        (("ui", "double-submit", "--strategy", "lua", "--master", "--port", "1"),
         "--master: lua needs a store that every worker reaches; give --redis-url here and to each race worker"),
        (("ui", "counter", "--strategy", "pg-for-update", "--master"),
         ("--master: pg-for-update needs a store that every worker reaches; give --postgres-url here and to each"
          " race worker")),
        (("worker", "--master-port", "0"), "--master-port must be 1 or more, not 0"),
    ],
)  # fmt: skip
def test_what_cannot_be(race: Race, arguments: tuple[str, ...], line: str) -> None:
    """Exit 2, one line that says what to do."""
    assert race(*arguments) == Ended(2, "", f"race: {line}\n")


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (("--headless", "--", "-u", "1"), 2,
         "1 user cannot meet in a burst of 2: raise the users, or lower the size"),
        (("--headless", "--quiet", "--", "--no-such-flag"), 2,
         "Locust did not start: unrecognized arguments: --no-such-flag"),
        (("--headless", "--redis-url", "redis://127.0.0.1:1"), 3,
         ("Redis at 127.0.0.1:1 does not answer (connection refused): start it, or leave out --redis-url to use the"
         " embedded one")),
    ],
)  # fmt: skip
def test_where_nothing_begins(tmp_path: Path, arguments: tuple[str, ...], code: int, line: str) -> None:
    """One line. One user, as Locust has it, meets nobody; what Locust refuses, it says; its tables would be empty."""
    ended = Session(tmp_path, "ui", "double-submit", "--strategy", "lua", *arguments).ended()
    assert ended == (code, "", f"race: {line}\n")
