"""Plain Locust: users of FastHttpUser, each going through the same keys at its own pace.

Run by `bench.http` in an environment of Locust's own: python locust_pairs.py URL USERS SECONDS. Prints one JSON line.
"""

import json
import secrets
import statistics
import sys
import time

from locust import FastHttpUser, task  # first: it patches sockets
from locust.env import Environment

URL, USERS, SECONDS = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
RUN = secrets.token_hex(3)
answers: dict[int, list[tuple[int, int]]] = {}


class Caller(FastHttpUser):
    """One user, without waiting: as fast as Locust goes."""

    host = URL

    def on_start(self) -> None:
        """Begin with the first key."""
        self.key = 0

    @task
    def start(self) -> None:
        """The next key, which the others use as well."""
        key, self.key = self.key, self.key + 1
        with self.client.post(
            f"/looks-first/pair-{RUN}-{key}", data=f"{id(self)}-{key}", name="start", catch_response=True
        ) as answer:
            answer.success()
            answers.setdefault(key, []).append((answer.status_code, int(answer.headers["Race-Arrived-Ns"])))


environment = Environment(user_classes=[Caller])
runner = environment.create_local_runner()
runner.start(USERS, spawn_rate=1000)
began = time.monotonic()
while time.monotonic() - began < SECONDS:
    time.sleep(0.1)  # gevent's: users go on
runner.quit()
took_s = time.monotonic() - began
whole = [found for found in answers.values() if len(found) == USERS]
spreads = [(max(at for _, at in found) - min(at for _, at in found)) / 1000 for found in whole]
print(
    json.dumps(
        {
            "requests_per_s": sum(map(len, answers.values())) / took_s,
            "spread_us": statistics.median(spreads) if spreads else None,
            "broke": 100 * sum(sum(status == 202 for status, _ in found) > 1 for found in whole) / max(1, len(whole)),
            "bursts": len(whole),
        }
    )
)
