"""A worker's line to the parent: it asks, is answered by number, and is told of what others have asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from harness.burst.child import say
from harness.serve.refused import Refused


class Link:
    """Questions under way."""

    def __init__(self, told: Callable[[dict[str, Any]], None]) -> None:
        """`told` takes what is no answer."""
        self._told = told
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0

    async def ask(self, what: str, **more: Any) -> dict[str, Any]:
        """Ask the parent. Raises Refused."""
        self._number += 1
        number = self._number
        waiter = self._asked[number] = asyncio.get_running_loop().create_future()
        say({"ask": number, "what": what, **more})
        answer: dict[str, Any] = await waiter
        if "refused" in answer:
            raise Refused(*answer["refused"])
        return answer

    def tell(self, what: str, **more: Any) -> None:
        """Tell the parent, who does not answer."""
        say({"what": what, **more})

    def take(self, line: dict[str, Any]) -> None:
        """What came from the parent."""
        if "answer" not in line:
            self._told(line)
        elif (waiter := self._asked.pop(line["answer"], None)) is not None and not waiter.done():
            waiter.set_result(line)
