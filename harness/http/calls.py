"""What a service under test is, as race sees it: how a request is asked, and what an answer means."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from harness.model import Reply, Request

ARRIVED, RETURNED = "race-arrived-ns", "race-returned-ns"
WORKER = "race-worker"
"""The headers in which a service stamps when it had read a request, and when it was done: nanoseconds of one clock
that all its processes share, as `time.monotonic_ns()` is on Linux."""


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request. `path` begins with a slash and may have a query; header names are lower case."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def __post_init__(self) -> None:
        """Refuse what cannot be sent where it was made: mostly in a script. Raises TypeError."""
        path: object = self.path
        if not isinstance(path, str) or not path.startswith("/"):
            raise TypeError("the path of a Call is a text that begins with a slash")
        body: object = self.body
        if not isinstance(body, bytes):
            raise TypeError("the body of a Call is bytes")


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP response. Header names are lower case; `cookies` are its Set-Cookie headers."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cookies: tuple[str, ...] = ()

    def json(self) -> Any:
        """The body as JSON; None where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Told(NamedTuple):
    """What an answer means. `reply` None: it says nothing about the outcome, `error` names it in counts.

    `failed`: certainly without effect. `now_ms`..`now_max_ms`: the instant that decided, as Unix time, if told.
    """

    reply: Reply | None
    error: str = ""
    failed: bool = False
    now_ms: int = 0
    now_max_ms: int = 0


class Service:
    """A service of one's own. A script's class derives from it; a target file is one as well.

    Keys, attempts and ids are those of the wire: new in every run. A call without headers of its own gets those
    in `headers`. `given` is what is known of overlap where the service stamps nothing.
    """

    name: ClassVar[str] = ""
    url: str = ""
    headers: Mapping[str, str] = {}
    timeout_s: float = 10.0
    arrival_us: float | None = None
    """How far apart requests of a burst arrive at most, where the service does not stamp it: your own figure."""
    handler_us: float | None = None
    """How long a handler takes at least from its read to its write, where it does not stamp that: your own figure."""
    arrived_header: str = ARRIVED
    returned_header: str = RETURNED
    worker_header: str = WORKER
    """Names the process that answered: requests of a burst are sent to several, where they are told apart."""
    keys_at_once: int = 1
    """How many keys `reset` and `rest` are asked for at a time."""
    login_each: bool = False
    """Whether every key logs in, or one does for all."""
    separator: str = "-"
    """Between a key's name and its number on the wire: `user-3fa9c2-17`."""
    bundled: ClassVar[bool] = False
    """Whether this is race's own server, which stands for a strategy and has a control."""

    def call(self, request: Request) -> Call | None:
        """How a request is asked. None: the service has no such thing, and the attempt ends here."""
        raise NotImplementedError

    def told(self, request: Request, answer: Answer) -> Told:
        """What the answer means; by default what `reply` says."""
        found = self.reply(request, answer)
        return Told(found) if found is not None else Told(None, f"http-{answer.status}")

    def reply(self, request: Request, answer: Answer) -> Reply | None:
        """The decision, and values; None where the answer says nothing about the outcome."""
        raise NotImplementedError

    def reset(self, keys: Sequence[str]) -> Call | None:  # noqa: ARG002 - a default
        """What readies keys for a burst; None where new ones need nothing."""
        return None

    def was_reset(self, answer: Answer) -> bool:
        """Whether the answer to `reset` says that it worked."""
        return 200 <= answer.status < 300

    def rest(self, keys: Sequence[str]) -> Call | None:  # noqa: ARG002 - a default
        """What reads the state at rest; None where nobody can."""
        return None

    def values(self, keys: Sequence[str], answer: Answer) -> Mapping[str, Any]:
        """The state at rest as the scenario's rule has it: key to value, None for no state."""
        raise NotImplementedError

    def login(self, key: str) -> Call | None:  # noqa: ARG002 - a default
        """What asks for the credentials of a key, or where `login_each` is not set, "", of everybody; None: none."""
        return None

    def logged_in(self, answer: Answer) -> Mapping[str, str]:
        """The headers that requests have from then on, their names in lower case."""
        raise NotImplementedError

    def login_expired(self, answer: Answer) -> bool:
        """Whether an answer that says nothing else says that a login has run out: it is then asked for again."""
        return answer.status == 401

    def stamps(self, answer: Answer) -> tuple[int, int]:
        """When the request had arrived and when its handler was done, in ns of the service's clock; 0: not stamped."""
        return _number(answer.headers.get(self.arrived_header)), _number(answer.headers.get(self.returned_header))

    def secrets(self) -> Iterable[str]:
        """What must never be shown or kept."""
        return ()


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() else 0
