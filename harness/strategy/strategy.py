"""A strategy: how a rule is made atomic, or fails to be. It has no opinion about the rule."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from itertools import combinations
from random import Random
from typing import Any, ClassVar, Literal

from harness.model import Attempt, Claim, Conditions, Reply, Request, Rule, StatementRefused, UsageError, where
from harness.strategy.forms import Form, Forms, NotExpressible
from harness.strategy.scenario import Scenario
from harness.strategy.session import Session

Store = Literal["redis", "postgres", "http"]
"""Where the state lies; `http`: behind a service of one's own."""
Daemon = Callable[[Session, Rule], Coroutine[Any, Any, None]]
"""A background program of a strategy, which runs for ever."""


_DRAWS = 16
_MISTAKES = frozenset({"42", "22", "0A"})
"""Classes of SQLSTATE that blame the statement: wrong words or names, wrong data, what this PostgreSQL cannot."""
_NO_RIGHT = "42501"
_FORMS = {
    "command": "as one Redis command",
    "multi": "as commands for MULTI",
    "lua": "as a Lua script",
    "sql": "as one SQL statement",
    "unique": "as a unique claim",
    "messages": "as messages between two owners",
    "procedure": "as a function in PostgreSQL",
    "procedure-unlocked": "as a function in PostgreSQL that takes no lock",
}


class Strategy(ABC):
    """One way to protect a rule, bound to one scenario.

    `needs` maps the one store that it keeps state in to the oldest server version that will do; beside `redis` it may
    name the oldest `valkey`, which by default is as Redis 7.2; `valkey` alone: no Redis has it.
    `form` names the family of native form without which it cannot run; where a scenario has none of it, `rules_for`
    says for which rules there would be one, unless that is any rule. `variants` maps a
    variant's name to a line about what is changed; most are mutants, which break.
    `owned` asks the engine for an owner process that runs `own` one request at a time; `per_key` for an owner of each
    key, so that `own` runs one request at a time for each of them.
    `scope`: what is held together, one request, or by `carry` an attempt with its effects.
    `repeatable`: a request that is delivered again is given its first answer, and changes nothing more.
    `connects`: its callers use other connections to Redis than one of their own that stays open.
    `enforces`: who carries the rule, every caller, or the owner of the state.
    `meets`: at what those who come at once meet. Strategies that meet at the same see each other.
    """

    name: ClassVar[str]
    family: ClassVar[str]
    """By what means it protects, in a few words: strategies that share them are listed together."""
    summary: ClassVar[str] = ""
    stops_helping: ClassVar[str] = ""
    """Where it no longer protects, or what it asks for in return."""
    earns_its_cost: ClassVar[str] = ""
    """The scenario in which a dear strategy does what cheaper ones cannot."""
    needs: Mapping[str, str] = {"redis": "6.2"}
    form: str | None = None
    rules_for: str = ""
    enforces: Literal["caller", "owner"] = "caller"
    scope: Literal["transition", "flow"] = "transition"
    variants: ClassVar[Mapping[str, str]] = {}
    owned: ClassVar[bool] = False
    per_key: ClassVar[bool] = False
    repeatable: bool = False
    connects: bool = False
    meets: ClassVar[str] = ""
    tables: tuple[str, ...] = ()
    """The statements that make what a strategy keeps beside the state: a queue's table, say."""
    statements: frozenset[str] = frozenset()
    """What it sends to those: each touches what `own_key` names among its arguments, and nothing else."""
    one_of: frozenset[str] = frozenset()
    """Those of the statements that touch one row: the last name is the row's, the others are of what it is part of."""

    def __init__(self, scenario: Scenario, variant: str = "") -> None:
        """Bind to a scenario, whose layouts and forms are used."""
        self.scenario = scenario
        self.variant = variant
        self.values = scenario.value_layouts.get(self.form or "", scenario.values)
        self.rows = scenario.layouts.get(self.form or "", scenario.rows)
        forms = scenario.forms.get(self.form or "")
        self.forms: Forms = {} if forms is None or isinstance(forms, NotExpressible) else forms

    @property
    def title(self) -> str:
        """Name and variant, as on the command line."""
        return f"{self.name}:{self.variant}" if self.variant else self.name

    @property
    def store(self) -> Store:
        """The store that holds the state."""
        return store_of(type(self))

    @property
    def schema(self) -> tuple[str, ...]:
        """The statements that make all tables where there are none yet."""
        return (*self.rows.schema, *self.tables)

    async def make_tables(self, sql: Callable[[str], Awaitable[object]]) -> None:
        """Make tables and functions where there are none yet. Raises StoreFault, UsageError where they are wrong."""
        for statement in self.schema:
            try:
                await sql(statement)
            except StatementRefused as refused:
                if refused.code[:2] not in _MISTAKES or refused.code == _NO_RIGHT:
                    raise
                begins = " ".join(statement.partition("(")[0].split())
                raise UsageError(
                    f"{self.scenario.name}: PostgreSQL refuses {begins}: {refused} ({refused.code})"
                ) from None

    @property
    def owners(self) -> int:
        """How many owner processes take requests, where the strategy is `owned`: more than one is a mutant."""
        return 1

    @property
    def named_roles(self) -> frozenset[str]:
        """The roles that have a strategy of their own."""
        return frozenset()

    @property
    def serving(self) -> int:
        """How many processes run beside the callers': one for each owner, or for each daemon."""
        return max(self.owners if self.owned else 0, len(self.daemons()))

    @property
    def reentrant(self) -> bool:
        """Whether an owner begins a request while an earlier one waits: a mutant."""
        return False

    @property
    def succeeded(self) -> bool:
        """Whether the successor of an owner that is gone begins with `take_over`, before anybody asks it."""
        return False

    @property
    def guard(self) -> str:
        """At what it meets others; a variant may lack just that, so only with itself."""
        return self.meets if self.meets and not self.variant else self.title

    @property
    def guarded(self) -> bool:
        """Whether callers are given logins of their own, with which the store lets them write nothing themselves."""
        return False

    @property
    def lag_ms(self) -> float | None:
        """By how much the replica is behind its primary that callers read from; None where they need none."""
        return None

    def applied(self, rule: Rule, role: str) -> Rule:
        """What decides: an owner applies the rule, a caller what its role remembers of it."""
        return rule if self.enforces == "owner" else self.scenario.duties.get(role, rule)

    def forgotten(self) -> str:
        """Why it breaks that one of those who carry the rule here has only a part of it; "" where nobody has."""
        return "" if self.enforces == "owner" else next(iter(self.scenario.forgetful.values()), "")

    @property
    def crossed(self) -> bool:
        """Whether two requests that meet name the same keys in opposite orders: locks taken so lock both out."""
        pairs = {pair for item in self.scenario.burst(Random(0), 2) for pair in combinations(item.keys, 2)}
        return any((other, one) in pairs for one, other in pairs)

    def meetings(self, size: int) -> list[Counter[tuple[str, ...]]]:
        """Of some bursts of so many, how often each names which keys, where it is more than one, in the caller's order.

        None of a script that cannot draw them: that is told where they are needed.
        """
        with contextlib.suppress(Exception):
            bursts = [self.scenario.burst(Random(seed), size) for seed in range(_DRAWS)]
            return [Counter(item.keys for item in burst if len(item.keys) > 1) for burst in bursts]
        return []

    def native(self, operation: str) -> Any:
        """The scenario's native form of an operation, of this strategy's family."""
        form: Form = self.forms[operation]
        return form

    def claim(self, conditions: Conditions) -> Claim:
        """What this strategy says of itself for its scenario: first whether it can be expressed at all."""
        if self.form is not None:
            forms = self.scenario.forms.get(self.form)
            if forms is None:
                return Claim("not-applicable", self.form_needed(self.form))
            if isinstance(forms, NotExpressible):
                return Claim("not-applicable", forms.reason)
        claim = self.scenario.claims.get(self.title) or self.claims(conditions)
        if not isinstance(claim, Claim):
            raise UsageError(f"{where(self.claims)}claims must return a harness.Claim, not {claim!r}")
        return self._here(claim)

    def _here(self, claim: Claim) -> Claim:
        """What a claim becomes for this scenario: whatever keeps writers apart, a part of the rule is not the rule."""
        if claim.kind == "holds" and (why := self.forgotten()):
            return replace(claim, kind="breaks", reason=why, breaks_under=())
        said = self.scenario.claims.get(self.title)
        claim = self.scenario.claimed(claim, self.scope)
        if claim.kind == "holds" and said is not None:  # the faults, too
            claim = replace(claim, breaks_under=said.breaks_under)
        elif claim.kind == "holds" and self.form is None and self.enforces == "caller":
            rule = self.scenario.executed or next(iter(self.scenario.all_rules()))
            between = self.scenario.breaks_between.get(rule, ())
            claim = replace(claim, breaks_under=tuple(dict.fromkeys((*claim.breaks_under, *between))))
        if claim.kind == "holds" and (shown := self.scenario.refused_again.get(self.title)):
            return replace(claim, errors=tuple(dict.fromkeys((*claim.errors, shown))))
        # What holds an attempt as a whole is not held for a request of it that comes again by itself.
        held = self.scope == "flow" and type(self.scenario).flow is not Scenario.flow
        once = self.repeatable or (self.scenario.repeatable and not held)
        if claim.kind == "holds" and not once:
            return replace(claim, breaks_under=tuple(dict.fromkeys((*claim.breaks_under, "duplicate"))))
        return claim

    def form_needed(self, form: str) -> str:
        """Why it does not apply where a scenario has no native form of that family."""
        if self.rules_for:
            return f"for rules {self.rules_for}"
        return f'it needs the rule {_FORMS.get(form, "in another form")} as well: give the scenario forms["{form}"]'

    @abstractmethod
    def claims(self, conditions: Conditions) -> Claim:
        """`holds` or `breaks`, with the reason, where the strategy can be expressed."""

    @abstractmethod
    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Make one transition and answer it."""

    async def carry(self, session: Session, attempt: Attempt, flow: Callable[[], Awaitable[None]]) -> None:
        """Where the scope is a flow: make all the requests and effects of an attempt, which `flow` does."""
        raise NotImplementedError

    def daemons(self) -> Mapping[str, Daemon]:
        """Programs that run beside all callers, by name: each in a process of its own, started again when it ends."""
        return {}

    async def own(self, session: Session, request: Request, rule: Rule) -> Reply:
        """In the owner process: one request at a time."""
        raise NotImplementedError

    async def take_over(self, session: Session, key: str, rule: Rule) -> None:
        """In a new owner of a key, whose predecessor may have left something half done."""
        raise NotImplementedError


def store_of(kind: type[Strategy]) -> Store:
    """The store that a strategy keeps its state in."""
    return "http" if "http" in kind.needs else "postgres" if "postgres" in kind.needs else "redis"
