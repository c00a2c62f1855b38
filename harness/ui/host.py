"""race's side of a session with Locust: it starts Locust's process, answers it, and ends it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Literal

from harness.burst import Cell, Load, StoresOptions
from harness.burst.child import program
from harness.burst.engine import bind_for
from harness.model import RaceError, StoreFault, UsageError
from harness.report.figures import plural
from harness.report.html import live, page
from harness.results.build import Document
from harness.stores import Embedded
from harness.ui.judging import Gathered, Trial
from harness.ui.link import Link, Message
from harness.ui.loading import Loading

Role = Literal["alone", "master", "worker"]
SWARM = Path(__file__).with_name("swarm.py")
FIRST = "first"
"""In the form: the first of the scenario's rules."""
_END_S = 8.0
_WORKERS_S = 30.0


def missing() -> str | None:
    """What to do where Locust is not installed; None where it is. Does not import it: that patches this process."""
    if find_spec("locust") is not None:
        return None
    return "race ui needs Locust: pip install 'race-harness[ui]'"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a session is asked for. `scenarios`, `strategies` and `rules` are the choices of the form.

    `flags` are Locust's own, as given.
    """

    role: Role
    cell: Cell
    load: Load
    options: StoresOptions
    scenarios: Sequence[str] = ()
    strategies: Sequence[str] = ()
    rules: Sequence[str] = ()
    headless: bool = False
    quiet: bool = False
    flags: Sequence[str] = ()


@dataclass(slots=True)
class Host:
    """One session. `kept` is given each test's document when it is over, `say` a line for the screen."""

    wanted: Wanted
    kept: Callable[[Document], None]
    say: Callable[[str], None]
    tests: list[Trial] = field(default_factory=list)
    error: RaceError | None = None
    _loading: Loading | None = None
    _gathered: Gathered | None = None
    _heard: asyncio.Event = field(default_factory=asyncio.Event)
    _embedded: Embedded | None = None
    _link: Link | None = None
    _up: bool = False
    _starting: str = ""
    _said: _Said | None = None
    _finishing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self) -> bool:
        """Until Locust ends, or this is cancelled, which ends Locust: whether a test was cut short by that.

        Raises RaceError where Locust could not start, or a test could not.
        """
        mine, theirs = socket.socketpair()
        child = self._start(theirs)
        theirs.close()
        said = self._said = _Said(child)
        interrupted = False
        serving: asyncio.Task[None] | None = None
        try:
            self._link = await Link.open(mine, self._answer)
            serving = asyncio.create_task(self._link.serve())
            await asyncio.shield(serving)
            with contextlib.suppress(RaceError):  # over already, unless Locust's process was killed
                await self._finish(complete=False)
        except asyncio.CancelledError:
            interrupted = await self._interrupted()
        finally:
            await self._end(child)
            if serving is not None:
                serving.cancel()
        if self.error is not None:
            raise self.error
        if (child.returncode or 0) < 0 and not interrupted:
            raise RaceError("Locust's process was killed")
        if child.returncode and not (self._up or interrupted):
            if self.wanted.role == "worker" and said.complaint.startswith("ConnectionError"):
                raise RaceError("no race ui --master has answered for five minutes; see --master-host, --master-port")
            kind = UsageError if child.returncode == UsageError.exit_code else RaceError
            raise kind(f"Locust did not start: {said.complaint or f'exit {child.returncode}'}")
        return interrupted

    # Locust's process

    def _start(self, end: socket.socket) -> subprocess.Popen[bytes]:
        wanted = self.wanted
        told = {
            "fd": end.fileno(), "role": wanted.role, "scenario": wanted.cell.scenario, "strategy": wanted.cell.strategy,
            "rule": wanted.cell.rule or FIRST, "size": wanted.load.size, "scenarios": list(wanted.scenarios),
            "strategies": list(wanted.strategies), "rules": [FIRST, *wanted.rules], "headless": wanted.headless,
            "quiet": wanted.quiet,
        }  # fmt: skip
        flags = ["--loglevel", "WARNING", "--only-summary"]
        users = str(10 * wanted.load.size)
        if wanted.role != "worker":
            flags += ["--users", users, "--spawn-rate", users]
        if wanted.headless:
            flags += ["--headless"]
        out = subprocess.DEVNULL if wanted.quiet or not wanted.headless else sys.stderr.fileno()
        return subprocess.Popen(  # noqa: S603 - our own module
            [*program("locust"), "-f", str(SWARM), *flags, *wanted.flags],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.PIPE,
            pass_fds=[end.fileno()],
            env={**os.environ, "RACE_SWARM": json.dumps(told)},
        )

    async def _end(self, child: subprocess.Popen[bytes]) -> None:
        """Nothing is left running, whatever happens."""
        try:
            await asyncio.shield(asyncio.to_thread(_wait, child))
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
            if self._link is not None:
                await self._link.close()
            if self._loading is not None:
                await self._loading.close()
            if self._embedded is not None:
                await asyncio.to_thread(self._embedded.close)

    async def _interrupted(self) -> bool:
        """Ctrl-C: what was measured is kept, then Locust is told to end."""
        cut_short = self._test is not None or (self.wanted.headless and not self.tests)
        with contextlib.suppress(RaceError):
            await self._finish(complete=False)
        assert self._link is not None or not self._up
        if self._link is not None:
            self._link.tell({"end": True})
        return cut_short

    # Answers

    @property
    def _test(self) -> Trial | None:
        """The test that goes on."""
        return self.tests[-1] if self.tests and not self.tests[-1].over else None

    async def _answer(self, message: Message) -> Mapping[str, Any] | None:
        match message["do"]:
            case "start":
                return await self._begin(message)
            case "bursts":
                if self._loading is None:  # it ended meanwhile
                    return {"bursts": [], "failure": None, "enough": True}
                return await self._loading.bursts(message["count"])
            case "finish":
                return await self._finish(workers=message["workers"])
            case "check":
                self._cell(message)
                return None
            case "tab":
                return {"html": live(self._documents(), message["shown"], self._starting)}
            case "document" | "page":
                found = self._document(message["shown"])
                return {"document": found} if message["do"] == "document" else {"html": page(found) if found else ""}
        self._take(message)
        return None

    def _take(self, message: Message) -> None:
        """What asks for nothing."""
        match message["do"]:
            case "up":
                self._up = True
                if self._said is not None:
                    self._said.pass_on()
                if message["url"]:
                    self.say(f"Locust's web UI: {message['url']}  Ctrl-C ends it")
                elif self.wanted.role == "worker":
                    self.say("at work for the master, until it ends")
            case "heard":
                self._hear(message["worker"], json.loads(message["text"]))
            case "lost":
                self._lose(message["worker"])
            case "failed":
                self._fail(RaceError(message["why"]))

    def _cell(self, message: Message) -> tuple[Cell, Load]:
        """What the form asks for. Raises UsageError."""
        wanted = self.wanted
        for name in ("scenario", "strategy", "rule"):
            known = {"scenario": wanted.scenarios, "strategy": wanted.strategies, "rule": (FIRST, *wanted.rules)}[name]
            if wanted.role != "worker" and message[name] not in known:  # the form is open to whoever reaches its port
                raise UsageError(f"{name} '{message[name]}' is none of the form's choices")
        rule = "" if message["rule"] == FIRST else message["rule"]
        try:
            size = int(message["size"])
        except (TypeError, ValueError):
            raise UsageError(f"the size of a burst is a number, not '{message['size']}'") from None
        if size < 2:
            raise UsageError(f"a burst of {size} cannot overlap: its size must be 2 or more")
        if message.get("workers") == 0:
            raise UsageError("no race worker has come yet: race worker --master-host, with the stores' URLs")
        users = message.get("users")
        if users is not None and users < size * message.get("workers", 1):
            each = "" if message.get("workers", 1) == 1 else f" on each of {message['workers']} workers"
            raise UsageError(
                f"{plural(users, 'user')} cannot meet in a burst of {size}{each}: raise the users, or lower the size"
            )
        cell = Cell(message["scenario"], message["strategy"], rule)
        seed = message.get("seed") or wanted.load.seed
        load = dataclasses.replace(wanted.load, size=size, connections=size, seed=seed)
        bind_for(cell, load, wanted.options)
        return cell, load

    async def _begin(self, message: Message) -> Mapping[str, Any]:
        try:
            cell, load = self._cell(message)
            self._starting = f"{cell.scenario} under {cell.strategy}"
            await self._finish(complete=True)
            number = message.get("test") or len(self.tests) + 1
            test = Trial(number, cell, load, self.wanted.options)
            if self.wanted.role == "master":
                self._gathered = Gathered(test)
            else:
                tell = self._to_master if self.wanted.role == "worker" else None
                loading = Loading(test, await self._options(test), index=message["index"], tell=tell)
                self._loading = await loading.open()
            self.tests.append(test)
        except (RaceError, StoreFault, OSError) as error:
            self._fail(error if isinstance(error, RaceError) else RaceError(f"the store was lost: {error}"))
            if self.wanted.role == "worker":
                self._to_master({"tell": "done", "test": message["test"], "failure": str(error)})
            raise
        finally:
            self._starting = ""
        return {"test": number, "seed": load.seed}

    async def _options(self, test: Trial) -> StoresOptions:
        options = self.wanted.options
        url = options.redis_url if test.bound.strategy.store == "redis" else options.postgres_url
        if url:
            return options
        if self._embedded is None:
            self._embedded = await asyncio.to_thread(Embedded.open)
        return dataclasses.replace(options, embedded=self._embedded)

    async def _finish(self, *, complete: bool = True, workers: Sequence[str] = ()) -> Mapping[str, Any]:
        async with self._finishing:
            test, lost = self._test, None
            if test is None:
                return {}
            if self._loading is not None:
                loading, self._loading = self._loading, None
                try:
                    lost = await loading.finish(probe=complete)
                finally:
                    await loading.close()
            if self._gathered is not None:
                await self._until_done(self._gathered, workers)
            document = test.conclude(complete=complete, lost=lost)
            self._gathered = None
            if self.wanted.role != "worker":
                self.kept(document)
            return {"verdict": document["verdict"]}

    async def _until_done(self, gathered: Gathered, workers: Sequence[str]) -> None:
        """Wait for what workers have not told yet; `workers` are alive."""
        for name in gathered.waiting:
            if name not in workers:
                gathered.lose(name)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WORKERS_S):
                while gathered.waiting:
                    self._heard.clear()
                    await self._heard.wait()
        for name in gathered.waiting:
            gathered.lose(name)

    def _document(self, shown: int) -> Document | None:
        """That of a test, counted from 1, or of the last."""
        tests = self.tests[shown - 1 : shown] if shown > 0 else self.tests[-1:]
        return (tests[0].document or tests[0].now()) if tests else None

    def _documents(self) -> list[Document]:
        return [test.document or {**test.now(), "running": True} for test in self.tests]

    # Workers and their master

    def _to_master(self, message: Mapping[str, Any]) -> None:
        assert self._link is not None
        self._link.tell({"tell": json.dumps(message, separators=(",", ":"), default=str)})

    def _hear(self, worker: str, message: Message) -> None:
        gathered = self._gathered
        if gathered is None or message.get("test") != gathered.test.number:
            return
        tally = gathered.test.tally
        first, refused = not tally.requests, gathered.refused
        gathered.hear(worker, message)
        if gathered.refused != refused:
            self.say(gathered.refused)
        self._heard.set()
        if first and tally.requests:
            assert self._link is not None
            self._link.tell({"begun": True})
        failure = message.get("failure") or gathered.refused
        if failure or tally.judged + tally.apart >= gathered.test.load.bursts:
            assert self._link is not None
            self._link.tell({"stop": failure})

    def _lose(self, worker: str) -> None:
        if self._gathered is not None:
            self._gathered.lose(worker)
            self.say(f"worker {worker} is gone")
            self._heard.set()

    def _fail(self, error: RaceError) -> None:
        """What a session without a web UI ends with; with one, Locust's process has told it."""
        if self.wanted.headless or self.wanted.role == "worker":
            self.error = self.error or error


class _Said:
    """What Locust's process says on stderr: kept until it is up, so that a failure is one line; then passed on."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stderr is not None
        self._lines: list[str] = []
        self._passing = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._read, args=(child.stderr,), daemon=True)
        self._thread.start()

    def pass_on(self) -> None:
        """From now on; what was said before, too."""
        with self._lock:
            self._passing = True
            sys.stderr.write("".join(self._lines))

    @property
    def complaint(self) -> str:
        """The last line, without the name of a program before it."""
        self._thread.join(1.0)
        lines = [line.strip() for line in self._lines if line.strip()]
        return lines[-1].rpartition("error: ")[2] if lines else ""

    def _read(self, stderr: IO[bytes]) -> None:
        for line in stderr:
            text = line.decode(errors="replace")
            with self._lock:
                if self._passing:
                    sys.stderr.write(text)
                    sys.stderr.flush()
                else:
                    self._lines.append(text)
        stderr.close()


def _wait(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(_END_S)
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(1.0)
