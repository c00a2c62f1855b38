"""Replies as HTTP: the status says to people and proxies what the decision says to the caller."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection
from typing import Any

from harness.model import ABORTED
from harness.serve.refused import Refused
from harness.serve.service import Performed

LIMITED = "limited"
_REFUSALS = {ABORTED.decision: 503, LIMITED: 429}
_JSON, _TEXT = ("content-type", "application/json"), ("content-type", "text/plain; charset=utf-8")
_WORKER = ("race-worker", str(os.getpid()))
_SERVER = ("server", "race")
_LATER = ("retry-after", "1")
Headers = list[tuple[str, str]]
Answer = tuple[int, Headers, str]


def status_of(decision: str, refusals: Collection[str]) -> int:
    """200 unless the caller was turned away: 409, 429 where there were too many, 503 where a strategy gave up."""
    return _REFUSALS.get(decision) or (409 if decision in refusals else 200)


def performed(done: Performed, refusals: Collection[str], arrived_ns: int) -> Answer:
    """The answer to a request."""
    returned_ns = time.monotonic_ns()
    reply = done.reply
    status = status_of(reply.decision, refusals)
    body = {
        "decision": reply.decision,
        "values": dict(reply.values),
        "now_ms": done.now_ms,
        "now_max_ms": done.now_max_ms,
        "retries": done.retries,
        "commands": done.commands,
    }
    headers = [_JSON, _SERVER, _WORKER, *_stamps(arrived_ns, returned_ns)]
    if status == 503:
        headers.append(_LATER)
    return status, headers, json.dumps(body) + "\n"


def document(content: Any, status: int = 200) -> Answer:
    """JSON that people may look at."""
    return status, [_JSON, _SERVER, _WORKER], json.dumps(content, indent=2) + "\n"


def text(content: str) -> Answer:
    """For people."""
    return 200, [_TEXT, _SERVER, _WORKER], content


def refused(refusal: Refused, arrived_ns: int = 0) -> Answer:
    """One line of JSON."""
    headers = [_JSON, _SERVER, _WORKER]
    if arrived_ns:
        headers += _stamps(arrived_ns, time.monotonic_ns())
    if refusal.allow:
        headers.append(("allow", refusal.allow))
    return refusal.status, headers, json.dumps(refusal.body) + "\n"


def _stamps(arrived_ns: int, returned_ns: int) -> Headers:
    return [("race-arrived-ns", str(arrived_ns)), ("race-returned-ns", str(returned_ns))]
