"""Order for a few operations: every order that real time allows, tried one after the other.

Most bursts are so small that setting up the search of `wing_gong` takes longer than this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.judge.states import Entry, Rest, freeze
from harness.model import Spec

MOST = 4


def few_have_order(
    keys: Sequence[str], entries: Sequence[Entry], spec: Spec, initial: Mapping[str, Any], rest: Rest | None
) -> bool | None:
    """Whether an order of at most `MOST` entries exists; None where that is not for here to say.

    That is where an outcome, or the instant of a decision, is not known.
    """
    if len(entries) > MOST or any(entry.returned_ns is None or entry.guessed for entry in entries):
        return None
    seen = {key: freeze(spec.view(rest.values[key], rest.at_ms)) for key in keys if rest and key in rest.values}

    def fits(state: Mapping[str, Any]) -> bool:
        return rest is None or all(freeze(spec.view(state[key], rest.at_ms)) == found for key, found in seen.items())

    def after(left: Sequence[Entry], state: dict[str, Any]) -> bool:
        if not left:
            return fits(state)
        first_ns = min(entry.returned_ns or 0 for entry in left)
        for entry in left:
            if entry.invoked_ns > first_ns:
                continue
            others = [other for other in left if other is not entry]
            asked = {key: state[key] for key in entry.request.keys}
            for now_ms in entry.instants:
                for changes in spec.allowed(asked, entry.request, now_ms, entry.reply):
                    changed = {key: changes[key] for key in asked if key in changes}
                    if after(others, {**state, **changed}):
                        return True
        return False

    return after(entries, {key: initial.get(key) for key in keys})
