"""Whether a script's rule is what judging rests on: a pure function of the state that the store gives back.

The judge asks a rule again and again, in other orders, and on states as it has them. A rule that changes the state
which it is given, answers otherwise the second time, or tells a state from the same one after the store, makes a
right strategy look broken. So it is tried before anything else: one burst, one request after the other, each asked
twice. Bundled rules are not; tests try those.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Coroutine
from copy import deepcopy
from typing import Any

from harness.burst.plan import drawn
from harness.model import NOTHING, OWN, Attempt, Outcome, RaceError, Reply, Request, Rule, UsageError, no_outcome, where
from harness.model.alike import alike
from harness.strategy import Scenario, ValueLayout

_MOST = 8
_TICK_S = 0.002
_PLAIN = ValueLayout()
_tried: set[tuple[type[Scenario], str]] = set()


def try_rule(scenario: Scenario, rule: str) -> None:
    """Ask the rule named `rule` before it counts. Raises UsageError; whatever else a script raises is told later."""
    kind, function = type(scenario), scenario.all_rules()[rule]
    plain = getattr(function, "__func__", function)
    if (kind, rule) in _tried or not getattr(plain, "__globals__", NOTHING).get(OWN, True):
        return
    _tried.add((kind, rule))
    trial = _Trial(scenario, function)
    try:
        items = drawn(scenario, 0, 0, 3)
        for number, item in enumerate(items[:_MOST]):
            if isinstance(item, Attempt):
                attempt = item._replace(id=f"a{number + 1}")
                _alone(scenario.flow(_Flow(trial, attempt)))
            else:
                trial.apply(item._replace(id=f"r{number + 1}"))
    except RaceError:
        raise
    except BaseException as error:  # where it matters, it is said then: by whom, and in which line
        if isinstance(error, KeyboardInterrupt):
            raise


def _alone(flow: Coroutine[Any, Any, None]) -> None:
    """Run a flow that waits for nobody."""
    try:
        flow.send(None)
    except StopIteration:
        return
    finally:
        flow.close()


class _Trial:
    """The state so far, in memory."""

    def __init__(self, scenario: Scenario, rule: Rule) -> None:
        self._rule = rule
        self._initial = scenario.initial_value
        self._values = scenario.values
        self._own_rows = scenario.rows is not Scenario.rows
        self._leaves_no_choice = type(scenario).allowed is Scenario.allowed
        self._state: dict[str, Any] = {}

    def apply(self, request: Request) -> Reply:
        """One request: asked, asked again, and asked on what the store makes of the state."""
        rule, now_ms = self._rule, time.time_ns() // 1_000_000
        before = {key: self._state.get(key, self._initial) for key in request.keys}
        given = deepcopy(before)
        answer = rule(given, request, now_ms)
        if wrong := no_outcome(rule, request, answer):
            raise UsageError(wrong)
        reply = Reply(answer.reply.decision, deepcopy(dict(answer.reply.values)))
        outcome = Outcome(deepcopy(dict(answer.changes)), reply)
        if not (alike(given, before) or repr(given) == repr(before)):
            raise UsageError(
                f"{where(rule)}a rule must not change the state that it is given: it returns what changes, "
                f"in an Outcome ({request.operation} made {_shown(given)} of {_shown(before)})"
            )
        if outcome.reply.decision == "aborted" and outcome.changes:
            raise UsageError(f"{where(rule)}'aborted' is what a strategy answers that changed nothing: not of a rule")
        if self._leaves_no_choice:
            time.sleep(_TICK_S)  # another instant, where it asks a clock of its own
            self._compare(outcome, before, rule(deepcopy(before), request, now_ms), request, before)
            stored = self._through_the_store(before)
            if stored is not None:
                self._compare(outcome, before, rule(deepcopy(stored), request, now_ms), request, stored)
        self._state.update(outcome.changes)
        return outcome.reply

    def _compare(
        self, first: Outcome, before: dict[str, Any], second: Outcome, request: Request, stored: dict[str, Any]
    ) -> None:
        if wrong := no_outcome(self._rule, request, second):
            raise UsageError(wrong)
        if first.reply.same(second.reply) and alike(dict(first.changes), dict(second.changes)):
            return
        if repr(stored) == repr(before):
            raise UsageError(
                f"{where(self._rule)}a rule must decide the same each time: asked twice, {request.operation} gave "
                f"{_shown(first.changes)} {_said(first.reply)}, then {_shown(second.changes)} {_said(second.reply)}; "
                "what is drawn or counted belongs into the request's arguments, the time is now_ms"
            )
        raise UsageError(
            f"{where(self._rule)}a state must be what JSON makes of it: {_shown(before)} comes back from the store as "
            f"{_shown(stored)}, and the rule decides otherwise on that"
        )

    def _through_the_store(self, state: dict[str, Any]) -> dict[str, Any] | None:
        """The same once it was written and read; None where the scenario has a layout of its own."""
        values = self._values
        if self._own_rows or values.encode is not _PLAIN.encode or values.decode is not _PLAIN.decode:
            return None
        with contextlib.suppress(UsageError):  # no JSON at all: told where it is to be written
            return {key: None if value is None else values.decode(values.encode(value)) for key, value in state.items()}
        return None


class _Flow:
    """What a flow is given that is alone in the world."""

    def __init__(self, trial: _Trial, attempt: Attempt) -> None:
        self.attempt = attempt
        self._trial = trial
        self._number = 0

    async def apply(self, operation: str, **args: Any) -> Reply:
        """One request."""
        attempt = self.attempt
        self._number += 1
        return self._trial.apply(
            Request(operation, attempt.keys, args, f"{attempt.id}.{self._number}", attempt.id, attempt.role)
        )

    async def effect(self, name: str, *, id: str = "", undo: str = "") -> None:  # noqa: A002 - what it is
        """Nothing comes of it."""

    async def wait(self) -> bool:
        """Nobody else will get on."""
        return False


def _shown(state: object) -> str:
    """In a few words."""
    return f"{dict(state) if hasattr(state, 'keys') else state!r}"[:60]  # type: ignore[call-overload] # it has keys


def _said(reply: Reply) -> str:
    return " ".join((reply.decision, *(f"{name}={value!r:.20}" for name, value in reply.values.items())))[:60]
