"""Lines of JSON between race and its Locust process: questions with a number, their answers, and news without one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from harness.model import RaceError, StoreFault, UsageError, described

Message = dict[str, Any]
Answering = Callable[[Message], Awaitable[Mapping[str, Any] | None]]
_LONGEST = 1 << 26


class Link:
    """The end of race: it answers what is asked. The other end lies in `swarm`, on gevent's sockets."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answering: Answering) -> None:
        """`answering` is given each message; what it raises as RaceError is told to whoever asked."""
        self._reader = reader
        self._writer = writer
        self._answering = answering
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(cls, end: Any, answering: Answering) -> Link:
        """On one end of a socket pair."""
        reader, writer = await asyncio.open_connection(sock=end, limit=_LONGEST)
        return cls(reader, writer, answering)

    async def serve(self) -> None:
        """Until the other end is gone."""
        try:
            while line := await self._reader.readline():
                task = asyncio.create_task(self._answer(json.loads(line)))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        except ConnectionError:
            pass  # it was killed

    async def _answer(self, message: Message) -> None:
        try:
            answer = dict(await self._answering(message) or {})
        except RaceError as error:
            answer = {"error": str(error), "exit": error.exit_code}
        except (StoreFault, OSError) as fault:
            answer = {"error": f"the store was lost: {fault}", "exit": RaceError.exit_code}
        except Exception as error:  # a rule, a layout or an invariant of the user's
            answer = {"error": described(error), "exit": UsageError.exit_code}
        if "ask" in message:
            self.tell({**answer, "answer": message["ask"]})

    def tell(self, message: Mapping[str, Any]) -> None:
        """Something that needs no answer, or is one."""
        if not self._writer.is_closing():
            self._writer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")

    async def close(self) -> None:
        """Hang up: the other process ends by that, if by nothing else."""
        self._writer.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)
