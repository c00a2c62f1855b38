"""The parent of all: it starts stores, workers and owners, answers what workers ask, and ends every one of them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any

from harness.burst import StoresOptions
from harness.burst.fleet import Process, WorkerDied
from harness.model import RaceError, StoreUnavailable, UsageError
from harness.serve.catalogue import Catalogue
from harness.serve.refused import Refused
from harness.serve.registry import Opened, Registry
from harness.stores import Embedded, require_connections

_OWNERS = 2
"""Processes for owners and daemons at most: a strategy with two is a mutant already."""
_START_S = 20.0
_WATCH_S = 1.0
_SPARE = 16
"""Connections of the parent to each store, more or less."""
_WORKER = re.compile(rb"^race-worker: (\d+)\r$", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. Port 0 is any free one. With a certificate it is HTTPS."""

    host: str = "127.0.0.1"
    port: int = 0
    certfile: str = ""
    keyfile: str = ""

    @property
    def url(self) -> str:
        """As a client on this machine writes it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - only compared
        return f"{'https' if self.certfile else 'http'}://{f'[{host}]' if ':' in host else host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Serving:
    """What runs, once it does."""

    address: Address
    pids: Sequence[int]
    stores: Sequence[str]
    catalogue: Catalogue


async def serve(
    catalogue: Catalogue,
    address: Address,
    started: Callable[[Serving], None],
    *,
    options: StoresOptions | None = None,
    workers: int = 2,
    connections: int = 32,
) -> None:
    """Serve until this is cancelled. `connections` are those of one worker to one store.

    Raises UsageError for an address or a certificate that cannot be used, StoreUnavailable, WorkerDied.
    """
    _check_certificate(address)
    async with AsyncExitStack() as stack:
        held, address = _held(address)
        stack.callback(held.close)
        options, need = options or StoresOptions(), catalogue.stores
        if ("redis" in need and not options.redis_url) or ("postgres" in need and not options.postgres_url):
            embedded = Embedded.open()
            stack.push_async_callback(asyncio.to_thread, embedded.close)
            options = replace(options, embedded=embedded)
        stores = await stack.enter_async_context(options.stores(need))
        for info in stores.infos:
            require_connections(info, workers * connections + _SPARE, "use fewer --connections or --workers")
        parent = _Parent(catalogue, options, workers, connections)
        room = min((info.room for info in stores.infos if info.kind == "postgres"), default=0)
        parent.registry.most_schemas = room - workers * connections - _SPARE
        await stack.enter_async_context(parent.registry)
        stack.callback(parent.end)
        titles = [f"{info.title}{' (embedded)' if info.embedded else ''}" for info in stores.infos]
        await parent.start(address, titles)
        started(Serving(address, parent.pids, titles, catalogue))
        await parent.run(_lost(stores.lost))


async def _lost(asking: Callable[[], Any]) -> None:
    """Look after the stores. Raises StoreUnavailable once one is lost."""
    while True:
        await asyncio.sleep(_WATCH_S)
        if (reason := await asking()) is not None:
            raise StoreUnavailable(reason)


class _Parent:
    """Processes, and the lines from and to them."""

    def __init__(self, catalogue: Catalogue, options: StoresOptions, workers: int, connections: int) -> None:
        self.registry = Registry(catalogue, options, workers, self._tell, self._own)
        self._catalogue = catalogue
        self._count = workers
        self._connections = connections
        self._workers: list[Process] = []
        self._owning: list[Process] = []
        self._owner_ends: list[list[socket.socket]] = []
        self._owners = asyncio.Lock()
        self._owned: list[asyncio.Queue[dict[str, Any]]] = []
        self._heeding: list[asyncio.Task[None]] = []
        self._gone: asyncio.Queue[RaceError] = asyncio.Queue()
        self._answering: set[asyncio.Task[None]] = set()
        self._listening: list[asyncio.Task[None]] = []

    @property
    def pids(self) -> list[int]:
        """Of the workers."""
        return [worker.child.pid for worker in self._workers]

    async def start(self, address: Address, stores: Sequence[str]) -> None:
        """Start the workers, and see every one of them answer on the port. Raises WorkerDied."""
        pairs = [[socket.socketpair() for _ in range(_OWNERS)] for _ in range(self._count)]
        self._owner_ends = [[ends[owner][1] for ends in pairs] for owner in range(_OWNERS)]
        for number, ends in enumerate(pairs):
            fds = [mine.fileno() for mine, _theirs in ends]
            worker = Process("harness.serve.worker", fds)
            self._workers.append(worker)
            for mine, _theirs in ends:
                mine.close()
            await worker.open()
            worker.order(
                {
                    "worker": number, "workers": self._count, "catalogue": self._catalogue.describe(),
                    "connections": self._connections, "owner_fds": fds, **asdict(address),
                }
            )  # fmt: skip
        for worker in self._workers:
            await worker.answer()
        await self._seen(address)
        self._tell({"tell": "started", "url": address.url, "pids": self.pids, "stores": list(stores)})
        self._listening = [asyncio.create_task(self._listen(worker)) for worker in self._workers]

    async def _seen(self, address: Address) -> None:
        """Ask on the port until every worker has answered: the kernel spreads connections among them."""
        missing = set(self.pids)
        try:
            async with asyncio.timeout(_START_S):
                while missing:
                    for worker in self._workers:
                        if worker.child.poll() is not None:
                            await worker.answer()  # says why
                    missing.discard(await _who_answers(address))
        except TimeoutError:
            raise WorkerDied(f"{len(missing)} of {self._count} workers do not answer on {address.url}") from None

    async def run(self, watching: Any) -> None:
        """Until somebody dies. Raises WorkerDied, StoreUnavailable."""
        running = [*self._listening, asyncio.create_task(self._owner_died()), asyncio.ensure_future(watching)]
        try:
            done, _going = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _owner_died(self) -> None:
        raise await self._gone.get()

    def end(self) -> None:
        """End every process."""
        for task in (*self._answering, *self._heeding):
            task.cancel()
        for process in (*self._workers, *self._owning):
            if process.child.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    process.child.stdin.close()
        for process in (*self._workers, *self._owning):
            process.end()
        for end in chain.from_iterable(self._owner_ends):
            end.close()

    # Lines

    def _tell(self, line: dict[str, Any]) -> None:
        for worker in self._workers:
            worker.order(line)

    async def _listen(self, worker: Process) -> None:
        while True:
            line = await worker.answer()
            task = asyncio.create_task(self._answer(worker, line))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    async def _answer(self, worker: Process, line: dict[str, Any]) -> None:
        try:
            answer = await self.registry.answer(line)
        except Refused as refusal:
            answer = {"refused": [refusal.status, str(refusal), dict(refusal.more)]}
        except RaceError as error:
            answer = {"refused": [503, str(error)]}
        if "ask" in line:
            worker.order({"answer": line["ask"], **answer})

    async def _own(self, opened: Opened) -> None:
        """Give a cell its owners and daemons, each in a process of its own. Raises Refused, WorkerDied."""
        strategy = opened.bound.strategy
        if strategy.serving > _OWNERS:
            says = f"{strategy.title} wants {strategy.serving} processes beside its callers', and there are {_OWNERS}"
            raise Refused(501, says)
        line = {"number": opened.number, "cell": asdict(opened.bound.cell), "stores": opened.stores.describe()}
        async with self._owners:
            while len(self._owning) < strategy.serving:
                await self._start_owner()
            for number in range(strategy.serving):
                self._owning[number].order(line)
                answer = await self._owned[number].get()
                if "refused" in answer:
                    raise Refused(*answer["refused"])

    async def _start_owner(self) -> None:
        number = len(self._owning)
        ends = self._owner_ends[number]
        fds = [end.fileno() for end in ends]
        owner = Process("harness.serve.owning", fds)
        self._owning.append(owner)
        for end in ends:
            end.close()
        await owner.open()
        owner.order({"owner": number, "owner_fds": fds})
        await owner.answer()
        self._owned.append(asyncio.Queue())
        self._heeding.append(asyncio.create_task(self._heed(owner, self._owned[number])))

    async def _heed(self, owner: Process, owned: asyncio.Queue[dict[str, Any]]) -> None:
        """What an owner process says: its answers, and which daemon has ended; its own end is everybody's."""
        try:
            while True:
                line = await owner.answer()
                if "broken" in line:
                    self._tell({"tell": "broken", **line})
                else:
                    owned.put_nowait(line)
        except RaceError as error:
            owned.put_nowait({"refused": [503, str(error)]})
            self._gone.put_nowait(error)


# The address


def _held(address: Address) -> tuple[socket.socket, Address]:
    """A socket that keeps the port for the workers, who share it; it does not listen itself. Raises UsageError."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    held = socket.socket(family)
    try:
        if address.port:
            # Whoever shares a port would share that of another server as well.
            with socket.socket(family) as trying:
                trying.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                trying.bind((address.host, address.port))
                trying.listen(1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind((address.host, address.port))
    except (OSError, OverflowError) as error:
        held.close()
        raise UsageError(_refusal(address, error)) from None
    return held, replace(address, port=held.getsockname()[1])


def _refusal(address: Address, error: Exception) -> str:
    """Why one cannot listen there, and what to do."""
    match getattr(error, "errno", None):
        case errno.EADDRINUSE:
            return f"port {address.port} of {address.host} is taken: choose another --port; 0 takes a free one"
        case errno.EACCES:
            return f"port {address.port} is not for every user: choose a --port above 1023"
        case errno.EADDRNOTAVAIL:
            return f"{address.host} is no address of this machine: leave out --host for loopback"
    return f"cannot listen on {address.host}: {getattr(error, 'strerror', None) or error}; --host takes an IP address"


def _check_certificate(address: Address) -> None:
    """Raises UsageError."""
    if not address.certfile and not address.keyfile:
        return
    if not address.certfile or not address.keyfile:
        raise UsageError("--certfile and --keyfile go together")
    for option, file in (("--certfile", address.certfile), ("--keyfile", address.keyfile)):
        if not os.access(file, os.R_OK):
            raise UsageError(f"{option}: {file} cannot be read")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(address.certfile, address.keyfile, password="")
    except (ssl.SSLError, OSError, ValueError):
        raise UsageError(f"{address.certfile} and {address.keyfile} are no certificate and its key, as PEM") from None


async def _who_answers(address: Address) -> int:
    """The worker that answers a new connection; 0 where nobody listens yet."""
    host, _colon, port = address.url.partition("://")[2].rpartition(":")
    secure = None
    if address.certfile:
        secure = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        secure.check_hostname, secure.verify_mode = False, ssl.CERT_NONE
    try:
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=secure)
    except OSError:
        await asyncio.sleep(0.005)
        return 0
    try:
        writer.write(f"GET /? HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
    except (OSError, asyncio.IncompleteReadError):
        return 0
    finally:
        writer.close()
    found = _WORKER.search(head)
    return int(found[1]) if found else 0
