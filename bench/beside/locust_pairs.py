"""Pairs of requests on a key by Locust alone, in one of the two ways it has.

`users`: two FastHttpUsers go through the same keys at one pace, and meet as chance has it: Locust as it is used.
`group`: one FastHttpUser whose every task spawns both requests at once, as the manual sends requests in parallel.

Run by `bench.http` in an environment of Locust's own: python locust_pairs.py URL BURSTS users|group. Prints one JSON
line.
"""

import json
import secrets
import statistics
import sys
import time
from collections import defaultdict
from urllib.request import Request, urlopen

from locust import FastHttpUser, constant_pacing, task  # first: it patches sockets
from locust.env import Environment
from locust.exception import StopUser

from gevent.event import Event  # isort: skip
from gevent.pool import Group  # isort: skip

URL, BURSTS, FORM = sys.argv[1], int(sys.argv[2]), sys.argv[3]
PACE_S = 0.01
"""Between the keys of a user; they take 4 ms and less, so that both keep to it."""
RUN = secrets.token_hex(3)
KEYS = [f"user:{RUN}-{number}" for number in range(BURSTS)]
done: list[FastHttpUser] = []
all_done = Event()
found: dict[str, list[tuple[int, int]]] = defaultdict(list)


class Caller(FastHttpUser):
    """What both have in common."""

    abstract = True
    host = URL

    def on_start(self) -> None:
        """Begin at the first key."""
        self.keys = iter(KEYS)

    def following(self) -> str:
        """The next key; after the last one this user ends, and with the last user all of it."""
        if (key := next(self.keys, None)) is None:
            done.append(self)
            if len(done) == users:
                all_done.set()
            raise StopUser
        return key

    def ask(self, key: str) -> None:
        """One start."""
        headers = {"Race-Attempt": secrets.token_hex(4)}
        with self.client.post(f"/{key}/start", headers=headers, name="start", catch_response=True) as got:
            got.success()
            found[key].append((got.status_code, int(got.headers["Race-Arrived-Ns"])))


class OneOfTwo(Caller):
    """One of two that know nothing of each other."""

    wait_time = constant_pacing(PACE_S)

    @task
    def next_key(self) -> None:
        """Start on the next key."""
        self.ask(self.following())


class Both(Caller):
    """One that does the work of two."""

    @task
    def next_key(self) -> None:
        """Start twice on the next key, at once."""
        key = self.following()
        both = Group()
        for _ in range(2):
            both.spawn(self.ask, key)
        both.join()


kind, users = {"users": (OneOfTwo, 2), "group": (Both, 1)}[FORM]
with urlopen(Request(f"{URL}/{','.join(KEYS)}", method="PUT")):  # noqa: S310 - the loopback address of the bench
    pass
environment = Environment(user_classes=[kind])
runner = environment.create_local_runner()
began = time.monotonic()
runner.start(users, spawn_rate=users)
all_done.wait()
took_s = time.monotonic() - began
runner.quit()
whole = [pair for pair in found.values() if len(pair) == 2]
print(
    json.dumps(
        {
            "requests_per_s": sum(map(len, found.values())) / took_s,
            "spread_us": statistics.median(abs(one[1] - other[1]) for one, other in whole) / 1000,
            "broke": 100 * sum(one[0] == other[0] == 200 for one, other in whole) / len(whole),
            "bursts": len(whole),
        }
    )
)
