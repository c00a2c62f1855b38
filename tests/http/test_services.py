"""Bursts at services: the example with its bug and without, and what can be said where little is known."""

from __future__ import annotations

import http.client
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from jsonschema import validate

from harness.report import result_screen
from harness.results import schema_text
from tests.servers import PrivateValkey, free_port
from tests.services import COUNTER_TARGET, EXAMPLE, counter, example, listening

pytestmark = [pytest.mark.load, pytest.mark.long]

BOUND = ("--bursts", "40", "--quiet", "--json")


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[PrivateValkey]:
    """A server of this test."""
    server = PrivateValkey(tmp_path, ())
    yield server
    server.kill()


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the counter asks for."""
    monkeypatch.setenv("COUNTER_TOKEN", "s3cret-t0ken")
    monkeypatch.setenv("COUNTER_SESSION", "c00kie-s3cret")


def document(ended: Any) -> dict[str, Any]:
    """The one document on stdout, as its schema promises it."""
    assert ended.stdout, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    validate(found, json.loads(schema_text("result")))
    return found


def rows(screen: str) -> list[str]:
    """What a screen tells of, but for what has to be minded, which is another on every machine."""
    return [name for name in re.findall(r"^  ([A-Z][A-Za-z]+)  +\S", screen, re.MULTILINE) if name != "Mind"]


def shown_by_docs(target: str) -> str:
    """The screen that docs/http.md has for a target of the example."""
    page = (EXAMPLE.parents[1] / "docs" / "http.md").read_text(encoding="utf-8")
    return page.split(f"$ race run double-submit --target {target}.toml --bursts 300\n")[1].split("```")[0]


def test_the_example(race: Callable[..., Any], tmp_path: Path, valkey: PrivateValkey) -> None:
    """GET, IF, SET breaks; one command holds, by overlap that was measured; nothing does where none can be known."""
    with example(tmp_path, valkey.url) as (url, _process):
        broken = race("run", "double-submit", "--target", str(EXAMPLE / "looks-first.toml"), "--url", url, *BOUND)
        found = document(broken)
        assert (broken.code, found["verdict"]) == (1, "violated"), found["reason"]
        assert found["service"] == {
            "url": url, "http": "1.1", "tls": False, "target": str(EXAMPLE / "looks-first.toml"), "race_serve": False,
            "bursts_not_let_in": 0, "senseless_stamps": 0,
        }  # fmt: skip
        assert found["counterexample"]["steps"][0]["command"].startswith("POST /looks-first/user-")
        assert (found["exploration"], "observed" in found["counterexample"]) == (None, False)
        screen = result_screen(found, 1)
        assert rows(screen) == rows(shown_by_docs("looks-first"))
        assert "  Compare  race explore double-submit --strategy naive\n" in screen

        target = EXAMPLE / "sets-if-absent.toml"
        right = race("run", "double-submit", "--target", str(target), "--url", url, "--history", "h.jsonl", *BOUND)
        found = document(right)
        assert (right.code, found["verdict"]) == (0, "held"), found["reason"]
        assert rows(result_screen(found, 0)) == rows(shown_by_docs("sets-if-absent"))
        meeting = found["overlap"]["meeting"]
        assert (meeting["known"], meeting["given"]) == (found["violations"]["judged"], False)
        assert 2 * meeting["met"] >= meeting["known"] > 0
        assert found["overlap"]["arrival_spread_us"] > 0
        again = race("verify", "h.jsonl", "--scenario", "double-submit", "--json")
        assert (again.code, json.loads(again.stdout)["verdict"]) == (0, "held")


def test_without_stamps(race: Callable[..., Any], tmp_path: Path, secrets: None) -> None:
    """A right service of which nobody knows whether requests met is not said to hold; with figures given it is."""
    with counter(tmp_path) as port:
        text = COUNTER_TARGET.format(url=f"http://127.0.0.1:{port}").replace("POST /counters/", "POST /exact/")
        target = Path("exact.toml")
        target.write_text(text)
        run = ("run", "counter", "--target", "exact.toml", *BOUND)
        stamped = document(race(*run))
        assert (stamped["verdict"], stamped["overlap"]["meeting"]["given"]) == ("held", False), stamped["reason"]
        target.write_text(text + '[stamps]\narrived = "x-none"\nreturned = "x-none"\n')
        blind = race("run", "counter", "--target", "exact.toml", "--bursts", "40", "--quiet")
        assert blind.code == 3
        says = " ".join(blind.stdout.split())
        assert "nobody knows whether requests met inside the service" in says
        assert "let the service send the headers Race-Arrived-Ns and Race-Returned-Ns" in says
        target.write_text(target.read_text() + "[given]\narrival_us = 500\nhandler_us = 2000\n")
        given = document(race(*run))
        assert (given["verdict"], given["overlap"]["meeting"]["given"]) == ("held", True), given["reason"]


def test_a_wrong_description_is_no_race(race: Callable[..., Any], tmp_path: Path, valkey: PrivateValkey) -> None:
    """One request after the other, before any burst: what breaks then is a mistake, and exit 2."""
    with example(tmp_path, valkey.url) as (url, _process):
        text = (EXAMPLE / "sets-if-absent.toml").read_text()
        swapped = Path("swapped.toml")
        swapped.write_text(text.replace('202 = "accepted", 409 = "rejected"', '202 = "rejected", 409 = "accepted"'))
        ended = race("run", "double-submit", "--target", str(swapped), "--url", url, *BOUND)
        assert ended.code == 2
        assert "this is no race: one request after the other, start was answered rejected, and the rule" in ended.stderr
        swapped.write_text(text.replace("202", "201"))
        ended = race("run", "double-submit", "--target", str(swapped), "--url", url, *BOUND)
        assert ended.code == 2
        assert "start was answered 202, even alone; [operations.start] replies of swapped.toml" in ended.stderr


def test_a_service_that_dies(race: Callable[..., Any], tmp_path: Path, valkey: PrivateValkey) -> None:
    """In the middle: what was under way is unknown, and nothing is concluded."""
    with example(tmp_path, valkey.url) as (url, process):
        target = str(EXAMPLE / "sets-if-absent.toml")
        threading.Timer(2.5, process.kill).start()
        ended = race("run", "double-submit", "--target", target, "--url", url, "--bursts", "20000", "--json", "--quiet")
        found = document(ended)
        assert (ended.code, found["verdict"]) == (3, "inconclusive")
        assert "is gone: connection refused" in found["reason"] or "lost during the run" in found["reason"]


SERIAL = """
import sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    counts = {}
    def do_POST(self):
        arrived = time.monotonic_ns()
        value = self.counts[self.path] = self.counts.get(self.path, 0) + 1
        self.send_response(201)
        self.send_header("X-Value", str(value))
        self.send_header("Race-Arrived-Ns", str(arrived))
        self.send_header("Race-Returned-Ns", str(time.monotonic_ns()))
        self.end_headers()
    def log_message(self, *args):
        pass
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

SCRIPT = """
from harness import Call, Reply, Service

class Mine(Service):
    url = "http://127.0.0.1:{port}"

    def call(self, request):
        return Call("POST", f"/{{request.key}}", body={body})

    def reply(self, request, answer):
        return Reply("added", {{"value": int(answer.headers["x-value"])}}) if answer.status == 201 else None
"""


@pytest.mark.parametrize("body", [b"", b"not waited for"])
def test_one_request_at_a_time_shows_nothing(race: Callable[..., Any], tmp_path: Path, body: bytes) -> None:
    """A service that cannot break because nothing overlaps in it is not said to hold. Its target is a script.

    It acts as soon as it has the head: of its requests nothing but the head is sent before the release.
    """
    port = free_port()
    (tmp_path / "serial.py").write_text(SERIAL)
    Path("mine.py").write_text(SCRIPT.format(port=port, body=body))
    with listening([sys.executable, "serial.py", str(port)], port, tmp_path):
        ended = race("run", "counter", "--target", "mine.py", "--bursts", "40", "--json", "--quiet")
    found = document(ended)
    assert (ended.code, found["verdict"]) == (3, "inconclusive")
    assert "requests met inside the service in only 0 of" in found["reason"]


def test_a_slow_service_is_asked_no_longer_than_the_budget(race: Callable[..., Any], tmp_path: Path) -> None:
    """No burst begins past it, although bursts are told to workers by the dozen: 22 would take more."""
    port = free_port()
    slow = SERIAL.replace("HTTPServer", "ThreadingHTTPServer")
    (tmp_path / "slow.py").write_text(slow.replace("self.send_response", "time.sleep(0.3); self.send_response"))
    Path("mine.py").write_text(SCRIPT.format(port=port, body=b""))
    with listening([sys.executable, "slow.py", str(port)], port, tmp_path):
        ended = race("run", "counter", "--target", "mine.py", "--bursts", "1000", "--budget", "6", "--json")
    bursts = document(ended)["counts"]["bursts"]
    assert 0 < bursts < 22
    assert ended.stderr == f"race: the time was up after {bursts} of 1,000 bursts: --budget gives it more\n"


def written() -> Iterator[Path]:
    """The files in this folder, but for the service itself and what Python has compiled of it."""
    return (path for path in Path.cwd().rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"})


def test_tls_http_2_and_secrets(race: Callable[..., Any], tmp_path: Path, secrets: None) -> None:
    """A lost update behind TLS, over HTTP/2 by ALPN; token and cookie are in nothing that is printed or kept."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    with counter(tmp_path, "--certfile", "cert.pem", "--keyfile", "key.pem") as port:
        target = Path("counter.toml")
        target.write_text(COUNTER_TARGET.format(url=f"https://127.0.0.1:{port}").replace(
            "[cookies]", 'tls = {ca = "ca.pem"}\n[cookies]'
        ))  # fmt: skip
        run = ("run", "counter", "--target", "counter.toml", "--bursts", "40", "--quiet", "--size", "4")
        ended = race(*run, "--history", "h.jsonl", "--json")
        found = document(ended)
        assert (ended.code, found["verdict"], found["service"]["http"]) == (1, "violated", "2"), found["reason"]
        shown = race(*run, "--export-html", "page.html", "--export-markdown", "page.md")
        assert shown.code == 1
        assert document(race(*run, "--http", "1.1", "--json"))["service"]["http"] == "1.1"

        target.write_text(target.read_text().replace('tls = {ca = "ca.pem"}', ""))
        untrusted = race(*run)
        assert (untrusted.code, untrusted.stdout) == (3, "")
        assert "its certificate is not trusted" in untrusted.stderr
        insecure = race(*run, "--insecure", "--json")
        assert document(insecure)["verdict"] == "violated"

        target.write_text(
            COUNTER_TARGET.format(url=f"https://127.0.0.1:{port}").replace("env:COUNTER_TOKEN", "wr0ng-one")
        )
        refused = race(*run, "--insecure")
        assert refused.code == 2
        assert "add was answered 401, even alone" in refused.stderr
    printed = "".join(one.stdout + one.stderr for one in (ended, shown, untrusted, insecure, refused))
    kept = b"".join(map(Path.read_bytes, written()))
    own = target.read_bytes()
    for secret in ("s3cret-t0ken", "c00kie-s3cret", "wr0ng-one"):
        assert secret not in printed
        assert secret.encode() not in kept.replace(own, b"")


LOGIN = """
import json, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    counts, logins = {}, {}
    def do_POST(self):
        said = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        arrived, (_, what, user) = time.monotonic_ns(), self.path.split("/")
        token, cookie = f"t0ken-of-{user}", f"sid=sess10n-of-{user}"
        if what == "login":
            right = said == {"password": "pa55word"}
            self.logins[user] = self.logins.get(user, 0) + right
            return self.say(200 if right else 403, {"data": {"token": token}}, {"Set-Cookie": f"{cookie}; Path=/"})
        has = (self.headers["Authorization"], self.headers["Cookie"])
        if what == "logins" or has not in {(f"Bearer {token}", None), (None, cookie)}:
            return self.say(401, {"logins": self.logins})
        value = self.counts.get(user, 0)
        time.sleep(0.002)
        self.counts[user] = value + 1
        self.say(200, {"value": value + 1, "you": user, "sent": has}, {"Race-Arrived-Ns": str(arrived)})
    def say(self, status, said, headers={}):
        body = json.dumps(said).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

LOGIN_TARGET = """
url = "http://127.0.0.1:{port}"

[login]
request = "POST /login/{{key}}"
json = {{password = "env:MY_PASSWORD"}}
{send}

[operations.add]
request = "POST /add/{{key}}"
replies = {{200 = "added"}}
values = {{value = "/value"}}
"""


@pytest.mark.parametrize("send", ['send = {Authorization = "Bearer {/data/token}"}', ""])
def test_a_login_before_the_bursts(
    race: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, send: str
) -> None:
    """Once for each key, by token or by cookie; of what it gives nothing is printed or kept. Refused: exit 2."""
    port = free_port()
    (tmp_path / "in.py").write_text(LOGIN)
    Path("in.toml").write_text(LOGIN_TARGET.format(port=port, send=send))
    run = ("run", "counter", "--target", "in.toml", "--bursts", "20", "--quiet")
    with listening([sys.executable, "in.py", str(port)], port, tmp_path):
        monkeypatch.setenv("MY_PASSWORD", "wr0ng")
        refused = race(*run)
        says = "race: in.toml: login: the login was answered 403\n"
        assert (refused.code, refused.stdout, refused.stderr) == (2, "", says)
        monkeypatch.setenv("MY_PASSWORD", "pa55word")
        ended = race(*run, "--json", "--history", "h.jsonl", "--export-html", "page.html")
        found = document(ended)
        assert (ended.code, found["verdict"]) == (1, "violated"), found["reason"]
        asking = http.client.HTTPConnection("127.0.0.1", port)
        asking.request("POST", "/logins/x")
        logins = json.loads(asking.getresponse().read())["logins"]
        asking.close()
        assert len(logins) >= 20
        assert {count for user, count in logins.items() if user.startswith("counter-")} <= {0, 1}
    kept = b"".join(map(Path.read_bytes, written()))
    for secret in ("pa55word", "wr0ng", "t0ken", "sess10n"):
        assert secret not in ended.stdout + ended.stderr + refused.stderr
        assert secret.encode() not in kept


def test_race_serve(race: Callable[..., Any], tmp_path: Path) -> None:
    """The reference target: what breaks there, and what holds beside a control on the same server, over HTTP/2."""
    port = free_port()
    command = [sys.executable, "-m", "harness", "serve", "counter", "--strategies", "naive,atomic", "--port", str(port)]
    with listening(command, port, tmp_path) as process:
        url = f"http://127.0.0.1:{port}/counter"
        broken = race("run", "counter", "--url", f"{url}/naive", *BOUND)
        found = document(broken)
        assert (broken.code, found["verdict"], found["as_claimed"]) == (1, "violated", True), found["reason"]
        assert (found["store"], found["service"]["race_serve"]) == ("redis", True)
        smallest = found["counterexample"]
        assert [step["command"] for step in smallest["steps"] if step["caller"] == "A"] == [
            "GET counter",
            "SET counter 1",
        ]
        assert smallest["observed"]["steps"][0]["command"].startswith("POST /counter/naive/counter:")
        assert (found["exploration"]["verdict"], race("replay", smallest["file"]).code) == ("violated", 1)
        shown = race("run", "counter", "--url", f"{url}/naive", "--bursts", "40", "--quiet").stdout
        assert "naive explored on a store of its own, without the service" in " ".join(shown.split())
        right = document(race("run", "counter", "--url", f"{url}/atomic", "--http", "2", "--size", "4", *BOUND))
        assert right["verdict"] == "held", right["reason"]
        assert right["overlap"]["control"] == "naive"
        assert right["overlap"]["control_broken"] > 0
        assert right["overlap"]["meeting"] is None
        assert right["service"]["http"] == "2"
        unknown = race("run", "counter", "--url", f"{url}/atomc", *BOUND)
        assert (unknown.code, unknown.stdout) == (2, "")
        assert "atomc" in unknown.stderr
        process.terminate()
        process.wait(20)


def test_a_lock_within_one_process(race: Callable[..., Any], tmp_path: Path) -> None:
    """A connection stays with one process of a service: over the same two for ever, each one's mutex may look right."""
    port = free_port()
    command = [sys.executable, "-m", "harness", "serve", "counter", "--strategies", "naive,mutex", "--port", str(port),
               "--workers", "2"]  # fmt: skip
    with listening(command, port, tmp_path):
        for version in ("1.1", "2"):
            ended = race("run", "counter", "--url", f"http://127.0.0.1:{port}/counter/mutex", "--http", version, *BOUND)
            assert (ended.code, document(ended)["verdict"]) == (1, "violated")
