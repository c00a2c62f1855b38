"""Which service is meant: race's own server, a target file, or a script with a class of the user's."""

from __future__ import annotations

import importlib.util
import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from harness.http.calls import Answer, Call, Service, Told
from harness.http.target_file import TargetFile
from harness.model import NOTHING, OWN, SCRIPT, Reply, Request, Signature, UsageError, described

_SAFE = ":,-._~"


class RaceServe(Service):
    """`race serve`: a strategy seen through a web server."""

    keys_at_once = 500
    separator = ":"
    bundled = True

    def __init__(self, cell: str, rule: str) -> None:
        """`cell` is the path of scenario and strategy, `/counter/naive`."""
        self.cell = cell
        self._query = f"?{urlencode({'rule': rule})}" if rule else ""

    def call(self, request: Request) -> Call:
        """POST, with arguments in the body."""
        headers = [("content-type", "application/json"), ("race-request", request.id)]
        if request.attempt:
            headers.append(("race-attempt", request.attempt))
        if request.role:
            headers.append(("race-role", request.role))
        path = f"{self._keys(request.keys)}/{quote(request.operation, safe=_SAFE)}{self._query}"
        return Call("POST", path, tuple(headers), json.dumps(dict(request.args)).encode())

    def told(self, request: Request, answer: Answer) -> Told:  # noqa: ARG002 - the answer says it all
        """By the body: the status is for people and proxies."""
        said = answer.json()
        if not isinstance(said, dict):
            return Told(None, f"http-{answer.status}")
        now = int(said.get("now_ms") or 0), int(said.get("now_max_ms") or 0)
        if isinstance(said.get("decision"), str):
            return Told(Reply(said["decision"], said.get("values") or NOTHING), "", False, *now)
        return Told(None, str(said.get("code") or f"http-{answer.status}"), said.get("outcome") == "failed", *now)

    def reset(self, keys: Sequence[str]) -> Call:
        """PUT makes new keys."""
        return Call("PUT", self._keys(keys) + self._query)

    def rest(self, keys: Sequence[str]) -> Call:
        """GET reads them."""
        return Call("GET", self._keys(keys) + self._query)

    def values(self, keys: Sequence[str], answer: Answer) -> Mapping[str, Any]:  # noqa: ARG002 - likewise
        """As the layout decodes it there."""
        said = answer.json()
        if answer.status != 200 or not isinstance(said, dict):
            raise UsageError(f"race serve answered {answer.status} to a read of the state at rest")
        return dict(said["rest"])

    def _keys(self, keys: Sequence[str]) -> str:
        return f"{self.cell}/{','.join(quote(key, safe=':-._~') for key in keys)}"


def find_service(description: Mapping[str, Any], operations: Mapping[str, Signature] = NOTHING) -> Service:
    """The service of a description, which holds no secret. Raises UsageError."""
    if description.get("cell"):
        return RaceServe(description["cell"], description["rule"])
    path = Path(description["target"])
    if path.suffix == ".py":
        return _scripted(path)
    return TargetFile(path, description.get("run") or "0", operations)


def _scripted(path: Path) -> Service:
    """The one class of a script that derives from Service. Raises UsageError."""
    if not path.is_file():
        raise UsageError(f"{path}: there is no such script")
    spec = importlib.util.spec_from_file_location(f"race_target_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    setattr(module, SCRIPT, str(path))
    setattr(module, OWN, True)
    try:
        spec.loader.exec_module(module)
        kinds = [
            kind
            for kind in vars(module).values()
            if inspect.isclass(kind) and issubclass(kind, Service) and kind.__module__ == module.__name__
        ]
        found = [kind() for kind in kinds]
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(described(error)) from None
    if len(found) != 1:
        raise UsageError(f"{path}: it has {len(found)} classes derived from harness.Service; one is wanted")
    return found[0]
