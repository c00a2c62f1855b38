"""Strategies seen through a web server: one request at a time they do what the rule says, and errors are one line."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from harness.model import Request
from harness.strategy.loader import find_scenario
from tests.conftest import Ended
from tests.serve.conftest import ENVIRONMENT, Server, alive, serving
from tests.servers import PrivateValkey, until

pytestmark = [pytest.mark.stores, pytest.mark.xdist_group("serve")]

SMALL = ("counter", "--strategies", "naive,lua")
CELLS = [
    ("counter", "naive"), ("counter", "pg-procedure"), ("counter", "actor"), ("refund", "lua"),
    ("refund", "pg-for-update"), ("team-move", "watch"), ("team-move", "pg-serializable"), ("booking", "mutex"),
    ("rate-limit", "multi"), ("invoice-number", "pg-sequence"), ("token-rotation", "redis-lock"),
    ("last-owner", "pg-version"), ("counter", "actor:credentials"), ("counter", "pg-procedure:revoked"),
    ("counter", "lua-function"), ("team-move", "actors"), ("team-move", "actors:pass-on"),
    ("team-move", "actors:resumed"), ("counter", "queue"), ("refund", "redis-lock-renewed"), ("team-move", "queue"),
    ("cron-job", "naive:fields"), ("cron-job", "actors:resumed"), ("cron-job", "pg-unique"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "strategy"), CELLS)
def test_one_at_a_time_as_the_rule_says(server: Server, name: str, strategy: str) -> None:
    """Replies, values and the state at rest are those of the pure rule, whichever worker answers."""
    scenario = find_scenario(name)()
    rule = next(iter(scenario.all_rules()))
    apply, scenario = scenario.all_rules()[rule], scenario.under(rule)
    state: dict[str, Any] = {}
    for number in range(8):
        (item, *_) = scenario.burst(Random(number), 2)
        assert isinstance(item, Request)
        request = item._replace(keys=tuple(f"{key}:one" for key in item.keys), id=f"r{number}")
        path = f"/{name}/{strategy}/{','.join(request.keys)}/{request.operation}"
        answered = server.ask("POST", path, dict(request.args), Race_Request=request.id)
        before = {key: state.get(key, scenario.initial_value) for key in request.keys}
        outcome = apply(before, request, answered.body["now_ms"])
        state.update(before | dict(outcome.changes))
        told = {"decision": outcome.reply.decision, "values": dict(outcome.reply.values)}
        assert {name: answered.body[name] for name in told} == json.loads(json.dumps(told))
        refused = {"limited": 429}.get(outcome.reply.decision, 409)
        assert answered.status == (refused if outcome.reply.decision in scenario.refusals else 200)
    if scenario.leases_ms == 0:  # else the state at rest knows instants of its own
        rest = server.ask("GET", f"/{name}/{strategy}/{','.join(state)}").body["rest"]
        assert rest == json.loads(json.dumps(state))


def test_an_attempt_is_several_requests(server: Server) -> None:
    """They carry the same attempt; another's finish is refused."""
    at = "/double-submit/pg-conditional/user:1"
    first = server.ask("POST", f"{at}/start", Race_Attempt="a")
    second = server.ask("POST", f"{at}/start", Race_Attempt="b")
    wrong = server.ask("POST", f"{at}/finish", Race_Attempt="b")
    right = server.ask("POST", f"{at}/finish", Race_Attempt="a")
    decisions = [(answer.status, answer.body["decision"]) for answer in (first, second, wrong, right)]
    assert decisions == [(200, "accepted"), (409, "rejected"), (409, "lost"), (200, "finished")]


def test_every_cell_has_state_of_its_own(server: Server) -> None:
    """The same key under another strategy, another rule or another variant is another thing."""
    for path in ("lua", "naive", "lua:resend"):
        answered = server.ask("POST", f"/counter/{path}/apart/add")
        assert answered.body["values"] == {"value": 1}
    for rule in ("drop", "wait"):
        assert server.ask("POST", f"/double-submit/lua/apart/start?rule={rule}").status == 200
    refused = server.ask("POST", "/double-submit/lua/apart/start", Race_Rule="wait", Race_Attempt="another")
    assert (refused.status, refused.body["decision"]) == (409, "wait")


def test_roles_and_replicas(server: Server) -> None:
    """A strategy for each role; a replica that is behind, of which there is one."""
    at = "/six-writers/cron=pg-read-committed,*=pg-for-update/account:1"
    for role in ("cron", "admin"):
        assert server.ask("POST", f"{at}/take", {"amount": 60}, Race_Role=role).status in {200, 409}
    unknown = server.ask("POST", "/six-writers/cron=x.py,*=lua/k/freeze")
    assert (unknown.status, unknown.body["error"].partition(";")[0]) == (404, "unknown strategy 'x.py'")
    if "RACE_REDIS_URL" in ENVIRONMENT:
        return  # of a server that is there already nobody makes a replica
    limited = [
        server.ask("POST", f"/rate-limit/replica-lag/{key}/hit?rule=sliding-counter", {"limit": 5}).status
        for key in ("a", "b")
    ]
    assert limited == [200, 200]
    other = server.ask("POST", "/rate-limit/replica-lag:200-ms/a/hit?rule=sliding-counter", {"limit": 5})
    assert (other.status, other.body["error"].partition(";")[0]) == (
        409, "replica-lag:200-ms needs one that is 200 ms behind",
    )  # fmt: skip


def test_fresh_keys(server: Server) -> None:
    """PUT makes keys that every worker then knows; one that was used cannot be made again, on any worker."""
    at = "/team-move/pg-for-update"
    made = server.ask("PUT", f"{at}/red:f,blue:f")
    assert (made.status, made.body) == (201, {"keys": ["red:f", "blue:f"]})
    again = [server.ask("PUT", f"{at}/red:g,blue:f").status for _ in range(6)]
    assert again == [409] * 6
    server.ask("POST", "/counter/naive/used/add")
    until(lambda: server.ask("PUT", "/counter/naive/used").status == 409)
    assert server.ask("GET", f"{at}/red:f,red:never").body["rest"] == {
        key: {"open": True, "members": 1} for key in ("red:f", "red:never")
    }


@pytest.mark.parametrize("cell", ["webhook/pg-unique", "refund/pg-version"])
def test_a_key_that_nobody_used(server: Server, cell: str) -> None:
    """It is as it begins, also where nobody has made a table yet; and looking at it does not use it."""
    path = f"/{cell}/never"
    scenario = find_scenario(cell.partition("/")[0])()
    assert server.ask("GET", path).body["rest"] == {"never": scenario.initial_value}
    assert server.ask("PUT", path).status == 201


def test_workers_share_the_port(server: Server) -> None:
    """Each is reached by some connections, and says which it is."""
    seen = {server.ask("GET", "/").worker for _ in range(60)}
    assert seen == set(server.told["workers"])
    assert len(seen) == 2


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or not 2 <= len(os.sched_getaffinity(0)) <= 3, reason="cores are not scarce"
)
def test_workers_do_not_share_a_core(server: Server) -> None:
    """Where there is little more than a core for each: every thread of a worker keeps to the worker's own."""
    cores = [
        {frozenset(os.sched_getaffinity(int(thread.name))) for thread in Path(f"/proc/{worker}/task").iterdir()}
        for worker in server.told["workers"]
    ]
    assert [len(one) for one in cores] == [1, 1]
    assert len(set.union(*cores)) == 2
    assert all(len(core) == 1 for core in set.union(*cores))


def test_an_arrival_is_when_the_body_is_whole(server: Server) -> None:
    """Held back by a byte, a request has not arrived; the stamps are on the clock of this machine."""
    connection = server.connect()
    connection.ask("POST", "/counter/lua/stamps/add")
    connection.hold("/counter/lua/stamps/add")
    other = server.ask("POST", "/counter/lua/stamps/add")
    connection.release()
    held = connection.answer()
    assert other.interval[1] < held.interval[0] < held.interval[1]
    assert held.body["values"] == {"value": 3}


WRONG = [
    ("POST", "/cuonter/lua/k/add", 404, "unknown scenario 'cuonter'; did you mean counter?"),
    ("POST", "/counter/lau/k/add", 404, "unknown strategy 'lau'; did you mean lua?"),
    ("POST", "/counter/redis-lock:notoken/k/add", 404,
     "unknown variant 'notoken' of redis-lock; did you mean no-token?"),
    ("POST", "/counter/lua/k/ad", 404, "unknown operation 'ad' of counter; did you mean add?"),
    ("POST", "/counter/pg-unique/k/add", 404,
     "pg-unique does not apply to counter: everybody may add: there is nothing to claim"),
    ("POST", "/double-submit/lua/k/start?rule=dorp", 400, "unknown rule 'dorp' of double-submit; did you mean drop?"),
    ("POST", "/double-submit/lua/k/start?x=1", 400, "unknown parameter 'x'; there is: rule"),
    ("POST", "/team-move/lua/k/move", 400, "move takes 2 keys, separated by commas, not 1"),
    ("POST", "/counter/lua/a,b/add", 400, "add takes 1 key, not 2"),
    ("POST", "/counter/lua/,/add", 400, "',' names no key: several are separated by commas, user:1,user:2"),
    ("POST", "/rate-limit/lua/k/hit", 400, "'limit' is missing: hit takes limit (a whole number) as JSON"),
    ("GET", "/counter/lua/k/add", 405, "GET is not for here: POST"),
    ("GET", "/a/b/c/d/e", 404, "a path is /SCENARIO/STRATEGY/KEY/OPERATION; / lists what there is"),
    ("GET", "/counter/./../../../etc/passwd.py", 404,
     "a path is /SCENARIO/STRATEGY/KEY/OPERATION; / lists what there is"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "status", "says"), WRONG)
def test_what_cannot_be(server: Server, method: str, path: str, status: int, says: str) -> None:
    """One line of JSON, with the nearest names."""
    answered = server.ask(method, path)
    assert (answered.status, answered.body) == (status, {"error": says})


def test_a_url_names_no_script(server: Server) -> None:
    """Nothing that was not offered is ever executed."""
    for path in (f"/{Path(__file__).name}/naive", f"/counter/{Path(__file__).name}", "/counter/naive.py"):
        answered = server.ask("GET", path)
        assert (answered.status, answered.body["error"].partition(" ")[0]) == (404, "unknown")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({"limit": "3"}, "'limit' must be a whole number, not '3'"),
        ({"limit": 3, "limt": 4}, "unknown argument 'limt'; did you mean limit?"),
        ([3], 'the body holds the arguments by name, as in {"limit": 3}'),
    ],
)
def test_wrong_arguments(server: Server, args: Any, says: str) -> None:
    """Refused before anything is executed."""
    answered = server.ask("POST", "/rate-limit/lua/k/hit", args)
    assert (answered.status, answered.body) == (400, {"error": says})


def test_what_a_client_needs_to_know(server: Server) -> None:
    """Of a cell, and of all there is; people get text."""
    cell = server.ask("GET", "/double-submit/pg-version?rule=join").body
    assert {name: cell[name] for name in ("rule", "store", "control", "initial", "leases_ms", "applies")} == {
        "rule": "join", "store": "postgres", "control": "/double-submit/pg-read-committed", "initial": None,
        "leases_ms": 2000, "applies": True,
    }  # fmt: skip
    assert server.ask("GET", "/counter/naive").body["control"] is None
    index = server.ask("GET", "/", Accept="application/json").body
    assert (index["workers"], "lua" in index["scenarios"]["counter"]["strategies"]) == (server.told["workers"], True)
    text = server.ask("GET", "/").body
    assert "curl -X POST" in text
    assert max(map(len, text.splitlines())) <= 80


def test_http_2_on_the_same_port(server: Server) -> None:
    """With prior knowledge: several requests in one packet, answered on one connection."""
    h2 = pytest.importorskip("h2.connection")
    from h2.events import ResponseReceived, StreamEnded

    talk = h2.H2Connection()
    talk.initiate_connection()
    host = ":".join(map(str, server.place))
    for _ in range(3):
        stream = talk.get_next_available_stream_id()
        head = [(":method", "POST"), (":scheme", "http"), (":authority", host), (":path", "/counter/lua/two/add")]
        talk.send_headers(stream, head, end_stream=True)
    ended, statuses = 0, []
    with socket.create_connection(server.place, timeout=20) as wire:
        wire.sendall(talk.data_to_send())
        while ended < 3:
            for event in talk.receive_data(wire.recv(65_536)):
                if isinstance(event, ResponseReceived):
                    statuses.append(dict(event.headers)[b":status"])
                ended += isinstance(event, StreamEnded)
            wire.sendall(talk.data_to_send())
    assert statuses == [b"200"] * 3
    assert server.ask("GET", "/counter/lua/two").body["rest"] == {"two": 3}


# How it ends


def test_killed_it_leaves_nothing(tmp_path: Path) -> None:
    """`kill -9`: no worker, no owner, no server, no folder; and Ctrl-C is how it ends well."""
    with serving(tmp_path, *SMALL[:1], "--strategies", "actor") as served:
        assert served.ask("POST", "/counter/actor/k/add").status == 200  # there is an owner now
        family = served.family()
        assert len(family) >= 4
        served.process.kill()
        until(lambda: not any(alive(process) for process in family))
    with serving(tmp_path, *SMALL) as served:
        assert served.end(signal.SIGINT) == 0
        assert served.process.stderr is not None
        assert served.process.stderr.read() == "ended, with everything that was started\n"


def test_a_worker_that_dies_ends_it(tmp_path: Path) -> None:
    """One line, exit 3, nothing left."""
    with serving(tmp_path, *SMALL) as served:
        family = served.family()
        os.kill(served.told["workers"][0], signal.SIGKILL)
        _out, said = served.process.communicate(timeout=20)
        assert (served.process.returncode, said) == (3, "race: a worker process died (exit -9): it said nothing\n")
        until(lambda: not any(alive(process) for process in family))


def test_a_store_that_is_lost_ends_it(tmp_path: Path) -> None:
    """Requests are answered with what can be known meanwhile; then one line, exit 3."""
    valkey = PrivateValkey(tmp_path, ())
    try:
        with serving(tmp_path, *SMALL, RACE_REDIS_URL=valkey.url) as served:
            connection = served.connect()
            assert connection.ask("POST", "/counter/lua/k/add").status == 200
            valkey.process.kill()
            valkey.process.wait()
            lost = connection.ask("POST", "/counter/lua/k/add")
            assert (lost.status, lost.body["code"]) == (503, "connection-lost")
            assert lost.body["outcome"] in {"unknown", "failed"}
            _out, said = served.process.communicate(timeout=20)
            assert (served.process.returncode, said.count("\n")) == (3, 1)
            assert said.startswith("race: ")
    finally:
        valkey.process.kill()
        valkey.process.wait()


def test_a_port_that_is_taken(server: Server, race: Callable[..., Ended]) -> None:
    """Also by another `race serve`, which would share it: one line, exit 2, before anything is started."""
    port = server.place[1]
    ended = race("serve", "--port", str(port))
    says = f"race: port {port} of 127.0.0.1 is taken: choose another --port; 0 takes a free one\n"
    assert (ended.code, ended.stdout, ended.stderr) == (2, "", says)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("cuonter",), "unknown scenario 'cuonter'; did you mean counter?"),
        (("--strategies", "lau"), "unknown strategy 'lau'; did you mean lua?"),
        (("--strategies", "lua:resend"), "'lua:resend': name the strategy without its variant; the URL says which"),
        (("--host", "192.0.2.1"), "192.0.2.1 is no address of this machine: leave out --host for loopback"),
        (("--certfile", "x.pem"), "--certfile and --keyfile go together"),
        (("--certfile", "x.pem", "--keyfile", "x.pem"), "--certfile: x.pem cannot be read"),
    ],
)
def test_wrong_usage(race: Callable[..., Ended], arguments: tuple[str, ...], says: str) -> None:
    """One line, exit 2."""
    assert race("serve", *arguments) == Ended(2, "", f"race: {says}\n")


def test_own_scripts(tmp_path: Path) -> None:
    """A rule and a fix of the user's own, by their names; what they raise is told in a line, and nobody ends by it."""
    (tmp_path / "seat.py").write_text(
        "from harness import Outcome, Reply, Request, Scenario\n"
        "class Seat(Scenario):\n"
        "    initial_value = 0\n"
        "    def rule(self, state, request, now_ms):\n"
        "        if request.operation == 'boom': raise ValueError('boom')\n"
        "        if state[request.key]: return Outcome({}, Reply('rejected'))\n"
        "        return Outcome({request.key: 1}, Reply('taken'))\n"
        "    def burst(self, rng, size): return [Request('take', ('seat',))] * size\n"
    )
    with serving(tmp_path, "./seat.py", "--strategies", "naive", "--workers", "1") as served:
        statuses = [served.ask("POST", "/seat/naive/1/take").status for _ in range(2)]
        broken = served.ask("POST", "/seat/naive/1/boom")
        assert statuses == [200, 409]
        assert (broken.status, broken.body["error"]) == (500, "seat.py:5: ValueError: boom")
        assert served.ask("GET", "/seat/naive/1").body["rest"] == {"1": 1}


def test_the_screen(tmp_path: Path) -> None:
    """What a newcomer reads, within 80 columns."""
    command = [sys.executable, "-m", "harness", "serve", *SMALL, "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        lines = []
        while "Ctrl-C" not in (line := process.stdout.readline()):
            assert line, lines
            lines.append(line.rstrip("\n"))
        process.send_signal(signal.SIGINT)
        process.wait(20)
    assert lines[0].startswith("http://127.0.0.1:")
    assert max(map(len, lines)) <= 80


@pytest.mark.long
@pytest.mark.skipif("RACE_POSTGRES_URL" in ENVIRONMENT, reason="how much room a server has that others use, too")
def test_cells_that_postgresql_has_no_room_for(tmp_path: Path, race: Callable[..., Ended]) -> None:
    """Each is held by a connection: one too many is refused in a line, those that are open go on, as does Redis."""
    offered = ("counter", "--strategies", "pg-version,pg-for-update,lua")
    says = race("serve", *offered, "--port", "0", "--connections", "9000").stderr
    room = int(says.partition("has room for (")[2].partition(")")[0])
    beside = 16  # connections of the parent, more or less
    with serving(tmp_path, *offered, "--workers", "1", "--connections", str(room - beside - 1)) as served:
        assert served.ask("POST", "/counter/pg-version/k/add").status == 200
        line = (
            "PostgreSQL has no connection left to hold one more cell, beside the 1 that are open: start race serve"
            " again, or raise max_connections"
        )
        for _ in range(2):
            refused = served.ask("POST", "/counter/pg-for-update/k/add")
            assert (refused.status, refused.body) == (503, {"error": line})
        again = [served.ask("POST", f"/counter/{way}/k/add") for way in ("pg-version", "lua")]
        assert [answer.body["values"]["value"] for answer in again] == [2, 1]
        ended = race("run", "counter", "--url", f"{served.told['url']}/counter/pg-for-update", "--quiet")
        assert ended.code == 3
        assert line in " ".join(ended.stdout.split())
