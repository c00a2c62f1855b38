"""Performing requests over HTTP: the first of each caller is held back until all callers are let go together."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from harness.burst.evidence import monotonic_to_unix_ns
from harness.burst.perform import Performer
from harness.burst.record import OPERATION, Mark, Recorder
from harness.http.calls import Answer, Call, Service, Told
from harness.http.connection import Held, Line
from harness.http.login import Logins
from harness.http.scrub import scrubbed
from harness.model import (
    ConnectionLost,
    Reply,
    Request,
    Rule,
    Status,
    Step,
    StoreFault,
    UsageError,
    no_reply,
)
from harness.strategy import Scenario, Strategy

TIMEOUT = "timeout"
SENSELESS = (-1, 0)
"""In the place of stamps that cannot be right."""
_TICK_NS = 2_000_000
"""Of another clock than race's: some tick in milliseconds."""


class AttemptEnds(StoreFault):
    """The service has no such request: the attempt is over."""


class Gate:
    """Where the callers of one process wait, their first requests all but sent."""

    def __init__(self, expected: int) -> None:
        """`expected` is how many come."""
        self.held: list[Held] = []
        self._missing = expected
        self._all = asyncio.Event()

    def arrived(self, held: Held | None) -> None:
        """One more has come; None for whoever will not send anything."""
        self._missing -= 1
        if held is not None:
            self.held.append(held)
        if self._missing <= 0:
            self._all.set()

    async def wait(self, timeout_s: float) -> None:
        """Until all have come. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            await self._all.wait()


class HttpSession:
    """One caller: its line to the service, and what `Performer` asks of a session."""

    def __init__(self, caller: str, line: Line) -> None:
        """`line` may be shared."""
        self.caller = caller
        self.line = line
        self.flow: Any = None
        self.request = ""
        self.lost = False
        self.gate: Gate | None = None
        self.process = ""


class HttpPerformer(Performer):
    """Sends requests to a service in place of carrying them out.

    `expired`: whose login has run out, by what was answered, and in which burst. `lost`: why there was no answer, last.
    """

    def __init__(
        self, scenario: Scenario, strategy: Strategy, rule: Rule, recorder: Recorder, work_us: int,
        *, service: Service, run: str, same_machine: bool = False,
    ) -> None:  # fmt: skip
        """`run` makes keys new in every run; `same_machine`: its monotonic clock may be ours."""
        super().__init__(scenario, strategy, rule, recorder, work_us)
        self.service = service
        self.run = run
        self.same_machine = same_machine
        self.heads: set[str] = set()
        self.early: set[str] = set()
        self.handled: list[list[Any]] = []
        self.trace: list[tuple[int, Step]] | None = None
        self.sent = 0
        self.not_reached: ConnectionLost | None = None
        self.lost = ""
        self.logins = Logins(each=service.login_each)
        self.expired: dict[str, int] = {}
        self._secrets = [secret for secret in service.secrets() if len(secret) > 2]

    def on_wire(self, keys: tuple[str, ...]) -> tuple[str, ...]:
        """Keys as the service is told them: new in every run. `user:17` becomes `user-3fa9c2-17`."""
        mark = self.service.separator
        return tuple(f"{mark}".join((name.replace(":", mark), f"{self.run}-{number}")) for name, _, number in
                     (key.rpartition(":") for key in keys))  # fmt: skip

    async def request(  # type: ignore[override]
        self,
        session: HttpSession,
        who: int,
        operation: str,
        keys: tuple[str, ...],
        args: Mapping[str, Any],
        attempt: str,
        role: str,
        place: int,
        number: int = -1,
        kind: int = OPERATION,
        asked_ns: int = 0,
    ) -> Reply:
        """One request. Raises StoreFault after it was recorded.

        It is recorded as begun before anything of it was sent: a service may act on what it has.
        """
        gated, recorder = session.gate is not None, self.recorder
        burst = recorder.burst_of(who)
        request = Request(operation, keys, args, f"{recorder.worker}-{recorder.count}", attempt, role)
        on_wire = self.on_wire(keys)
        call = self.service.call(request._replace(keys=on_wire))
        if call is None:
            raise AttemptEnds("no such request")
        call = self.logins.added(call, on_wire)
        session.request = request.id
        began_ns = time.monotonic_ns()
        mark = recorder.begin(operation, place, args, role, who, number, asked_ns or began_ns, kind)
        try:
            held, answer, returned_ns = await self._exchange(session, call, operation)
            told = self.service.told(request, answer)
            if type(told) is not Told or (told.reply is not None and type(told.reply) is not Reply):
                raise UsageError(no_reply(self.service.reply, told if type(told) is not Told else told.reply))  # noqa: TRY301 - recorded like any other error
        except BaseException as error:
            self._broke(session, mark, error, began_ns)
            if isinstance(error, TimeoutError):
                raise TimedOut from None
            raise
        session.process = answer.headers.get(self.service.worker_header, "")
        stamps = self.service.stamps(answer)
        if gated and held.sent_ns:
            if not self._possible(stamps, (began_ns, held.sent_ns, returned_ns)):
                stamps = SENSELESS
            self.handled.append([burst, request.id, held.sent_ns, *stamps])
        now_ms, now_max_ms = self._instant(told, stamps, began_ns, returned_ns)
        if self.trace is not None:
            command = (call.method, self.clean(call.path.partition("?")[0], on_wire))
            step = Step(
                session.caller,
                request.id,
                "http",
                command,
                str(answer.status),
                held.sent_ns or returned_ns,
                returned_ns,
            )
            self.trace.append((burst, step))
        if told.reply is None:
            if self.ran_out(answer, on_wire):
                self.expired[self.logins.who(on_wire)] = burst
            self.errors[told.error] += 1
            status = Status.FAILED if told.failed else Status.UNKNOWN
            # An answer that nobody understands is none: it is told so, and nothing is concluded from it.
            recorder.end_badly(mark, status, told.error, now_ms, now_max_ms, returned_ns if told.failed else 0)
            raise NotUnderstood(told.error)
        reply = Reply(self.clean(told.reply.decision, on_wire), self.clean(told.reply.values, on_wire))
        recorder.end(mark, reply, now_ms, now_max_ms, returned_ns)
        return reply

    def ran_out(self, answer: Answer, keys: Sequence[str]) -> bool:
        """Whether this answer about keys says that the login that they had has run out."""
        return bool(self.logins.of(keys)) and self.service.login_expired(answer)

    async def probe(self, session: HttpSession, burst: int, request: Request, number: int, kind: int) -> None:
        """A request that is asked alone, as attempt `number`. Raises ConnectionLost and BrokenScript."""
        attempt = f"{self.recorder.worker}-a{number}"
        with contextlib.suppress(AttemptEnds, NotUnderstood):  # recorded; the probe was not answered
            await self.request(
                session, self.recorder.who(0, burst), request.operation, request.keys, request.args, attempt,
                request.role, self.recorder.place(request.keys), number, kind,
            )  # fmt: skip

    async def _exchange(self, session: HttpSession, call: Call, operation: str) -> tuple[Held, Answer, int]:
        """Send it, its end once the gate lets it go; the answer, and when it was there."""
        held = await self._hold(session, call, head=operation in self.heads)
        gate, session.gate = session.gate, None  # only the first request of a caller waits there
        if gate is None:
            held.end()
        else:
            gate.arrived(held)
        self.sent += 1
        async with asyncio.timeout(self.service.timeout_s):
            answer = await held.answer()
        returned_ns = time.monotonic_ns()
        if not held.sent_ns:  # the rest of the request would be taken for another one
            self.early.add(operation)
            session.lost = True
        return held, answer, returned_ns

    async def _hold(self, session: HttpSession, call: Call, *, head: bool) -> Held:
        try:
            return await session.line.hold(call, head=head)
        except ConnectionLost as lost:
            self.not_reached = self.not_reached or lost
            raise

    def _possible(self, stamps: tuple[int, int], ours: tuple[int, int, int]) -> bool:
        """Whether a handler can have been at work as stamped: not before it had its request, and no longer than that.

        `ours`: when the request began, when its end was sent, and when its answer was there, by race's clock.
        """
        (arrived_ns, done_ns), (began_ns, sent_ns, returned_ns) = stamps, ours
        if not arrived_ns or not done_ns:
            return True
        if self.same_machine and began_ns <= arrived_ns and done_ns <= returned_ns:  # our own clock
            return sent_ns <= arrived_ns <= done_ns
        took_ns = returned_ns - sent_ns
        return arrived_ns <= done_ns <= arrived_ns + took_ns + took_ns // 100 + _TICK_NS

    def _instant(self, told: Told, stamps: tuple[int, int], began_ns: int, returned_ns: int) -> tuple[int, int]:
        """Between which instants (Unix ms) it was decided; noughts where the rule has nothing that runs out."""
        if told.now_ms or not self.scenario.leases_ms:
            return told.now_ms, told.now_max_ms
        arrived_ns, done_ns = stamps
        if self.same_machine and began_ns <= arrived_ns <= done_ns <= returned_ns:  # our own clock, so to the point
            began_ns, returned_ns = arrived_ns, done_ns
        return _unix_ms(began_ns), _unix_ms(returned_ns)

    def _broke(self, session: HttpSession, mark: Mark, error: BaseException, began_ns: int) -> None:
        """Record that nobody knows what became of it."""
        code = "script"
        if isinstance(error, ConnectionLost):
            code, self.lost = error.code, str(error)
        elif isinstance(error, TimeoutError | asyncio.CancelledError):
            code, self.lost = TIMEOUT, f"none within {self.service.timeout_s:g} s"
        session.lost = True
        self.errors[code] += 1
        timed = bool(self.scenario.leases_ms)
        now_ms, now_max_ms = (_unix_ms(began_ns), _unix_ms(time.monotonic_ns())) if timed else (0, 0)
        self.recorder.end_badly(mark, Status.UNKNOWN, code, now_ms, now_max_ms, 0)

    def clean(self, value: Any, keys: Sequence[str] | None = None) -> Any:
        """What the service said of these keys, or of any, without what was told in secret, by us or by it."""
        return scrubbed(value, [*self._secrets, *self.logins.secrets(keys)])

    def why(self, answer: Answer) -> str:
        """What race serve says of a refusal, to be added to a line; other services say so in ways of their own."""
        said = answer.json() if self.service.bundled else None
        return f": {said['error']}" if isinstance(said, dict) and isinstance(said.get("error"), str) else ""

    def take_handled(self) -> list[list[Any]]:
        """What was told since the last time: burst, id, when it was sent, when it arrived and was done there."""
        taken, self.handled = self.handled, []
        return taken


class NotUnderstood(StoreFault):
    """An answer that says nothing about the outcome."""


class TimedOut(ConnectionLost):
    """No answer in time."""


def _unix_ms(monotonic_ns: int) -> int:
    return (monotonic_ns + monotonic_to_unix_ns()) // 1_000_000
