"""URLs: what they mean, what is refused, and that no password is ever shown."""

from __future__ import annotations

import json

import pytest

from harness.model import UsageError
from harness.stores import PostgresTarget, RedisTarget, Targets, parse_postgres, parse_redis


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://127.0.0.1", RedisTarget()),
        ("redis://localhost:7000/3", RedisTarget("localhost", 7000, database=3)),
        ("redis://[::1]:7000", RedisTarget("::1", 7000)),
        ("redis://127.0.0.1?db=4", RedisTarget(database=4)),
        ("valkey://:s%40cret@127.0.0.1", RedisTarget(password="s@cret")),
        ("rediss://user:secret@127.0.0.1", RedisTarget(user="user", password="secret", tls=True)),
        (
            "rediss://127.0.0.1?ssl_cert_reqs=none&ssl_ca_certs=/ca.pem",
            RedisTarget(tls=True, tls_verify=False, tls_roots="/ca.pem"),
        ),
        ("unix:///run/Redis.sock?db=2", RedisTarget(path="/run/Redis.sock", database=2)),
        ("unix:///run/@here/redis.sock", RedisTarget(path="/run/@here/redis.sock")),
    ],
)
def test_redis_url(url: str, expected: RedisTarget) -> None:
    """A Redis URL means what redis-py takes it to mean."""
    assert expected == parse_redis(url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://127.0.0.1", PostgresTarget()),
        ("postgres://ann@localhost:6000/shop", PostgresTarget("localhost", 6000, "shop", "ann")),
        ("postgresql://ann@127.0.0.1", PostgresTarget(database="ann", user="ann")),
        ("postgresql://ann:a%2Fb@127.0.0.1/shop", PostgresTarget(database="shop", user="ann", password="a/b")),
        ("postgresql:///shop?host=/Var/Run", PostgresTarget("/Var/Run", database="shop")),
        ("postgresql://%2FVar%2FRun/shop", PostgresTarget("/Var/Run", database="shop")),
        (
            "postgresql://127.0.0.1/shop?sslmode=require&connect_timeout=3&user=ann&port=6000",
            PostgresTarget("127.0.0.1", 6000, "shop", "ann", tls="sslmode=require"),
        ),
    ],
)
def test_postgres_url(url: str, expected: PostgresTarget) -> None:
    """A PostgreSQL URL means what libpq takes it to mean."""
    assert expected == parse_postgres(url)


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:6379",
        "http://127.0.0.1",
        "redis://127.0.0.1:0",
        "redis://127.0.0.1:port",
        "redis://127.0.0.1:70000",
        "redis://127.0.0.1/zero",
        "redis://127.0.0.1/-1",
        "redis://[::1",
        "unix://",
        "rediss://127.0.0.1?ssl_cert_reqs=perhaps",
        "postgresql://127.0.0.1,127.0.0.2/shop",
        "postgresql://127.0.0.1/shop?sslmode=perhaps",
        "postgresql://127.0.0.1/shop?options=-csearch_path%3Dx",
        "",
    ],
)
def test_bad_url(url: str) -> None:
    """A URL that cannot be is refused in one line."""
    parse = parse_postgres if url.startswith("postgres") else parse_redis
    with pytest.raises(UsageError) as refused:
        parse(url)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("scheme", ["redis", "postgresql"])
@pytest.mark.parametrize("mark", ["/", "?", "#", "@"])
def test_unescaped_password_is_not_shown(scheme: str, mark: str) -> None:
    """A password with a mark that URLs give a meaning to does not slip into the message."""
    parse = parse_postgres if scheme == "postgresql" else parse_redis
    with pytest.raises(UsageError) as refused:
        parse(f"{scheme}://user:hush{mark}hush@example.org:1/0")
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("host", ["10.0.0.1", "db.example.org", "0.0.0.0"])
def test_other_hosts_must_be_allowed(host: str) -> None:
    """A host that is not this machine is used only when it was named."""
    with pytest.raises(UsageError, match=f"--allow-host {host}"):
        parse_redis(f"redis://{host}")
    assert host == parse_redis(f"redis://{host}", [host.upper()]).host
    assert host == parse_postgres(f"postgresql://{host}/shop", [host]).host


def test_passwords_stay_out_of_repr() -> None:
    """Whoever prints a target prints no password."""
    targets = Targets("race:0:", "race_0", RedisTarget(password="hush"), PostgresTarget(password="hush"))
    assert "hush" not in repr(targets) + targets.redis.shown + targets.postgres.shown  # type: ignore[union-attr]


def test_description_survives_the_pipe() -> None:
    """A worker gets the same targets from the line of JSON that its parent writes."""
    redis, postgres = RedisTarget(password="hush", tls=True), PostgresTarget(tls="sslmode=require")
    targets = Targets("race:0:", "race_0", redis, postgres)
    assert targets == Targets.from_description(json.loads(json.dumps(targets.describe())))
