"""What runs beside callers runs once for all workers: a consumer in a process of its own, a renewer with its holder."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import Ended
from tests.serve.conftest import Server, alive, meet, serving
from tests.servers import until

pytestmark = [pytest.mark.stores, pytest.mark.xdist_group("serve")]


LEASE_MS = 100
"""Of lock-lease."""
TRIES = 8
OWNER = "harness.serve.owning"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two strategies with daemons, and one that holds attempts together."""
    scenarios = ("counter", "lock-lease", "double-submit")
    ways = "queue,redis-lock,redis-lock-renewed,naive"
    with serving(tmp_path_factory.mktemp("daemons"), *scenarios, "--strategies", ways) as found:
        yield found


def owners(server: Server) -> int:
    """How many processes for owners and daemons there are."""
    return sum(OWNER in process.cmdline() for process in server.family())


def test_one_consumer_for_all_workers(server: Server) -> None:
    """It answers each of them, in one order; the mutant with two has two, each in a process of its own."""
    one, two = (server.connect_to(worker) for worker in server.told["workers"])
    for number in range(1, 6):
        pair = meet([one, two], "/counter/queue/k/add")
        assert sorted(answer.body["values"]["value"] for answer in pair) == [2 * number - 1, 2 * number]
        assert {answer.worker for answer in pair} == set(server.told["workers"])
    assert owners(server) == 1
    assert one.ask("POST", "/counter/queue:two-consumers/k/add").status == 200
    assert owners(server) == 2
    assert one.ask("POST", "/counter/queue/k/add").body["values"] == {"value": 11}


@pytest.mark.load
@pytest.mark.parametrize(("strategy", "versions"), [("redis-lock", [1, 1]), ("redis-lock-renewed", [1, 2])])
def test_a_lease_is_the_scenarios_and_renewed(server: Server, strategy: str, versions: list[int]) -> None:
    """The slow one's work outlives it: another worker gets in meanwhile, unless somebody renews the lease.

    On a busy machine the other may come too early or too late, and who renews too late: then it is tried again.
    """
    slow, quick = (server.connect_to(worker) for worker in server.told["workers"])
    seen: list[list[int]] = []
    while versions not in seen and len(seen) < TRIES:
        path = f"/lock-lease/{strategy}/k{len(seen)}/build"
        server.ask("PUT", path.removesuffix("/build"))
        with ThreadPoolExecutor(1) as pool:
            working = pool.submit(slow.ask, "POST", path, {"takes_ms": 10 * LEASE_MS})
            time.sleep(4 * LEASE_MS / 1000)
            second = quick.ask("POST", path, {"takes_ms": 0})
            first = working.result()
        (began, _), (asked, _) = first.interval, second.interval
        in_time = 2 * LEASE_MS < (asked - began) / 1e6 < 8 * LEASE_MS
        seen.append([answer.body["values"]["version"] for answer in (first, second)] if in_time else [])
    assert versions in seen


def test_an_attempt_with_its_effects_is_not_served(server: Server, race: Callable[..., Ended]) -> None:
    """One line, by the service and by race run, before any burst; a request without an attempt is served."""
    cell = "/double-submit/redis-lock:whole-flow"
    says = "redis-lock:whole-flow holds an attempt together with its effects, which stay with the client: race run can"
    refused = server.ask("POST", f"{cell}/user:1/start", Race_Attempt="a")
    assert (refused.status, refused.body) == (501, {"error": says})
    ended = race("run", "double-submit", "--url", f"{server.told['url']}{cell}")
    assert ended == Ended(2, "", f"race: {server.told['url']}{cell} is not served: {says}\n")
    assert server.ask("POST", "/counter/redis-lock:whole-flow/k/add").status == 200


POISON = """
from harness import Outcome, Reply, Request, Scenario, Signature
class Seat(Scenario):
    initial_value = 0
    operations = {"take": Signature({}, {}, "taken"), "boom": Signature({}, {}, "taken")}
    def rule(self, state, request, now_ms):
        if request.operation == "boom": raise ValueError("boom")
        return Outcome({request.key: 1}, Reply("taken"))
    def burst(self, rng, size): return [Request("take", ("seat",))] * size
"""


def test_a_consumer_that_ends_is_told_at_once(tmp_path: Path) -> None:
    """By the line of the script that ended it: nobody waits for an answer that will not come."""
    (tmp_path / "seat.py").write_text(POISON)
    with serving(tmp_path, "./seat.py", "--strategies", "queue,lua", "--workers", "1") as served:
        assert served.ask("POST", "/seat/queue/k/take").status == 200
        broken = served.ask("POST", "/seat/queue/k/boom")
        after = served.ask("POST", "/seat/queue/k/take")
        assert [(one.status, one.body["error"]) for one in (broken, after)] == [
            (500, "seat.py:7: ValueError: boom")
        ] * 2
        assert [one.body["outcome"] for one in (broken, after)] == ["unknown", "failed"]
        began, returned = broken.interval
        assert returned - began < 5e9


def test_an_owner_process_that_dies_ends_it(tmp_path: Path) -> None:
    """As a worker does: one line, exit 3, nothing left."""
    with serving(tmp_path, "counter", "--strategies", "queue") as served:
        assert served.ask("POST", "/counter/queue/k/add").status == 200
        family = served.family()
        (owner,) = (process for process in family if OWNER in process.cmdline())
        owner.send_signal(signal.SIGKILL)
        _out, said = served.process.communicate(timeout=20)
        assert (served.process.returncode, said) == (3, "race: a worker process died (exit -9): it said nothing\n")
        until(lambda: not any(alive(process) for process in family))
