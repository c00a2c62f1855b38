"""What arrives, and when: nothing whole before the release, and then all of it in one packet."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any, Literal

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest

from harness.http.calls import Answer, Call
from harness.http.connection import Held, Line, Shared, prepared, release
from harness.http.place import Place
from harness.model import ConnectionLost

POST, GET = Call("POST", "/u/1", (("x", "y"),), b'{"a": 1}'), Call("GET", "/u/2")


async def _one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: list[bytes]) -> None:
    while data := await reader.read(65536):
        seen.append(data)
        whole = b"".join(seen)
        if whole.endswith((b'{"a": 1}', b"\r\n\r\n")) and not whole.endswith(b"8\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Seen: 1\r\n\r\nok")
    writer.close()


async def _two(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ended: list[list[int]], **settings: int
) -> None:
    protocol = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    codes = h2.settings.SettingCodes
    protocol.local_settings = h2.settings.Settings(
        client=False, initial_values={codes[name]: value for name, value in settings.items()}
    )
    protocol.initiate_connection()
    writer.write(protocol.data_to_send())
    while data := await reader.read(65536):
        events = protocol.receive_data(data)
        for event in events:
            if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                protocol.acknowledge_received_data(event.flow_controlled_length, event.stream_id or 0)
        streams = [event.stream_id or 0 for event in events if isinstance(event, h2.events.StreamEnded)]
        if streams:
            ended.append(streams)
        for stream in streams:
            protocol.send_headers(stream, [(":status", "200"), ("x-seen", str(stream))])
            protocol.send_data(stream, b"ok", end_stream=True)
        writer.write(protocol.data_to_send())
    writer.close()


async def _held(
    calls: list[Call], version: str, serve: Any, *, head: bool = False
) -> tuple[list[Any], list[Any], list[Answer]]:
    """What the server saw before the release, what after, and the answers."""
    seen: list[Any] = []
    serving: list[asyncio.Task[Any]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())  # type: ignore[arg-type]
        await serve(reader, writer, seen)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    place = Place("127.0.0.1", server.sockets[0].getsockname()[1], version=version)  # type: ignore[arg-type]
    shared = Shared()
    lines = [Line(place, None, shared) for _ in calls]
    together = (line.hold(call, head=head) for line, call in zip(lines, calls, strict=True))
    try:
        async with asyncio.timeout(20):
            held: list[Held] = await asyncio.gather(*together)
        await asyncio.sleep(0.05)
        before = list(seen)
        release(prepared(held))
        answers = [await one.answer() for one in held]
    finally:
        for line in lines:
            await line.drop()
        await shared.close()
        server.close()
        await asyncio.wait(serving)
    return before, seen[len(before) :], answers


@pytest.mark.parametrize(
    ("call", "head", "last"), [(POST, False, b"}"), (GET, False, b"\n"), (POST, True, b'\n{"a": 1}')]
)
def test_http_1_holds_the_last_byte_back(call: Call, head: bool, last: bytes) -> None:
    """Of the whole request, or from the head's last byte on."""
    before, after, answers = asyncio.run(_held([call], "1.1", _one, head=head))
    assert b"".join(after) == last
    assert b"".join(before + after).endswith(last)
    assert [(one.status, one.body, one.headers["x-seen"]) for one in answers] == [(200, b"ok", "1")]


def test_http_2_completes_all_in_one_packet() -> None:
    """Five requests, with bodies and without: none ends before the release, and then one read ends all."""
    before, after, answers = asyncio.run(_held([POST, GET, POST, GET, POST], "2", _two))
    assert before == []
    assert len(after) == 1
    assert len(after[0]) == len(set(after[0])) == 5
    assert [answer.status for answer in answers] == [200] * 5
    assert len({answer.headers["x-seen"] for answer in answers}) == 5


@pytest.mark.parametrize("window", [1, 7, 60])
def test_http_2_sends_as_much_as_the_service_takes(window: int) -> None:
    """A few bytes at a time before the release; what is left for it is one byte of each, in one packet, as ever."""
    long = Call("POST", "/u/1", (), b"x" * 200)
    before, after, answers = asyncio.run(_held([long] * 4, "2", partial(_two, INITIAL_WINDOW_SIZE=window)))
    assert (before, len(after), len(after[0])) == ([], 1, 4)
    assert [answer.status for answer in answers] == [200] * 4


def test_http_2_says_how_many_the_service_takes() -> None:
    """The second of two has no place on the connection."""
    with pytest.raises(ConnectionLost, match=r"it takes 1 at a time over a connection of HTTP/2; --http 1\.1 gives"):
        asyncio.run(_held([POST, POST], "2", partial(_two, MAX_CONCURRENT_STREAMS=1)))


@pytest.mark.parametrize(("version", "serve"), [("1.1", _one), ("2", _two)])
def test_what_cannot_be_sent_is_not_sent_anew(version: Literal["1.1", "2"], serve: Any) -> None:
    """Only what fails for the connection is: an idle one may be closed."""
    serving: list[asyncio.Task[Any]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())  # type: ignore[arg-type]
        await serve(reader, writer, [])

    async def asked() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        shared = Shared()
        line = Line(Place("127.0.0.1", server.sockets[0].getsockname()[1], version=version), None, shared)
        try:
            assert (await line.ask(POST)).status == 200
            await line.ask(Call("POST", "/", ((":x", "y"),), b"{}"))
        finally:
            await line.drop()
            await shared.close()
            server.close()
            await asyncio.wait(serving)

    with pytest.raises(ConnectionLost, match="what is to be sent is no HTTP"):
        asyncio.run(asked())


async def _rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _seen: list[Any]) -> None:
    await reader.read(10)
    writer.write(b"SSH-2.0-no\r\n")
    writer.close()


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_what_is_no_http_is_a_lost_connection(version: str) -> None:
    """Whatever answers there."""
    with pytest.raises(ConnectionLost):
        asyncio.run(_held([POST], version, _rude))


def test_a_file_that_holds_no_certificates(tmp_path: Path) -> None:
    """Is named."""
    wrong = tmp_path / "ca.pem"
    wrong.write_text("nothing")
    with pytest.raises(Exception, match=r"ca\.pem: no certificates can be read"):
        Place("127.0.0.1", 1, tls=True, ca=str(wrong)).context()


async def _hung_up_when_idle() -> int:
    """The status of a request that begins on a connection which the service closes just then, having answered once."""
    serving: list[asyncio.Task[Any]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())  # type: ignore[arg-type]
        await reader.readuntil(b"}")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    line = Line(Place("127.0.0.1", server.sockets[0].getsockname()[1], version="1.1"), None, Shared())
    async with asyncio.timeout(20):
        await line.ask(POST)
        held = await line.hold(POST)
        answer = asyncio.create_task(held.answer())
        while not await held.renewed():  # noqa: ASYNC110 - as a worker does, which cannot know
            await asyncio.sleep(0)
        release(prepared([held]))
        status = (await answer).status
    await line.drop()
    server.close()
    await asyncio.wait(serving)
    return status


def test_an_idle_connection_that_is_closed_is_replaced() -> None:
    """The service may do so whenever it likes: what it was sent had no end, so it had no effect."""
    assert asyncio.run(_hung_up_when_idle()) == 204
