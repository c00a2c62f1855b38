"""Real servers: embedded or given by URL, one namespace per run, thin connections, health."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

from harness.model import RaceError, StoreFault, UsageError
from harness.stores.direct import DirectConnection, connect
from harness.stores.embedded import Embedded
from harness.stores.guard import sweep
from harness.stores.health import (
    StoreInfo,
    changed,
    look_postgres,
    look_redis,
    meet_again,
    require,
    require_connections,
)
from harness.stores.namespace import PostgresNamespace, RedisNamespace, new_run_id, refused_by_redis
from harness.stores.one_core import OneCore
from harness.stores.postgres import PostgresConnection
from harness.stores.redis import RedisConnection
from harness.stores.replication import Link
from harness.stores.targets import (
    PostgresTarget,
    RedisTarget,
    Targets,
    parse_postgres,
    parse_redis,
)

__all__ = [
    "NO_REPLICA",
    "DirectConnection",
    "Embedded",
    "PostgresConnection",
    "PostgresTarget",
    "RedisConnection",
    "RedisTarget",
    "StoreInfo",
    "Stores",
    "Targets",
    "connect",
    "meet_again",
    "parse_postgres",
    "parse_redis",
    "refused_by_redis",
    "require",
    "require_connections",
    "sweep",
]


NO_REPLICA = "a replica that lags is started beside the embedded server only: leave out --redis-url"


class Stores:
    """The stores of one run, as an async context: entering starts or finds them, leaving cleans up.

    `infos` describes each; `run_id`, `prefix` and `schema` are the namespace. Raises UsageError
    for URLs that cannot be, StoreUnavailable for servers that cannot be used.
    """

    def __init__(
        self,
        redis_url: str | None = None,
        postgres_url: str | None = None,
        allow_hosts: Collection[str] = (),
        need: Collection[str] = ("redis", "postgres"),
        embedded: Embedded | None = None,
    ) -> None:
        """Without a URL a store is embedded; only the kinds in `need` are started.

        `embedded` are servers that outlive this run: what is missing among them is started, none is ended.
        """
        self.run_id = new_run_id()
        self.prefix = f"race:{self.run_id}:"
        self.schema = f"race_{self.run_id}"
        self.infos: list[StoreInfo] = []
        self.redis = parse_redis(redis_url, allow_hosts) if redis_url else None
        self.postgres = parse_postgres(postgres_url, allow_hosts) if postgres_url else None
        self.replica: RedisTarget | None = None
        self.link: Link | None = None
        """The way to the replica, where there is one."""
        self.callers: dict[str, RedisTarget | PostgresTarget] = {}
        self._need = frozenset(need)
        self._given = {"redis": bool(redis_url), "postgres": bool(postgres_url)}
        self._embedded = embedded
        self._outlived = embedded is not None
        self._gone: set[str] = set()
        self._reason: str | None = None
        self._namespaces: dict[str, RedisNamespace | PostgresNamespace] = {}
        self._one_core = OneCore()

    async def __aenter__(self) -> Self:
        try:
            await self._enter()
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave()

    async def _enter(self) -> None:
        await asyncio.to_thread(sweep)
        if self._embedded is None and any(not self._given[kind] for kind in self._need):
            self._embedded = Embedded.open()
        # Gathered tasks are all awaited, so that no server is started behind a failure's back.
        done = await asyncio.gather(*(self._open(kind) for kind in sorted(self._need)), return_exceptions=True)
        for outcome in done:
            if isinstance(outcome, BaseException):
                raise outcome
        self.infos = [info for info in done if isinstance(info, StoreInfo)]

    async def _open(self, kind: str) -> StoreInfo:
        embedded = not self._given[kind]
        namespace: RedisNamespace | PostgresNamespace
        if kind == "redis":
            if embedded:
                assert self._embedded is not None
                self.redis = await self._embedded.start_valkey()
            assert self.redis is not None
            info = await look_redis(self.redis, embedded=embedded)
            namespace = RedisNamespace(self.redis, self.run_id)
        else:
            if embedded:
                assert self._embedded is not None
                self.postgres = await self._embedded.start_postgres()
            assert self.postgres is not None
            info = await look_postgres(self.postgres, embedded=embedded)
            namespace = PostgresNamespace(self.postgres, self.run_id)
        self._namespaces[kind] = namespace
        await namespace.create()
        return info

    async def admit(self, kind: str) -> RedisTarget | PostgresTarget:
        """The login of callers who may not write, made where there is none yet. Raises StoreUnavailable."""
        if kind not in self.callers:
            self.callers[kind] = await self._namespaces[kind].admit()
        return self.callers[kind]

    async def copied(self) -> None:
        """Start a replica, where there is none yet. Raises UsageError where the server is not ours."""
        if self._embedded is None or self._given["redis"]:
            raise UsageError(NO_REPLICA)
        self.replica, self.link = await self._embedded.start_replica()
        self.link.release()

    def keep_together(self, kind: str) -> None:
        """Keep this thread and the embedded servers on one core, until `let_go`: for one step at a time, no load.

        Where the store of this kind is not ours, it stays where it is, and so does the thread.
        """
        if self._embedded is not None and not self._given[kind]:
            self._one_core.keep(self._embedded.running())

    def keep_apart(self, workers: int) -> None:
        """Keep an embedded Valkey on a core of its own, until `let_go`, where so many workers leave one free.

        PostgreSQL is many processes, which want all the cores that there are.
        """
        if self._embedded is not None and not self._given["redis"]:
            self._one_core.keep_apart(self._embedded.running("valkey"), workers)

    def let_go(self) -> None:
        """Let the system choose the cores again. Once for each time they were kept, whatever came of that."""
        self._one_core.let_go()

    async def _leave(self) -> None:
        try:
            # An embedded store goes as a whole, unless it outlives this run.
            kept = [
                kind for kind in self._namespaces if (self._given[kind] or self._outlived) and kind not in self._gone
            ]
            await asyncio.gather(*(self._namespaces[kind].drop() for kind in kept))
        finally:
            if self._embedded is not None and not self._outlived:
                embedded, self._embedded = self._embedded, None
                for namespace in self._namespaces.values():
                    namespace.abandon()
                await asyncio.to_thread(embedded.close)

    async def lost(self) -> str | None:
        """Why what was measured cannot be trusted: a store is gone, restarted, failed over, evicted or was cleared."""
        for before in self.infos:
            if self._reason is None:  # what was lost stays lost
                self._reason = await self._lost(before)
        return self._reason

    async def _lost(self, before: StoreInfo) -> str | None:
        if before.embedded and self._embedded is not None and before.kind != "http":
            end = self._embedded.died(before.kind)
            if end is not None:
                return end
        try:
            if before.kind == "redis":
                assert self.redis is not None
                after = await look_redis(self.redis, embedded=before.embedded)
            else:
                assert self.postgres is not None
                after = await look_postgres(self.postgres, embedded=before.embedded)
            return changed(before, after) or await self._namespaces[before.kind].lost()
        except RaceError as error:
            self._gone.add(before.kind)  # waiting for it once is enough
            return str(error)
        except (StoreFault, TimeoutError) as error:
            self._gone.add(before.kind)
            return f"{before.title} does not answer any more ({str(error) or 'no answer in time'})"

    def describe(self) -> dict[str, Any]:
        """What a worker needs; for its pipe only, since it holds passwords."""
        described = Targets(self.prefix, self.schema, self.redis, self.postgres).describe()
        described["replica"] = asdict(self.replica) if self.replica is not None else None
        return {**described, **{f"{kind}_caller": asdict(target) for kind, target in self.callers.items()}}
