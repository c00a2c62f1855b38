"""Commands that wait inside the server, BLPOP and its like: by the scheduler's clock, not by the server's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from harness.model import UsageError

_LAST, _FIRST, _BLOCK = "last", "first", "block"
_PATIENCE = {
    "BLPOP": _LAST,
    "BRPOP": _LAST,
    "BLMOVE": _LAST,
    "BRPOPLPUSH": _LAST,
    "BZPOPMIN": _LAST,
    "BZPOPMAX": _LAST,
    "BLMPOP": _FIRST,
    "BZMPOP": _FIRST,
    "XREAD": _BLOCK,
    "XREADGROUP": _BLOCK,
}
"""Where a command says how long it waits: seconds in its last word or its first, milliseconds after BLOCK."""
_UNSEEN = {"WAIT", "WAITAOF", "SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "MONITOR"}


def patience(words: tuple[Any, ...]) -> tuple[tuple[Any, ...], int] | None:
    """The command as one that waits for ever, and how many milliseconds it would wait, 0 for ever.

    None for a command that never waits. UsageError: it waits for what the scheduler does not see.
    """
    name = _text(words[0]).upper()
    if name in _UNSEEN:
        raise UsageError(f"{name} cannot be explored: it waits for what no caller's step brings about")
    where = _PATIENCE.get(name)
    place = {_LAST: len(words) - 1, _FIRST: 1}.get(where or "", 0)
    if where == _BLOCK:
        place = next((place for place, word in enumerate(words) if _text(word).upper() == "BLOCK"), -1) + 1
    if not 0 < place < len(words):
        return None
    try:
        waits_ms = round(float(_text(words[place])) * (1 if where == _BLOCK else 1_000))
    except ValueError:  # the server refuses it
        return None
    return (*words[:place], 0, *words[place + 1 :]), max(waits_ms, 0)


_ONE_KEY = {"BLPOP": 3, "BRPOP": 3, "BLMOVE": 6, "BRPOPLPUSH": 4, "BZPOPMIN": 3, "BZPOPMAX": 3}
"""Commands of so many words wait for their first key only."""


def foreseen(words: tuple[Any, ...]) -> tuple[tuple[Any, ...], bytes] | None:
    """What tells whether a command would wait for ever if it were sent now, and the answer to that if it would not.

    The question changes nothing. None for a command that never waits, not for ever, for several keys, or for what
    comes after it is sent: with those it matters when it is.
    """
    waits = patience(words)
    if waits is None or waits[1]:
        return None
    name = _text(words[0]).upper()
    if len(words) == _ONE_KEY.get(name):
        return ("TYPE", words[1]), b"zset" if name.startswith("BZ") else b"list"
    if name == "XREAD" and _text(words[-3]).upper() == "STREAMS" and _text(words[-1]) not in {"$", "+"}:
        place = next(place for place, word in enumerate(words) if _text(word).upper() == "BLOCK")
        return (*words[:place], *words[place + 2 :]), b""
    return None


async def either(task: asyncio.Future[Any], ask: Callable[[], Awaitable[Any]]) -> tuple[bool, Any]:
    """Ask somebody else about a task that may be waiting: whether it is over, and the answer."""
    asking = asyncio.ensure_future(ask())
    try:
        await asyncio.wait([task, asking], return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)  # who asks must be free to end the task
        raise
    answer = await asking
    return task.done(), answer


def _text(word: Any) -> str:
    return word.decode(errors="replace") if isinstance(word, bytes) else str(word)
