"""In frontrun's own environment: a GET-then-SET counter, every interleaving, counted and timed.

Started as `frontrun python frontrun_counter.py SOCKET WORKERS SECONDS`; prints one line of JSON.
"""

import json
import sys
import time

import frontrun
import redis

KEY = "bench:frontrun:counter"


def main() -> None:
    """Explore until all has been seen or the time is over."""
    socket, workers, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])

    def setup() -> None:
        redis.Redis(unix_socket_path=socket).set(KEY, 0)

    def add(_state: object) -> None:
        connection = redis.Redis(unix_socket_path=socket)
        value = int(connection.get(KEY))
        connection.set(KEY, value + 1)

    def whole(_state: object) -> bool:
        return int(redis.Redis(unix_socket_path=socket).get(KEY)) == workers

    began = time.monotonic()
    found = frontrun.explore(
        setup=setup, workers=add, count=workers, invariant=whole, preemption_bound=None, stop_on_first=False,
        reproduce_on_failure=0, total_timeout=seconds,
    )  # fmt: skip
    elapsed_s = time.monotonic() - began
    print(
        json.dumps({
            "schedules": found.num_explored, "elapsed_s": elapsed_s, "finished": elapsed_s < seconds,
            "broke": found.property_holds is False,
        })
    )  # fmt: skip


main()
