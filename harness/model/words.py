"""The words of the field as small immutable values: request, reply, outcome, attempt.

They are tuples because a load of a hundred thousand requests a second makes two of
them per request, and a frozen dataclass costs three times as much to build.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from harness.model.alike import alike

State = Mapping[str, Any]
"""The state of a request's keys: key to value; None means that there is no row yet."""

NOTHING: Mapping[str, Any] = MappingProxyType({})
"""The empty mapping, shared, so that a default never is a mutable one."""


class Request(NamedTuple):
    """One transition asked for: the unit of history, judging and counting.

    A scenario's `burst` names `operation`, `keys` and `args`; the engine fills in `id`
    and `attempt` and gives every burst keys of its own (`user` becomes `user:17`).
    The id stays the same when the request is delivered again or resumed.
    """

    operation: str
    keys: tuple[str, ...]
    args: Mapping[str, Any] = NOTHING
    id: str = ""
    attempt: str = ""
    role: str = ""

    @property
    def key(self) -> str:
        """The first key: for the many rules that concern one thing only."""
        return self.keys[0]


class Attempt(NamedTuple):
    """What a user sees as one action when it takes several requests around an effect."""

    keys: tuple[str, ...]
    args: Mapping[str, Any] = NOTHING
    id: str = ""
    role: str = ""

    @property
    def key(self) -> str:
        """The first key."""
        return self.keys[0]


class Reply(NamedTuple):
    """What the caller is told: a decision, and values for it to use."""

    decision: str
    values: Mapping[str, Any] = NOTHING

    def same(self, other: Reply) -> bool:
        """Whether the other one says the same, as JSON does: true is not 1, which to == it is."""
        return self.decision == other.decision and (self.values is other.values or alike(self.values, other.values))


DONE = "done"
"""The decision of a reply that says no more than its values do."""

ABORTED = Reply("aborted")
"""The answer of a strategy that gave up after its bounded retries. It changed nothing."""

PASSED_ON = Reply("passed on")
"""What an owner gives back that has told another owner to answer in its place. No caller is told so."""


class Signature(NamedTuple):
    """What an operation takes and answers: argument or value to its type (`object`: anything).

    `decision` is what a reply means that names none in a history; "" where it has to be named. `decisions` are all
    that it may answer under any rule, `keys` how many keys it may name: a history of others that says anything else
    is refused. Empty: not checked.
    """

    args: Mapping[str, type] = NOTHING
    reply: Mapping[str, type] = NOTHING
    decision: str = DONE
    decisions: Collection[str] = ()
    keys: Collection[int] = ()


class Outcome(NamedTuple):
    """What a rule decides: the keys that change (only those) and the reply."""

    changes: State
    reply: Reply


Rule = Callable[[State, Request, int], Outcome]
"""The business rule: pure; `now_ms` (Unix time) is the instant the program really used."""
