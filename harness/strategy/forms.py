"""Native forms: a rule translated for a strategy that cannot call Python.

A scenario offers them by family (`command`, `multi`, `lua`, `sql`, `messages`) and by operation. Each form
decodes its own reply; conformance tests run every one against the pure rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.model import Reply, Request
from harness.strategy.layouts import Command
from harness.strategy.session import Rows


@dataclass(frozen=True, slots=True)
class CommandForm:
    """One Redis command. `build(key, request, now_ms)` gives it, with `key` as stored; `reply` reads its answer."""

    build: Callable[[str, Request, int], Command]
    reply: Callable[[Any, Request], Reply]


@dataclass(frozen=True, slots=True)
class CommandsForm:
    """Redis commands that belong together. `build(key, request, now_ms)` gives them, `reply` reads their answers.

    `then(key, answers, request)` may give one more, to be sent when those have been answered. `several`: more than one
    is built.
    """

    build: Callable[[str, Request, int], Sequence[Command]]
    reply: Callable[[Sequence[Any], Request], Reply]
    then: Callable[[str, Sequence[Any], Request], Command | None] = lambda _key, _answers, _request: None
    several: bool = True


@dataclass(frozen=True, slots=True)
class ScriptForm:
    """A Lua script over the request's keys. `args(request, now_ms)` become ARGV; `reply` reads its answer."""

    source: str
    args: Callable[[Request, int], Sequence[str | int | float]]
    reply: Callable[[Any, Request], Reply]


@dataclass(frozen=True, slots=True)
class StatementForm:
    """One SQL statement. `args(request, now_ms)` become $1, $2 ...; `reply` reads rows and row count.

    Where the family allows for it, None as a reply asks for another try.
    """

    statement: str
    args: Callable[[Request, int], Sequence[Any]]
    reply: Callable[[Rows, Request], Reply | None]

    @property
    def counts(self) -> bool:
        """Whether the row count is the decision, there being no rows to look at."""
        return "RETURNING" not in self.statement and "SELECT" not in self.statement


@dataclass(frozen=True, slots=True)
class MessagesForm:
    """What a request about two keys asks of the owner of each, which knows the value of its own key and no other.

    `out` takes it from the first key, `into` adds it to the second; `back` undoes `out` where that one refuses. Each
    gives the new value, or None to refuse. `done` and `refused` are what the caller is told in the end.
    """

    out: Callable[[Any, Request], Any]
    into: Callable[[Any, Request], Any]
    back: Callable[[Any, Request], Any]
    done: Reply
    refused: Reply


@dataclass(frozen=True, slots=True)
class NotExpressible:
    """Why a rule has no form of this family: shown to the user in place of a verdict."""

    reason: str


def row_count(reply: Callable[[Any, Request], Reply]) -> Callable[[Rows, Request], Reply]:
    """Of a StatementForm: `reply` reads how many rows it touched."""
    return lambda rows, request: reply(rows.count, request)


def first_value(reply: Callable[[Any, Request], Reply]) -> Callable[[Rows, Request], Reply]:
    """Of a StatementForm with one row: `reply` reads its first column, what RETURNING or a function gave."""
    return lambda rows, request: reply(rows.rows[0][0], request)


Form = CommandForm | CommandsForm | MessagesForm | ScriptForm | StatementForm
Forms = Mapping[str, Form]
"""The forms of one family, by operation."""
