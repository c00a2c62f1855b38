"""Strategies by role: each writer of a scenario protects the rule in its own way, in one store.

`cron=pg-read-committed,*=pg-for-update` is a strategy, too: it hands each request to that of its role, and it is bound
to no more than those are. What one strategy holds, another need not look at, so of several that hold
alone it claims that they hold together only where all are known to meet at the same guard.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, ClassVar

from harness.model import Attempt, Claim, Conditions, Reply, Request, Rule, UsageError
from harness.strategy.layouts import TableLayout
from harness.strategy.scenario import Scenario
from harness.strategy.session import Session
from harness.strategy.strategy import Daemon, Strategy, store_of

OTHERS = "*"
"""All roles that are not named."""
_ROLE = re.compile(r"\s*(?P<role>[\w-]*|\*)\s*=\s*(?P<spec>.*?)\s*", re.DOTALL)

Found = tuple[type[Strategy], str]
Named = tuple[tuple[str, Found], ...]
"""Roles, each with a strategy and a variant of it."""


def names_roles(spec: str) -> bool:
    """Whether a specification gives roles strategies of their own."""
    return _ROLE.fullmatch(spec.split(",", 1)[0]) is not None


@cache
def by_role(spec: str, find: Callable[[str], Found]) -> type[Strategy]:
    """The strategy behind `role=strategy,*=strategy`. Raises UsageError."""
    parts: dict[str, Found] = {}
    for text in spec.split(","):
        match = _ROLE.fullmatch(text)
        if match is None or not (match["role"] and match["spec"]):
            raise UsageError(f"'{text}' gives no role a strategy: write ROLE=STRATEGY, and *=STRATEGY for all others")
        if match["role"] in parts:
            raise UsageError(f"role {match['role']} has two strategies: leave out one")
        parts[match["role"]] = find(match["spec"])
    kinds = [kind for kind, _variant in parts.values()]
    stores = {store_of(kind): kind.name for kind in reversed(kinds)}
    if len(stores) > 1:
        one, other = (stores[store] for store in ("redis", "postgres"))
        raise UsageError(f"all roles must write to one store: {one} keeps state in Redis, {other} in PostgreSQL")
    needs = _needed(kind.needs for kind in kinds)
    return type("ByRole", (ByRole,), {"name": spec, "named": tuple(parts.items()), "needs": needs})


def _needed(each: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """The newest version that any of them asks for; no Redis, where one of them takes none."""
    needs: dict[str, str] = {}
    every = list(each)
    for one in every:
        for server, version in one.items():
            needs[server] = max(version, needs.get(server, version), key=_numbers)
    if any("valkey" in one and "redis" not in one for one in every):
        needs.pop("redis", None)
    return needs


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


class ByRole(Strategy):
    """A strategy for each role."""

    family = "roles"
    summary = "each role in its own way"
    named: ClassVar[Named] = ()

    def __init__(self, scenario: Scenario, variant: str = "") -> None:
        """Bind every strategy to the scenario. Raises UsageError where roles and strategies do not fit."""
        super().__init__(scenario, variant)
        self.parts = {role: kind(scenario, which) for role, (kind, which) in self.named}
        _check(scenario, self.parts)
        self._rest = self.parts.get(OTHERS) or next(iter(self.parts.values()))
        each = list(self.parts.values())
        self.rows = _common(scenario, [part.rows for part in each])
        self.values = each[0].values
        if any(part.values is not self.values for part in each):
            raise UsageError(f"these strategies keep the state of {scenario.name} in different kinds of value")
        self.forms = {f"{role} {name}": form for role, part in self.parts.items() for name, form in part.forms.items()}
        self.needs = _needed(part.needs for part in each)
        self.tables = tuple(dict.fromkeys(statement for part in each for statement in part.tables))
        self.statements = frozenset().union(*(part.statements for part in each))
        self.one_of = frozenset().union(*(part.one_of for part in each))
        self.repeatable = all(part.repeatable for part in each)
        self.connects = any(part.connects for part in each)
        self.scope = "flow" if any(part.scope == "flow" for part in each) else "transition"
        owned = {part.title: part for part in each if part.owned}
        if len(owned) > 1:
            raise UsageError(f"{' and '.join(owned)} have owners of their own: a key has one owner")
        self._owned = next(iter(owned.values()), None)

    @property
    def named_roles(self) -> frozenset[str]:
        """All but the rest."""
        return frozenset(self.parts) - {OTHERS}

    @property
    def owned(self) -> bool:  # type: ignore[override] # it depends on the parts
        """Whether any role asks an owner."""
        return self._owned is not None

    @property
    def owners(self) -> int:
        """Those of the strategy that has any."""
        return self._owned.owners if self._owned is not None else 1

    @property
    def per_key(self) -> bool:  # type: ignore[override] # likewise
        """Likewise."""
        return self._owned is not None and self._owned.per_key

    @property
    def succeeded(self) -> bool:
        """Likewise."""
        return self._owned is not None and self._owned.succeeded

    @property
    def reentrant(self) -> bool:
        """Likewise."""
        return self._owned is not None and self._owned.reentrant

    @property
    def guarded(self) -> bool:
        """Whether any role's strategy has the store refuse what callers write themselves: all of them are callers."""
        return any(part.guarded for part in self.parts.values())

    @property
    def lag_ms(self) -> float | None:
        """That of the one replica there is."""
        lags = {part.lag_ms for part in self.parts.values() if part.lag_ms is not None}
        if len(lags) > 1:
            raise UsageError("there is one replica: its lag is the same for all roles")
        return next(iter(lags), None)

    def part(self, role: str) -> Strategy:
        """The strategy of a role."""
        return self.parts.get(role, self._rest)

    def applied(self, rule: Rule, role: str) -> Rule:
        """What that role's strategy applies."""
        return self.part(role).applied(rule, role)

    def claim(self, conditions: Conditions) -> Claim:
        """What follows from what each claims; the scenario may know better."""
        for role, part in self.parts.items():
            claim = part.claim(conditions)
            if claim.kind == "not-applicable":
                return Claim(claim.kind, f"{_shown(role)}: {claim.reason}")
        return self._here(self.scenario.claims.get(self.title) or self.claims(conditions))

    def forgotten(self) -> str:
        """Whether a role that has only a part of the rule carries it itself, and is let."""
        for role, why in self.scenario.forgetful.items():
            part = self.part(role)
            if part.enforces == "caller" and not self._goes_around(part):
                return why
        return ""

    def claims(self, conditions: Conditions) -> Claim:
        """Breaks where one does, or where they are not known to look at the same guard."""
        claims = {
            role: self.scenario.claims.get(part.title) or part.claims(conditions) for role, part in self.parts.items()
        }
        if self.guarded:
            return self._refused(claims)
        for role, claim in claims.items():
            if claim.kind == "breaks":
                return replace(claim, reason=f"{_shown(role)}: {claim.reason}")
        guards = {part.guard for part in self.parts.values()}
        faults = tuple(dict.fromkeys(fault for claim in claims.values() for fault in claim.breaks_under))
        errors = tuple(dict.fromkeys(error for claim in claims.values() for error in claim.errors))
        if len(guards) == 1:
            return Claim("holds", "all roles meet at the same guard", faults, errors)
        return Claim("breaks", "each role holds by itself, and none sees what another holds", (), errors)

    def _goes_around(self, part: Strategy) -> bool:
        return self.guarded and not part.guarded

    def _refused(self, claims: Mapping[str, Claim]) -> Claim:
        """The store refuses what is written around the owner: what is left is what the guarded strategy claims."""
        around = [role for role, part in self.parts.items() if self._goes_around(part)]
        role = next(role for role in self.parts if role not in around)
        claim = claims[role]
        if not around or claim.kind != "holds":
            return claim
        reason = f"{' and '.join(map(_shown, around))} may not write: the store refuses it"
        refusal = ("NOPERM",) if self.store == "redis" else ("42501",)
        return replace(claim, reason=reason, errors=(*claim.errors, *refusal))

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """As the strategy of this role does."""
        return await self.part(request.role).apply(session, request, rule)

    async def carry(self, session: Session, attempt: Attempt, flow: Callable[[], Awaitable[None]]) -> None:
        """Held together as a whole where the strategy of this role does so."""
        part = self.part(attempt.role)
        if part.scope == "flow":
            await part.carry(session, attempt, flow)
        else:
            await flow()

    def daemons(self) -> Mapping[str, Daemon]:
        """Those of every strategy, once for all its roles; named after it where several have any."""
        each = {part.title: part.daemons() for part in self.parts.values()}
        several = sum(map(bool, each.values())) > 1
        return {
            f"{title} {name}" if several else name: daemon
            for title, daemons in each.items()
            for name, daemon in daemons.items()
        }

    async def own(self, session: Session, request: Request, rule: Rule) -> Reply:
        """In the owner process, for those who ask it."""
        assert self._owned is not None
        return await self._owned.own(session, request, rule)

    async def take_over(self, session: Session, key: str, rule: Rule) -> None:
        """Likewise."""
        assert self._owned is not None
        await self._owned.take_over(session, key, rule)


def _shown(role: str) -> str:
    return "whoever is not named" if role == OTHERS else role


def _check(scenario: Scenario, parts: Mapping[str, Any]) -> None:
    """Every role is one of the scenario's, and each of those has a strategy. Raises UsageError."""
    from harness.strategy.loader import nearest  # a name that is close; the loader makes these classes

    roles = scenario.roles
    for role in parts:
        if role != OTHERS and role not in roles:
            there = nearest(role, roles) if roles else "nobody has a role there: name one strategy for all"
            raise UsageError(f"unknown role '{role}' of {scenario.name}; {there}")
    left = [role for role in roles if role not in parts]
    if left and OTHERS not in parts:
        raise UsageError(f"no strategy for {', '.join(left)}: add *=STRATEGY for all others")


def _common(scenario: Scenario, layouts: Sequence[TableLayout]) -> TableLayout:
    """The layout that all can use: the one with the most beside its tables. Raises UsageError."""
    widest = max(layouts, key=lambda layout: len(layout.schema))
    for layout in layouts:
        if not set(layout.schema) <= set(widest.schema):
            raise UsageError(f"these strategies keep the state of {scenario.name} in different tables")
    return widest
