"""Whether anybody gets in where a worker was killed: a lock that it kept for ever breaks no rule, and shuts all out.

Who asked again what it had open, and was told to try later, or nothing, may have come too early. So somebody asks anew
once every lease has passed in silence. Scenarios with a probe of their own are asked by that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness.burst.kills import AGAIN, as_order
from harness.burst.plan import Load
from harness.judge import Finding, explain
from harness.model import ABORTED, STUCK, Breach, Evidence, Invariant, Operation, Reply, Status

if TYPE_CHECKING:
    from harness.burst.bench import Bench
    from harness.burst.tally import Tally

Told = Mapping[str, Sequence[Any]]
"""What each was told who asked again, by the id of the request."""


def _refused(evidence: Evidence) -> Iterator[Breach]:
    for probe in evidence.probes:
        if probe.reply is None or probe.reply == ABORTED:
            told = "never answered" if probe.reply is None else ABORTED.decision
            yield Breach(f"a new request after every lease had passed was {told}", (probe.request.id,))


ANSWERED = Invariant(
    "answered anew", "where a worker was killed a new request is answered once every lease has passed", _refused,
    applies=("probe",),
)  # fmt: skip


def shut_out(open_: Mapping[int, Sequence[Operation]], told: Told) -> list[tuple[int, Operation]]:
    """Of those that were asked again, by burst, the ones that were told to try later, or nothing at all."""
    return [(burst, one) for burst, found in open_.items() for one in found if _shut(told[one.request.id])]


def _shut(answer: Sequence[Any]) -> bool:
    return bool(answer[1] == ABORTED.decision or answer[6] == STUCK)


async def ask_anew(bench: Bench, tally: Tally, load: Load) -> None:
    """Ask at the keys of those, until one is refused once more: each of them would take all the patience there is."""
    scenario, shut = tally.bound.scenario, list(tally.shut)
    tally.shut.clear()
    if not shut or scenario.probe(shut[0][1].request.key) is not None or tally.failures or bench.interrupted:
        return
    leases_s = max(scenario.leases_ms, scenario.lock_lease_ms) / 1000
    try:
        await asyncio.sleep(tally.silent_since_s + leases_s - time.monotonic())
        for burst, before in shut:
            # An attempt is no request: what was asked in one is asked by another.
            attempt = "probe" if before.request.attempt else ""
            one = before._replace(request=before.request._replace(id=before.request.id + AGAIN * 2, attempt=attempt))
            answer = await bench.one(tally, tally.bound, "resume", load, requests=as_order([one]))
            if answer is None or await bench.stores.lost() is not None:
                return
            told = answer["told"][one.request.id]
            if told[6] not in {"", STUCK}:
                continue  # the store refused it, which tells nothing of others
            if _found(tally, burst, one, told):
                return
    except asyncio.CancelledError:
        bench.interrupted = True


def _found(tally: Tally, burst: int, one: Operation, told: Sequence[Any]) -> bool:
    """Count what one was told who asked anew; whether it is shut out."""
    status, decision, values, _from_ms, _to_ms, returned_ns, error, asked_ns = told
    reply = None if decision is None else Reply(decision, values)
    probe = one._replace(status=Status(status), reply=reply, error=error, invoked_ns=asked_ns, returned_ns=returned_ns)
    evidence = Evidence(str(burst), one.request.keys, (), (), probes=[probe])
    breaches = tuple(_refused(evidence))
    if breaches:  # that one got in is no answer for all the others
        tally.weigh_probes(evidence, [ANSWERED])
    if breaches and tally.counterexample is None:
        finding = Finding("unknown", breaches={ANSWERED.name: breaches})
        tally.counterexample = explain(replace(evidence, operations=(probe,)), (), finding)
    return bool(breaches)
