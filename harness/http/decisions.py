"""Catches a decision that is misspelt in a description: the judge would take it for an answer that no rule gives."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from random import Random
from typing import Any

from harness.burst.cells import Bound
from harness.http.calls import Service
from harness.http.target_file import TargetFile
from harness.model import ABORTED, Attempt, Request, UsageError

_MOST = 400
_LONGEST = 6
_NOW_MS = 1_800_000_000_000


def check_decisions(service: Service, bound: Bound) -> None:
    """Raises UsageError for a decision that the rule was not seen to give and that is nearly one of those it gives."""
    if not isinstance(service, TargetFile):
        return
    given: dict[str, set[str]] = {}
    for operation, decision in _given(bound):
        given.setdefault(operation, set()).add(decision)
    for operation, key, decision in service.decisions():
        known = given.get(operation, set())
        if decision == ABORTED.decision:  # whoever gives up may say so, whatever the rule
            continue
        near = difflib.get_close_matches(decision, known, n=1, cutoff=0.6) if decision not in known else ()
        if near:
            raise UsageError(f"{service.path}: {key}: the rule never answers {decision}; did you mean {near[0]}?")


def _given(bound: Bound) -> Iterator[tuple[str, str]]:
    """What the rule answers to requests one after the other, from an idle state on, as far as is quickly seen."""
    scenario = bound.scenario
    rule = scenario.all_rules()[bound.cell.rule]
    try:
        items = scenario.burst(Random(1), 4)
        keys = items[0].keys
        asked = [
            Request(
                item.operation if isinstance(item, Request) else name,
                keys,
                item.args,
                f"{place}",
                f"a{place}",
                item.role,
            )
            for place, item in enumerate(items)
            for name in ([""] if isinstance(item, Request) else scenario.operations)
            if isinstance(item, Attempt) or name == ""
        ]
        states: list[tuple[dict[str, Any], int]] = [(dict.fromkeys(keys, scenario.initial_value), 0)]
        for state, length in states:
            for request in asked:
                try:
                    outcome = rule(state, request, _NOW_MS + length)
                except (KeyError, TypeError):  # an operation whose arguments only its flow knows
                    continue
                yield request.operation, outcome.reply.decision
                if length < _LONGEST and len(states) < _MOST and outcome.changes:
                    states.append(({**state, **outcome.changes}, length + 1))
    except Exception:  # the user's script: what is wrong with it is told where it is run
        return
