"""Pairs of requests on a key by Locust alone, in one of the four ways it has.

Two FastHttpUsers that know nothing of each other go through the same keys:
`unpaced`: without a wait_time, each goes on as soon as it is answered;
`random`: with the manual's `between`, at random up to 20 ms;
`paced`: with `constant_pacing`, one key every 10 ms. They begin together, at the same key, and stay in step by that.
Or one does the work of two:
`group`: each task spawns both requests at once, as the manual sends requests in parallel.

They start anew many times, for how far apart two users are is drawn at each start. Run by `bench.http` in an
environment of Locust's own: python locust_pairs.py URL BURSTS STARTS FORM. Prints one JSON line: for each start how
many requests a second, the median spread, and how many of its bursts broke.
"""

import json
import secrets
import statistics
import sys
import time
from collections import defaultdict
from urllib.request import Request, urlopen

from locust import FastHttpUser, between, constant_pacing, task  # first: it patches sockets
from locust.env import Environment
from locust.exception import StopUser

from gevent.event import Event  # isort: skip
from gevent.pool import Group  # isort: skip

URL, BURSTS, STARTS, FORM = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
PACE_S = 0.01
"""Between the keys of a user; a request takes 4 ms and less, so that both keep to it."""


class Start:
    """One load from its beginning to its end, over keys of its own."""

    def __init__(self, users: int) -> None:
        """The keys are made here."""
        run = secrets.token_hex(3)
        self.keys = [f"user:{run}-{number}" for number in range(BURSTS // STARTS)]
        self.found: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self.over = Event()
        self._working = users
        with urlopen(Request(f"{URL}/{','.join(self.keys)}", method="PUT")):  # noqa: S310 - the bench's own address
            pass

    def leave(self) -> None:
        """One user has no more to do."""
        self._working -= 1
        if not self._working:
            self.over.set()

    def document(self, took_s: float) -> dict[str, float]:
        """What it showed."""
        whole = [pair for pair in self.found.values() if len(pair) == 2]
        return {
            "requests_per_s": sum(map(len, self.found.values())) / took_s,
            "spread_us": statistics.median(abs(one[1] - other[1]) for one, other in whole) / 1000,
            "broke": 100 * sum(one[0] == other[0] == 200 for one, other in whole) / len(whole),
        }


class Caller(FastHttpUser):
    """What all have in common."""

    abstract = True
    host = URL

    def on_start(self) -> None:
        """Begin at the first key."""
        self.load = started[-1]
        self.keys = iter(self.load.keys)

    def following(self) -> str:
        """The next key; after the last one this user ends."""
        if (key := next(self.keys, None)) is None:
            self.load.leave()
            raise StopUser
        return key

    def ask(self, key: str) -> None:
        """One start."""
        headers = {"Race-Attempt": secrets.token_hex(4)}
        with self.client.post(f"/{key}/start", headers=headers, name="start", catch_response=True) as got:
            got.success()
            self.load.found[key].append((got.status_code, int(got.headers["Race-Arrived-Ns"])))


class Unpaced(Caller):
    """One of two that know nothing of each other."""

    @task
    def next_key(self) -> None:
        """Start on the next key."""
        self.ask(self.following())


class Paced(Unpaced):
    """The same, at a pace that both keep to."""

    wait_time = constant_pacing(PACE_S)


class Waiting(Unpaced):
    """The same, after a random wait."""

    wait_time = between(0, 2 * PACE_S)


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


kind, users = {"unpaced": (Unpaced, 2), "random": (Waiting, 2), "paced": (Paced, 2), "group": (Both, 1)}[FORM]
runner = Environment(user_classes=[kind]).create_local_runner()
started: list[Start] = []
shown = []
for _ in range(STARTS):
    load = Start(users)
    started.append(load)
    began = time.monotonic()
    runner.start(users, spawn_rate=users)
    load.over.wait()
    shown.append(load.document(time.monotonic() - began))
    runner.stop()
runner.quit()
print(json.dumps({"starts": shown}))
