"""What happened in a schedule: one event for each choice, with what it touched and what is shown of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from harness.burst.shown import reply as shown_reply
from harness.explore.caller import Caller, Open
from harness.explore.statement import Names, Statement
from harness.explore.touch import NOWHERE, Touch
from harness.model import Outcome, Request, Step

WAITS = "(waits)"
"""In place of an answer that never comes."""


class Choice(NamedTuple):
    """What comes next: `step`, a fault, `victim` of a deadlock, or `time`, and whose it is."""

    kind: str
    caller: str


class Clock(Protocol):
    """Who knows the time of an event."""

    caps: set[str]
    rows_moved: bool
    strayed: bool

    def at_ns(self, index: int) -> int:
        """On the schedule's own monotonic clock."""
        ...


class Event:
    """One event. `index` counts from 1; 0 for what nobody else can notice."""

    __slots__ = (
        "_base", "_clock", "_statements", "at", "blocked", "choice", "ended", "index", "released", "steps",
        "waits_for", "woke",
    )  # fmt: skip

    def __init__(self, index: int, choice: Choice, clock: Clock) -> None:
        """Nothing has been done yet."""
        self.index = index
        self.choice = choice
        self.steps: list[Step] = []
        self.woke: list[str] = []
        self.ended: list[str] = []
        """Daemons that were not needed any more, or died, and could have taken a step before."""
        self.waits_for: tuple[str, ...] = ()
        self.blocked = False
        self.released = choice.kind != "step"
        """Whether it may have given something back that statements wait for."""
        self.at = clock.at_ns(index)
        self._clock = clock
        self._base = NOWHERE
        self._statements: list[Statement] = []

    @property
    def touch(self) -> Touch:
        """What it touched, by what is known now."""
        touch = self._base
        if not self._statements:
            return touch
        for statement in self._statements:
            touch = touch.with_(statement.touch)
        return touch

    @property
    def news(self) -> Touch:
        """What of it a poll may find changed: who has only begun to wait inside Redis has changed nothing."""
        waits = self.blocked and not (self.steps or self.released or self._statements)
        return NOWHERE if waits else self.touch

    @property
    def did(self) -> tuple[object, ...]:
        """What was done, without what was answered: the same whenever the same schedule is run.

        That it was never answered is known at the end, and depends on what others did then.
        """
        return tuple(
            f"{step.caller}: {' '.join(step.command)}"
            for step in self.steps
            if step.kind != "decide" and step.reply != WAITS
        ) + ("blocked",) * self.blocked  # fmt: skip

    def add(self, touch: Touch) -> None:
        """It touched this, too."""
        self._base = self._base.with_(touch)

    def end_daemon(self, daemon: Caller) -> None:
        """A daemon is needed no more, or dies: a step that it might have taken before, it now cannot take."""
        if daemon.condition == "ready":
            self.ended.append(daemon.name)
        for variables in daemon.variables:
            self.add(variables.ended())

    # What is shown

    def show(
        self, caller: Caller, kind: str, words: tuple[str, ...], reply: Any = "", *,
        sent: Event | None = None, lost: bool = False,
    ) -> None:  # fmt: skip
        """A row of the diagram. `sent`: the event in which it was sent, where it waited."""
        request = caller.current.request.id if caller.current is not None else caller.asked_for
        if kind == "effect" and caller.effect is not None:  # it belongs to the attempt, to none of its requests
            request = caller.effect.attempt
        text = "(reply lost)" if lost else shown_reply(reply)
        text = caller.plain(text) if ":" in text else text
        sent_ns = self.at if sent is None or sent is self else sent.at
        received_ns = self.at + 100 + len(self.steps)
        self.steps.append(Step(caller.name, request, kind, words, text, sent_ns, received_ns))

    def noted(self, caller: Caller, reads: Mapping[str, Any] | None, writes: Mapping[str, Any] | None) -> None:
        """What the caller's last step saw or wrote, in the rule's own terms."""
        open_ = caller.transaction
        if caller.statement is not None and (reads or writes):
            statement = caller.statement
            statement.keys = {*(statement.keys or ()), *map(caller.plain, (*(reads or ()), *(writes or ())))}
        if open_ is not None and writes is not None:
            open_.visible.update(writes)
            writes = None
        for place in range(len(self.steps) - 1, -1, -1):
            step = self.steps[place]
            if step.caller == caller.name:
                *first, seen, shown = step
                seen = seen if reads is None else {**(seen or {}), **reads}
                shown = shown if writes is None else {**(shown or {}), **writes}
                self.steps[place] = Step._make((*first, seen, shown))
                return

    def made_visible(self, writes: Mapping[str, Any]) -> None:
        """What a COMMIT made visible."""
        self.steps[-1] = self.steps[-1]._replace(writes=dict(writes))

    def decision(self, caller: Caller, request: Request, state: Mapping[str, Any], outcome: Outcome) -> None:
        """A decision: not printed, it ties reads to writes."""
        at = self.at + 200
        self.steps.append(
            Step(
                caller.name, request.id, "decide", (request.operation,), outcome.reply.decision, at, at, dict(state),
                dict(outcome.changes),
            )
        )  # fmt: skip

    # PostgreSQL

    def statement(self, caller: Caller, open_: Open, text: str, args: Sequence[Any], names: Names) -> None:
        """A statement is sent."""
        statement = Statement(text, args, names, caller.plain, open_.isolation, first=open_.fresh)
        statement.held = open_.held.covers(statement)
        self.released = self.released or statement.unknown or statement.kind.advisory
        self._clock.rows_moved = self._clock.rows_moved or statement.moves
        self._clock.strayed = self._clock.strayed or (statement.keys is None and not statement.kind.only_looks)
        caller.kept |= statement.kind.kept
        open_.fresh = False
        open_.statements.append(statement)
        caller.statement = statement
        self._statements.append(statement)

    def beside(self, caller: Caller, text: str, args: Sequence[Any], names: Names) -> Statement:
        """A statement on a second connection: a transaction of its own."""
        statement = Statement(text, args, names, caller.plain, "read committed", first=True)
        caller.statement = statement
        self._statements.append(statement)
        return statement

    def waited(self, sent: Event) -> None:
        """A statement that waited goes on in this step."""
        self._statements.extend(sent._statements)

    def end(self, open_: Open, *, committed: bool) -> None:
        """COMMIT or ROLLBACK: it touches all that the transaction wrote or locked."""
        self.released = True
        self.add(Touch(frozenset({"pg"}), frozenset({"ssi"} if open_.isolation == "serializable" else ())))
        for statement in open_.statements:
            self.add(statement.given_back(committed=committed))
            if why := statement.unseen():
                self._clock.caps.add(why)


def differs(before: Sequence[object], after: Sequence[object]) -> str:
    """Says what was done in the same place of a schedule, the first time and the next."""
    return f"first {_words(before)}, then {_words(after)}"


def _words(did: Sequence[object]) -> str:
    return f"'{' '.join(map(str, did))[:80]}'" if did else "nothing"
