"""race ui without a browser: the verdict and its exit code, the kept result, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import validate

from harness.results import schema_text
from tests.servers import free_port, until
from tests.ui.sessions import Session, gone

pytestmark = [pytest.mark.load, pytest.mark.xdist_group("load")]


@pytest.fixture
def sessions(tmp_path: Path) -> Iterator[list[Session]]:
    """Those that a test starts; none outlives it."""
    started: list[Session] = []
    yield started
    for session in started:
        session.close()


def ended(tmp_path: Path, strategy: str, *more: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, the document on stdout, and stderr of a test without a web UI."""
    code, stdout, stderr = Session(
        tmp_path, "ui", "double-submit", "--strategy", strategy, "--headless", "--json", *more
    ).ended()  # fmt: skip
    return code, json.loads(stdout), stderr


def test_what_breaks_without_a_browser(tmp_path: Path) -> None:
    """Exit 1, our document, our file; Locust's own summary counts requests, and the bursts that broke as failures."""
    code, document, stderr = ended(tmp_path, "naive", "--", "-t", "1s")
    validate(document, json.loads(schema_text("result")))
    assert (code, document["verdict"], document["as_claimed"]) == (1, "violated", True)
    assert len(document["counterexample"]["steps"]) >= 4
    assert document["latency_ms"]["p50"] < 50
    (kept,) = Session.kept(tmp_path)
    assert kept == document
    assert "double-submit start" in stderr


def test_what_holds_needs_its_control(tmp_path: Path) -> None:
    """Exit 0 where the control broke under the same load, 3 where it did too seldom: as race run."""
    code, document, stderr = ended(tmp_path, "lua", "--size", "4", "--quiet", "--", "-t", "1s")
    assert (code, stderr) == ({"held": 0, "inconclusive": 3}[document["verdict"]], "")
    assert document["overlap"]["control"] == "naive"
    assert document["violations"]["bursts"] == 0
    if document["verdict"] == "inconclusive":
        assert "naive broke in only" in document["reason"]


def test_a_test_ends_after_so_many_bursts(tmp_path: Path) -> None:
    """Without any -t: what is kept of a test stays small."""
    _code, document, _stderr = ended(tmp_path, "naive", "--bursts", "50", "--quiet")
    assert 50 <= document["counts"]["bursts"] < 100
    assert document["complete"]


def test_ctrl_c_keeps_what_was_measured(tmp_path: Path, sessions: list[Session]) -> None:
    """Exit 130, marked incomplete; nothing runs on."""
    session = Session(tmp_path, "ui", "double-submit", "--strategy", "naive", "--headless", "--json", "--quiet")
    sessions.append(session)
    until(lambda: session.worked_s() > 1.3)
    family = session.family()
    session.interrupt()
    code, stdout, stderr = session.ended()
    assert (code, stderr, json.loads(stdout)["complete"]) == (130, "", False)
    assert gone(family)


@pytest.mark.parametrize("killed", ["race", "locust"])
def test_kill_9_leaves_nothing(tmp_path: Path, sessions: list[Session], killed: str) -> None:
    """Whichever of the two is killed, the other ends, and so do workers and servers."""
    session = Session(tmp_path, "ui", "double-submit", "--strategy", "naive", "--headless", "--quiet")
    sessions.append(session)
    until(lambda: len(session.workers()) == 2)
    family = session.family()
    victim = family[0] if killed == "race" else next(one for one in family if "locust" in one.cmdline())
    os.kill(victim.pid, signal.SIGKILL)
    code, _stdout, stderr = session.ended()
    assert gone(family)
    assert (code, stderr) == ((-9, "") if killed == "race" else (3, "race: Locust's process was killed\n"))


def test_the_web_ui_is_for_this_machine_only(tmp_path: Path, sessions: list[Session]) -> None:
    """It listens on loopback; another site's page cannot start a load, nor read what is shown."""
    port = free_port()
    session = Session(tmp_path, "ui", "double-submit", "--strategy", "naive", "--port", str(port))
    sessions.append(session)
    assert session.line() == f"race: Locust's web UI: http://127.0.0.1:{port}  Ctrl-C ends it\n"
    assert '<script src="./race/tab.js">' in asked(port, "/")[1]
    assert asked(port, "/race/tab", Origin="https://example.org") == (403, "another site asks")
    assert asked(port, "/", Host="rebound.example.org") == (403, "this is a loopback address only")
    assert asked(port, "/swarm", b"user_count=1&spawn_rate=1", Origin="https://example.org")[0] == 403
    refusals = {
        b"user_count=1&spawn_rate=1": "1 user cannot meet in a burst of 2: raise the users, or lower the size",
        b"user_count=8&spawn_rate=8&size=1": "a burst of 1 cannot overlap: its size must be 2 or more",
        b"user_count=8&spawn_rate=8&strategy=/tmp/x.py": "strategy '/tmp/x.py' is none of the form's choices",
        b"user_count=8&spawn_rate=8&scenario=counter&rule=drop": "unknown rule 'drop' of counter; there are: default",
    }
    told = {form: json.loads(asked(port, "/swarm", form)[1])["message"] for form in refusals}
    assert told == refusals
    session.interrupt()
    assert session.ended()[0] == 0


def asked(port: int, path: str, form: bytes | None = None, **headers: str) -> tuple[int, str]:
    """What the web UI answers."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=form, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
