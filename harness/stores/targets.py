"""Where a store is: URLs parsed, with the password kept out of everything that is shown."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from harness.model import UsageError

_REDIS = ("redis", "rediss", "valkey", "valkeys", "unix", "redis+unix", "valkey+unix")
_POSTGRES = ("postgres", "postgresql")


@dataclass(frozen=True, slots=True)
class RedisTarget:
    """A Redis or Valkey server. `path` is its unix socket, "" for TCP."""

    host: str = "127.0.0.1"
    port: int = 6379
    path: str = ""
    database: int = 0
    user: str = ""
    password: str = field(default="", repr=False)
    tls: bool = False

    @property
    def shown(self) -> str:
        """Where it is, without secrets."""
        return self.path or f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class PostgresTarget:
    """A PostgreSQL server. A `host` that begins with a slash is a folder of unix sockets."""

    host: str = "127.0.0.1"
    port: int = 5432
    database: str = "postgres"
    user: str = "postgres"
    password: str = field(default="", repr=False)
    sslmode: str = ""

    @property
    def shown(self) -> str:
        """Where it is, without secrets."""
        return self.host if self.host.startswith("/") else f"{self.host}:{self.port}/{self.database}"


@dataclass(frozen=True, slots=True)
class Targets:
    """What a worker needs to reach the stores of a run."""

    prefix: str
    schema: str
    redis: RedisTarget | None = None
    postgres: PostgresTarget | None = None

    def describe(self) -> dict[str, Any]:
        """For the pipe to a worker only: it holds the passwords."""
        return asdict(self)

    @classmethod
    def from_description(cls, description: dict[str, Any]) -> Targets:
        """The inverse of `describe`."""
        redis, postgres = description["redis"], description["postgres"]
        return cls(
            description["prefix"],
            description["schema"],
            RedisTarget(**redis) if redis else None,
            PostgresTarget(**postgres) if postgres else None,
        )


def parse_redis(url: str, allow_hosts: Collection[str] = ()) -> RedisTarget:
    """The target of a redis://, rediss:// or unix:// URL. Raises UsageError."""
    parts = _split(url, _REDIS, "--redis-url", "redis://127.0.0.1:6379/0")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    query = parse_qs(parts.query)
    if parts.scheme.endswith("unix"):
        database = query.get("db", ["0"])[0]
        path = unquote(parts.path)
    else:
        database, path = parts.path.strip("/") or "0", ""
    if not database.isdigit():
        raise UsageError(f"--redis-url: the database must be a number, not '{database}'")
    host = parts.hostname or "127.0.0.1"
    if not path:
        _allow(host, allow_hosts)
    return RedisTarget(
        host, _port(parts, 6379, "--redis-url"), path, int(database), user, password,
        parts.scheme in {"rediss", "valkeys"},
    )  # fmt: skip


def parse_postgres(url: str, allow_hosts: Collection[str] = ()) -> PostgresTarget:
    """The target of a postgresql:// URL. Raises UsageError."""
    parts = _split(url, _POSTGRES, "--postgres-url", "postgresql://user@127.0.0.1:5432/database")
    query = parse_qs(parts.query)
    host = query.get("host", [unquote(parts.hostname or "127.0.0.1")])[0]
    if not host.startswith("/"):
        _allow(host, allow_hosts)
    user = unquote(parts.username or query.get("user", ["postgres"])[0])
    return PostgresTarget(
        host,
        _port(parts, 5432, "--postgres-url"),
        unquote(parts.path.strip("/")) or user,
        user,
        unquote(parts.password or ""),
        query.get("sslmode", [""])[0],
    )


def _split(url: str, schemes: Collection[str], option: str, example: str) -> Any:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in schemes:
        raise UsageError(f"{option}: this is no such URL; it looks like {example}")
    return parts


def _port(parts: Any, default: int, option: str) -> int:
    try:
        return parts.port or default
    except ValueError:
        raise UsageError(f"{option}: the port must be a number from 1 to 65535") from None


def _allow(host: str, allow_hosts: Collection[str]) -> None:
    """Load belongs on one's own machine unless its host was named."""
    if host == "localhost" or host in allow_hosts:
        return
    try:
        if ipaddress.ip_address(host).is_loopback:
            return
    except ValueError:
        pass
    raise UsageError(f"{host} is not this machine: race loads a store heavily; add --allow-host {host} to do so")
