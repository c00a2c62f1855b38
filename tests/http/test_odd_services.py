"""Services that answer oddly, and are right but for one: none is said to break, none to hold on nothing, none hangs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import free_port
from tests.services import listening

pytestmark = [pytest.mark.load, pytest.mark.long]

ODD = '''
"""A counter in memory; the first part of a path says what is odd about it."""
import asyncio, json, sys, time
counts, asked = {}, {}

def answer(status, said, *headers, chunked=False):
    body = json.dumps(said).encode()
    ends = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    head = "\\r\\n".join([f"HTTP/1.1 {status} X", *headers, ends, "", ""]).encode()
    return head + (b"".join(b"1\\r\\n%c\\r\\n" % byte for byte in body) + b"0\\r\\n\\r\\n" if chunked else body)

async def one(reader, writer):
    head = (await reader.readuntil(b"\\r\\n\\r\\n")).decode()
    early = time.monotonic_ns()
    method, path = head.split(" ")[:2]
    if "content-length: " in head:
        await reader.readexactly(int(head.split("content-length: ")[1].split("\\r\\n")[0]))
    arrived = time.monotonic_ns()
    _, odd, key = path.split("/")
    if method == "GET":
        return writer.write(answer(200, {"value": counts.get(key, 0)}))
    number = asked[odd] = asked.get(odd, 0) + 1
    if odd in {"fails", "limits"} and number > 8:
        return writer.write(answer(500 if odd == "fails" else 429, {}))
    if odd == "drops" and number % 7 == 0:
        return writer.close()
    if odd == "early":
        time.sleep(0.001)
    else:
        await asyncio.sleep(0.002)
    value = counts[key] = counts.get(key, 0) + 1
    if odd == "half" and number % 7 == 0:
        writer.write(answer(200, {"value": value})[:-1])
        return writer.close()
    stamps = [early if odd == "early" else arrived, time.monotonic_ns()] if odd != "constant" else [5, 10**18]
    headers = [f"Race-Arrived-Ns: {stamps[0]}", f"Race-Returned-Ns: {stamps[1]}"]
    if odd == "moved":
        return writer.write(answer(307, {}, "Location: /right/" + key))
    if odd == "hints":
        writer.write(b"HTTP/1.1 103 Early Hints\\r\\nLink: </x>\\r\\n\\r\\n")
    if odd == "cookies":
        headers.append("Set-Cookie: session=n0t-yours")
    if odd == "closes":
        headers.append("Connection: close")
    writer.write(answer(200, {"value": value}, *headers, chunked=odd == "chunked"))
    if odd == "closes":
        writer.close()

async def serve(reader, writer):
    try:
        while not writer.is_closing():
            await one(reader, writer)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()

async def main():
    await (await asyncio.start_server(serve, "::1", int(sys.argv[1]))).serve_forever()

asyncio.run(main())
'''

TARGET = """
url = "http://[::1]:{port}"

[operations.add]
request = "POST /{odd}/{{key}}"
json = {{by = 1}}
replies = {{200 = "added"}}
values = {{value = "/value"}}

[rest]
request = "GET /{odd}/{{key}}"
value = "/value"
"""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where it listens, on the loopback of IPv6."""
    folder, found = tmp_path_factory.mktemp("odd"), free_port()
    (folder / "odd.py").write_text(ODD)
    with listening([sys.executable, "odd.py", str(found)], found, folder, host="::1"):
        yield found


def asked(race: Callable[..., Any], port: int, odd: str) -> Any:
    """Forty bursts at it."""
    Path("odd.toml").write_text(TARGET.format(port=port, odd=odd))
    return race("run", "counter", "--target", "odd.toml", "--bursts", "40", "--quiet", "--json")


@pytest.mark.parametrize("odd", ["right", "chunked", "hints", "closes", "cookies"])
def test_what_is_only_another_way_to_answer(race: Callable[..., Any], port: int, odd: str) -> None:
    """Holds, and what nobody asked for is not kept."""
    ended = asked(race, port, odd)
    found = json.loads(ended.stdout)
    assert (ended.code, found["verdict"]) == (0, "held"), found["reason"]
    assert "n0t-yours" not in ended.stdout


@pytest.mark.parametrize(
    ("odd", "says", "errors"),
    [
        ("fails", "somebody got no answer", {"http-500"}),
        ("limits", "somebody got no answer", {"http-429"}),
        ("drops", "somebody got no answer", {"connection-lost"}),
        ("half", "somebody got no answer", {"connection-lost"}),
        ("constant", "nobody knows whether requests met inside the service", set()),
        ("early", "nobody knows whether requests met inside the service", set()),
    ],
)
def test_what_shows_nothing(race: Callable[..., Any], port: int, odd: str, says: str, errors: set[str]) -> None:
    """Errors without a meaning, and stamps that cannot be right: of a key that nothing happened to it tells 0."""
    ended = asked(race, port, odd)
    found = json.loads(ended.stdout)
    assert (ended.code, found["verdict"], found["violations"]["bursts"]) == (3, "inconclusive", 0), found["reason"]
    assert says in found["reason"]
    assert set(found["counts"]["errors"]) == errors
    assert (found["service"]["senseless_stamps"] > 0) == (not errors)


def test_nobody_is_followed(race: Callable[..., Any], port: int) -> None:
    """A redirect is an answer like any other: what it leads to was not allowed, and is not asked."""
    ended = asked(race, port, "moved")
    says = "race: add was answered 307, even alone; [operations.add] replies of odd.toml says what a status means\n"
    assert (ended.code, ended.stderr) == (2, says)


TALKATIVE = """
import os
from harness import Call, Reply, Service

class Mine(Service):
    url = "http://[::1]:{port}"
    def secrets(self):
        return [os.environ["MY_TOKEN"]]
    def said(self, where):
        if where == "{where}":
            raise ValueError("no luck with " + os.environ["MY_TOKEN"])
    def call(self, request):
        self.said("call")
        return Call("POST", f"/right/{{request.key}}", (("authorization", os.environ["MY_TOKEN"]),))
    def reply(self, request, answer):
        self.said("reply")
        return Reply("added", {{"value": answer.json()["value"]}})
    def rest(self, keys):
        self.said("rest")
        return Call("GET", f"/right/{{keys[0]}}")
    def values(self, keys, answer):
        self.said("values")
        return {{keys[0]: answer.json()["value"]}}
"""


@pytest.mark.parametrize("where", ["call", "reply", "rest", "values"])
def test_what_a_script_raises_tells_no_secret(
    race: Callable[..., Any], port: int, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """One line with its place, and in its text what was given in secret is hidden."""
    monkeypatch.setenv("MY_TOKEN", "t0p-s3cret")
    Path("mine.py").write_text(TALKATIVE.format(port=port, where=where))
    ended = race("run", "counter", "--target", "mine.py", "--bursts", "10", "--quiet")
    assert (ended.code, ended.stdout, ended.stderr) == (2, "", "race: mine.py:11: ValueError: no luck with ***\n")
