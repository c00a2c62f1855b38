"""Connections that lead to different processes of a service, where its answers say which one gave them.

Two requests in one process are begun one after the other, however close together they arrive; and what one process
keeps apart looks right. Nobody can ask for a process: the kernel, or a proxy, draws one for each connection.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.http.perform import HttpSession


class Apart:
    """The processes of the service as one process of the load has seen them."""

    def __init__(self, number: int) -> None:
        """`number` is that of the load's process: each begins with another process of the service."""
        self._number = number
        self._seen: set[str] = set()

    async def part(self, sessions: Sequence[HttpSession]) -> None:
        """Hang up where a connection leads to a process that is another caller's: the next draw may be a better one."""
        self._seen.update(session.process for session in sessions if session.process)
        order = sorted(self._seen)
        for index, session in enumerate(sessions):
            if session.process and session.process != order[(self._number + index) % len(order)]:
                await session.line.drop()
