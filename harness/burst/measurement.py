"""What a load run gives: plain values, ready to be turned into a document."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from harness.burst.parts import Part
from harness.burst.plan import Cell, Load
from harness.judge import NEEDED_CONTROL_RATE, Contradiction, Explanation, Meeting
from harness.model import Claim, Verdict
from harness.stores import Embedded, StoreInfo, Stores
from harness.strategy import Store


@dataclass(frozen=True, slots=True)
class StoresOptions:
    """Which stores to use: URLs, or None for embedded ones; hosts that may be used beyond loopback.

    `embedded`: servers that outlive the run.
    """

    redis_url: str | None = None
    postgres_url: str | None = None
    allow_hosts: tuple[str, ...] = ()
    embedded: Embedded | None = None

    def stores(self, need: Collection[str]) -> Stores:
        """The stores of one run, of these kinds only; they are not open yet."""
        return Stores(self.redis_url, self.postgres_url, self.allow_hosts, need, self.embedded)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come: `done` of `total` (both in the unit named), `broken` so far.

    `total` is 0 where nobody knows it; `share` is then how far it is on its way to one of its limits.
    """

    what: str
    done: float
    total: float
    unit: str = "bursts"
    broken: int = 0
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class Counts:
    """How much was done, and how it ended. Of the cell under test only, not of its control.

    `killed`: workers that were killed on purpose; `resumed`: requests that the next one asked again.
    """

    bursts: int = 0
    requests: int = 0
    attempts: int = 0
    ok: int = 0
    failed: int = 0
    unknown: int = 0
    stuck: int = 0
    overruns: int = 0
    killed: int = 0
    resumed: int = 0
    retries: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    by_decision: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Overlap:
    """The proof that the load could find anything: how often its control broke, and the share that is needed.

    Of a service: how far apart requests arrived by its own stamps (the median), and, of one's own, how they met in it.
    """

    control: str | None = None
    control_bursts: int = 0
    control_broken: int = 0
    release_spread_us: float | None = None
    arrival_spread_us: float | None = None
    meeting: Meeting | None = None
    control_needed: float = NEEDED_CONTROL_RATE

    @property
    def control_rate(self) -> float | None:
        """The share of the control's bursts that broke; None without any."""
        return self.control_broken / self.control_bursts if self.control_bursts else None


@dataclass(frozen=True, slots=True)
class Measurement:
    """One cell under one load.

    `distribution` counts latencies by their upper bound in milliseconds, `parts` are repeats within the load.
    `unordered_bursts` are those whose answers no order explains.
    `endings` counts the bursts by what they came to, where the scenario has words for it.
    `others` is the share of the processors that other programs used meanwhile.
    `amounts` adds up the domain's own counts for each invariant that broke: how many too many, how much was
    lost. `counterexample` tells one violation step by step, `contradiction` by the operations that show it.
    """

    cell: Cell
    store: Store
    load: Load
    claim: Claim
    verdict: Verdict
    order: Verdict
    invariants: dict[str, Verdict]
    reason: str
    counts: Counts
    overlap: Overlap
    judged_bursts: int
    broken_bursts: int
    by_invariant: dict[str, int]
    commands: int
    elapsed_s: float
    latency_ms: dict[str, float]
    counterexample: Explanation | None
    stores: list[StoreInfo]
    started_at: str
    duration_s: float
    complete: bool
    amounts: dict[str, float] = field(default_factory=dict)
    contradiction: Contradiction | None = None
    distribution: list[tuple[float, int]] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    others: float | None = None
    endings: dict[str, int] = field(default_factory=dict)
    unordered_bursts: int = 0


@dataclass(frozen=True, slots=True)
class CompareRow:
    """One strategy of a comparison: bursts for the verdict, sustained load for the cost."""

    strategy: str
    rule: str
    store: Store
    burst: Measurement
    sustained: Measurement


@dataclass(frozen=True, slots=True)
class Comparison:
    """One rule under many strategies."""

    scenario: str
    rows: list[CompareRow]
    not_applicable: list[tuple[str, str]]
    stores: list[StoreInfo]
    seed: int
    complete: bool
    duration_s: float
    started_at: str
    others: float | None = None
    reason: str = ""
    """Why it is not complete, where nobody has interrupted it."""
    missing: list[Cell] = field(default_factory=list)
    """The rows for which there was no time."""
