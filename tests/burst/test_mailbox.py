"""Mailboxes of owners that ask each other: who waits in a ring is told so, and nobody else."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from harness import Claim, Reply, Request, Strategy
from harness.burst import mailbox
from harness.burst.mailbox import Letter, Mailbox
from harness.burst.owner import Owner
from harness.burst.session import LoadSession, VirtualProcess
from harness.model import Deadlocked, UsageError
from harness.strategy.loader import find_scenario

if TYPE_CHECKING:
    from harness import Conditions, Rule, Session


class Asking(Strategy):
    """Owners that ask, in turn, those that a request names after them."""

    name = "asking"
    owned = per_key = True

    def claims(self, conditions: Conditions) -> Claim:  # noqa: ARG002
        """Of no interest."""
        return Claim("holds", "nothing is written")

    async def apply(self, session: Session, request: Request, rule: Rule) -> Reply:  # noqa: ARG002
        """Of no interest."""
        return await session.ask(request)

    async def own(self, session: Session, request: Request, rule: Rule) -> Reply:  # noqa: ARG002
        """Wait, ask the next one, or tell it."""
        await session.sleep_ms(request.args.get("ms", 1))
        rest = request.keys[1:]
        if not rest:
            return Reply("done")
        further = request._replace(keys=rest)
        if request.operation == "tell":
            return await session.tell(further, of=rest[0])
        told = await session.ask(further, of=rest[0])
        return told if request.operation == "ask" else Reply("passed on")


class Owners:
    """Mailboxes that are made when somebody writes to them."""

    def __init__(self) -> None:
        """None yet."""
        self._boxes: dict[str, Mailbox] = {}

    def find(self, key: str) -> Mailbox:
        """That of a key."""
        if key not in self._boxes:
            scenario = find_scenario("counter")()
            box = Mailbox(Asking(scenario), scenario.rule, LoadSession(key, "", VirtualProcess()))
            box.meet(self.find)
            self._boxes[key] = box
        return self._boxes[key]

    async def asked(self, operation: str, keys: str, **args: Any) -> Any:
        """What the owner of the first key answers, or what keeps it from that."""
        told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.find(keys[0]).post(Letter(Request(operation, tuple(keys), args), told.set_result))
        answer = await told
        return answer[0].decision if isinstance(answer, tuple) else type(answer)


def answers(*asked: tuple[str, str], **args: Any) -> list[Any]:
    """What becomes of requests that are made at once."""

    async def go() -> list[Any]:
        owners = Owners()
        return await asyncio.wait_for(asyncio.gather(*(owners.asked(*one, **args) for one in asked)), 5)

    return asyncio.run(go())


@pytest.mark.parametrize("ring", [("ab", "ba"), ("abc", "bc", "ca"), ("aa",)])
def test_a_ring(ring: tuple[str, ...]) -> None:
    """All in it are told after a while; who only waits for one of them is answered then."""
    began = time.monotonic()
    told = answers(*(("ask", keys) for keys in ring), ("ask", "za"))
    assert time.monotonic() - began >= mailbox.PATIENCE_S
    assert (Deadlocked in told, told[-1]) == (True, "done")
    assert set(told[:-1]) <= {Deadlocked, "done"}


def test_who_waits_long_is_in_no_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience is with rings: a chain of slow owners takes its time."""
    monkeypatch.setattr(mailbox, "PATIENCE_S", 0.001)
    assert answers(("ask", "abcd"), ("ask", "bcd"), ("ask", "cd"), ms=20) == ["done"] * 3


def test_whoever_is_told_answers() -> None:
    """In both directions at once, since nobody waits."""
    assert answers(("tell", "ab"), ("tell", "ba"), ("tell", "abab")) == ["done"] * 3


def test_nobody_passes_on_what_nobody_is_told() -> None:
    """The words alone do not do it, and a reply that only looks alike is one."""
    assert answers(("nothing", "ab")) == ["passed on"]


def test_a_broken_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    """An owner that says so without having told another has a mistake in its script."""

    async def own(*_args: Any) -> Reply:
        from harness.model import PASSED_ON

        return PASSED_ON

    monkeypatch.setattr(Asking, "own", own)
    assert answers(("tell", "ab")) == [UsageError]


def test_a_message_that_is_cut_off_asks_nothing() -> None:
    """Its worker was killed while it wrote."""
    worker, end = socket.socketpair()
    worker.send(b'[1, "add", ["coun')
    worker.close()
    owner = Owner("owner", "race:0:")
    asyncio.run(owner.listen(end))
    assert owner.commands() == 0
