"""What might be dropped from a violating schedule, one thing at a time, and played again without it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from harness.explore import Choice, Explorer, Replay, Schedule

_ASKS = re.compile(r"[A-Z]\d*")
"""Callers of the burst; the others are daemons, owners, second deliveries."""


def size(choices: Sequence[Choice]) -> tuple[int, int, int, int]:
    """How much there is to read: who takes part, what goes wrong, switches, steps."""
    odd = [one for one in choices if one.kind not in {"step", "victim", "later"}]
    callers = [one.caller for one in choices if one.kind == "step"]
    return len({one.caller for one in choices}), len(odd), sum(a != b for a, b in pairwise(callers)), len(choices)


def dropped(choices: Sequence[Choice]) -> Iterator[tuple[str, list[Choice], str]]:
    """What is dropped, what is left, and the request that takes no part, if it is one."""
    for caller in dict.fromkeys(one.caller for one in choices if _ASKS.fullmatch(one.caller)):
        yield f"the request of {caller}", [one for one in choices if one.caller != caller], caller
    for place, (kind, caller) in enumerate(choices):
        before, after = list(choices[:place]), list(choices[place + 1 :])
        if kind not in {"step", "victim"}:
            yield f"{kind} of {caller} at {place}", before + after, ""
        if kind == "lost-reply":
            yield f"{kind} of {caller} at {place}, a step", [*before, Choice("step", caller), *after], ""
        if kind == "step":
            yield f"the step of {caller} at {place}", before + after, ""
        if after and after[0].caller != caller:
            yield f"{caller} before {after[0].caller} at {place}", [*before, after[0], choices[place], *after[1:]], ""
    for steps_only in (False, True):
        runs = list(_runs(choices, steps_only=steps_only))
        for place, (start, end) in enumerate(runs):
            caller = choices[start].caller
            later = next((run for run in runs[place + 1 :] if choices[run[0]].caller == caller), None)
            if later is None:
                continue
            between, own = choices[end : later[0]], choices[later[0] : later[1]]
            what = f"the switch of {caller} from {end} to {later[0]}"
            yield what, [*choices[:end], *own, *between, *choices[later[1] :]], ""
            yield what, [*choices[:start], *between, *choices[start:end], *own, *choices[later[1] :]], ""


def _runs(choices: Sequence[Choice], *, steps_only: bool) -> Iterator[tuple[int, int]]:
    """Where each run of one caller's begins and ends; what goes wrong is no part of one, with `steps_only`."""
    start = 0
    for place in range(1, len(choices) + 1):
        if place == len(choices) or choices[place].caller != choices[start].caller or (
            steps_only and "step" not in {choices[place].kind, choices[start].kind}
        ):  # fmt: skip
            yield start, place
            start = place


async def droppable(explorer: Explorer, schedule: Schedule) -> list[str]:
    """All that need not be in it: without it, it breaks as plainly, and there is less to read."""
    found = []
    known: set[tuple[object, ...]] = {(*schedule.choices, "")}
    for what, choices, left_out in dropped(schedule.choices):
        if (*choices, left_out) in known:
            continue
        known.add((*choices, left_out))
        without = {*schedule.without, *([left_out] if left_out else [])}
        played = await explorer.steady(Replay(choices, lenient=True), without)
        assert played is not None
        if played.says and played.sharp >= schedule.sharp and size(played.choices) < size(schedule.choices):
            found.append(f"{what}: {size(schedule.choices)} -> {size(played.choices)}, {played.says}")
    return found
