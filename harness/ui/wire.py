"""Evidence as it travels from a worker to its master: lines of a history, and what the master cannot know itself.

Instants in it are of the worker's own clocks. Every burst is made by one worker alone, so that nobody ever compares
those of two machines.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.burst.cells import Bound
from harness.judge.history import (
    MalformedError,
    Signatures,
    effect_line,
    effect_of,
    left_line,
    left_of,
    operation_line,
    operation_of,
)
from harness.model import Attempt, Evidence, Operation, Request, Status, Step
from harness.results.environment import race_version
from harness.stores import StoreInfo

Packed = Mapping[str, Any]


def tried(bound: Bound) -> dict[str, str]:
    """What master and worker must have in common, or one would judge what the other never meant."""
    return {
        "race": race_version(),
        "the scenario's script": _fingerprint(type(bound.scenario)),
        "the strategy's script": _fingerprint(type(bound.strategy)),
    }


def _fingerprint(kind: type) -> str:
    """Of the file that a class is from."""
    path = inspect.getsourcefile(kind)
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16] if path else ""


def pack(number: int, evidence: Evidence, signatures: Signatures, *, control: bool) -> dict[str, Any]:
    """A burst, ready for JSON."""
    return {
        "burst": number,
        "control": control,
        "operations": [operation_line(one, signatures, None, probe=False) for one in evidence.operations],
        "effects": [effect_line(one, place, None) for place, one in enumerate(evidence.effects)],
        "left": left_line(evidence, None),
        "probes": [operation_line(one, signatures, None, probe=True) for one in evidence.probes],
    }


def unpack(packed: Packed, signatures: Signatures, initial: Any) -> Evidence:
    """The burst again; its keys began with `initial`. Raises MalformedError."""
    try:
        operations, effects, probes = packed["operations"], packed["effects"], packed["probes"]
        left = left_of(packed["left"]) if packed["left"]["keys"] else None
        number = int(packed["burst"])
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedError(f"no burst: {error!r}") from None
    keys = left.keys if left is not None else ()
    return Evidence(
        name=str(number),
        keys=keys,
        operations=[operation_of(line, signatures) for line in operations],
        effects=[effect_of(line) for line in effects],
        initial=dict.fromkeys(keys, initial),
        rest=left.values if left is not None else None,
        rest_ms=left.at_ms if left is not None else 0,
        probes=[operation_of(line, signatures) for line in probes],
        monotonic_to_unix_ns=left.unix_ns if left is not None else 0,
    )


def unknown(number: int, worker: str, items: Sequence[Request | Attempt]) -> list[Operation]:
    """What a worker that is gone had begun: it may have taken effect, or not, and nobody was answered.

    Each request that stands alone, and the first of each attempt. They have no instants: those were the worker's.
    """
    found = []
    for place, item in enumerate(items):
        name = f"{worker}-{number}-{place}"
        asked = (
            Request("begin", item.keys, item.args, name, f"{name}-a", item.role)
            if isinstance(item, Attempt)
            else item._replace(id=name)
        )
        found.append(Operation(asked, f"{worker}.{place}", 0, None, Status.UNKNOWN, None, error="worker-lost"))
    return found


def pack_step(step: Step) -> dict[str, Any]:
    """A traced step, ready for JSON."""
    return step._asdict()


def unpack_step(data: Mapping[str, Any]) -> Step:
    """The step again. Raises MalformedError."""
    try:
        return Step(**{**data, "command": tuple(data["command"])})
    except (KeyError, TypeError) as error:
        raise MalformedError(f"no step: {error!r}") from None


def pack_store(info: StoreInfo) -> dict[str, Any]:
    """A store that a worker used: what it is, not where."""
    return asdict(info)
