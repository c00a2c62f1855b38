"""The service of one run: found, asked what it is, and looked at again while it is loaded."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from harness.http.calls import Answer, Call, Service
from harness.http.connection import Line, Shared
from harness.http.place import Place, Version, parse_place
from harness.http.schemes import speaks_other
from harness.http.services import find_service
from harness.http.target_file import TargetFile
from harness.model import Claim, ConnectionLost, Signature, StoreUnavailable, UsageError
from harness.stores import StoreInfo
from harness.strategy import Store

_FIRST_S = 5.0


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """Which service, as the command line names it. `target` is a TOML file or a script, None for `race serve`."""

    url: str = ""
    target: Path | None = None
    version: Version = ""
    allow_hosts: tuple[str, ...] = ()
    ca: str = ""
    insecure: bool = False


@dataclass(slots=True)
class Site:
    """A service, ready to be loaded. `version` is the HTTP that it speaks; `cell` its path within `race serve`.

    `not_let_in`: bursts that met a login that had run out; it was made again. `senseless`: requests of bursts whose
    stamps cannot be right.
    """

    place: Place
    service: Service
    options: HttpOptions
    cell: str = ""
    rule: str = ""
    run: str = field(default_factory=lambda: secrets.token_hex(3))
    version: str = ""
    infos: Sequence[StoreInfo] = ()
    heads: list[str] = field(default_factory=list)
    link: None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    not_let_in: int = 0
    senseless: int = 0
    _incarnation: Any = None

    async def open(self) -> None:
        """Find out whether it is there, and what it speaks. Raises StoreUnavailable, UsageError."""
        shared = Shared()
        line = Line(self.place, self.place.context(), shared)
        try:
            connection = await line.connection()
            self.version = "2" if connection.wire.protocol == "h2" else "1.1"
            if self.cell:
                await self._ask_race_serve(line)
            else:
                product = str(getattr(self.service, "title", "") or type(self.service).name or "a service")
                self.infos = [StoreInfo("http", product, f"HTTP/{self.version}", embedded=False, durability="its own")]
        except ConnectionLost as lost:
            if "certificate" in str(lost):
                do = "--ca-file names whom to trust, --insecure trusts anybody"
            else:
                do = await speaks_other(self.place) or "start it, or name another --url"
            raise StoreUnavailable(f"the service at {self.place.shown} cannot be reached: {lost}; {do}") from None
        finally:
            await line.drop()
            await shared.close()

    async def _ask_race_serve(self, line: Line) -> None:
        root = await self._get(line, "/")
        if not isinstance(root, dict) or root.get("server") != "race serve":
            raise UsageError(
                f"{self.place.shown} is no race serve; describe your own service in a file: --target my_service.toml"
            )
        until = time.monotonic() + _FIRST_S
        while (
            not root.get("workers") and time.monotonic() < until
        ):  # it listens before all of it is told to have started
            await asyncio.sleep(0.05)
            root = await self._get(line, "/")
        query = f"?rule={quote(self.rule)}" if self.rule else ""
        about = await self._get(line, self.cell + query)
        if not isinstance(about, dict) or about.get("error"):
            raise UsageError(f"{self.place.shown}{self.cell}: {(about or {}).get('error', 'there is no such cell')}")
        if about.get("applies") is False:
            raise UsageError(f"{self.place.shown}{self.cell} does not apply: {about['claim']['reason']}")
        if about.get("unserved"):
            raise UsageError(f"{self.place.shown}{self.cell} is not served: {about['unserved']}")
        self.about = about
        self._incarnation = root.get("workers")
        infos = map(_store_of, root["stores"])
        self.infos = [info for info in infos if info.kind == about["store"]]

    async def _get(self, line: Line, path: str) -> Any:
        try:
            async with asyncio.timeout(_FIRST_S):
                answer: Answer = await line.ask(Call("GET", path, (("accept", "application/json"),)))
        except TimeoutError:
            raise ConnectionLost("no answer in time") from None
        return answer.json()

    async def lost(self) -> str | None:
        """Why what was measured cannot be trusted: nobody listens any more, or its processes are others."""
        shared = Shared()
        line = Line(self.place, self.place.context(), shared)
        try:
            await line.connection()
            if self.cell:
                root = await self._get(line, "/")
                if not isinstance(root, dict) or root.get("workers") != self._incarnation:
                    return "race serve was restarted, or one of its processes was"
        except ConnectionLost as lost:
            return f"the service at {self.place.shown} is gone: {lost}"
        finally:
            await line.drop()
            await shared.close()
        return None

    def describe(self) -> dict[str, Any]:
        """What a worker needs. No secrets: each process reads the target itself."""
        target = self.options.target
        return {
            "place": asdict(self.place), "cell": self.cell, "rule": self.rule, "run": self.run,
            "version": self.version, "heads": list(self.heads), "target": "" if target is None else str(target),
        }  # fmt: skip

    def claim(self, known: Claim) -> Claim:
        """What is claimed of it: by race serve for the strategy behind it, else `known`."""
        said = self.about.get("claim")
        if not isinstance(said, dict):
            return known
        return Claim(
            said["kind"], said.get("reason", ""), tuple(said.get("breaks_under", ())), tuple(said.get("errors", ()))
        )


def find_site(
    options: HttpOptions, rule: str, operations: Mapping[str, Signature]
) -> tuple[Site, tuple[str, str] | None]:
    """The site that options name, not open yet; of race serve also scenario and strategy. Raises UsageError."""
    if options.target is None:
        whole = parse_place(
            options.url, options.allow_hosts, version=options.version, ca=options.ca, insecure=options.insecure
        )
        parts = [part for part in whole.base.split("/") if part]
        if len(parts) < 2:
            raise UsageError(
                f"--url: the address ends with scenario and strategy, as in {whole.shown}/double-submit/naive;"
                " your own service is described in a file: --target my_service.toml"
            )
        *base, scenario, strategy = parts
        place = replace(whole, base="".join(f"/{part}" for part in base))
        cell = f"/{scenario}/{strategy}"
        service = find_service({"cell": cell, "rule": rule})
        return Site(place, service, options, cell, rule), (scenario, strategy)
    run = secrets.token_hex(3)
    service = find_service({"target": str(options.target), "run": run}, operations)
    url = options.url or service.url
    if not url:
        raise UsageError(f'{options.target}: url: is missing; url = "http://127.0.0.1:8000", or --url')
    version, ca, insecure = options.version, options.ca, options.insecure
    if isinstance(service, TargetFile):
        version, ca, insecure = version or _version(service.version), ca or service.ca, insecure or service.insecure
    what = "--url" if options.url else f"{options.target}: url"
    place = parse_place(url, options.allow_hosts, what=what, version=version, ca=ca, insecure=insecure)
    return Site(place, service, options, "", rule, run), None


def _version(text: str) -> Version:
    return "2" if text == "2" else "1.1" if text == "1.1" else ""


def _store_of(text: str) -> StoreInfo:
    """A store as race serve names it: `Valkey 9.1.2 (embedded)`."""
    product, _, version = text.removesuffix(" (embedded)").partition(" ")
    kind: Store = "postgres" if product == "PostgreSQL" else "redis"
    return StoreInfo(kind, product, version, embedded=text.endswith("(embedded)"), durability="as race serve keeps it")
