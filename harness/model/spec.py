"""The sequential specification that the judge asks: what one request may do to a state."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from harness.model.words import Reply, Request, State


class Stretches(NamedTuple):
    """What the answers of one key's operations say of their order: each is named by its place among them.

    A run is what stands together in every order, with nothing that changes the value in between: steps, one after the
    other, each of operations in any order. The first run begins with the initial value and comes first; it may be
    empty. `free` are operations that may change nothing, so that they may come within a run, too. `wrong`, where it is
    not empty, are operations whose answers no order explains, and the rest then says nothing. Whatever is nowhere
    stands alone: it comes in no run, and, if nobody was answered, perhaps never.
    """

    runs: Sequence[Sequence[Collection[int]]] = ((),)
    free: Collection[int] = ()
    wrong: Collection[int] = ()


class Spec(Protocol):
    """What the judge needs to know of a scenario; every scenario is one."""

    def allowed(self, state: State, request: Request, now_ms: int, reply: Reply | None) -> Iterable[State]:
        """Every state in which `request` may leave `state` while answering `reply`.

        `state` and the results map the request's keys to values (values that compare and
        hash by content, see `freeze` in the judge). None as reply: the answer is unknown, any will
        do. An empty result: no such answer is possible here.
        """
        ...

    def view(self, value: Any, now_ms: int) -> Any:
        """What a value at rest means at that instant: an expired lease is no lease."""
        ...
