"""The outside service: what effects are asked of, in a process of its own, with its own ledger.

It does what it is asked, writes that down, and answers; with an idempotency key that it knows it does nothing and
answers again. It can be told to be in trouble, once: to `lose` an answer, hanging up after the deed, or to `hold` it
back until it is released, so that whoever asked can be killed between the deed and the news of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections import Counter
from typing import Any

from harness.model import ConnectionLost

_PATIENCE_S = 30.0


class Service:
    """What is known of all deeds."""

    def __init__(self) -> None:
        """An empty ledger."""
        self.ledger: list[dict[str, Any]] = []
        self.log: list[dict[str, Any]] = []
        """Everything that was asked of it, also what a key made it not do again."""
        self._known: set[str] = set()
        self._trouble: tuple[str, str] | None = None
        self._changed = asyncio.Condition()
        self._held = 0
        self._released = 0

    async def answer(self, asked: dict[str, Any]) -> dict[str, Any] | None:
        """What to answer; None: hang up."""
        match asked["do"]:
            case "trouble":
                self._trouble = (asked["kind"], asked["name"])
                return {"done": True}
            case "release":
                async with self._changed:
                    self._released = self._held
                    self._trouble = None
                    self._changed.notify_all()
                return {"done": True}
            case "ledger":
                return {"ledger": self.ledger, "log": self.log}
            case "await":  # until so many are held back, and so many such deeds were done
                async with self._changed:
                    await self._changed.wait_for(
                        lambda: self._held >= asked["held"] and self._done(asked["name"]) >= asked["count"]
                    )
                return {"done": True}
            case "held":
                return {"held": self._held, "counts": dict(Counter(one["name"] for one in self.ledger))}
        return await self._effect(asked)

    def _done(self, name: str) -> int:
        return sum(one["name"] == name for one in self.ledger)

    async def _effect(self, asked: dict[str, Any]) -> dict[str, Any] | None:
        key, name = asked["key"], asked["name"]
        async with self._changed:
            done = not key or key not in self._known
            if done:
                self.ledger.append({"name": name, "attempt": asked["attempt"], "key": key})
                self._known.update({key} - {""})
            trouble = self._trouble[0] if self._trouble is not None and self._trouble[1] == name else None
            if trouble:
                self._trouble = None
            self.log.append(
                {
                    "at_ns": time.monotonic_ns(), "by": asked.get("by", ""), "name": name,
                    "attempt": asked["attempt"], "key": key, "done": done, "trouble": trouble or "",
                }
            )  # fmt: skip
            if trouble == "hold":
                self._held += 1
            self._changed.notify_all()
            if trouble == "hold":
                mine = self._held
                await self._changed.wait_for(lambda: self._released >= mine)
        return None if trouble == "lose" else {"done": True}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One question, one answer."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            line = await reader.readline()
            if line and (answer := await self.answer(json.loads(line))) is not None:
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        writer.close()


async def ask(port: int, **asked: Any) -> dict[str, Any]:
    """Ask the service. Raises ConnectionLost: it may have done so, or not."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
            try:
                writer.write(json.dumps(asked).encode() + b"\n")
                await writer.drain()
                line = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError) as error:
        raise ConnectionLost(f"the outside service: {error}") from None
    if not line:
        raise ConnectionLost("the outside service hung up")
    answer: dict[str, Any] = json.loads(line)
    return answer


async def main() -> None:
    """Serve until stdin ends: its parent is gone."""
    service = Service()
    end = socket.socket()
    end.bind(("127.0.0.1", 0))
    server = await asyncio.start_server(service.serve, sock=end)
    os.write(1, json.dumps({"event": "serving", "port": end.getsockname()[1]}).encode() + b"\n")
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
    server.close()
    os._exit(0)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent decides what Ctrl-C means, and ends its processes
        signal.signal(number, signal.SIG_IGN)
    asyncio.run(main())
