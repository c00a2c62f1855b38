"""race ui without a browser: the verdict and its exit code, the kept result, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import validate

from harness.results import schema_text
from tests.servers import until
from tests.ui.sessions import Session, gone

pytestmark = [pytest.mark.load, pytest.mark.long, pytest.mark.xdist_group("load")]


@pytest.fixture
def sessions(tmp_path: Path) -> Iterator[list[Session]]:
    """Those that a test starts; none outlives it."""
    started: list[Session] = []
    yield started
    for session in started:
        session.close()


def ended(tmp_path: Path, scenario: str, strategy: str, *more: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, the document on stdout, and stderr of a test without a web UI."""
    code, stdout, stderr = Session(
        tmp_path, "ui", scenario, "--strategy", strategy, "--headless", "--json", *more
    ).ended()  # fmt: skip
    return code, json.loads(stdout), stderr


def test_what_breaks_without_a_browser(tmp_path: Path) -> None:
    """Exit 1, our document, our file; Locust's own summary counts requests, and the bursts that broke as failures."""
    code, document, stderr = ended(tmp_path, "counter", "naive", "--", "-t", "1s")
    validate(document, json.loads(schema_text("result")))
    assert (code, document["verdict"], document["as_claimed"]) == (1, "violated", True)
    assert len(document["counterexample"]["steps"]) >= 4
    assert document["latency_ms"]["p50"] < 50
    (kept,) = Session.kept(tmp_path)
    assert kept == document
    assert "counter add" in stderr


def test_what_holds_needs_its_control(tmp_path: Path) -> None:
    """Exit 0 where the control broke under the same load, 3 where it did too seldom: as race run.

    It ends after so many bursts, without any -t: what is kept of a test stays small.
    """
    code, document, stderr = ended(tmp_path, "double-submit", "lua", "--size", "4", "--quiet", "--bursts", "60")
    assert (60 <= document["counts"]["bursts"] < 100, document["complete"]) == (True, True)
    assert (code, stderr) == ({"held": 0, "inconclusive": 3}[document["verdict"]], "")
    assert document["overlap"]["control"] == "naive"
    assert document["violations"]["bursts"] == 0
    if document["verdict"] == "inconclusive":
        assert "naive broke in only" in document["reason"]


def test_ctrl_c_keeps_what_was_measured(tmp_path: Path, sessions: list[Session]) -> None:
    """Exit 130, marked incomplete; nothing runs on."""
    session = Session(tmp_path, "ui", "counter", "--strategy", "naive", "--headless", "--json", "--quiet")
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
    session = Session(tmp_path, "ui", "counter", "--strategy", "naive", "--headless", "--quiet")
    sessions.append(session)
    until(lambda: len(session.workers()) == 2)
    family = session.family()
    victim = family[0] if killed == "race" else next(one for one in family if "locust" in one.cmdline())
    os.kill(victim.pid, signal.SIGKILL)
    code, _stdout, stderr = session.ended()
    assert gone(family)
    assert (code, stderr) == ((-9, "") if killed == "race" else (3, "race: Locust's process was killed\n"))
