"""Requests of two clients that meet in the service: what breaks without a web server breaks with one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from tests.serve.conftest import Connection, Server, meet, serving

pytestmark = [pytest.mark.stores, pytest.mark.load, pytest.mark.xdist_group("load")]

MOST, ENOUGH = 6_000, 40
"""Bursts after which a load has shown that it shows nothing; bursts that met, without which nothing was shown."""
NUMBERS = count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Redis only."""
    with serving(tmp_path_factory.mktemp("bursts"), "counter", "--strategies", "naive,lua,mutex,actor,queue") as found:
        yield found


def bursts(connections: list[Connection], path: str, *, until_broken: bool) -> tuple[int, int]:
    """How many bursts of adds met in their handlers, and how many of these lost an add."""
    met = broken = 0
    for _burst in range(MOST):
        key = f"{path}/{next(NUMBERS)}"
        assert connections[0].ask("PUT", key).status == 201
        answers = meet(connections, f"{key}/add")
        assert [answer.status for answer in answers] == [200] * len(answers)
        (one, two) = (answer.interval for answer in answers)
        met += one[0] < two[1] and two[0] < one[1]
        lost = len({answer.body["values"]["value"] for answer in answers}) < len(answers)
        rest = connections[0].ask("GET", key).body["rest"]
        assert (max(rest.values()) < len(answers)) == lost
        broken += lost
        if broken if until_broken else met >= ENOUGH:
            break
    return met, broken


@pytest.mark.parametrize(
    ("strategy", "apart", "breaks"),
    [
        ("naive", False, True),
        ("naive", True, True),
        ("lua", True, False),
        ("mutex", False, False),
        ("mutex", True, True),
        ("actor", True, False),
        ("actor:per-process", True, True),
        ("queue", True, False),
        ("queue:two-consumers", True, True),
    ],
)
def test_two_clients(server: Server, strategy: str, apart: bool, breaks: bool) -> None:
    """On one worker or on two: a mutex is one process's, an owner everybody's, a second owner or consumer too many."""
    one, two = server.told["workers"]
    connections = [server.connect_to(one), server.connect_to(two if apart else one)]
    met, broken = bursts(connections, f"/counter/{strategy}", until_broken=breaks)
    assert met >= (1 if breaks else ENOUGH)
    assert (broken > 0) == breaks
    for connection in connections:
        connection.close()
