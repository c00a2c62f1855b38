"""The application: which URL means what. Granian calls it, by RSGI, for each request."""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import Any
from urllib.parse import parse_qs

from harness.model import NOTHING, Request, described
from harness.serve import answers
from harness.serve.link import Link
from harness.serve.pages import Pages
from harness.serve.refused import Refused
from harness.serve.service import Service

MOST_KEYS = 500
_ALLOWED = {0: "GET", 1: "GET", 2: "GET", 3: "GET, PUT", 4: "POST"}
"""Segments of a path to the methods that it takes."""
_LONGEST = 1_000_000


class App:
    """All cells; each is opened when it is first asked for."""

    def __init__(self, link: Link, pages: Pages) -> None:
        """`pages` describe what is served."""
        self._link = link
        self._pages = pages
        self._services: dict[tuple[str, str, str], Service] = {}
        self.opened: dict[int, tuple[Service, asyncio.Task[None]]] = {}
        self._requests = 0
        self._id = f"http-{os.getpid()}"

    def __rsgi__(self, scope: Any, protocol: Any) -> Any:
        """Called by the server."""
        return self._answer(scope, protocol)

    async def _answer(self, scope: Any, protocol: Any) -> None:
        body = await protocol() if scope.method in {"POST", "PUT"} else b""
        # Only now: a client may hold back the last byte, to let many arrive together.
        arrived_ns = time.monotonic_ns()
        stamp = 0
        try:
            parts = scope.path.split("/")[1:]  # decoded by the server
            if parts[-1] == "":
                parts.pop()
            method = "GET" if scope.method == "HEAD" else scope.method
            allowed = _ALLOWED.get(len(parts))
            if allowed is None:
                raise Refused(404, "a path is /SCENARIO/STRATEGY/KEY/OPERATION; / lists what there is")  # noqa: TRY301
            if method not in allowed:
                raise Refused(405, f"{method} is not for here: {allowed}", allow=allowed)  # noqa: TRY301
            if len(parts) == 4:
                stamp = arrived_ns
                answer = await self._operate(scope, parts, body, arrived_ns)
            else:
                answer = await self._look(scope, method, parts)
        except Refused as refusal:
            answer = answers.refused(refusal, stamp)
        except Exception as error:  # a rule, a layout or a strategy is the user's
            answer = answers.refused(Refused(500, described(error)), stamp)
        protocol.response_str(*answer)

    async def _operate(self, scope: Any, parts: list[str], body: bytes, arrived_ns: int) -> answers.Answer:
        """One request."""
        scenario, strategy, key, operation = parts
        headers = scope.headers
        service = await self._service(scope, scenario, strategy)
        keys = _keys(key)
        args = _args(body) if body else NOTHING
        self._requests += 1
        request = Request(
            operation,
            keys,
            args,
            headers.get("race-request") or f"{self._id}-{self._requests}",
            headers.get("race-attempt") or "",
            headers.get("race-role") or "",
        )
        service.check(request)
        if not service.known.issuperset(keys):
            await self._make(service, keys)
        return answers.performed(await service.perform(request), service.scenario.refusals, arrived_ns)

    async def _look(self, scope: Any, method: str, parts: list[str]) -> answers.Answer:
        """Everything but an operation."""
        if len(parts) == 3:
            scenario, strategy, key = parts
            service = await self._service(scope, scenario, strategy)
            keys = _keys(key)
            if method == "PUT":
                await self._link.ask("fresh", cell=service.number, keys=keys)
                return answers.document({"keys": keys}, 201)
            unused: set[str] = set()
            if service.seeded and (unseen := [key for key in keys if key not in service.known]):
                unused.update((await self._link.ask("unused", cell=service.number, keys=unseen))["unused"])
            found = await service.rest([key for key in keys if key not in unused])
            rest = {key: found.get(key, service.scenario.initial_value) for key in keys}
            return answers.document({"rest": rest, "rest_ms": time.time_ns() // 1_000_000})
        if len(parts) == 2:
            return answers.document(self._pages.cell(parts[0], parts[1], _rule(scope)))
        wants_json = "json" in (scope.headers.get("accept") or "")
        if wants_json:
            return answers.document(self._pages.scenario(parts[0]) if parts else self._pages.index())
        return answers.text(self._pages.scenario_text(parts[0]) if parts else self._pages.index_text())

    # Cells and keys

    async def _service(self, scope: Any, scenario: str, strategy: str) -> Service:
        """The cell that is meant, opened. Raises Refused."""
        asked = scenario, strategy, _rule(scope)
        service = self._services.get(asked)
        if service is None:
            number = (await self._link.ask("open", scenario=scenario, strategy=strategy, rule=asked[2]))["number"]
            service, ready = self.opened[number]
            await asyncio.shield(ready)
            self._services[asked] = service
        return service

    async def _make(self, service: Service, keys: tuple[str, ...]) -> None:
        """See to it that keys have what they begin with, and that everybody knows them as used."""
        if service.seeded:
            await self._link.ask("make", cell=service.number, keys=keys)
        else:
            self._link.tell("used", cell=service.number, keys=keys)
        service.known.update(keys)


def _rule(scope: Any) -> str:
    """The rule that is asked for, by query or header; "" for the scenario's first."""
    found = parse_qs(scope.query_string, keep_blank_values=True) if scope.query_string else {}
    unknown = next((name for name in found if name != "rule"), None)
    if unknown is not None:
        raise Refused(400, f"unknown parameter '{unknown}'; there is: rule")
    return str(found["rule"][-1] if found else scope.headers.get("race-rule") or "")


def _keys(text: str) -> tuple[str, ...]:
    keys = tuple(text.split(","))
    if not all(keys):
        raise Refused(400, f"'{text}' names no key: several are separated by commas, user:1,user:2")
    if len(keys) > MOST_KEYS:
        raise Refused(400, f"at most {MOST_KEYS} keys at once, not {len(keys)}")
    if any("\0" in key or len(key) > 500 for key in keys):
        raise Refused(400, "a key has at most 500 characters, and no zero among them")
    return keys


def _args(body: bytes) -> dict[str, Any]:
    if len(body) > _LONGEST:
        raise Refused(400, f"the body is longer than {_LONGEST:,} bytes")
    try:
        args = json.loads(body)
    except ValueError as error:
        raise Refused(400, f"the body is not JSON: {error}") from None
    if not isinstance(args, dict):
        raise Refused(400, 'the body holds the arguments by name, as in {"limit": 3}')
    return args
