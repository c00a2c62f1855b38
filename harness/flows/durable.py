"""The fifth way: a durable workflow, by DBOS, on the same PostgreSQL. The only module that imports it.

DBOS keeps what it knows in the schema of the run, so it goes with it. A workflow is resumed by a process of the same
name when that is started again; a step whose result was written down is not made again, one without is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from dbos import DBOS, DBOSConfig, SetWorkflowID

from harness.flows.carrying import LEASE_S, Inline, PlainFlow
from harness.model import Attempt, Reply
from harness.stores import PostgresTarget

_TRIES, _PAUSE_S = 3, 0.05
_PATIENCE_S = 20.0
_LONGER = 1.5
_WAY: list[Durable] = []
"""The one way of this process: DBOS finds a workflow by the name of its function."""


@DBOS.workflow(name="attempt")
async def carried(keys: list[str], args: dict[str, Any], id_: str, role: str) -> None:
    """An attempt as a workflow."""
    (way,) = _WAY
    attempt = Attempt(tuple(keys), args, id_, role)
    await way.ground.scenario.flow(DurableFlow(way, attempt))


@DBOS.step(name="request", retries_allowed=True, max_attempts=_TRIES, interval_seconds=_PAUSE_S)
async def request(
    keys: list[str], attempt: list[Any], number: int, operation: str, args: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """A transition as a step."""
    (way,) = _WAY
    reply = await way.ground.apply(Attempt(tuple(keys), *attempt), number, operation, args)
    return reply.decision, dict(reply.values)


@DBOS.step(name="effect", retries_allowed=True, max_attempts=_TRIES, interval_seconds=_PAUSE_S)
async def effect(keys: list[str], attempt: list[Any], name: str, key: str) -> None:
    """An effect as a step: once more where it got no answer."""
    (way,) = _WAY
    await way.ground.effect(Attempt(tuple(keys), *attempt), name, key)


class Durable(Inline):
    """A durable workflow. `keyed`: its effects carry an idempotency key."""

    async def open(self) -> None:
        """Launch DBOS: what a process of this name left unfinished is resumed by that."""
        await super().open()
        _WAY[:] = [self]
        target = self.ground.targets.postgres
        assert target is not None
        config: DBOSConfig = {
            "name": "race",
            "system_database_url": address(target),
            "dbos_system_schema": self.ground.targets.schema,
            "db_engine_kwargs": {
                "connect_args": {"application_name": self.ground.targets.schema, "connect_timeout": 5},
                "pool_size": 4,
            },
            "executor_id": self.executor,
            "application_version": "race",
            "log_level": "CRITICAL",
            "use_listen_notify": False,
            "notification_listener_polling_interval_sec": 0.05,
        }
        logging.getLogger("dbos").setLevel(logging.CRITICAL)
        await asyncio.to_thread(_launch, config)

    async def perform(self, attempt: Attempt) -> None:
        """The attempt's id is the workflow's: another delivery is given the same workflow."""
        known = await DBOS.get_workflow_status_async(attempt.id)
        if known is not None:
            self.say("waits")
        with SetWorkflowID(attempt.id):
            handle = await DBOS.start_workflow_async(
                carried, list(attempt.keys), dict(attempt.args), attempt.id, attempt.role
            )
        await handle.get_result()

    async def recover(self, *, others: bool) -> None:
        """Wait until what launching resumed has come to its end; DBOS itself leaves those of others alone.

        It resumes by way of a queue, from which the workflow is taken within a second.
        """
        if others:
            await asyncio.sleep(_LONGER * LEASE_S)
        give_up = time.monotonic() + _PATIENCE_S
        while True:
            left = await DBOS.list_workflows_async(status=["PENDING", "ENQUEUED"])
            if not any(one.status == "ENQUEUED" or one.executor_id == self.executor for one in left):
                return
            if time.monotonic() > give_up:
                raise TimeoutError("a workflow that was resumed did not end")
            await asyncio.sleep(0.02)


class DurableFlow(PlainFlow):
    """Requests and effects as steps."""

    async def apply(self, operation: str, **args: Any) -> Reply:
        """A step."""
        self.number += 1
        one = self.attempt
        told, values = await request(
            list(one.keys), [dict(one.args), one.id, one.role], self.number, operation, args
        )  # fmt: skip
        return Reply(told, values)

    async def effect(self, name: str, *, id: str = "", undo: str = "") -> None:  # noqa: A002, ARG002 - nothing is undone
        """A step."""
        self.number += 1
        one = self.attempt
        await effect(list(one.keys), [dict(one.args), one.id, one.role], name, id if self.way.keyed else "")


def _launch(config: DBOSConfig) -> None:
    DBOS(config=config)
    DBOS.launch()


def address(target: PostgresTarget) -> str:
    """The server's address as SQLAlchemy and psycopg read it."""
    login = quote(target.user, safe="") + (f":{quote(target.password, safe='')}" if target.password else "")
    options = dict(parse_qsl(target.tls))
    place = f"{target.host}:{target.port}"
    if target.host.startswith("/"):
        place, options = "", {"host": target.host, "port": str(target.port)}
    elif ":" in target.host:
        place = f"[{target.host}]:{target.port}"
    query = f"?{urlencode(options)}" if options else ""
    return f"postgresql+psycopg://{login}@{place}/{quote(target.database, safe='')}{query}"
