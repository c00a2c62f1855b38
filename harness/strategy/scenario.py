"""A scenario: one business rule, stated once, with its invariants in the domain's words."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any, ClassVar, Literal, Protocol, Self

from harness.model import (
    Attempt,
    Claim,
    Evidence,
    Invariant,
    Outcome,
    RaceError,
    Reply,
    Request,
    Rule,
    Signature,
    State,
    Stretches,
    UsageError,
    described,
)
from harness.strategy.forms import Forms, NotExpressible
from harness.strategy.layouts import TableLayout, ValueLayout, json_row
from harness.strategy.tables import Table, checked

End = Literal["once", "twice", "stranded", "undone", "unpaid"]
"""Of an attempt: all done, each effect once; an effect twice; an effect, and not what it was for; an effect that was
made up for; what an effect was for, without it."""


class Flow(Protocol):
    """What an attempt's code is given: its requests and its effects."""

    attempt: Attempt

    async def apply(self, operation: str, **args: Any) -> Reply:
        """Make one request on the attempt's keys and wait for its reply."""
        ...

    async def effect(self, name: str, *, id: str = "", undo: str = "") -> None:  # noqa: A002 - what it is
        """Do something outside that cannot be taken back; its begin is written down first.

        `id` is the same when it is asked for again: an idempotency key, where the flow sends one. `undo` names the
        effect that makes up for it. Raises GaveUp where the flow has made up for it instead.
        """
        ...

    async def wait(self) -> bool:
        """Wait until others may have got on, to ask again; False once patience has run out."""
        ...


class Scenario:
    """One rule. A first scenario needs `rule`, an initial state and `burst`; all else has a default.

    `initial_value` is the value of every key before the first request (None: no row yet).
    `leases_ms` is how long at most it takes until every silent lease or window has run out.
    """

    name: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    goes_wrong: ClassVar[str] = ""
    """What kind of thing goes wrong, in a few words: scenarios that share them are listed together."""
    symptoms: ClassVar[Mapping[str, str]] = {}
    """How it is noticed, in the words of a bug report, to what `race explore NAME` is asked to show just that:
    `{"charged twice": "--strategy naive"}`."""
    invariant: ClassVar[str] = ""
    rules: Mapping[str, Rule] = {}
    initial_value: Any = None
    leases_ms: int = 0
    lock_lease_ms: int = 2_000
    """How long a strategy's lock in a store is leased to its holder."""
    bursts: int = 1_000
    """How many bursts a load makes where nobody says: fewer where each of them takes long."""
    control_breaks: float = 1.0
    """Of bursts of two that meet, the share that break unprotected: half, where one of two last writers is right."""
    values: ValueLayout = ValueLayout()
    rows: TableLayout = json_row()
    layouts: Mapping[str, TableLayout] = {}
    """Where a family of native forms needs tables of its own, by family: those with a constraint, say."""
    value_layouts: Mapping[str, ValueLayout] = {}
    """Where a family of native forms lays out a key in Redis in a way of its own, by family: as a set, say."""
    forms: Mapping[str, Forms | NotExpressible] = {}
    other_forms: Mapping[str, Mapping[str, Forms | NotExpressible]] = {}
    """The forms of each rule that is not the default one, by rule and family."""
    not_shown: Sequence[str] = ()
    """What looks alike and cannot be expressed here, and why."""
    untranslated: Mapping[str, str] = {}
    """Why a rule that is not the default one has no forms."""
    claims: Mapping[str, Claim] = {}
    """What a strategy claims here, by its title, where that differs from what it says itself."""
    roles: Sequence[str] = ()
    """Who writes, where requests name it: each may have a strategy of its own."""
    duties: Mapping[str, Rule] = {}
    """Role to the part of the rule that this writer remembers, where callers enforce it; who is not named remembers
    all. Let `under` say so where that depends on the rule."""
    forgetful: Mapping[str, str] = {}
    """Roles of `duties` who do not remember all, and why that breaks wherever callers enforce the rule."""
    wrong: Mapping[str, str] = {}
    """Rules that break whatever the strategy, and why: the state changes in order, and the outcome is wrong."""
    split: Mapping[str, str] = {}
    """Rules that break, and why, wherever others come between the requests of an attempt: an attempt has to be held
    together as a whole."""
    breaks_under: Mapping[str, Sequence[str]] = {}
    """Rules that break under these faults whatever the strategy."""
    breaks_between: Mapping[str, Sequence[str]] = {}
    """Rules that break under these faults where a strategy takes several messages for one request: one that is cut off
    between them was not applied, and nobody knows."""
    tables: Mapping[str, Table] = {}
    """Tables of its own, by name: `race compare NAME --table`."""
    executed: str = ""
    """The rule that is executed, once `under` was asked for it."""
    operations: Mapping[str, Signature] = {}
    """What can be asked: a line of a history that asks for anything else is refused. Empty: not checked."""
    refusals: Collection[str] = ("rejected", "refused")
    """Decisions that turn a caller away: a web server says so with its status."""
    ends: Mapping[End, str] = {}
    """The words for what may become of an attempt with effects: see `became`."""
    repeatable: bool = False
    """Whether the rule itself gives a request that is delivered again its first answer, and changes nothing more."""
    refused_again: Mapping[str, str] = {}
    """Strategies, by title, under which the store refuses a request that comes again, since its row has its name; with
    the error that whoever asks again is shown then."""
    within_reach: Callable[[State, Request, Reply, Sequence[Request]], bool] | None = None
    """Optional, `within_reach(state, request, reply, between)`: whether `reply` can still come true after some of the
    requests `between`, in some order. False cuts the judge's search short; True where in doubt."""
    looking: Collection[str] = ()
    """Optional: operations that never change anything, so that the judge need not find that out."""
    blind: Mapping[str, bool] = {}
    """Optional: operations that are possible in any state and whose answer tells nothing of it; each with whether what
    it leaves behind is the same whatever was there. The judge tells states apart only where somebody looks."""

    stretches: Callable[[Any, Sequence[tuple[Request, Reply | None]]], Stretches | None] | None = None
    """Optional, `stretches(initial value, operations)`: what the answers of one key's operations, None where nobody was
    answered, say by themselves of their order. None where they do not: the judge has to search then."""
    at_rest: Callable[[str, Any], tuple[Request, Reply]] | None = None
    """Optional, beside `within_reach` or `stretches`: who would look at a key at rest, and see this value in the eyes
    of `view`."""

    def rule(self, state: State, request: Request, now_ms: int) -> Outcome:
        """The business rule, where there is only one."""
        raise NotImplementedError

    def all_tables(self) -> Mapping[str, Table]:
        """Those of its own, looked at. Raises UsageError for what is none."""
        return checked(self.name, self.tables)

    def all_rules(self) -> Mapping[str, Rule]:
        """The rules by name; the first is the default."""
        return self.rules or {"default": self.rule}

    def under(self, rule: str) -> Self:
        """This scenario, made ready for the rule that is executed, before any strategy is bound to it.

        Forms translate the default rule, so another one has its own or none. Override where layouts, claims or
        invariants depend on the rule, too.
        """
        self.executed = rule
        if rule != next(iter(self.all_rules())):
            missing = {family: NotExpressible(self._untranslated(rule, family)) for family in self.forms}
            self.forms = {**missing, **self.other_forms.get(rule, {})}
        return self

    def _untranslated(self, rule: str, family: str) -> str:
        if rule in self.wrong:
            return "the rule breaks under every strategy: translated, it would, too"
        if family == "procedure":
            return f"the function in the database is that of rule {next(iter(self.all_rules()))}"
        return self.untranslated.get(rule, f"rule {rule} has no native form of this family")

    def spec(self, rule: str) -> Rule:
        """What is right, where that is not the executed rule named `rule`."""
        return self.all_rules()[rule]

    def burst(self, rng: Random, size: int) -> Sequence[Request | Attempt]:
        """`size` requests or attempts that meet on the same keys."""
        raise NotImplementedError

    async def flow(self, flow: Flow) -> None:
        """The code of one attempt: requests around effects."""
        raise NotImplementedError

    def work_ms(self, request: Request) -> float:
        """How long a request's own work takes between what it reads and what it writes, wherever the rule is called."""
        return 0.0

    @property
    def slow(self) -> Callable[[Request], float] | None:
        """`work_ms`, where there is any."""
        return None if type(self).work_ms is Scenario.work_ms else self.work_ms

    def invariants(self) -> Sequence[Invariant]:
        """The sentences that must stay true, beyond an order that explains every reply."""
        return ()

    def disorder(self, evidence: Evidence) -> str:
        """What no one-at-a-time order explains, in the domain's words; "" where just that is to be said."""
        return ""

    def overruns(self, evidence: Evidence) -> int:
        """How many effects outlived their own lease: the risk of any lease, no violation."""
        return 0

    def became(self, value: Any, effects: Mapping[str, int]) -> End:
        """What became of the first attempt of a burst, alone on its key: of the key's value, and its effects by name.

        A scenario that says so is tried under every flow; `ends` has its words for each end.
        """
        raise NotImplementedError

    def ending(self, evidence: Evidence) -> str:
        """What a burst has come to, in the domain's words, where several ends are right; "" where there is but one."""
        return ""

    def example(self) -> str:
        """A case with figures to check by hand, worked out by the rules, in a sentence; "" where none is needed."""
        return ""

    def probe(self, key: str) -> Request | None:
        """A request that must get the answer of an idle key once `leases_ms` have passed in silence."""
        return None

    def claimed(self, claim: Claim, scope: str = "transition") -> Claim:
        """What is claimed of a strategy here, given what it says of itself: a wrong rule breaks under all of them."""
        rule = self.executed or next(iter(self.all_rules()))
        wrong = self.wrong.get(rule) or (self.split.get(rule) if scope == "transition" else None)
        if claim.kind == "holds" and wrong:
            return replace(claim, kind="breaks", reason=wrong, breaks_under=())
        faults = dict.fromkeys((*claim.breaks_under, *self.breaks_under.get(rule, ())))
        return replace(claim, breaks_under=tuple(faults)) if claim.kind == "holds" else claim

    def final(self, reply: Reply) -> bool:
        """Whether a request that is delivered again must be told the same.

        Not where it is to ask again later, nor where it is told that it had come: that answers the second delivery, and
        says nothing of what the first would have been told.
        """
        return True

    def running(self, value: Any) -> bool:
        """Whether a lease or window in a value at rest has still to run out before a probe is asked."""
        return value is not None

    def view(self, value: Any, now_ms: int) -> Any:
        """What a value at rest means at `now_ms`: an expired lease is no lease."""
        return value

    def allowed(self, state: State, request: Request, now_ms: int, reply: Reply | None, rule: Rule) -> Iterable[State]:
        """The states in which the request may leave `state` with this reply. Override where a rule leaves a choice."""
        outcome = rule(state, request, now_ms)
        if reply is None or outcome.reply.same(reply):
            yield {**state, **outcome.changes}


def disordered(scenario: Scenario, evidence: Evidence, otherwise: str) -> str:
    """What no one-at-a-time order explains, as the scenario says it; else what is said of any. Raises UsageError."""
    try:
        return scenario.disorder(evidence) or otherwise
    except RaceError:
        raise
    except Exception as error:  # the scenario is the user's
        raise UsageError(described(error)) from error
