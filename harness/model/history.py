"""What happened: operations, effects and steps, each with its interval on the monotonic clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from harness.model.words import NOTHING, Reply, Request


class Status(StrEnum):
    """How an operation ended, as far as its caller can know."""

    OK = "ok"
    FAILED = "failed"
    """Certainly without effect."""
    UNKNOWN = "unknown"
    """May take effect at any time after its invocation, or never."""


class Operation(NamedTuple):
    """A request with its invocation, return and reply.

    `now_ms` is the instant the program used, as Unix time; 0 where nobody knows it. Where the store's own clock
    decided (a TTL), the instant lies anywhere in `now_ms`..`now_max_ms`; otherwise both
    are equal. `returned_ns` is None while nobody was answered. `error` is the error code
    that the caller was shown (`40001`, `timeout` ...), or "".
    """

    request: Request
    caller: str
    invoked_ns: int
    returned_ns: int | None
    status: Status
    reply: Reply | None
    now_ms: int = 0
    now_max_ms: int = 0
    error: str = ""


class Effect(NamedTuple):
    """Something outside the stores that cannot be taken back.

    `began_ns` was written outside the worker before the effect began; `ended_ns` is None
    """

    name: str
    attempt: str
    keys: tuple[str, ...]
    began_ns: int
    ended_ns: int | None
    caller: str = ""


class Step(NamedTuple):
    """One thing done through a session: a command with its reply, or a decision.

    `reads` and `writes` say in the rule's own terms (key to value) what the step saw and
    what it made visible, where the layout knows; they let a printed order be checked
    against the replies. `kind` is `redis`, `sql`, `decide`, `ask`, `lock`, `sleep` or `effect`.
    """

    caller: str
    request: str
    kind: str
    command: tuple[str, ...]
    reply: str
    sent_ns: int
    received_ns: int
    reads: Mapping[str, Any] | None = None
    writes: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of one burst, or of one group of connected keys under sustained load.

    `initial` and `rest` map each key to its value before and after. `rest` is None where
    it could not be read. `rest_ms` is the Unix time at which it was read. `probes` are requests made
    after every lease and window had passed, to ask whether the thing still works: what is asked of them is given
    their burst's effects besides, and no other operations.
    `monotonic_to_unix_ns`: add it to a monotonic time to get Unix time, in nanoseconds.
    """

    name: str
    keys: tuple[str, ...]
    operations: Sequence[Operation]
    effects: Sequence[Effect] = ()
    initial: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    rest: Mapping[str, Any] | None = None
    rest_ms: int = 0
    probes: Sequence[Operation] = ()
    steps: Sequence[Step] = ()
    monotonic_to_unix_ns: int = 0
