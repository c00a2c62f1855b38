"""What invariants are made of, beyond what a line of Python says: order in time, and what the rule would have made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import heappop, heappush
from typing import Any, TypeVar

from harness.model import Effect, Operation, Rule, State, Status

Timed = TypeVar("Timed", Operation, Effect)


def span_ns(one: Operation | Effect) -> tuple[int, int | None]:
    """From when to when, on the monotonic clock; None where nobody saw the end."""
    if isinstance(one, Operation):
        return one.invoked_ns, one.returned_ns
    return one.began_ns, one.ended_ns


def out_of_order(things: Iterable[Timed], rank: Callable[[Timed], Any]) -> Iterator[tuple[Timed, Timed]]:
    """Pairs of operations or effects of which the first was over before the second began, but has the higher rank.

    What overlapped has no order in time, and is never named. One pair for each second: its first is of the
    highest rank there is. In n log n.
    """
    over: list[tuple[int, int, Timed]] = []
    highest: Timed | None = None
    for number, one in enumerate(sorted(things, key=lambda one: span_ns(one)[0])):
        began_ns, ended_ns = span_ns(one)
        while over and over[0][0] < began_ns:
            _ended_ns, _number, earlier = heappop(over)
            highest = earlier if highest is None or rank(earlier) > rank(highest) else highest
        if highest is not None and rank(highest) > rank(one):
            yield highest, one
        if ended_ns is not None:
            heappush(over, (ended_ns, number, one))


def at_once(effects: Iterable[Effect], ends_ns: Mapping[str, int]) -> Iterator[tuple[Effect, Effect]]:
    """Pairs of effects on one key, of different attempts, of which the second began while the first was at work.

    `ends_ns`: when the lease of each attempt ends; work beyond it, or without one, keeps nobody out.
    """
    busy: dict[str, tuple[int, Effect]] = {}
    for work in sorted(effects, key=lambda effect: effect.began_ns):
        end_ns = ends_ns.get(work.attempt, work.began_ns)
        if work.ended_ns is not None:
            end_ns = min(end_ns, work.ended_ns)
        if end_ns <= work.began_ns:
            continue  # beyond its own lease: an overrun, the risk of any lease
        for key in work.keys:
            until_ns, holder = busy.get(key, (0, work))
            if work.began_ns < until_ns and holder.attempt != work.attempt:
                yield holder, work
            if end_ns > until_ns:
                busy[key] = (end_ns, work)


def replay(rule: Rule, operations: Iterable[Operation], initial: State) -> dict[str, Any]:
    """Where a rule leads from `initial` when all that was carried out is asked again, in the order given."""
    state = dict(initial)
    for one in operations:
        if one.status == Status.OK:
            mine = {key: state.get(key) for key in one.request.keys}
            state.update(rule(mine, one.request, one.now_ms).changes)
    return state
