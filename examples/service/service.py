"""One generation per user at a time, on Redis, started in two ways that are found in services; one is right.

pip install redis; python service.py [PORT] [REDIS_URL]
"""

import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import redis

PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
STORE = redis.Redis.from_url(sys.argv[2] if len(sys.argv) > 2 else "redis://127.0.0.1:6379", decode_responses=True)
LEASE_MS = 2000
FINISH = STORE.register_script("return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0")


def looks_first(user, attempt):  # GET, IF, SET: two requests may both see nobody
    if STORE.get(user) is None:
        return STORE.set(user, attempt, px=LEASE_MS)
    return False


def sets_if_absent(user, attempt):  # one command decides
    return STORE.set(user, attempt, px=LEASE_MS, nx=True)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        start = looks_first if self.path.startswith("/looks-first/") else sets_if_absent
        self.answer(lambda user, attempt: 202 if start(user, attempt) else 409)

    def do_DELETE(self):
        self.answer(lambda user, attempt: 200 if FINISH(keys=[user], args=[attempt]) else 410)

    def answer(self, handle):
        attempt = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        arrived = time.monotonic_ns()
        self.send_response(handle(self.path.rsplit("/", 1)[1], attempt))
        self.send_header("Race-Arrived-Ns", str(arrived))  # for race: did requests meet in here?
        self.send_header("Race-Returned-Ns", str(time.monotonic_ns()))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
