"""A caller: one program under the scheduler, what it has been told, and what it is waiting for."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from harness.explore.session import WORK, ExploreSession, Pending
from harness.explore.statement import Held, Kept, Statement
from harness.explore.touch import NOWHERE, Touch
from harness.explore.variables import Variables
from harness.model import Operation, Outcome, Reply, Request, Status

if TYPE_CHECKING:
    from harness.explore.event import Event

Condition = Literal["ready", "blocked", "parked", "sleeping", "paused", "waiting", "idle", "done", "gone"]
"""`blocked` on a lock, `parked` after a poll, `paused` by a fault, `waiting` for an owner, `idle` with nothing to do,
`gone` for ever."""


class Gone(BaseException):
    """Thrown into a program that will never go on, so that it can be forgotten."""


@dataclass(slots=True)
class Performed:
    """An operation under way. `returned`: its caller was told something.

    `until_answered`: the store's own clock decided, at some instant before the answer.
    """

    request: Request
    caller: str
    invoked_ns: int = 0
    returned_ns: int | None = None
    status: Status = Status.UNKNOWN
    reply: Reply | None = None
    now_ms: int = 0
    now_max_ms: int = 0
    error: str = ""
    returned: bool = False
    until_answered: bool = False

    def operation(self) -> Operation:
        """As the judge wants it."""
        return Operation(
            self.request, self.caller, self.invoked_ns, self.returned_ns, self.status, self.reply, self.now_ms,
            max(self.now_ms, self.now_max_ms), self.error,
        )  # fmt: skip


@dataclass(slots=True)
class Done:
    """An effect."""

    name: str
    attempt: str
    keys: tuple[str, ...]
    caller: str
    began_ns: int
    ended_ns: int | None = None


@dataclass(slots=True)
class Open:
    """An open transaction: its statements so far, the rows that it holds, and what its COMMIT will make visible."""

    isolation: str
    fresh: bool = True
    statements: list[Statement] = field(default_factory=list)
    held: Held = field(default_factory=Held)
    visible: dict[str, Any] = field(default_factory=dict)

    @property
    def only_read(self) -> bool:
        """Whether nobody can notice its COMMIT: it has read rows that are known, and keeps nobody waiting."""
        known = bool(self.statements) and all(one.only_reads for one in self.statements)
        return known and self.isolation != "serializable"


@dataclass(slots=True)
class Tries:
    """A caller's loops of tries: so many `loops` so far, and what the present try has `asked` for, one after the other.

    `in_vain`: it has tried again and again in vain; `went_on`: and then did something else.
    """

    loops: int = 0
    asked: list[tuple[str, ...]] = field(default_factory=list)
    in_vain: bool = False
    went_on: bool = False
    in_turn: list[tuple[str, ...]] = field(default_factory=list)
    """What a flow has asked for since it last waited for its turn."""
    begun: bool = False
    """Whether such a flow was let try once more, which was another try than the one before."""

    def ask(self, words: tuple[Any, ...]) -> None:
        """Its next step."""
        self.asked.append(same_words(words))
        self.in_turn.append(self.asked[-1])


_ANEW = re.compile(r"[0-9a-f]{12,}|[0-9]{10,}|\ba[0-9]+\.[0-9]+\b")
"""What is another one at every try: a token, an instant, a request of an attempt."""


def same_words(words: tuple[Any, ...]) -> tuple[str, ...]:
    """What is asked for, but for what is another one at every try."""
    return tuple(_ANEW.sub("", str(word)) for word in words)


@dataclass(frozen=True, slots=True)
class Queued:
    """A command between MULTI and EXEC, queued at an instant."""

    name: str
    words: tuple[Any, ...]
    touch: Touch
    now_ms: int


class Caller:
    """A program with its session. `place` numbers its connections, `process` its virtual process."""

    def __init__(self, name: str, place: int, process: int, plain: Callable[[str], str]) -> None:
        """The program is given later, since it needs the session, which needs the caller."""
        self.name = name
        self.place = place
        self.process = process
        self.plain = plain
        self.session: ExploreSession
        self.program: Coroutine[Pending, Any, Any]
        self.pending: Pending | None = None
        self.condition: Condition = "ready"
        self.now_ms = 0
        self.shares = False
        """Whether it has looked at the memory of its process."""
        self.variables: list[Variables] = []
        """By which it and daemons of its own tell each other something."""
        # what it performs
        self.current: Performed | None = None
        self.effect: Done | None = None
        self.asked_for = ""
        self.owner = ""
        self.answered = False
        # where it is in a transaction
        self.transaction: Open | None = None
        self.statement: Statement | None = None
        self.queued: list[Queued] | None = None
        self.kept: frozenset[Kept] = frozenset()
        """What its connection may have kept of transactions that are over."""
        self.watched: Touch = NOWHERE
        # what it waits for
        self.task: asyncio.Future[Any] | None = None
        self.sent: tuple[Pending, Event, bool] | None = None
        self.waits_for: tuple[str, ...] = ()
        self.tried: Touch = NOWHERE
        self.tries_since = 0
        """The event in which its present try began: what it touched until then is no part of it."""
        self.disturbed = False
        self.tries = Tries()
        self.looked_at = 0
        self.turn = False
        """Whether it waits for its turn, between two requests."""
        self.unserved = False
        """Whether its next command would only wait inside the server, if it were sent now."""
        self.due_ms = 0
        self.naps = 0
        """How often others were still at work when it woke up."""
        self.patience_ms = 0.0
        self.serves = False
        """Whether it is a daemon, which nobody waits for to end."""
        self.prompt = False
        """Whether time waits for what it does next: it renews a lease."""
        # faults
        self.late = False
        self.victim = False
        self.deaf = False
        self.last: Event | None = None

    # What the session tells

    def noted(self, reads: Mapping[str, Any] | None, writes: Mapping[str, Any] | None) -> None:
        """Attach to the last step what it read and wrote."""
        if self.last is not None:
            self.last.noted(self, reads, writes)

    def decided(self, request: Request, state: Mapping[str, Any], outcome: Outcome) -> None:
        """Remember a decision for the explanation, and whom a daemon is working for."""
        self.asked_for = request.id
        if self.last is not None:
            self.last.decision(self, request, state, outcome)

    def remembers(self) -> None:
        """Its steps touch the memory of its process, from now on: it may have kept what it was given."""
        self.shares = True

    @property
    def slow(self) -> bool:
        """Whether its work takes a while."""
        return self.condition == "sleeping" and self.pending is not None and self.pending.name == WORK

    @property
    def alive(self) -> bool:
        """Whether it may still do something."""
        return self.condition not in {"done", "gone"}

    def bury(self) -> None:
        """Forget the program, whatever it would still like to do."""
        for _ in range(100):
            try:
                self.program.throw(Gone())
            except BaseException:  # a dead program's last words
                return
