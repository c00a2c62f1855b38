"""The sequential specification that the judge asks: what one request may do to a state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from harness.model.words import Reply, Request, State


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
