"""The load engine's bench over HTTP: what its workers tell besides goes to the tally."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import combinations
from typing import Any

from harness.burst.bench import CHUNK_S, MAX_PROBES, Bench
from harness.burst.cells import Bound
from harness.burst.door import Handled
from harness.burst.evidence import BurstRecord, by_burst, monotonic_to_unix_ns
from harness.burst.fleet import Fleet, Round
from harness.burst.measurement import Progress
from harness.burst.plan import Load, draw, keys_of
from harness.burst.tally import Tally
from harness.http.site import Site
from harness.judge import judge_evidence
from harness.model import Effect, Evidence, Operation, RaceError, Reply, StoreUnavailable, UsageError

_ALONE = 2_000_000_000
"""The number of the burst that is asked one request after the other: no run has so many."""
_UNTOUCHED = _ALONE - 1
"""The number of a burst whose keys are only looked at."""
_MOST_READINGS = 16
_A_BURST = 4
"""Requests of an attempt, at most, for the time that a burst may take that is asked one after the other."""
_PROBES_S = 5.0
"""So long the probes of a run may take, one after the other."""
_MOST_RENEWALS = 100
"""Logins that ran out and were made again, in a run: each costs the burst that met it."""


class HttpBench(Bench):
    """Loads a service. Where its login runs out, it is made again before the next burst."""

    def __init__(self, site: Site, fleet: Fleet, progress: Callable[[Progress], None]) -> None:
        """Both must be open already."""
        super().__init__(site, fleet, progress)
        self.site = site
        self._expired: list[str] = []
        self._in_vain = False
        self._request_s = 0.0
        self._idle: dict[str, Any] = {}

    def least(self, bound: Bound) -> int:
        """Of a slow service a single burst may take what a chunk should."""
        if not self._request_s:
            return super().least(bound)
        return max(1, min(super().least(bound), int(CHUNK_S / self._request_s)))

    def _left_s(self) -> float | None:
        return None if self._until is None else max(0.0, self._until - time.monotonic())

    def others(self) -> float | None:
        """Nobody knows which of the other programs are the service."""
        return None

    async def account(self, tally: Tally, done: Round) -> None:
        """What the workers told: when each request was let go, and how the service stamped it."""
        for burst, id_, sent_ns, arrived_ns, returned_ns in done.handled:
            tally.sent_ns[id_] = sent_ns
            self.site.senseless += arrived_ns < 0
            if tally.door is not None:
                tally.door.take(burst, Handled(max(0, arrived_ns), returned_ns))
        if done.expired:
            met = {burst for burst, _who in done.expired}
            self._expired = sorted({who for _burst, who in done.expired})
            self.site.not_let_in += len(met)
            tally.expired += len(met)
            in_vain = not done.releases.keys() - met
            if in_vain and self._in_vain:
                tally.failures.append("requests are not let in, right after a new login")
            elif self.site.not_let_in >= _MOST_RENEWALS:
                tally.failures.append(f"a login ran out {_MOST_RENEWALS} times")
            self._in_vain = in_vain
        else:
            self._in_vain = False
        await super().account(tally, done)

    async def seed(self, tally: Tally, bound: Bound, load: Load, keys: Sequence[str]) -> bool:
        """Ready keys, where the service wants that."""
        return not keys or await self.one(tally, bound, "seed", load, keys=list(keys)) is not None

    async def one(
        self, tally: Tally, bound: Bound, do: str, load: Load, *, patience_s: float | None = None, **more: object
    ) -> dict[str, Any] | None:
        """As any bench; of who logged in meanwhile every process is told."""
        keys, timeout_s = more.get("keys"), max(load.timeout_s, self.site.service.timeout_s)
        rounds = 1 + len(keys) if isinstance(keys, list) else _A_BURST * load.size
        patience_s = timeout_s * rounds if patience_s is None else patience_s
        told = await super().one(tally, bound, do, load, patience_s=patience_s, **more)
        if told is not None and told.get("logins"):
            order = {"do": "logins", "cell": asdict(bound.cell), "load": asdict(load), "logins": told["logins"]}
            await self.fleet.tell(order)
        return told

    async def _rest(
        self, tally: Tally, bound: Bound, load: Load, keys: Iterable[str]
    ) -> tuple[dict[str, object] | None, int]:
        """As any bench, after a new login where one has run out: this is read with it, and the next burst sent."""
        expired, self._expired = self._expired, []
        if expired and not tally.failures:
            try:
                await self.one(tally, bound, "renew", load, whose=expired)
            except UsageError as refused:  # what was measured before stands
                tally.failures.append(str(refused))
        return await super()._rest(tally, bound, load, keys)

    def _judge_probes(
        self, tally: Tally, records: dict[int, BurstRecord], effects: Mapping[int, Sequence[Effect]]
    ) -> None:
        """Of each key the last: whoever met a login that had run out was asked once more."""
        for record in records.values():
            record.probes = list({probe.request.keys: probe for probe in record.probes}.values())
        super()._judge_probes(tally, records, effects)

    async def _look_at_idle(self, tally: Tally, bound: Bound, load: Load) -> None:
        """How the service tells that nothing has happened to a key yet: with `0`, say, where the rule has no state."""
        names = keys_of(draw(bound.scenario, load.seed, _UNTOUCHED, load.size))
        if not await self.seed(tally, bound, load, names):
            return
        told = await self.one(tally, bound, "rest", load, keys=list(names), untouched=True)
        for key, value in ((told or {}).get("rest") or {}).items():
            if value is not None and value != bound.scenario.initial_value:
                self._idle[_kind(key)] = value

    def understood(self, bound: Bound, evidence: Evidence) -> Evidence:
        """The same, where what was left behind may be the service's way to say that nothing has happened to a key."""
        rest = evidence.rest
        if rest is None or not self._idle:
            return evidence
        alike = [key for key in evidence.keys if _kind(key) in self._idle and rest[key] == self._idle[_kind(key)]]
        nothing = bound.scenario.initial_value
        for keys in _subsets(alike):
            read = replace(evidence, rest={**rest, **dict.fromkeys(keys, nothing)})
            if not judge_evidence(read, bound.spec, bound.scenario.invariants(), "burst").broken:
                return read
        return evidence

    async def alone(self, site: Site, tally: Tally, load: Load) -> None:
        """Ask the requests of a burst one after the other, and judge that. Raises UsageError where it is wrong.

        What breaks then is no race: mostly a description that does not fit the service, or the rule.
        """
        bound = tally.bound
        items = draw(bound.scenario, load.seed, _ALONE, load.size)
        names = keys_of(items)
        if not await self.seed(tally, bound, load, names):
            return
        await self._look_at_idle(tally, bound, load)
        began = time.monotonic()
        told = await self.one(tally, bound, "alone", load, burst=_ALONE)
        self._request_s = (time.monotonic() - began) / load.size
        self.most_probes = max(1, min(MAX_PROBES, int(_PROBES_S / self._request_s)))
        if told is None or await self._lost(tally):
            return
        if told["heads"]:
            site.heads = told["heads"]
            await self.fleet.tell({"do": "heads", "heads": told["heads"]})
        record = by_burst(self.fleet.readings[:1], [told["span"]]).get(_ALONE)
        self.fleet.forget_steps()
        if record is None:
            return
        unclear = [one for one in record.operations if one.reply is None]
        if unclear:
            raise _unclear(site, unclear[0], told["why"])
        rest, rest_ms = await self._rest(tally, bound, load, names)
        self.blind = rest is None
        if tally.failures:
            return
        initial = dict.fromkeys(names, bound.scenario.initial_value)
        evidence = Evidence(
            "alone", names, record.operations, record.effects, initial, rest, rest_ms,
            monotonic_to_unix_ns=monotonic_to_unix_ns(),
        )  # fmt: skip
        evidence = self.understood(bound, evidence)
        finding = judge_evidence(evidence, bound.spec, bound.scenario.invariants(), "burst")
        if finding.checker_error:
            raise UsageError(f"one request after the other: {finding.checker_error}")
        if finding.broken:
            raise UsageError(_no_race(site, bound, evidence))


def _kind(key: str) -> str:
    """What keys of the same sort have in common: `user:17` is a user."""
    return key.rpartition(":")[0]


def _subsets(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    """None of them first, and all that there are where they are few; else also all of them."""
    if 1 << len(keys) > _MOST_READINGS:
        yield from ((), keys)
        return
    for size in range(len(keys) + 1):
        yield from combinations(keys, size)


def _unclear(site: Site, operation: Operation, lost: str) -> RaceError:
    """What is wrong with an answer that nobody understands, or with the service, which gave none."""
    name, status = operation.request.operation, operation.error.removeprefix("http-")
    if not status.isdigit():
        return StoreUnavailable(f"{name} got no answer, even alone: {lost or status}")
    mend = f"; [operations.{name}] replies of {site.options.target} says what a status means"
    return UsageError(f"{name} was answered {status}, even alone{mend if site.options.target else ''}")


def _no_race(site: Site, bound: Bound, evidence: Evidence) -> str:
    file = site.options.target or site.place.shown
    return (
        f"this is no race: one request after the other, {_differs(bound, evidence)}; mend {file}, the service, or the"
        f" rule of {bound.scenario.name}"
    )


def _differs(bound: Bound, evidence: Evidence) -> str:
    """The first answer that is not the rule's; without one, what was left behind."""
    rule = bound.scenario.all_rules()[bound.cell.rule]
    state = dict(evidence.initial)
    for one in evidence.operations:
        outcome = rule({key: state[key] for key in one.request.keys}, one.request, one.now_ms)
        if one.reply is not None and not outcome.reply.same(one.reply):
            return f"{one.request.operation} was answered {_told(one.reply)}, and the rule says {_told(outcome.reply)}"
        state |= outcome.changes
    found = [breach.says for check in bound.scenario.invariants() for breach in check.check(evidence)]
    left = next(iter((evidence.rest or state).values()), None)
    return found[0] if found else f"what was left behind, {left!r:.60}, is not what the answers say"


def _told(reply: Reply) -> str:
    return " ".join([reply.decision, *(f"{name}={value}" for name, value in reply.values.items())])
