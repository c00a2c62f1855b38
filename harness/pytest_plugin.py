"""The pytest plugin: the fixture `race`, the marker `race`, and options that begin with --race-.

pytest imports this file wherever the package is installed, so it imports nothing of ours until a test asks for it.
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.gate.testing import Race, Servers


SEED = 1
"""Always the same schedules, unless another is asked for."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the stores are, and how long and by which seed tests explore."""
    group = parser.getgroup("race", "race: every interleaving on real stores")
    group.addoption("--race-redis-url", metavar="URL", help="Your Redis, for the embedded one (RACE_REDIS_URL).")
    group.addoption("--race-postgres-url", metavar="URL", help="Your PostgreSQL, likewise (RACE_POSTGRES_URL).")
    group.addoption("--race-allow-host", action="append", default=[], metavar="HOST",
                    help="A host beyond loopback that may be used.")  # fmt: skip
    group.addoption("--race-seed", type=int, default=SEED, metavar="N", help="Draws the bursts [1].")
    group.addoption("--race-budget", type=float, metavar="S", help="Seconds for each exploration or run.")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers", "race(size, faults, budget, ...): what race.explore and race.run of this test do by default"
    )


@pytest.fixture(scope="session")
def race_servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    """The stores of this session."""
    from harness.burst import StoresOptions
    from harness.gate.testing import Servers

    option = request.config.getoption
    servers = Servers(
        StoresOptions(
            option("--race-redis-url") or os.environ.get("RACE_REDIS_URL") or None,
            option("--race-postgres-url") or os.environ.get("RACE_POSTGRES_URL") or None,
            tuple(option("--race-allow-host")),
        )
    )
    yield servers
    servers.close()


@pytest.fixture
def race(request: pytest.FixtureRequest, race_servers: Servers) -> Race:
    """Explore, run or replay a rule under a strategy: `race.explore(MyRule, MyFix)`."""
    from harness.gate.testing import MARKED, Race

    defaults: dict[str, Any] = {}
    for mark in reversed(list(request.node.iter_markers("race"))):
        unknown = [name for name in mark.kwargs if name not in MARKED]
        if mark.args or unknown:
            what = f"has no {unknown[0]}" if unknown else "takes names only"
            _fail(f"race: the marker race {what}; it takes: {', '.join(MARKED)}")
        defaults |= mark.kwargs
    seed = request.config.getoption("--race-seed")
    words = ["pytest", request.node.nodeid] + ([f"--race-seed={seed}"] if seed != SEED else [])
    return Race(
        race_servers,
        _fail,
        shlex.join(words),
        request.config.rootpath,
        seed=seed,
        budget_s=request.config.getoption("--race-budget"),
        defaults=defaults,
    )


def _fail(text: str) -> NoReturn:
    """The text alone: what broke is not in the test's own lines."""
    pytest.fail(text, pytrace=False)
