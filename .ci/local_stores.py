"""Print the servers of this machine as variables for the tests, if both of them answer."""

import asyncio
import socket
import sys

import asyncpg

REDIS = "redis://127.0.0.1:6379"
POSTGRES = "postgresql://postgres@127.0.0.1:5432/postgres"


def redis_answers() -> bool:
    """Whether a Redis without a password listens."""
    try:
        with socket.create_connection(("127.0.0.1", 6379), timeout=2) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


async def postgres_answers() -> bool:
    """Whether a PostgreSQL lets its superuser in without a password."""
    try:
        connection = await asyncpg.connect(POSTGRES, timeout=2)
    except (OSError, TimeoutError, asyncpg.PostgresError):
        return False
    await connection.close()
    return True


if redis_answers() and asyncio.run(postgres_answers()):
    sys.stdout.write(f"RACE_TEST_REDIS_URL={REDIS} RACE_TEST_POSTGRES_URL={POSTGRES}\n")
