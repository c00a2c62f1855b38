"""The smallest rule: add one, answer the new value.

Nothing is lost as long as the value at rest is the number of adds that were acknowledged.
"""

from collections.abc import Iterator, Sequence
from random import Random

from harness import (
    Breach,
    CommandForm,
    CommandsForm,
    Evidence,
    Invariant,
    NotExpressible,
    Outcome,
    Reply,
    Request,
    RowLayout,
    Scenario,
    ScriptForm,
    Signature,
    State,
    StatementForm,
    procedure_forms,
    procedure_layouts,
)

ADD_ONE = Request("add", ("counter",))
ADD = "UPDATE counters SET value = coalesce(value, 0) + 1 WHERE key = $1 RETURNING value"


def added(value: int, _request: Request | None = None) -> Reply:
    """What the caller of an add is told."""
    return Reply("added", {"value": value})


def key_of(request: Request, _now_ms: int) -> tuple[str]:
    """The only argument of the statement."""
    return (request.key,)


class Counter(Scenario):
    """A number that only goes up; no row yet counts as nought."""

    name = "counter"
    summary = "add one; nothing that was acknowledged is lost"
    goes_wrong = "one write covers another"
    symptoms = {
        "likes got lost": "--strategy naive",
        "a counter is too low": "--strategy naive",
        "the row was locked, and one was lost all the same": "--strategy pg-for-update:lock-after-read",
    }
    invariant = "the value is the number of acknowledged adds"
    operations = {"add": Signature({}, {"value": int}, "added", ("added",))}
    rows = RowLayout({"value": "bigint"}, lambda value: (value,), lambda row: row[0], "counters")
    layouts = procedure_layouts(rows, __file__)
    forms = {
        "command": {"add": CommandForm(lambda key, _request, _now_ms: ("INCR", key), added)},
        "multi": {
            "add": CommandsForm(
                lambda key, _request, _now_ms: (("INCR", key),), lambda answers, _: added(answers[0]), several=False
            )
        },
        "lua": {"add": ScriptForm("return redis.call('INCR', KEYS[1])", lambda *_: (), added)},
        "sql": {"add": StatementForm(ADD, key_of, lambda rows, _: added(rows.rows[0][0]))},
        **procedure_forms(
            add=StatementForm("SELECT add_one($1)", key_of, lambda rows, _: added(rows.rows[0][0])),
        ),
        "unique": NotExpressible("everybody may add: there is nothing to claim"),
    }

    def rule(self, state: State, request: Request, now_ms: int) -> Outcome:
        """One more than there is."""
        value = (state[request.key] or 0) + 1
        return Outcome({request.key: value}, added(value))

    def burst(self, rng: Random, size: int) -> Sequence[Request]:
        """Everybody adds to the same counter."""
        return [ADD_ONE] * size

    def invariants(self) -> Sequence[Invariant]:
        """None is lost, none counts twice."""
        return [Invariant("every add counts once", self.invariant, lost_adds)]


def lost_adds(evidence: Evidence) -> Iterator[Breach]:
    """Compare what was told with what is there; an add nobody knows about may count or not."""
    for key, value in (evidence.rest or {}).items():
        adds = [add for add in evidence.operations if add.request.key == key]
        told = sum(1 for add in adds if add.reply is not None and add.reply.decision == "added")
        unknown = sum(1 for add in adds if add.status == "unknown")
        shows = (value or 0) - (evidence.initial.get(key) or 0)
        if not told <= shows <= told + unknown:
            amount = told - shows if shows < told else shows - told - unknown
            adds = "1 add was" if told == 1 else f"{told} adds were"
            says = f"{adds} acknowledged but the counter shows {shows}"
            yield Breach(says, amount=amount)
