"""What happened in a schedule: one event for each choice, with what it touched and what is shown of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from harness.burst.shown import reply as shown_reply
from harness.explore.caller import Caller, Open
from harness.explore.touch import NOWHERE, StatementKind, Touch, statement_kind, statement_touch
from harness.model import Outcome, Request, Step


class Choice(NamedTuple):
    """What comes next: `step`, a fault, `victim` of a deadlock, or `time`, and whose it is."""

    kind: str
    caller: str


class Statement:
    """What a statement touched: known when somebody notes it, or where its text declares it."""

    __slots__ = ("first", "isolation", "keys", "kind", "text")

    def __init__(self, text: str, kind: StatementKind, isolation: str, keys: set[str] | None, *, first: bool) -> None:
        """`keys` None: nobody has said yet."""
        self.text = text
        self.kind = kind
        self.isolation = isolation
        self.keys = keys
        self.first = first

    @property
    def only_reads(self) -> bool:
        """Whether it leaves nothing behind that its transaction would have to give back."""
        kind = self.kind
        return kind.selects and not (kind.locks or kind.advisory or kind.draws or kind.calls) and self.keys is not None

    @property
    def touch(self) -> Touch:
        """By what is known now."""
        return statement_touch(self.kind, self.keys, self.isolation, first=self.first)


class Clock(Protocol):
    """Who knows the time of an event."""

    caps: set[str]

    def at_ns(self, index: int) -> int:
        """On the schedule's own monotonic clock."""
        ...


class Event:
    """One event. `index` counts from 1; 0 for what nobody else can notice."""

    __slots__ = ("_base", "_clock", "_statements", "at", "blocked", "choice", "index", "steps", "waits_for", "woke")

    def __init__(self, index: int, choice: Choice, clock: Clock) -> None:
        """Nothing has been done yet."""
        self.index = index
        self.choice = choice
        self.steps: list[Step] = []
        self.woke: list[str] = []
        self.waits_for: tuple[str, ...] = ()
        self.blocked = False
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
    def did(self) -> tuple[object, ...]:
        """What was done, without what was answered: the same whenever the same schedule is run."""
        return tuple(
            f"{step.caller}: {' '.join(step.command)}" for step in self.steps if step.kind != "decide"
        ) + ("blocked",) * self.blocked  # fmt: skip

    def add(self, touch: Touch) -> None:
        """It touched this, too."""
        self._base = self._base.with_(touch)

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

    def statement(
        self, caller: Caller, open_: Open, text: str, args: Sequence[Any], declared: Collection[str],
        resource: Callable[[str], bool],
    ) -> None:  # fmt: skip
        """A statement is sent. `resource`: whether an argument names what it touches."""
        named = (
            {caller.plain(arg) for arg in args if isinstance(arg, str) and resource(arg)} if text in declared else None
        )
        statement = Statement(text, _kind(text), open_.isolation, named or None, first=open_.fresh)
        open_.fresh = False
        open_.statements.append(statement)
        caller.statement = statement
        self._statements.append(statement)

    def waited(self, sent: Event) -> None:
        """A statement that waited goes on in this step."""
        self._statements.extend(sent._statements)

    def end(self, open_: Open, *, committed: bool) -> None:
        """COMMIT or ROLLBACK: it touches all that the transaction wrote or locked."""
        touched = {"ssi"} if open_.isolation == "serializable" else set()
        for statement in open_.statements:
            touched |= _given_back(statement, committed=committed)
            if statement.kind.calls:
                body = statement.kind.calls[0]
                self._clock.caps.add(f"what {body}() does inside the server is not seen step by step")
            elif statement.keys is None and not statement.kind.only_advisory:
                short = " ".join(statement.text.split())[:40]
                self._clock.caps.add(f"nobody notes what '{short}' touches")
        self.add(Touch(reads=frozenset({"pg"}), writes=frozenset(touched)))


def _given_back(statement: Statement, *, committed: bool) -> set[str]:
    """What the end of its transaction touches on account of a statement."""
    kind = statement.kind
    touched = {"adv"} if kind.advisory else set()
    changes = not kind.selects
    if statement.keys is None or kind.calls:
        if not kind.only_advisory and (changes or kind.locks or kind.calls):
            touched.add("pg")
        return touched
    if changes or kind.locks:
        touched.update(f"lock:{key}" for key in statement.keys)
    if changes and committed:
        touched.add("commits")
        touched.update(f"data:{key}" for key in statement.keys)
    return touched


def differs(before: Sequence[object], after: Sequence[object]) -> str:
    """Says what was done in the same place of a schedule, the first time and the next."""
    return f"first {_words(before)}, then {_words(after)}"


def _words(did: Sequence[object]) -> str:
    return f"'{' '.join(map(str, did))[:80]}'" if did else "nothing"


_KINDS: dict[str, StatementKind] = {}


def _kind(text: str) -> StatementKind:
    known = _KINDS.get(text)
    if known is None:
        if len(_KINDS) > 1_000:
            _KINDS.clear()
        known = _KINDS[text] = statement_kind(text)
    return known
