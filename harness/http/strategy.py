"""What stands where a strategy would: a service, which does in its own way whatever it does."""

from __future__ import annotations

from collections.abc import Collection

from harness.model import Claim, Conditions, Reply, Request, Rule
from harness.strategy import Scenario, Session, Strategy
from harness.strategy.strategy import Store


class OverHttp(Strategy):
    """A service bound to a scenario. Its claim is that it holds, unless another is known."""

    name = "service"
    family = "http"
    needs = {"http": "1.1"}  # noqa: RUF012 - as in every strategy

    def __init__(
        self, scenario: Scenario, title: str = "service", store: Store = "http", whole: Collection[str] = ()
    ) -> None:
        """`title` is what it is called; `store` where its state lies, where that is known.

        `whole` are the roles to which it applies the whole rule, whatever a caller of that role remembers of it.
        """
        super().__init__(scenario)
        self._title = title
        self._store = store
        self._whole = frozenset(whole)

    @property
    def title(self) -> str:
        """What the service is called."""
        return self._title

    @property
    def store(self) -> Store:
        """Where the state lies."""
        return self._store

    def claims(self, conditions: Conditions) -> Claim:  # noqa: ARG002 - the same under any
        """Whoever runs a service relies on it."""
        return Claim("holds")

    def applied(self, rule: Rule, role: str) -> Rule:
        """As the strategy behind race serve does; of a service of one's own a part is asked that a role remembers."""
        return rule if role in self._whole else super().applied(rule, role)

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:
        """Requests are sent, not carried out."""
        raise NotImplementedError
