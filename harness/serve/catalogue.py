"""What is served, and under which names. A URL names what was offered when the server began, and no script."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.burst import Cell
from harness.model import UsageError
from harness.serve.refused import Refused
from harness.strategy import store_of
from harness.strategy.loader import bundled, find_scenario, find_strategy, nearest
from harness.strategy.roles import names_roles


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Names to specifications: a bundled one's is its name, a script's is its path."""

    scenarios: Mapping[str, str]
    strategies: Mapping[str, str]

    @classmethod
    def of(cls, scenarios: Iterable[str], strategies: Iterable[str]) -> Catalogue:
        """Of these names and scripts; all bundled ones where there is none. Raises UsageError."""
        offered = {find_scenario(spec).name: spec for spec in scenarios}
        ways: dict[str, str] = {}
        for spec in strategies:
            kind, variant = find_strategy(spec)
            if variant:
                raise UsageError(f"'{spec}': name the strategy without its variant; the URL says which")
            ways[kind.name] = spec
        return cls(
            offered or {name: name for name in bundled("scenario")},
            ways or {name: name for name in bundled("strategy")},
        )

    def describe(self) -> dict[str, Any]:
        """For the pipe to a worker."""
        return {"scenarios": dict(self.scenarios), "strategies": dict(self.strategies)}

    @property
    def stores(self) -> set[str]:
        """The kinds of store that these strategies need."""
        return {store_of(find_strategy(spec)[0]) for spec in self.strategies.values()}

    def scenario(self, name: str) -> str:
        """Its specification. Raises Refused."""
        if name not in self.scenarios:
            raise Refused(404, f"unknown scenario '{name}'; {nearest(name, self.scenarios)}")
        return self.scenarios[name]

    def cell(self, scenario: str, strategy: str, rule: str) -> Cell:
        """The cell behind the names of a URL, its rule never "". Raises Refused."""
        spec = self.scenario(scenario)
        if names_roles(strategy):
            parts = (part.partition("=") for part in strategy.split(","))
            way = ",".join(f"{role}={self._way(name.strip())}" for role, _is, name in parts)
        else:
            way = self._way(strategy)
        try:
            find_strategy(way)
            rules = find_scenario(spec)().all_rules()
        except UsageError as error:
            raise Refused(404, str(error)) from None
        if rule and rule not in rules:
            raise Refused(400, f"unknown rule '{rule}' of {scenario}; {nearest(rule, rules)}")
        return Cell(spec, way, rule or next(iter(rules)))

    def _way(self, text: str) -> str:
        """The specification of a strategy and its variant. Raises Refused."""
        name, colon, variant = text.partition(":")
        if name not in self.strategies:
            raise Refused(404, f"unknown strategy '{name}'; {nearest(name, self.strategies)}")
        kind, _none = find_strategy(self.strategies[name])
        if colon and variant not in kind.variants:
            raise Refused(404, f"unknown variant '{variant}' of {name}; {nearest(variant, kind.variants)}")
        return f"{self.strategies[name]}{colon}{variant}"
