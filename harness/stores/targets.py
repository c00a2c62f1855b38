"""Where a store is: URLs parsed, with the password kept out of everything that is shown."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlencode

from harness.model import UsageError

_REDIS = ("redis", "rediss", "valkey", "valkeys", "unix", "redis+unix", "valkey+unix")
_POSTGRES = ("postgres", "postgresql")
_TLS_OPTIONS = ("sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl")
_TLS_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# They tell a client how to behave; what they ask for is so here in any case.
_IGNORED = ("application_name", "connect_timeout", "channel_binding", "gssencmode", "target_session_attrs")
_LARGEST_PORT = 65_535


@dataclass(frozen=True, slots=True)
class RedisTarget:
    """A Redis or Valkey server. `path` is its unix socket, "" for TCP; `tls_*` name files."""

    host: str = "127.0.0.1"
    port: int = 6379
    path: str = ""
    database: int = 0
    user: str = ""
    password: str = field(default="", repr=False)
    tls: bool = False
    tls_verify: bool = True
    tls_roots: str = ""
    tls_certificate: str = ""
    tls_key: str = ""

    @property
    def shown(self) -> str:
        """Where it is, without secrets."""
        return self.path or f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class PostgresTarget:
    """A PostgreSQL server. A `host` that begins with a slash is a folder of unix sockets.

    `tls` holds the ssl parameters of its URL, as a query string.
    """

    host: str = "127.0.0.1"
    port: int = 5432
    database: str = "postgres"
    user: str = "postgres"
    password: str = field(default="", repr=False)
    tls: str = ""

    @property
    def shown(self) -> str:
        """Where it is, without secrets."""
        return self.host if self.host.startswith("/") else f"{self.host}:{self.port}/{self.database}"


_TARGETS = ("redis", "postgres", "redis_caller", "postgres_caller", "replica")


@dataclass(frozen=True, slots=True)
class Targets:
    """What a worker needs to reach the stores of a run; with a login of callers, and a replica, where there is one.

    `incarnations` are those of the stores, by kind, which every connection of a load must meet; where one is missing,
    any will do.
    """

    prefix: str
    schema: str
    redis: RedisTarget | None = None
    postgres: PostgresTarget | None = None
    redis_caller: RedisTarget | None = None
    postgres_caller: PostgresTarget | None = None
    replica: RedisTarget | None = None
    incarnations: Mapping[str, str] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        """For the pipe to a worker only: it holds the passwords."""
        return asdict(self)

    @classmethod
    def from_description(cls, description: dict[str, Any]) -> Targets:
        """The inverse of `describe`."""
        kinds = {name: PostgresTarget if name.startswith("postgres") else RedisTarget for name in _TARGETS}
        targets: dict[str, Any] = {name: kinds[name](**description[name]) for name in _TARGETS if description[name]}
        return cls(description["prefix"], description["schema"], **targets, incarnations=description["incarnations"])


def parse_redis(url: str, allow_hosts: Collection[str] = ()) -> RedisTarget:
    """The target of a redis://, rediss:// or unix:// URL. Raises UsageError."""
    option = "--redis-url"
    parts = _split(url, _REDIS, option, "redis://127.0.0.1:6379/0")
    unix = parts.scheme.endswith("unix")
    path = unquote(parts.path) if unix else ""
    if unix and not path:
        raise UsageError(f"{option}: the path of the unix socket is missing, as in unix:///run/redis/redis.sock")
    database = parts.query.get("db") or (not unix and parts.path.strip("/")) or "0"
    if not re.fullmatch(r"\d{1,9}", database, re.ASCII):
        raise UsageError(f"{option}: the database, after the last slash, must be a number")
    host = parts.host or "127.0.0.1"
    if not unix:
        _allow(host, allow_hosts)
    verify = parts.query.get("ssl_cert_reqs", "required")
    if verify not in {"required", "none"}:
        raise UsageError(f"{option}: ssl_cert_reqs is required or none")
    return RedisTarget(
        host=host,
        port=_port(parts.port, 6379, option),
        path=path,
        database=int(database),
        user=parts.user or parts.query.get("username", ""),
        password=parts.password or parts.query.get("password", ""),
        tls=parts.scheme in {"rediss", "valkeys"},
        tls_verify=verify == "required",
        tls_roots=parts.query.get("ssl_ca_certs", ""),
        tls_certificate=parts.query.get("ssl_certfile", ""),
        tls_key=parts.query.get("ssl_keyfile", ""),
    )


def parse_postgres(url: str, allow_hosts: Collection[str] = ()) -> PostgresTarget:
    """The target of a postgresql:// URL, as libpq reads them. Raises UsageError."""
    option = "--postgres-url"
    parts = _split(url, _POSTGRES, option, "postgresql://user@127.0.0.1:5432/database")
    query = parts.query
    unknown = sorted(set(query) - {"host", "port", "user", "password", "dbname", *_TLS_OPTIONS, *_IGNORED})
    if unknown:
        raise UsageError(f"{option}: race does not know the parameter {unknown[0]}")
    if (mode := query.get("sslmode", "prefer")) not in _TLS_MODES:
        raise UsageError(f"{option}: sslmode is one of {', '.join(_TLS_MODES)}; not {mode}")
    host = query.get("host") or parts.host or "127.0.0.1"
    if "," in host:
        raise UsageError(f"{option}: name one host, the primary")
    if not host.startswith("/"):
        _allow(host, allow_hosts)
    user = parts.user or query.get("user") or "postgres"
    return PostgresTarget(
        host=host,
        port=_port(query.get("port") or parts.port, 5432, option),
        database=query.get("dbname") or unquote(parts.path.strip("/")) or user,
        user=user,
        password=parts.password or query.get("password", ""),
        tls=urlencode({name: query[name] for name in _TLS_OPTIONS if name in query}),
    )


class _Parts(NamedTuple):
    """A URL's parts. `urlsplit` would lower the case of a host that is a path."""

    scheme: str
    user: str
    password: str
    host: str
    port: str
    path: str
    query: Mapping[str, str]


def _split(url: str, schemes: Collection[str], option: str, example: str) -> _Parts:
    # Nothing of the URL is repeated in messages: any part of it may be a piece of a password.
    found = re.fullmatch(r"([A-Za-z+]+)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(#.*)?", url.strip())
    if found is None or found[1].lower() not in schemes:
        raise UsageError(f"{option}: this is no such URL; it looks like {example}")
    scheme, place, path, query, fragment = found[1].lower(), found[2], found[3], found[4] or "", found[5]
    if fragment or "@" in query or ("@" in path and not scheme.endswith("unix")):
        raise UsageError(f"{option}: write / ? # @ in a password as %2F %3F %23 %40")
    login, _, address = place.rpartition("@")
    user, _, password = login.partition(":")
    where = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(.*))?", address)
    if where is None:
        raise UsageError(f"{option}: this is no such URL; it looks like {example}")
    return _Parts(
        scheme,
        unquote(user),
        unquote(password),
        unquote(where[1].strip("[]")),
        where[2] or "",
        path,
        {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()},
    )


def _port(text: str, default: int, option: str) -> int:
    if not text:
        return default
    if not re.fullmatch(r"\d{1,5}", text, re.ASCII) or not 0 < int(text) <= _LARGEST_PORT:
        raise UsageError(f"{option}: the port must be a number from 1 to {_LARGEST_PORT}")
    return int(text)


def _allow(host: str, allow_hosts: Collection[str]) -> None:
    """Load belongs on one's own machine unless its host was named."""
    if host.lower() in {"localhost", *(name.lower() for name in allow_hosts)}:
        return
    try:
        if ipaddress.ip_address(host).is_loopback:
            return
    except ValueError:
        pass
    raise UsageError(f"{host} is not this machine: race loads a store heavily; add --allow-host {host} to do so")
