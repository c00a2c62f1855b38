"""The file that Locust runs: the only one that imports it, in a process of its own.

A Locust user waits until as many as meet in a burst have come; then race is asked for one, and each of them has its
answer. What is asked of race, and what it answers, are lines of JSON on a socket that the process was given.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
from importlib.resources import files
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import gevent
from flask import Blueprint, Response, jsonify, make_response, request
from gevent import socket
from gevent.event import AsyncResult, Event
from locust import User, constant, events, task
from locust.runners import STATE_MISSING, STATE_RUNNING, STATE_SPAWNING, MasterRunner, WorkerRunner

TOLD = json.loads(os.environ["RACE_SWARM"])
ASKED = ("scenario", "strategy", "rule", "size")
MESSAGE, FINISH = "race", "race-finish"
_MOST = 500
_LOOK_S = 0.5
_PATIENCE_S = 60.0
_SILENT_S = 20
_AT_WORK = {STATE_SPAWNING, STATE_RUNNING}
_LOCAL = {"localhost", "127.0.0.1", "::1", "[::1]"}
log = logging.getLogger("race")
TABLES = logging.getLogger("locust.stats_logger")
RETRIES = logging.getLogger("locust.util.exception_handler")


class Link:
    """The way to race. When race is gone, so is this process."""

    def __init__(self, fd: int) -> None:
        """On a connected socket."""
        self._socket = socket.socket(fileno=fd)
        self._numbers = count(1)
        self._open: dict[int, AsyncResult[dict[str, Any]]] = {}
        gevent.spawn(self._listen)

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        """A question, and the answer to it; `error` in it says why there is none."""
        number = next(self._numbers)
        answer: AsyncResult[dict[str, Any]] = AsyncResult()
        self._open[number] = answer
        self.tell(do, ask=number, **more)
        found: dict[str, Any] = answer.get()
        return found

    def tell(self, do: str, **more: Any) -> None:
        """No answer is needed."""
        self._socket.sendall(json.dumps({"do": do, **more}).encode() + b"\n")

    def _listen(self) -> None:
        with self._socket.makefile("rb") as lines:
            try:
                for line in lines:
                    self._heard(json.loads(line))
            finally:
                os._exit(1)

    def _heard(self, message: dict[str, Any]) -> None:
        if "answer" in message:
            self._open.pop(message["answer"]).set(message)
            return
        try:
            swarm.told(message)
        except Exception as error:  # a master that cannot be reached, say: Locust goes on trying
            log.error("%s", error)  # noqa: TRY400 - nothing that a trace would tell


class Swarm:
    """The users of this process, where they meet, and the test that goes on."""

    def __init__(self) -> None:
        """No test yet."""
        self.environment: Any = None
        self.size = TOLD["size"]
        self.running = False
        self.starting = False
        self.test = 0
        self.tried: dict[str, str] = {}
        self._waiting: list[AsyncResult[None]] = []
        self._met: list[list[AsyncResult[None]]] = []
        self._some = Event()
        self._asking: Any = None
        self._run_s: float | None = None

    def ready(self, environment: Any) -> None:
        """Locust is. Without a web UI a test's time counts from its first bursts: race gets ready before."""
        self.environment = environment
        options = environment.parsed_options
        if TOLD["headless"] and options.run_time:
            self._run_s, options.run_time = float(options.run_time), None
            gevent.spawn_later(self._run_s + _PATIENCE_S, self.stop_for, None)

    def begun(self) -> None:
        """The first bursts are made."""
        if self._run_s is not None:
            gevent.spawn_later(self._run_s, self.stop_for, None)
            self._run_s = None

    # Where users meet

    def meet(self) -> None:
        """In a user: wait for others of the same burst, and for its end."""
        mine: AsyncResult[None] = AsyncResult()
        self._waiting.append(mine)
        if len(self._waiting) >= self.size:
            self._met.append(self._waiting[: self.size])
            del self._waiting[: self.size]
            self._some.set()
        try:
            mine.get()
        finally:  # a user who is stopped waits no more
            if mine in self._waiting:
                self._waiting.remove(mine)

    def _carry(self, settings: dict[str, Any]) -> None:
        """Ask for the bursts of all who have met, again and again."""
        name = settings["strategy"]
        while self.running:
            self._some.wait()
            self._some.clear()
            if not self._met:
                continue
            groups, self._met = self._met[:_MOST], self._met[_MOST:]
            if self._met:
                self._some.set()
            answer = link.ask("bursts", count=len(groups))
            self.begun()
            for burst in answer.get("bursts", ()):
                self._count(name, settings["scenario"], burst)
            for group in groups:
                for one in group:
                    one.set(None)
            why = answer.get("error") or answer.get("failure")
            if answer.get("error"):
                link.tell("failed", why=why)
            if why or answer.get("enough"):
                self.running = False
                self.stop_for(why)

    @staticmethod
    def _count(strategy: str, scenario: str, burst: dict[str, Any]) -> None:
        """Give Locust the times that race measured. What broke is the failure of the request that was answered last."""
        requests = burst["requests"]
        last = len(requests) - 1
        for place, (name, took_ms, error) in enumerate(requests):
            failure: Exception | None = (
                Broken("; ".join(burst["broken"])) if burst["broken"] and place == last else None
            )
            if failure is None and error is not None:
                failure = Unanswered(error)
            events.request.fire(
                request_type=strategy, name=f"{scenario} {name}", response_time=took_ms, response_length=0,
                exception=failure, context={},
            )  # fmt: skip

    # A test

    def begin(self, environment: Any) -> None:
        """A test begins: race gets its stores and processes ready."""
        options = environment.parsed_options
        settings = {name: getattr(options, name) for name in ASKED}
        runner = environment.runner
        more: dict[str, Any] = {}
        if isinstance(runner, WorkerRunner):
            more = {"test": options.race_test, "seed": options.race_seed}
        else:
            more = {"users": runner.target_user_count, "workers": runner.worker_count}
        answer = link.ask("start", index=max(0, getattr(runner, "worker_index", 0)), **settings, **more)
        self.starting = False
        if "error" in answer:
            self.stop_for(answer["error"])
            return
        self.size, self.test = int(settings["size"]), answer["test"]
        self.tried = {name: str(value) for name, value in settings.items()}
        options.race_test, options.race_seed = answer["test"], answer["seed"]
        self.running = True
        self._waiting, self._met = [], []
        if not isinstance(runner, MasterRunner):
            self._some.clear()
            self._asking = gevent.spawn(self._carry, settings)

    def finish(self, environment: Any) -> None:
        """It ends: race asks the last questions and concludes. At a master, workers tell what they have first."""
        if not self.test:
            return
        self.running, self.test = False, 0
        if self._asking is not None:  # whoever waits for its bursts is stopped, too; race finishes them first
            self._asking.kill(block=False)
        workers = []
        if isinstance(environment.runner, MasterRunner):
            workers = [one.id for one in environment.runner.clients.all if one.state != STATE_MISSING]
            for one in workers:
                environment.runner.send_message(FINISH, "", one)
        answer = link.ask("finish", workers=workers)
        if "error" in answer:
            complain(answer["error"])

    def stop_for(self, why: str | None) -> None:
        """End the test, and without a web UI this process: for a reason, or because it has seen enough."""
        if why:
            complain(why)
        runner = self.environment.runner
        if not isinstance(runner, WorkerRunner):  # its master is told, and decides
            gevent.spawn(runner.quit if TOLD["headless"] else runner.stop)

    def told(self, message: dict[str, Any]) -> None:
        """News from race."""
        if self.environment is None:  # no master has answered yet
            os._exit(0)
        if "tell" in message:
            self.environment.runner.send_message(MESSAGE, message["tell"])
        elif "begun" in message:
            self.begun()
        elif "stop" in message:
            if self.running:
                self.running = False
                self.stop_for(message["stop"])
        elif "end" in message:
            gevent.spawn(self._end)

    def _end(self) -> None:
        self.environment.runner.quit()
        if self.environment.web_ui is not None:
            self.environment.web_ui.stop()

    # Between workers and their master

    def heard(self, environment: Any, msg: Any) -> None:  # noqa: ARG002 - as Locust calls it
        """At a master: what a worker tells."""
        link.tell("heard", worker=msg.node_id, text=msg.data)

    def asked_to_finish(self, environment: Any, msg: Any) -> None:  # noqa: ARG002 - as Locust calls it
        """At a worker: the master is about to conclude."""
        gevent.spawn(self.finish, environment)

    def look(self) -> None:
        """At a master: notice workers that are gone."""
        gone: set[str] = set()
        seen: set[str] = set()
        while True:
            clients = self.environment.runner.clients
            here = {one.id for one in clients.all if one.state != STATE_MISSING}
            for name in (seen - here) - gone:
                link.tell("lost", worker=name)
            gone |= seen - here
            seen |= here
            gone -= here
            if gone and not here and self.running:
                self.running = False
                self.stop_for("no worker is left")
            gevent.sleep(_LOOK_S)

    def listen(self) -> None:
        """At a worker: notice that the master is gone. Locust would wait for a minute, and tell of each heartbeat."""
        RETRIES.setLevel(logging.CRITICAL)
        while True:
            gevent.sleep(_LOOK_S)
            heard = self.environment.runner.last_heartbeat_timestamp
            if heard is not None and heard < time.time() - _SILENT_S:
                link.tell("failed", why=f"nothing was heard of the master for {_SILENT_S} s: it is gone, or cut off")
                os._exit(1)


def complain(why: str) -> None:
    """In the web UI's log. Without one, race itself ends with it."""
    if not TOLD["headless"]:
        log.error("%s", why)


class Broken(Exception):
    """An invariant did not hold in the burst that this request belongs to."""


class Unanswered(Exception):
    """A request that failed, or whose outcome nobody knows."""


class Caller(User):
    """One who asks: together with others, for the same key at the same time."""

    wait_time = constant(0)
    host = "race"

    @task
    def burst(self) -> None:
        """One burst after the other."""
        swarm.meet()


# The form


@events.init_command_line_parser.add_listener
def _arguments(parser: Any) -> None:
    parser.add_argument("--scenario", choices=TOLD["scenarios"] or None, default=TOLD["scenario"], help="the rule")
    parser.add_argument(
        "--strategy", choices=TOLD["strategies"] or None, default=TOLD["strategy"], help="its protection"
    )
    parser.add_argument("--rule", choices=TOLD["rules"], default=TOLD["rule"], help="one of the scenario's")
    parser.add_argument("--size", type=int, default=TOLD["size"], help="users who meet in a burst")


@events.init.add_listener
def _ready(environment: Any, runner: Any, web_ui: Any, **_more: Any) -> None:
    swarm.ready(environment)
    environment.locustfile = "race"
    if TOLD["quiet"] or not TOLD["headless"]:
        TABLES.setLevel(logging.CRITICAL)  # of whole milliseconds
    TABLES.addFilter(lambda _record: environment.stats.total.num_requests > 0)  # of nothing say nothing
    url = ""
    if web_ui is not None:
        _extend(web_ui)
        shown = web_ui.host or "0.0.0.0"  # noqa: S104 - only said, and only where it was asked for
        url = f"http://{f'[{shown}]' if ':' in shown else shown}:{web_ui.port}"
    if isinstance(runner, MasterRunner):
        runner.register_message(MESSAGE, swarm.heard)
        gevent.spawn(swarm.look)
    if isinstance(runner, WorkerRunner):
        runner.register_message(FINISH, swarm.asked_to_finish)
        gevent.spawn(swarm.listen)
    gevent.spawn(_tell_up, web_ui, url)


def _tell_up(web_ui: Any, url: str) -> None:
    while web_ui is not None and not getattr(web_ui.server, "started", False):
        gevent.sleep(0.02)
    link.tell("up", url=url)


@events.test_start.add_listener
def _begins(environment: Any, **_more: Any) -> None:
    swarm.begin(environment)


@events.test_stopping.add_listener
def _ends(environment: Any, **_more: Any) -> None:
    swarm.finish(environment)


@events.quitting.add_listener
def _quits(environment: Any, **_more: Any) -> None:
    environment.process_exit_code = 0  # race's own comes from the verdict


# The tab


def _extend(web_ui: Any) -> None:
    """Put the tab, and what it shows, into the web UI."""
    web_ui.template_args.update(extended_tabs=[{"title": "Invariants", "key": "invariants"}])
    tab = Blueprint("race", __name__)
    script = files("harness.ui").joinpath("web", "tab.js").read_text(encoding="utf-8")

    @tab.route("/race/tab.js")
    def tab_script() -> Response:
        return Response(script, mimetype="text/javascript")

    @tab.route("/race/tab")
    @web_ui.auth_required_if_enabled
    def tab_content() -> Response:
        answer = link.ask("tab", shown=request.args.get("test", 0, type=int))
        return Response(answer.get("html", answer.get("error", "")), mimetype="text/html")

    @tab.route("/race/result.json")
    @web_ui.auth_required_if_enabled
    def result() -> Response:
        return jsonify(link.ask("document", shown=request.args.get("test", 0, type=int)).get("document"))

    @tab.route("/race/report")
    @web_ui.auth_required_if_enabled
    def report() -> Response:
        answer = link.ask("page", shown=request.args.get("test", 0, type=int))
        return Response(answer.get("html", answer.get("error", "")), mimetype="text/html")

    web_ui.app.register_blueprint(tab)
    web_ui.app.before_request(_refuse_others)
    web_ui.app.before_request(_check_form)
    web_ui.app.before_request(_begin_first)

    @web_ui.app.after_request
    def ours(response: Response) -> Response:
        if request.endpoint == "locust.index" and response.status_code == 200:
            page = response.get_data(as_text=True)
            response.set_data(page.replace("</body>", '<script src="./race/tab.js"></script></body>'))
        if request.endpoint == "locust.swarm" and not (response.get_json(silent=True) or {}).get("success"):
            swarm.starting = False
        if request.endpoint == "locust.request_stats" and response.status_code == 200:
            # While one test ends for another, and until race is ready for it, Locust calls it stopped: no Stop then.
            state = "running" if swarm.starting else swarm.environment.runner.state
            response.set_data(json.dumps({**response.get_json(), "state": state}))
        return response


def _refuse_others() -> Response | None:
    """Another site's page must not start loads here, nor one that had its name point to this machine."""
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.host:
        return make_response("another site asks", 403)
    host = urlsplit(f"//{request.host}").hostname or ""
    if swarm.environment.web_ui.host in _LOCAL and host not in _LOCAL:
        return make_response("this is a loopback address only", 403)
    return None


def _check_form() -> Response | None:
    """Say in the form itself what cannot be."""
    if request.endpoint != "locust.swarm":
        return None
    form, runner = request.form, swarm.environment.runner
    options = swarm.environment.parsed_options
    asked = {name: form.get(name, getattr(options, name)) for name in ASKED}
    answer = link.ask(
        "check", **asked, users=form.get("user_count", 0, type=int), workers=runner.worker_count
    )  # fmt: skip
    if "error" in answer:
        return jsonify({"success": False, "message": answer["error"], "host": ""})
    swarm.starting = not swarm.running
    if swarm.running and {name: str(value) for name, value in asked.items()} != swarm.tried:
        swarm.starting = True
        runner.stop()  # Locust would only take the number of users over: what else was asked for is another test
    return None


def _begin_first() -> None:
    """Locust forgets to stop what has not begun: whoever stops a test waits until race is ready for it."""
    if request.endpoint != "locust.stop":
        return
    with gevent.Timeout(_PATIENCE_S, exception=False):
        while swarm.starting or (swarm.running and swarm.environment.runner.state not in _AT_WORK):
            gevent.sleep(0.05)


signal.signal(signal.SIGINT, signal.SIG_IGN)  # race decides what Ctrl-C means, and tells
assert threading.current_thread() is threading.main_thread()
swarm = Swarm()
link = Link(TOLD["fd"])
