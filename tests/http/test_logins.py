"""A login that runs out in the middle of a run is made again, and what met that counts for nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import validate

from harness.report import result_screen
from harness.results import schema_text
from tests.servers import free_port
from tests.services import listening

pytestmark = [pytest.mark.load]

FEW_USES = """
import json, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LOGINS, LATER = int(sys.argv[2]), int(sys.argv[3])
LOCK = threading.Lock()

class Handler(BaseHTTPRequestHandler):
    protocol_version, disable_nagle_algorithm = "HTTP/1.1", True
    counts, logins, left = {}, 0, 0
    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        arrived = time.monotonic_ns()
        with LOCK:
            if self.path == "/login":
                if Handler.logins == LOGINS:
                    return self.say(403, {})
                Handler.logins, Handler.left = Handler.logins + 1, LATER if Handler.logins else 27
                return self.say(200, {"token": f"t0ken-{Handler.logins}"})
            if not self.let_in():
                return self.say(401, {"sent": self.headers["Authorization"]})
            exact = self.path.startswith("/exact/")
            value = self.counts.get(self.path, 0)
            if exact:
                self.counts[self.path] = value + 1
        time.sleep(0.002)
        if not exact:
            self.counts[self.path] = value + 1
        self.say(200, {"value": value + 1}, arrived)
    def do_GET(self):
        with LOCK:
            inside = self.let_in()
        self.say(200 if inside else 401, {"value": self.counts.get(self.path, 0)})
    def let_in(self):
        Handler.left -= 1
        return self.headers["Authorization"] == f"Bearer t0ken-{Handler.logins}" and Handler.left >= 0
    def say(self, status, said, arrived=0):
        body = json.dumps(said).encode()
        self.send_response(status)
        if arrived:
            self.send_header("Race-Arrived-Ns", str(arrived))
            self.send_header("Race-Returned-Ns", str(time.monotonic_ns()))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

TARGET = """
url = "http://127.0.0.1:{port}"

[login]
request = "POST /login"
send = {{Authorization = "Bearer {{/token}}"}}

[operations.add]
request = "POST /{how}/{{key}}"
replies = {{200 = "added"}}
values = {{value = "/value"}}

[rest]
request = "GET /{how}/{{key}}"
value = "/value"
"""
BURSTS = 40


@pytest.mark.parametrize(("how", "verdict", "code"), [("exact", "held", 0), ("read-write", "violated", 1)])
def test_a_login_that_runs_out(race: Callable[..., Any], tmp_path: Path, how: str, verdict: str, code: int) -> None:
    """Good for 27 or 35 requests, and only the last one granted: the run goes on, and only whole bursts are judged."""
    (tmp_path / "few.py").write_text(FEW_USES)
    for _ in range(3):  # on a busy machine somebody may get no answer in time: then it says so, and nothing else
        port = free_port()
        Path("few.toml").write_text(TARGET.format(port=port, how=how))
        Path("h.jsonl").unlink(missing_ok=True)
        with listening([sys.executable, "few.py", str(port), "1000", "35"], port, tmp_path):
            ended = race("run", "counter", "--target", "few.toml", "--bursts", str(BURSTS), "--quiet", "--json",
                         "--history", "h.jsonl")  # fmt: skip
        assert ended.stdout, ended.stderr
        found = json.loads(ended.stdout)
        if ended.code != 3 and not found["counts"]["errors"]:
            break
    validate(found, json.loads(schema_text("result")))
    assert (found["verdict"], ended.code) == (verdict, code), found["reason"]
    assert (found["counts"]["bursts"], found["counts"]["unknown"], found["counts"]["errors"]) == (BURSTS, 0, {})
    assert found["service"]["bursts_not_let_in"] > 0  # of three logins that run out some do between bursts
    assert "  Login    ran out in " in result_screen(found, code)
    again = race("verify", "h.jsonl", "--scenario", "counter", "--json")
    assert json.loads(again.stdout)["verdict"] == verdict
    kept = b"".join(path.read_bytes() for path in Path.cwd().rglob("*") if path.is_file() and path.suffix != ".py")
    assert "t0ken" not in ended.stdout + ended.stderr
    assert b"t0ken" not in kept


@pytest.mark.parametrize(
    ("logins", "later", "reason"),
    [(1, 27, "few.toml: login: the login was answered 403"),
     (1000, 0, "requests are not let in, right after a new login")],
)  # fmt: skip
def test_a_login_that_is_not_to_be_had_again(
    race: Callable[..., Any], tmp_path: Path, logins: int, later: int, reason: str
) -> None:
    """Nothing is concluded from bursts that were not let in."""
    port = free_port()
    (tmp_path / "few.py").write_text(FEW_USES)
    text = TARGET.format(port=port, how="exact")
    Path("few.toml").write_text(text.partition("[rest]")[0])
    with listening([sys.executable, "few.py", str(port), str(logins), str(later)], port, tmp_path):
        ended = race("run", "counter", "--target", "few.toml", "--bursts", str(BURSTS), "--quiet", "--json")
    assert ended.stdout, ended.stderr
    found = json.loads(ended.stdout)
    assert (ended.code, found["verdict"]) == (3, "inconclusive")
    assert reason in found["reason"]
