"""The cast of a schedule: callers, owners and what they perform, made from a scenario and a strategy."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol

from harness.explore.caller import Caller, Done, Performed
from harness.explore.catalog import Catalog, Tables
from harness.explore.session import ExploreSession, Pending, step
from harness.explore.variables import Variables
from harness.explore.world import OWNERS
from harness.model import (
    ABORTED,
    DENIED,
    NOTHING,
    PASSED_ON,
    Attempt,
    CommandRefused,
    ConnectionLost,
    Effect,
    Evidence,
    Operation,
    Reply,
    Request,
    Rule,
    Status,
    StoreFault,
    UsageError,
    no_reply,
)
from harness.strategy import OWN, Scenario, StatementForm, Strategy

Message = tuple[Caller, Request]


class Namespace(Protocol):
    """What tells one schedule's names from another's, and when it begins."""

    prefix: str
    base_ms: int
    catalog: Catalog | Tables

    @property
    def mark(self) -> str:
        """What the names of this schedule end in."""
        ...


_PATIENCE_MS = 10_000.0
"""How long an attempt waits for others: longer than a lease."""


REPLICA = "replica"
"""The name of a caller who does nothing but catch up with its primary."""


async def _catching_up() -> None:
    while True:
        await step(Pending("catch-up"))


class Cell:
    """Scenario, strategy and rule, and what of them is the same in every schedule."""

    def __init__(
        self, scenario: Scenario, strategy: Strategy, rule: Rule, *, processes: int, clock_steps: bool
    ) -> None:
        """`clock_steps`: time may move."""
        self.scenario = scenario
        self.strategy = strategy
        self.rule = rule
        self.processes = processes
        self.clock_steps = clock_steps
        self.remembers = False
        """Whether a program has looked at the memory of its process before its first step."""
        self.begins = False
        """Whether a request begins with a step of its own, since another caller may look there before or after."""
        forms = (form.statement for form in strategy.forms.values() if isinstance(form, StatementForm))
        self.declared = {*strategy.rows.statements, *strategy.statements, *forms}
        self.one_row = {text for text in self.declared - strategy.statements if strategy.rows.touches_one_row(text)}
        self.one_of = strategy.one_of
        self.leases_ms = max(scenario.leases_ms, scenario.lock_lease_ms)


class Owner:
    """A mailbox, and the memory of who takes from it."""

    def __init__(self, name: str, place: int, key: str = "") -> None:
        """`place` numbers its connections; `key` is all that it owns, "" if it owns everything."""
        self.name = name
        self.key = key
        self.place = place
        self.memory: dict[Any, Any] = {}
        self.mailbox: list[Message] = []
        self.busy = False


class Cast:
    """Who takes part in one schedule."""

    def __init__(
        self, cell: Cell, items: Sequence[Request | Attempt], names: Mapping[str, str], world: Namespace,
        without: Collection[str] = (),
    ) -> None:  # fmt: skip
        """`items` as the scenario draws them; `names` gives each of their keys its name in this schedule.

        The callers `without` take no part.
        """
        self.cell = cell
        self.names = names
        self.keys = frozenset(names.values())
        self.declared, self.one_row, self.one_of = cell.declared, cell.one_row, cell.one_of
        self.catalog = world.catalog
        self.leases_ms = cell.leases_ms
        self.callers: list[Caller] = []
        self.owners: set[str] = set()
        self.daemons: dict[str, str] = {}
        """Those that run beside the callers: the name of each to that of its program."""
        self.operations: list[Performed] = []
        self.effects: list[Done] = []
        self.title = cell.strategy.title
        self.whole = cell.strategy.scope == "flow"
        self._prefix, self._mark, self._base_ms = world.prefix, world.mark, world.base_ms
        self._by_name: dict[str, Caller] = {}
        self._memories: dict[int, dict[Any, Any]] = {}
        self._asked: dict[str, Message] = {}
        self._left: dict[str, Caller] = {}
        self._answers: dict[str, Any] = {}
        self._places = self._owner_places = 0
        for number, item in enumerate(items):
            if _letter(number) in without:
                continue
            self._enlist(_letter(number), number % cell.processes, item, f"r{number + 1}")
        strategy = cell.strategy
        self._owners = [*self._enrol(strategy)] if strategy.owned else []
        if strategy.lag_ms is not None:
            replica = self._caller(REPLICA, self._owner_place(), 2_000, {})
            replica.program = _catching_up()
            replica.condition = "idle"
        self._owner_of = {owner.name: owner for owner in self._owners}
        self._programs = strategy.daemons()
        for name in self._programs:
            self.start(name)

    def _enrol(self, strategy: Strategy) -> Iterator[Owner]:
        """The owners: one of each key, or as many as the strategy wants."""
        if strategy.per_key:
            for base, key in self.names.items():
                yield Owner(f"owner of {base}", self._owner_place(), key)
        else:
            for number in range(strategy.owners):
                yield Owner("owner" if strategy.owners == 1 else f"owner{number + 1}", self._owner_place())

    def named(self, name: str) -> Caller:
        """A caller by its name."""
        return self._by_name[name]

    def decided(self, caller: str, since_ns: int) -> bool:
        """Whether it was given an answer since then that decides something."""
        mine = (one for one in self.operations if one.caller == caller and (one.returned_ns or 0) > since_ns)
        final = self.cell.scenario.final
        return any(one.reply is not None and one.reply != ABORTED and final(one.reply) for one in mine)

    def asked_by(self, caller: Caller) -> set[str]:
        """The requests that it has begun."""
        return {done.request.id for done in self.operations if done.caller == caller.name}

    def resource(self, name: str) -> bool:
        """Whether it names a key of this schedule, or something of the strategy's own."""
        return name in self.keys or name.startswith(self._prefix + OWN)

    def plain(self, text: str) -> str:
        """A text without the namespace and the schedule's number."""
        text = text.replace(self._prefix + OWN, "").replace(self._prefix, "")
        for base, name in self.names.items():
            text = text.replace(name, base)
        return text.replace(f":{self._mark}", "")

    def _place(self) -> int:
        self._places += 1
        return self._places - 1

    def _owner_place(self) -> int:
        self._owner_places += 1
        return OWNERS + self._owner_places - 1

    def _caller(self, name: str, place: int, process: int, memory: dict[Any, Any]) -> Caller:
        caller = Caller(name, place, process, self.plain)
        caller.session = ExploreSession(
            caller,
            self._prefix,
            self._mark,
            memory,
            name,
            clock_steps=self.cell.clock_steps,
            scenario=self.cell.scenario,
        )
        self.callers.append(caller)
        self._by_name[name] = caller
        return caller

    def _enlist(self, name: str, process: int, item: Request | Attempt, id_: str) -> None:
        caller = self._caller(name, self._place(), process, self._memories.setdefault(process, {}))
        keys = tuple(self.names[key] for key in item.keys)
        if isinstance(item, Attempt):
            attempt = Attempt(keys, item.args, f"a{id_[1:]}", item.role)
            caller.program = self._attempt(caller, attempt)
        else:
            request = Request(item.operation, keys, item.args, id_, item.attempt, item.role)
            caller.program = self._single(caller, request)

    # Programs

    async def _single(self, caller: Caller, request: Request) -> None:
        await self._perform(caller, request)

    async def _attempt(self, caller: Caller, attempt: Attempt) -> None:
        flow, strategy = _Flow(self, caller, attempt), self.cell.strategy
        if strategy.scope == "flow":
            await strategy.carry(caller.session, attempt, lambda: self.cell.scenario.flow(flow))
        else:
            await self.cell.scenario.flow(flow)

    async def _perform(self, caller: Caller, request: Request) -> Reply:
        """One request, with what became of it."""
        session = caller.session
        session.changed, session.now_at_ms, session.until_answered = False, 0, False
        done = Performed(request, caller.name)
        self.operations.append(done)
        caller.current = done
        caller.asked_for = request.id
        caller.tries.loops = 0
        try:
            if self.cell.begins:
                await step(Pending("start"))
            rule = self.cell.strategy.applied(self.cell.rule, request.role)
            reply = await self.cell.strategy.apply(session, request, rule)
        except StoreFault as fault:
            done.now_ms, done.error, done.until_answered = session.now_at_ms, fault.code, session.until_answered
            if isinstance(fault, CommandRefused):
                denied = self.cell.strategy.guarded and fault.code == DENIED
                done.status = Status.UNKNOWN if session.changed and not denied else Status.FAILED
                done.returned = True
            caller.current = None
            raise
        if type(reply) is not Reply:
            raise UsageError(no_reply(self.cell.strategy.apply, reply))
        done.reply, done.status, done.returned = reply, Status.OK, True
        done.now_ms, done.until_answered = session.now_at_ms, session.until_answered
        caller.current = None
        return reply

    def duplicate(self, caller: Caller) -> Caller:
        """The same request, delivered once more elsewhere."""
        assert caller.current is not None
        request = caller.current.request
        process = (caller.process + 1) % self.cell.processes
        name = f"{caller.name}'"
        while name in self._by_name:  # delivered a third time
            name += "'"
        twin = self._caller(name, self._place(), process, self._memories.setdefault(process, {}))
        twin.program = self._single(twin, request)
        return twin

    def ask_again(self, request: Request) -> Caller:
        """A new request by somebody new, after everything."""
        caller = self._caller("probe", self._place(), 0, {})
        caller.program = self._single(caller, request)
        return caller

    def begin_effect(self, caller: Caller, name: str, attempt: Attempt, at_ns: int) -> Done:
        """Into the ledger."""
        done = Done(name, attempt.id, attempt.keys, caller.name, at_ns)
        self.effects.append(done)
        return done

    # Daemons and owners

    def start(self, program: str) -> Caller:
        """Run a daemon, or another one in the place of one that is gone: it remembers nothing."""
        name, number = program, 2
        while name in self._by_name:
            name, number = f"{program}.{number}", number + 1
        place = self._owner_place()
        caller = self._caller(name, place, 2_000 + place, {})
        caller.program = self._programs[program](caller.session, self.cell.rule)
        self.daemons[name] = program
        caller.serves = True
        return caller

    def beside(self, caller: Caller) -> Caller:
        """Begin the daemon that a caller asks for."""
        assert caller.pending is not None
        work, apart = caller.pending.words
        place = self._place()
        name = self._beside_name(caller, caller.pending.name)
        daemon = self._caller(name, place, 1_000 + place if apart else caller.process, caller.session.kept)
        daemon.variables = [Variables(caller.name, work)]
        caller.variables += daemon.variables
        daemon.program = work(daemon.session)
        daemon.asked_for, daemon.serves, daemon.prompt = caller.asked_for, True, True
        return daemon

    def of(self, caller: Caller) -> Caller:
        """The daemon that a caller no longer needs."""
        assert caller.pending is not None
        return self._by_name[self._beside_name(caller, caller.pending.name)]

    @staticmethod
    def _beside_name(caller: Caller, name: str) -> str:
        return f"{name} of {caller.name}"

    def owner_of(self, caller: Caller, key: str) -> Owner:
        """Whom a caller asks: that of the key, or of its process. Raises UsageError where a key has none."""
        if not self.cell.strategy.per_key:
            return self._owners[caller.process % len(self._owners)]
        for owner in self._owners:
            if owner.key == key:
                return owner
        raise UsageError(f"no request of the burst names the key '{self.plain(key)}', so that it has no owner")

    def asker_of(self, caller: Caller) -> Caller:
        """Who asked what an owner is at work on, and is to be answered by another one. Raises UsageError."""
        if caller.late:  # who asked was told that this one is gone
            return self._left[caller.name]
        if caller.name not in self._asked:
            raise UsageError("only the owner of a key may tell another to answer in its place, and once")
        return self._asked.pop(caller.name)[0]

    def post(self, owner: Owner, asker: Caller, request: Request) -> Caller | None:
        """Put a message into the mailbox; the owner's program, where it is taken up at once."""
        owner.mailbox.append((asker, request))
        return self._take_up(owner)

    def _take_up(self, owner: Owner) -> Caller | None:
        if not owner.mailbox or (owner.busy and not self.cell.strategy.reentrant):
            return None
        asker, request = owner.mailbox.pop(0)
        caller = self._at_work(owner)
        caller.asked_for = request.id
        self._asked[caller.name] = (asker, request)
        caller.program = self._own(caller, request)
        return caller

    def take_over(self, gone: Caller) -> Caller | None:
        """The successor of an owner that is gone, where it begins by itself."""
        if not self.cell.strategy.succeeded:
            return None
        owner = self._owner_of[gone.owner]
        caller = self._at_work(owner)
        caller.asked_for = gone.asked_for
        caller.program = self.cell.strategy.take_over(caller.session, owner.key, self.cell.rule)
        return caller

    def _at_work(self, owner: Owner) -> Caller:
        """A program of an owner's, which is still to be given."""
        owner.busy = True
        name, number = owner.name, 2
        while name in self._by_name and self._by_name[name].alive:
            name, number = f"{owner.name}.{number}", number + 1
        old = self._by_name.get(name)
        if old is not None:
            self.callers.remove(old)
        place = owner.place if name == owner.name else self._owner_place()
        caller = self._caller(name, place, 1_000 + owner.place, owner.memory)
        self.owners.add(name)
        caller.owner = owner.name
        return caller

    async def _own(self, caller: Caller, request: Request) -> None:
        session = caller.session
        try:
            reply = await self.cell.strategy.own(session, request, self.cell.rule)
        except StoreFault as fault:
            self._answers[caller.name] = ConnectionLost(fault.code)
        else:
            if type(reply) is not Reply:
                raise UsageError(no_reply(self.cell.strategy.own, reply))
            if reply is PASSED_ON and caller.name in self._asked:
                raise UsageError("an owner that passes a request on has to tell another")
            self._answers[caller.name] = (reply, session.now_at_ms)

    def answered(self, caller: Caller) -> tuple[Caller | None, Any, Caller | None]:
        """Who asked and is still to be answered, the answer, and the program of the message that is taken up next."""
        asker, _request = self._asked.pop(caller.name, (None, None))
        owner = self._owner_of[caller.owner]
        owner.busy = False
        return asker, self._answers.pop(caller.name, None), self._take_up(owner)

    def owner_gone(self, caller: Caller) -> list[Caller]:
        """Forget all that an owner knew; those who wait for its answer."""
        owner = self._owner_of[caller.owner]
        waiting = [asker for asker, _request in owner.mailbox]
        for name, (asker, _request) in list(self._asked.items()):
            if self._by_name[name].owner == caller.owner:
                self._by_name[name].answered = True
                self._left[name], _request = self._asked.pop(name)
                waiting.append(asker)
        owner.mailbox, owner.memory, owner.busy = [], {}, False
        owner.place = self._owner_place()
        return waiting

    # Evidence

    def evidence(self, rest: Mapping[str, Any] | None, rest_ms: int) -> Evidence:
        """All of it, as the judge wants it. Deliveries of one request are one operation."""
        merged: dict[str, Operation] = {}
        for done in self.operations:
            if not done.invoked_ns:
                continue
            operation = done.operation()
            known = merged.get(operation.request.id)
            if known is not None:
                operation = _merged(*sorted((known, operation), key=self._says_little))
            merged[operation.request.id] = operation
        keys = tuple(self.names.values())
        return Evidence(
            name="burst",
            keys=keys,
            operations=tuple(merged.values()),
            effects=tuple(
                Effect(done.name, done.attempt, done.keys, done.began_ns, done.ended_ns, done.caller)
                for done in self.effects
            ),
            initial=dict.fromkeys(keys, self.cell.scenario.initial_value),
            rest=rest,
            rest_ms=rest_ms,
            monotonic_to_unix_ns=self._base_ms * 1_000_000,
        )

    def _says_little(self, delivery: Operation) -> int:
        """What became of a request is told by an answer, rather a final one; that one delivery gave up says nothing."""
        if delivery.reply is None or delivery.reply == ABORTED:
            return 2 + (delivery.reply is not None)
        return not self.cell.scenario.final(delivery.reply)

    def answered_differently(self, *, decisions: bool = False) -> str | None:
        """Whether two deliveries of one request were told different things; or with `decisions` the opposite."""
        told: dict[str, Reply] = {}
        final = self.cell.scenario.final
        for done in self.operations:
            if (
                done.reply is not None
                and done.reply != ABORTED  # which answers nothing
                and final(done.reply)
                and (first := told.setdefault(done.request.id, done.reply)) != done.reply
                and not (decisions and first.decision == done.reply.decision)
            ):
                return f"one request, delivered twice, was told {_said(told[done.request.id])} and {_said(done.reply)}"
        return None


class _Flow:
    """What a flow is given."""

    def __init__(self, cast: Cast, caller: Caller, attempt: Attempt) -> None:
        self.attempt = attempt
        self._cast = cast
        self._caller = caller
        self._number = 0

    async def apply(self, operation: str, **args: Any) -> Reply:
        """One request on the attempt's keys."""
        attempt = self.attempt
        self._number += 1
        request = Request(
            operation, attempt.keys, args or NOTHING, f"{attempt.id}.{self._number}", attempt.id, attempt.role
        )
        return await self._cast._perform(self._caller, request)  # noqa: SLF001 - its own

    async def effect(self, name: str, *, id: str = "", undo: str = "") -> None:  # noqa: A002, ARG002 - for a service
        """Two steps: others may come between its begin and its end."""
        await step(Pending("effect", (self.attempt,), name=name))
        await step(Pending("effect-end", name=name))

    async def wait(self) -> bool:
        """Until somebody has changed something that this attempt has touched."""
        return bool(await step(Pending("retry", name="others", ms=_PATIENCE_MS)))


def _merged(first: Operation, second: Operation) -> Operation:
    """Two deliveries as one; what the first one was told is what counts."""
    ends = [one.returned_ns for one in (first, second)]
    known = [end for end in ends if end is not None]
    return first._replace(
        invoked_ns=min(first.invoked_ns, second.invoked_ns),
        returned_ns=max(known) if first.reply is not None and known else None,
    )


def _said(reply: Reply) -> str:
    return " ".join((reply.decision, *(f"{name} {value}" for name, value in reply.values.items())))


def _letter(number: int) -> str:
    return chr(ord("A") + number % 26) + (str(number // 26 + 1) if number >= 26 else "")
