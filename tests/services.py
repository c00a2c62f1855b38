"""Services of one test: the example, and small ones that answer in a way of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.servers import free_port, until

EXAMPLE = Path(__file__).parents[1] / "examples" / "service"

COUNTER = '''
"""A counter that is read, and written a moment later; below /exact/ at once. It wants a token and a cookie, and
repeats what it was sent."""
import asyncio, json, time
counts = {}

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    arrived = time.monotonic_ns()
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    key, status, said = scope["path"].rsplit("/", 1)[1], 200, {}
    if headers.get("authorization") != "Bearer s3cret-t0ken" or headers.get("cookie") != "session=c00kie-s3cret":
        status, said = 401, {"sent": headers}
    elif scope["method"] == "POST":
        value = counts.get(key, 0)
        if scope["path"].startswith("/exact/"):
            counts[key] = value + 1
        await asyncio.sleep(0.002)
        counts[key] = max(counts.get(key, 0), value + 1)
        said = {"value": value + 1, "http": scope["http_version"], "sent": headers.get("authorization")}
    else:
        said = {"value": counts.get(key, 0)}
    stamps = [(b"race-arrived-ns", b"%d" % arrived), (b"race-returned-ns", b"%d" % time.monotonic_ns())]
    await send({"type": "http.response.start", "status": status, "headers": stamps})
    await send({"type": "http.response.body", "body": json.dumps(said).encode()})
'''

COUNTER_TARGET = """
url = "{url}"
token = "env:COUNTER_TOKEN"

[cookies]
session = "env:COUNTER_SESSION"

[operations.add]
request = "POST /counters/{{key}}"
json = {{by = 1}}
replies = {{200 = "added"}}
values = {{value = "/value"}}

[rest]
request = "GET /counters/{{key}}"
value = "/value"
"""


@contextlib.contextmanager
def listening(
    command: list[str], port: int, folder: Path, host: str = "127.0.0.1"
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that serves on this port, until the end; what it started ends with it."""
    with (folder / "service.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, start_new_session=True)
    try:
        until(lambda: process.poll() is not None or _listens(host, port))
        assert process.poll() is None, (folder / "service.log").read_text()
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):  # all of them have ended
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def example(folder: Path, redis_url: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The example service: its address, and its process."""
    port = free_port()
    with listening([sys.executable, str(EXAMPLE / "service.py"), str(port), redis_url], port, folder) as process:
        yield f"http://127.0.0.1:{port}", process


@contextlib.contextmanager
def counter(folder: Path, *options: str) -> Iterator[int]:
    """The counter behind hypercorn: its port."""
    port = free_port()
    (folder / "counter_app.py").write_text(COUNTER)
    command = [sys.executable, "-m", "hypercorn", "--bind", f"127.0.0.1:{port}", *options, "counter_app:app"]
    with listening(command, port, folder):
        yield port


def _listens(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.settimeout(0.2)
        return probe.connect_ex((host, port)) == 0
