"""Notices that a service is there, but speaks HTTPS where HTTP was named, or the other way round."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from harness.http.place import Place
from harness.http.wire import Wire
from harness.model import ConnectionLost

_PATIENCE_S = 3.0


async def speaks_other(place: Place) -> str:
    """What to say of it: to be asked once nothing was understood. Empty where that is not the reason.

    Nobody is trusted by that: nothing is sent over TLS, and without TLS nothing but a question for what is offered.
    """
    other = replace(place, tls=not place.tls, version="1.1", ca="", insecure=True)
    try:
        async with asyncio.timeout(_PATIENCE_S):
            found = await _answers(other)
    except (ConnectionLost, TimeoutError):
        found = False
    what = "HTTPS" if other.tls else "plain HTTP"
    return f"it speaks {what} there: name {other.shown}" if found else ""


async def _answers(place: Place) -> bool:
    wire = await Wire(place, place.context()).open()
    try:
        if place.tls:
            return True
        await wire.send(f"OPTIONS * HTTP/1.1\r\nHost: {place.authority}\r\nConnection: close\r\n\r\n".encode())
        return (await wire.receive()).startswith(b"HTTP/1")
    finally:
        wire.close()
