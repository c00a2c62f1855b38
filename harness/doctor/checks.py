"""What is examined, as data: one check, the group it belongs to, and the document of all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["ok", "warning", "failed", "untried"]
_WORST: tuple[State, ...] = ("failed", "warning", "ok")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. `remedy` says what to do about what is not ok.

    `failed`: race cannot work so; `warning`: it can, with less to show; `untried`: another failure is in its way.
    """

    name: str
    state: State
    says: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Checks of one thing: this machine, or a store."""

    title: str
    checks: Sequence[Check]


def state_of(groups: Iterable[Group]) -> State:
    """The worst of all."""
    states = {check.state for group in groups for check in group.checks}
    return next(state for state in _WORST if state in states)


def document(groups: Sequence[Group], duration_s: float) -> dict[str, Any]:
    """What `race doctor --json` prints."""
    return {
        "schema": "race.doctor/1",
        "state": state_of(groups),
        "groups": [{"title": group.title, "checks": [asdict(check) for check in group.checks]} for group in groups],
        "duration_s": round(duration_s, 3),
    }
