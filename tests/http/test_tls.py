"""race serve behind TLS, and race run at it: who is trusted, for which name, and what is said where nobody is."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest
import trustme

from harness.http.place import Place
from harness.http.wire import Wire
from tests.conftest import Ended
from tests.servers import free_port
from tests.services import listening

pytestmark = pytest.mark.xdist_group("serve")


RUN = ("run", "counter", "--quiet")


def issued(folder: Path, *names: str, until: datetime | None = None) -> tuple[str, str, str]:
    """Files of a new authority, and of a certificate and its key that it issues for these names."""
    authority = trustme.CA()
    certificate = authority.issue_cert(*names, not_after=until)
    ca, cert, key = (str(folder / name) for name in ("ca.pem", "cert.pem", "key.pem"))
    authority.cert_pem.write_to_path(ca)
    certificate.cert_chain_pems[0].write_to_path(cert)
    certificate.private_key_pem.write_to_path(key)
    return ca, cert, key


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A `race serve` over HTTPS for two names of this machine: its URL, and who vouches for it."""
    folder = tmp_path_factory.mktemp("tls")
    ca, cert, key = issued(folder, "127.0.0.1", "localhost")
    port = free_port()
    command = [sys.executable, "-m", "harness", "serve", "counter", "--strategies", "naive,atomic"]
    command += ["--port", str(port), "--certfile", cert, "--keyfile", key]
    with listening(command, port, folder) as process:
        yield f"https://127.0.0.1:{port}", ca
        process.terminate()
        process.wait(20)


@contextmanager
def shaking_hands(cert: str, key: str) -> Iterator[int]:
    """A port where somebody shows this certificate, and that is all."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):  # closed at the end
                while True:
                    peer, _address = listener.accept()
                    with peer, suppress(OSError), context.wrap_socket(peer, server_side=True):
                        pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.load
@pytest.mark.long
@pytest.mark.parametrize("version", ["1.1", "2"])
def test_bursts_behind_tls(race: Callable[..., Ended], secure: tuple[str, str], version: str) -> None:
    """What breaks without TLS breaks with it, in either version; what holds holds beside its control."""
    url, ca = secure
    trust = ("--ca-file", ca, "--http", version, "--bursts", "40", "--json")
    broken = race(*RUN, "--url", f"{url}/counter/naive", *trust)
    found = json.loads(broken.stdout)
    assert (broken.code, found["verdict"]) == (1, "violated"), found["reason"]
    assert found["service"] == {"url": url, "http": version, "tls": True, "target": None, "race_serve": True,
        "bursts_not_let_in": 0, "senseless_stamps": 0,
    }  # fmt: skip
    held = race(*RUN, "--url", f"{url}/counter/atomic", *trust)
    found = json.loads(held.stdout)
    assert (held.code, found["verdict"]) == (0, "held"), found["reason"]
    assert found["overlap"]["control_broken"] > 0


def test_both_versions_are_offered(secure: tuple[str, str]) -> None:
    """HTTP/2 where the client speaks it, by ALPN, on either name that the certificate is for."""
    url, ca = secure
    port = int(url.rpartition(":")[2])

    async def spoken(host: str, version: Literal["", "1.1", "2"]) -> str:
        place = Place(host, port, tls=True, version=version, ca=ca)
        wire = await Wire(place, place.context()).open()
        wire.close()
        return wire.protocol

    for host in ("127.0.0.1", "localhost"):
        found = [asyncio.run(spoken(host, version)) for version in ("", "1.1", "2")]  # type: ignore[arg-type]
        assert found == ["h2", "http/1.1", "h2"]


def test_who_is_not_trusted(race: Callable[..., Ended], secure: tuple[str, str], tmp_path: Path) -> None:
    """By nobody, by another authority, or no HTTPS at all: one line, exit 3, and nothing was sent."""
    url, _ca = secure
    other, _cert, _key = issued(tmp_path, "127.0.0.1")
    cell = "/counter/naive"
    for arguments, says in (
        ((f"{url}{cell}",), "its certificate is not trusted: unable to get local issuer certificate"),
        ((f"{url}{cell}", "--ca-file", other), "its certificate is not trusted: "),
        ((f"{url.replace('https', 'http')}{cell}",), ""),  # in words of HTTP
    ):
        ended = race(*RUN, "--url", *arguments)
        assert (ended.code, ended.stdout) == (3, "")
        assert ended.stderr.startswith(
            f"race: the service at {arguments[0].removesuffix(cell)} cannot be reached: {says}"
        )
        assert ended.stderr.count("\n") == 1
        whom = "; --ca-file names whom to trust, --insecure trusts anybody\n"
        assert ended.stderr.endswith(whom if says else f"; it speaks HTTPS there: name {url}\n")
    assert race("run", "counter", "--url", f"{url}{cell}", "--ca-file", str(tmp_path)).code == 2


PLAIN = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
HTTPServer(("127.0.0.1", int(sys.argv[1])), BaseHTTPRequestHandler).serve_forever()
"""


def test_https_where_there_is_none(race: Callable[..., Ended], tmp_path: Path) -> None:
    """Whoever speaks plain HTTP there is named, though it only waits for more of what it takes for a request."""
    port = free_port()
    with listening([sys.executable, "-c", PLAIN, str(port)], port, tmp_path):
        ended = race(*RUN, "--url", f"https://127.0.0.1:{port}/counter/naive")
    assert (ended.code, ended.stderr.count("\n")) == (3, 1)
    assert ended.stderr.endswith(f"; it speaks plain HTTP there: name http://127.0.0.1:{port}\n")


@pytest.mark.parametrize(
    ("names", "days", "says"),
    [
        (("example.org",), 1, "IP address mismatch, certificate is not valid for '127.0.0.1'"),
        (("127.0.0.1",), -1, "certificate has expired"),
    ],
)
def test_a_certificate_for_another_name_or_time(
    race: Callable[..., Ended], tmp_path: Path, names: tuple[str, ...], days: int, says: str
) -> None:
    """Though its authority is trusted; `--insecure` looks at neither, and comes as far as asking what it is."""
    ca, cert, key = issued(tmp_path, *names, until=datetime.now(UTC) + timedelta(days=days))
    with shaking_hands(cert, key) as port:
        at = ("--url", f"https://127.0.0.1:{port}/counter/naive")
        ended = race(*RUN, *at, "--ca-file", ca)
        insecure = race(*RUN, *at, "--insecure")
    assert (ended.code, ended.stdout) == (3, "")
    assert f"cannot be reached: its certificate is not trusted: {says}" in ended.stderr
    assert (insecure.code, insecure.stderr.count("\n")) == (3, 1)
    assert "certificate" not in insecure.stderr


def test_a_key_that_is_anothers(race: Callable[..., Ended], tmp_path: Path) -> None:
    """A certificate that cannot be used is refused before anything is started."""
    (tmp_path / "a").mkdir()
    _ca, cert, _key = issued(tmp_path, "127.0.0.1")
    _ca, _cert, other = issued(tmp_path / "a", "127.0.0.1")
    says = f"race: {cert} and {other} are no certificate and its key, as PEM\n"
    assert race("serve", "--certfile", cert, "--keyfile", other) == Ended(2, "", says)
