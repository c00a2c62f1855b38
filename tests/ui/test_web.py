"""Who may use the web UI, and what its form refuses."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

from tests.servers import free_port
from tests.ui.sessions import Session


def test_the_web_ui_is_for_this_machine_only(tmp_path: Path) -> None:
    """It listens on loopback; another site's page cannot start a load, nor read what is shown."""
    port = free_port()
    session = Session(tmp_path, "ui", "double-submit", "--strategy", "naive", "--port", str(port))
    try:
        assert session.line() == f"race: Locust's web UI: http://127.0.0.1:{port}  Ctrl-C ends it\n"
        assert '<script src="./race/tab.js">' in asked(port, "/")[1]
        assert asked(port, "/race/tab", Origin="https://example.org") == (403, "another site asks")
        assert asked(port, "/", Host="rebound.example.org") == (403, "this is a loopback address only")
        assert asked(port, "/swarm", b"user_count=1&spawn_rate=1", Origin="https://example.org")[0] == 403
        refusals = {
            b"user_count=1&spawn_rate=1": "1 user cannot meet in a burst of 2: raise the users, or lower the size",
            b"user_count=8&spawn_rate=8&size=1": "a burst of 1 cannot overlap: its size must be 2 or more",
            b"user_count=8&spawn_rate=8&strategy=/tmp/x.py": "strategy '/tmp/x.py' is none of the form's choices",
            b"user_count=8&spawn_rate=8&scenario=counter&rule=drop": (
                "unknown rule 'drop' of counter; there are: default"
            ),
        }
        told = {form: json.loads(asked(port, "/swarm", form)[1])["message"] for form in refusals}
        assert told == refusals
        session.interrupt()
        assert session.ended()[0] == 0
    finally:
        session.close()


def asked(port: int, path: str, form: bytes | None = None, **headers: str) -> tuple[int, str]:
    """What the web UI answers."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=form, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
