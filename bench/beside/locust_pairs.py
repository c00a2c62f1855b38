"""Bursts of two by plain Locust: a task of a FastHttpUser that spawns both requests at once, as its manual does it.

Run by `bench.http` in an environment of Locust's own: python locust_pairs.py URL BURSTS. Prints one JSON line.
"""

import json
import secrets
import statistics
import sys
import time

from gevent.pool import Group  # after it
from locust import FastHttpUser, task  # first: it patches sockets
from locust.env import Environment

URL, BURSTS = sys.argv[1], int(sys.argv[2])
RUN = secrets.token_hex(3)
found: list[list[tuple[int, int]]] = []


class Caller(FastHttpUser):
    """One user whose every task is a burst."""

    host = URL

    def on_start(self) -> None:
        """Make the keys."""
        self.client.put("/" + ",".join(f"user:{RUN}-{key}" for key in range(BURSTS)))
        self.began = time.monotonic()

    def ask(self, key: str) -> None:
        """One start."""
        with self.client.post(
            f"/{key}/start", headers={"Race-Attempt": secrets.token_hex(4)}, catch_response=True
        ) as got:
            got.success()
            self.answers.append((got.status_code, int(got.headers["Race-Arrived-Ns"])))

    @task
    def burst(self) -> None:
        """Two at once on the next key."""
        if len(found) >= BURSTS:
            runner.quit()
            return
        self.answers: list[tuple[int, int]] = []
        both = Group()
        for _ in range(2):
            both.spawn(self.ask, f"user:{RUN}-{len(found)}")
        both.join()
        found.append(self.answers)
        self.took_s = took[0] = time.monotonic() - self.began


took = [1.0]
environment = Environment(user_classes=[Caller])
runner = environment.create_local_runner()
runner.start(1, spawn_rate=1)
runner.greenlet.join()
whole = [answers for answers in found if len(answers) == 2]
print(
    json.dumps(
        {
            "requests_per_s": sum(map(len, found)) / took[0],
            "spread_us": statistics.median(abs(one[0][1] - one[1][1]) for one in whole) / 1000,
            "broke": 100 * sum(one[0][0] == one[1][0] == 200 for one in whole) / len(whole),
            "bursts": len(whole),
        }
    )
)
