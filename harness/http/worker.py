"""A worker process that sends its share of every burst over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.burst.child import CarryOut, pin, serve
from harness.burst.perform import BrokenScript
from harness.burst.plan import Cell, Load, Orders, draw, orders_from
from harness.burst.record import PROBE, Recorder, write_whole
from harness.burst.rendezvous import Rendezvous, spin
from harness.http.apart import Apart
from harness.http.calls import Answer, Call, Service
from harness.http.connection import Line, Part, Shared, prepared, release
from harness.http.perform import Gate, HttpPerformer, HttpSession
from harness.http.place import Place, is_loopback
from harness.http.services import find_service
from harness.http.strategy import OverHttp
from harness.model import Attempt, ConnectionLost, RaceError, Request, StoreUnavailable, UsageError, described
from harness.strategy.loader import find_scenario

_PATIENCE_S = 0.005
_SETTLE_S = 0.001
"""After so long, or two round trips, what was sent of a request has arrived."""
_GIVE_UP_S = 2.0
_EARLY_S = 0.05
"""A service that acts on a request before its last byte has come answers within this, if ever it is seen."""
_BURSTS_A_CONNECTION = 5
"""A connection stays with one process of the service: were it kept, all of them might lead to the same one for the
whole of a run, and a lock within that process would look right."""
_LOGINS = 3
"""So often a key is asked about at most where its login has run out every time."""
_AT_ONCE = 8
"""So many keys are readied or read at a time, where each takes a request."""


class HttpWorker:
    """One process of the fleet."""

    def __init__(self, hello: dict[str, Any]) -> None:
        """`hello` is the first line: number, the service and file descriptors."""
        self.number: int = hello["worker"]
        self.processes: int = hello["processes"]
        self.recorder = Recorder(self.number, hello["entries_fd"], hello["words_fd"])
        self.steps_fd: int = hello["steps_fd"]
        self.rendezvous = Rendezvous(hello["meeting_fd"], self.number, self.processes)
        self.where: dict[str, Any] = hello["stores"]
        self.place = Place(**self.where["place"])
        self._context = self.place.context()
        self._shared = Shared()
        self._apart = Apart(self.number)
        self.sessions: list[HttpSession] = []
        self._performers: dict[Cell, HttpPerformer] = {}
        self._logging_in = asyncio.Lock()

    # What is at hand

    def session(self, index: int) -> HttpSession:
        """The session of a caller."""
        while len(self.sessions) <= index:
            name = f"{self.number}.{len(self.sessions)}"
            self.sessions.append(HttpSession(name, Line(self.place, self._context, self._shared)))
        return self.sessions[index]

    def performer(self, cell: Cell, load: Load) -> HttpPerformer:
        """A cell ready to be performed."""
        if cell not in self._performers:
            scenario = find_scenario(cell.scenario)()
            rules = scenario.all_rules()
            rule = cell.rule or next(iter(rules))
            scenario = scenario.under(rule)
            description = {**self.where, "rule": cell.rule}
            if self.where["cell"]:  # of race serve: its control is another path of it
                description["cell"] = f"/{scenario.name}/{cell.strategy}"
            service = find_service(description, scenario.operations)
            performer = HttpPerformer(
                scenario, OverHttp(scenario), rules[rule], self.recorder, load.work_us, service=service,
                run=self.where["run"], same_machine=is_loopback(self.place.host),
            )  # fmt: skip
            performer.heads = set(self.where.get("heads", ()))
            self._performers[cell] = performer
        return self._performers[cell]

    # Bursts

    async def bursts(self, orders: Orders) -> dict[str, Any]:
        """One burst after the other: send all but the ends, meet, complete them together, wait for all answers.

        Where a login has run out nobody goes on: what comes next would be answered likewise.
        """
        load = orders.load
        performers = [self.performer(cell, load) for cell in orders.cells]
        released: list[tuple[int, int]] = []
        for performer in performers:
            performer.trace, performer.sent, performer.handled, performer.expired = [], 0, [], {}
        give_up = time.monotonic() + orders.deadline_s
        until = give_up if orders.budget_s is None else time.monotonic() + orders.budget_s
        self.rendezvous.begin()
        for burst in range(orders.first, orders.first + orders.count):
            performer = performers[orders.cell_of(burst)]
            mine = self._share(draw(performer.scenario, load.seed, burst, load.size), burst)
            try:
                at = await self._burst(performer, burst, mine, give_up)
            except BaseException:  # nobody waits for this process any more
                self.rendezvous.stop()
                raise
            if not at:
                await self._hang_up()  # what was held would be taken for the beginning of another request
                break
            released.append((burst, at))
            if performer.expired or time.monotonic() > until:
                self.rendezvous.stop()
                break
            await self._apart.part(self.sessions)
            if len(released) % _BURSTS_A_CONNECTION == 0:
                await self._hang_up()
        self._dump([step for performer in performers for step in performer.trace or ()])
        sent = sum(performer.sent for performer in performers)
        handled = [one for performer in performers for one in performer.take_handled()]
        expired = [(burst, who) for performer in performers for who, burst in performer.expired.items()]
        return {
            "released": released,
            "handled": handled,
            "expired": expired,
            "stopped": len(released) < orders.count,
            **self._counts(sent),
        }

    async def _hang_up(self) -> None:
        """The next burst goes over connections of its own, opened before it is released."""
        for session in self.sessions:
            session.lost = False
            await session.line.drop()
        await self._shared.close()

    def _share(self, items: Sequence[Request | Attempt], burst: int) -> Sequence[Request | Attempt]:
        """What of a burst is this process's to send.

        Over HTTP/2 every other burst is one process's alone, so that it leaves in one packet; the others go over
        several connections, and so to several processes of the service, should it have them.
        """
        if self.where["version"] == "2" and burst % 2 == 0:
            return items if burst // 2 % self.processes == self.number else ()
        return [item for place, item in enumerate(items) if (place + burst) % self.processes == self.number]

    async def _burst(
        self, performer: HttpPerformer, burst: int, mine: Sequence[Request | Attempt], give_up: float
    ) -> int:
        gate = Gate(len(mine))
        tasks = []
        for index, item in enumerate(mine):
            session = self.session(index)
            session.gate, session.request = gate, ""
            tasks.append(asyncio.create_task(self._item(performer, session, index, burst, item)))
        parts: list[Part] = []
        if tasks:
            await self._all_held(performer, gate, tasks)
            settle_s = max(_SETTLE_S, 2 * self._round_trip_s(gate))
            await asyncio.sleep(settle_s)
            if any([await held.renewed() for held in gate.held]):
                await asyncio.sleep(settle_s)
            parts = prepared([held for held in gate.held if not held.connection.wire.closed])
        at = await self._meet(give_up)
        if at:
            spin(at)
            release(parts)
            await self._finish(performer, tasks)
        else:
            await self._drop(tasks)
        return at

    async def _all_held(self, performer: HttpPerformer, gate: Gate, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Until all is sent but the ends. Raises ConnectionLost, UsageError."""
        try:
            await gate.wait(performer.service.timeout_s)
        except TimeoutError:
            for task in tasks:
                task.cancel()
            if any(session.gate is not None and not session.request for session in self.sessions):
                raise UsageError("the scenario's flow does not begin with a request") from None
            raise ConnectionLost("it takes a request only in part, and not the rest in time") from None
        self._not_reached(performer, tasks)

    async def _item(
        self, performer: HttpPerformer, session: HttpSession, index: int, burst: int, item: Request | Attempt
    ) -> None:
        """One request or attempt. Whoever sends nothing at all is not waited for."""
        try:
            await performer.item(session, index, burst, item)  # type: ignore[arg-type]
        finally:
            if session.gate is not None:
                session.gate.arrived(None)
                session.gate = None

    @staticmethod
    def _round_trip_s(gate: Gate) -> float:
        return max((held.connection.wire.round_trip_s for held in gate.held), default=0.0)

    @staticmethod
    def _not_reached(performer: HttpPerformer, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Raise what keeps this process from the service: bursts without their share show nothing."""
        if performer.not_reached is not None:
            lost, performer.not_reached = performer.not_reached, None
            for task in tasks:
                task.cancel()
            raise lost

    async def _meet(self, give_up: float) -> int:
        self.rendezvous.arrive()
        while not (at := self.rendezvous.wait(_PATIENCE_S)):
            if self.rendezvous.stopped or time.monotonic() > give_up:
                return 0
            await asyncio.sleep(0)  # let the loop see that the parent died
        return at

    async def _finish(self, performer: HttpPerformer, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Wait for all answers: each request has its own time-out. Raises what a script is to blame for."""
        if tasks:
            await asyncio.wait(tasks)
        for session in self.sessions:
            if session.lost:
                session.lost = False
                await session.line.drop()
        self._not_reached(performer, tasks)
        self._blame(performer)
        for task in tasks:
            error = task.exception() if not task.cancelled() else None
            if error is not None and not isinstance(error, BrokenScript):
                raise error

    def _blame(self, performer: HttpPerformer) -> None:
        if performer.broken:
            raise UsageError(performer.broken)

    @staticmethod
    async def _drop(tasks: Sequence[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_GIVE_UP_S)

    # One after the other

    async def alone(self, cell: Cell, load: Load, burst: int) -> dict[str, Any]:
        """The requests of a burst one after the other: what is wrong with them then is no race.

        Before, each kind of request is held back for a moment: whoever answers it then does not wait for its end.
        """
        performer = self.performer(cell, load)
        session = self.session(0)
        performer.trace = []
        for item in draw(performer.scenario, load.seed, burst, load.size):
            session.gate = gate = Gate(1)
            task = asyncio.create_task(self._item(performer, session, 0, burst, item))
            await self._all_held(performer, gate, [task])
            if gate.held:
                await asyncio.wait([task], timeout=_EARLY_S)
                if performer.early - performer.heads:
                    performer.heads |= performer.early
                else:
                    release(prepared(gate.held))
            await self._finish(performer, [task])
        return {"heads": sorted(performer.heads), "why": performer.lost, **self._counts(performer.sent)}

    async def probe(self, cell: Cell, load: Load, keys: list[str], burst_of: list[int]) -> dict[str, Any]:
        """Ask each key whether it still works, with a request that an idle key must grant."""
        performer = self.performer(cell, load)
        session = self.session(0)
        for key, burst in zip(keys, burst_of, strict=True):
            request = performer.scenario.probe(key)
            if request is None:
                continue
            performer.expired = {}
            await self._probe(performer, session, burst, request)
            if performer.expired:
                await self._again(performer, performer.on_wire(request.keys))
                await self._probe(performer, session, burst, request)
        self._blame(performer)
        return {"entries": self.recorder.count}

    async def _probe(self, performer: HttpPerformer, session: HttpSession, burst: int, request: Request) -> None:
        self.recorder.attempts = number = self.recorder.attempts + 1
        with contextlib.suppress(ConnectionLost, BrokenScript):
            await performer.probe(session, burst, request, number, PROBE)
        if session.lost:
            session.lost = False
            await session.line.drop()

    # State

    async def seed(self, cell: Cell, load: Load, keys: list[str]) -> dict[str, Any]:
        """Ready every key, where the service wants that."""
        performer = self.performer(cell, load)

        def check(_names: Sequence[str], call: Call, answer: Answer) -> None:
            if not performer.service.was_reset(answer):
                says = f"the service answered {answer.status} to the reset, {call.method}{performer.why(answer)}"
                raise StoreUnavailable(says) if answer.status == 503 else UsageError(says)

        missing = performer.logins.missing(performer.on_wire(tuple(keys)))
        logins = await self._log_in(performer, missing, range(_AT_ONCE))
        _known, again = await self._each(performer, keys, performer.service.reset, check)
        return {"logins": logins | again}

    async def _log_in(
        self, performer: HttpPerformer, whose: Sequence[str], sessions: Sequence[int]
    ) -> dict[str, dict[str, str]]:
        """The credentials of these, asked for by these sessions. Raises UsageError, StoreUnavailable."""
        service = performer.service
        waiting = iter(whose)
        found: dict[str, dict[str, str]] = {}

        async def work(index: int) -> None:
            for key in waiting:
                if (call := service.login(key)) is None:
                    return
                async with asyncio.timeout(service.timeout_s):
                    answer = await self.session(index).line.ask(call)
                found[key] = dict(service.logged_in(answer))

        try:
            await asyncio.gather(*map(work, sessions))
        except TimeoutError:
            raise ConnectionLost("no answer in time") from None
        performer.logins.learn(found)
        return found

    async def _again(
        self, performer: HttpPerformer, keys: Sequence[str], had: Mapping[str, str] | None = None, index: int = 0
    ) -> dict[str, dict[str, str]]:
        """Log in once more for these keys, unless somebody did since they `had` what has run out.

        `index` is the session that does it; nobody else uses it meanwhile.
        """
        async with self._logging_in:
            if had is not None and performer.logins.of(keys) is not had:
                return {}
            return await self._log_in(performer, [performer.logins.who(keys)], (index,))

    async def renew(self, cell: Cell, load: Load, whose: list[str]) -> dict[str, Any]:
        """Log in once more where a login has run out: by key on the wire, or for "", everybody."""
        performer = self.performer(cell, load)
        found: dict[str, dict[str, str]] = {}
        for who in whose:
            found |= await self._again(performer, (who,))
        return {"logins": found}

    async def rest(self, cell: Cell, load: Load, keys: list[str], *, untouched: bool = False) -> dict[str, Any]:
        """Read the state at rest; None where the service has no way to.

        Of keys that are yet `untouched` it may have nothing to tell that could be read.
        """
        performer = self.performer(cell, load)
        found: dict[str, Any] = {}

        def read(names: Sequence[str], _call: Call, answer: Answer) -> None:
            on_wire = performer.on_wire(tuple(names))
            try:
                values = performer.clean(performer.service.values(on_wire, answer), on_wire)
            except Exception:
                if untouched:
                    return
                raise
            found.update({name: values.get(wire) for name, wire in zip(names, on_wire, strict=True)})

        known, again = await self._each(performer, keys, performer.service.rest, read)
        return {"rest": found if known else None, "rest_ms": time.time_ns() // 1_000_000, "logins": again}

    async def _each(
        self,
        performer: HttpPerformer,
        keys: Sequence[str],
        make: Callable[[Sequence[str]], Call | None],
        take: Callable[[Sequence[str], Call, Answer], None],
    ) -> tuple[bool, dict[str, dict[str, str]]]:
        """Ask about keys, as many at a time as the service takes; False where it has nothing for that.

        A login that has run out is made again; also told is which were.
        """
        service: Service = performer.service
        groups = [keys[at : at + service.keys_at_once] for at in range(0, len(keys), service.keys_at_once)]
        waiting = iter(groups)
        again: dict[str, dict[str, str]] = {}

        async def work(index: int) -> bool:
            known = True
            for names in waiting:
                on_wire = performer.on_wire(tuple(names))
                if (call := make(on_wire)) is None:
                    return False
                for _ in range(_LOGINS):
                    had = performer.logins.of(on_wire)
                    async with asyncio.timeout(service.timeout_s):
                        answer = await self.session(index).line.ask(performer.logins.added(call, on_wire))
                    if not performer.ran_out(answer, on_wire):
                        break
                    again.update(await self._again(performer, on_wire, had, index))
                take(names, call, answer)
            return known

        try:
            found = await asyncio.gather(*(work(index) for index in range(min(_AT_ONCE, len(groups)))))
            return all(found), again
        except TimeoutError:
            raise ConnectionLost("no answer in time") from None

    # Accounts

    def _counts(self, sent: int) -> dict[str, Any]:
        return {"commands": sent, "retries": 0, "entries": self.recorder.count}

    def _dump(self, trace: Sequence[tuple[int, Any]]) -> None:
        if trace:
            text = "".join(f"{json.dumps([burst, *step], default=str)}\n" for burst, step in trace)
            write_whole(self.steps_fd, text.encode())

    async def carry_out(self, line: str) -> dict[str, Any]:
        """One order, and what came of it. Raises StoreUnavailable where the service cannot be reached any more."""
        try:
            return await self._carried_out(json.loads(line))
        except ConnectionLost as lost:
            raise StoreUnavailable(f"the service was lost during the run: {lost}") from None
        except RaceError as error:
            raise type(error)(self._without_secrets(str(error))) from None
        except Exception as error:  # of a script, whose text may hold what it was given in secret
            raise UsageError(self._without_secrets(described(error))) from None

    def _without_secrets(self, text: str) -> str:
        for performer in self._performers.values():
            text = performer.clean(text)
        return text

    async def _carried_out(self, data: dict[str, Any]) -> dict[str, Any]:
        if data["do"] == "bursts":
            return await self.bursts(orders_from(data))
        if data["do"] == "heads":
            for performer in self._performers.values():
                performer.heads = set(data["heads"])
            self.where["heads"] = data["heads"]
            return {}
        cell, load = Cell(**data["cell"]), Load(**data["load"])
        match data["do"]:
            case "logins":
                self.performer(cell, load).logins.learn(data["logins"])
                return {}
            case "seed":
                return await self.seed(cell, load, data["keys"])
            case "renew":
                return await self.renew(cell, load, data["whose"])
            case "rest":
                return await self.rest(cell, load, data["keys"], untouched=data.get("untouched", False))
            case "alone":
                return await self.alone(cell, load, data["burst"])
            case _:
                return await self.probe(cell, load, data["keys"], data["bursts"])


async def _begun(hello: dict[str, Any]) -> CarryOut:
    pin(hello["worker"], hello["processes"])
    return HttpWorker(hello).carry_out


if __name__ == "__main__":
    serve(_begun)
