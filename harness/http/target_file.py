"""A service described in a few lines of TOML."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from harness.http.calls import Answer, Call, Service
from harness.http.login import Login, names_a_key, pointers
from harness.http.templates import Secrets, check, filled, filled_json, filled_path, pointed, words_of
from harness.model import NOTHING, Reply, Request, Signature, StoreUnavailable, UsageError
from harness.strategy.loader import nearest

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
_CALL = ("request", "headers", "json", "form", "body")
_KEYS: Mapping[str, Sequence[str]] = {
    "": (
        "url",
        "name",
        "token",
        "headers",
        "cookies",
        "tls",
        "http",
        "login",
        "operations",
        "reset",
        "rest",
        "stamps",
        "given",
    ),
    "tls": ("ca", "insecure"),
    "http": ("version", "timeout_s"),
    "operation": (*_CALL, "replies", "values", "skip"),
    "login": (*_CALL, "ok", "send", "expired"),
    "reset": (*_CALL, "ok"),
    "rest": (*_CALL, "absent", "value"),
    "stamps": ("arrived", "returned"),
    "given": ("arrival_us", "handler_us"),
}
_STATUS = re.compile(r"[1-5](\d\d|xx)")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NEW = "a word, {new}: the decision; a /pointer into the JSON answer; or a list of {{when, decision}}"


class TargetFile(Service):
    """Reads the file at once; every mistake is a UsageError that names the file and the key."""

    def __init__(self, path: Path, run: str = "0", operations: Mapping[str, Signature] = NOTHING) -> None:
        """`operations` are those that the scenario knows, where it tells."""
        self.path = path
        self.run = run
        self._secrets = Secrets()
        self._known = operations
        data = _read(path)
        self._table("", data)
        self.url = self._text(data.get("url", ""), "url")
        self.title = self._text(data.get("name", path.stem), "name")
        self._common = self._common_headers(data)
        tls, http, given, stamps = (
            self._table(name, data.get(name, {})) for name in ("tls", "http", "given", "stamps")
        )
        self.ca = self._text(tls.get("ca", ""), "tls.ca")
        self.ca = str(path.parent / self.ca) if self.ca else ""
        self.insecure = self._truth(tls.get("insecure", False), "tls.insecure")
        self.version = self._text(http.get("version", ""), "http.version")
        if self.version not in {"", "1.1", "2"}:
            raise self._wrong("http.version", f'it is "1.1" or "2", not {self.version!r}')
        self.timeout_s = self._number(http.get("timeout_s", 10), "http.timeout_s", 600)
        self.arrival_us, self.handler_us = (
            self._number(given[name], f"given.{name}", 60e6) if name in given else None
            for name in ("arrival_us", "handler_us")
        )
        self.arrived_header = self._header(stamps.get("arrived", self.arrived_header), "stamps.arrived")
        self.returned_header = self._header(stamps.get("returned", self.returned_header), "stamps.returned")
        self._operations = self._all_operations(data.get("operations"))
        self._reset = self._call_table("reset", data["reset"], "reset", NOTHING) if "reset" in data else None
        self._rest = self._call_table("rest", data["rest"], "rest", NOTHING) if "rest" in data else None
        self._login = self._login_table(data["login"]) if "login" in data else None
        self.login_each = self._login is not None and self._login.each_key
        self._value = data.get("rest", {}).get("value", "")
        self._check_pointers(self._value, "rest.value")
        self._absent = self._statuses(data.get("rest", {}).get("absent", [404]), "rest.absent")
        self._ok = self._statuses(data.get("reset", {}).get("ok", ["2xx", 404]), "reset.ok")

    # As a service

    def call(self, request: Request) -> Call | None:
        """From the operation's templates."""
        table = self._operations.get(request.operation)
        if table is None:
            raise self._wrong(
                f"operations.{request.operation}",
                "is missing: the scenario asks for it (skip = true ends an attempt there)",
            )
        return None if table.get("skip") else self._made(table, request)

    def reply(self, request: Request, answer: Answer) -> Reply | None:
        """What `replies` says of this status, with the values that were asked for."""
        table = self._operations[request.operation]
        replies = table["replies"]
        found = replies.get(str(answer.status), replies.get(f"{answer.status // 100}xx"))
        document = answer.json()
        decision = _decision(found, document)
        if decision is None:
            return None
        values = {name: pointed(document, pointer) for name, pointer in table.get("values", {}).items()}
        return Reply(decision, values) if values and None not in values.values() else Reply(decision)

    def login(self, key: str) -> Call | None:
        """From [login]."""
        return None if self._login is None else self._made(self._login.call, Request("login", (key,) if key else ()))

    def logged_in(self, answer: Answer) -> Mapping[str, str]:
        """What [login] takes. Raises UsageError where it was refused, StoreUnavailable where nobody could tell."""
        assert self._login is not None
        if not _among(answer.status, self._login.ok):
            says = f"{self._login.where}: the login was answered {answer.status}"
            raise StoreUnavailable(says) if answer.status >= 500 else UsageError(says)
        return self._login.taken(answer)

    def login_expired(self, answer: Answer) -> bool:
        """By [login]; never where there is none."""
        return self._login is not None and _among(answer.status, self._login.expired)

    def reset(self, keys: Sequence[str]) -> Call | None:
        """From [reset]."""
        return None if self._reset is None else self._made(self._reset, Request("reset", tuple(keys)))

    def was_reset(self, answer: Answer) -> bool:
        """Whether that worked."""
        return _among(answer.status, self._ok)

    def rest(self, keys: Sequence[str]) -> Call | None:
        """From [rest]."""
        return None if self._rest is None else self._made(self._rest, Request("rest", tuple(keys)))

    def values(self, keys: Sequence[str], answer: Answer) -> Mapping[str, Any]:
        """As [rest] maps it. Raises UsageError where it does not."""
        if _among(answer.status, self._absent):
            return {keys[0]: None}
        if not 200 <= answer.status < 300:
            raise self._wrong(
                "rest", f"the state at rest was answered {answer.status}; absent = [...] names what means none"
            )
        document = answer.json()
        if isinstance(self._value, Mapping):
            return {keys[0]: {name: pointed(document, pointer) for name, pointer in self._value.items()}}
        return {keys[0]: pointed(document, self._value)}

    def decisions(self) -> Iterator[tuple[str, str, str]]:
        """Every decision that is named: its operation, where it stands, and itself."""
        for name, table in self._operations.items():
            for status, meaning in table.get("replies", {}).items():
                for one in meaning if isinstance(meaning, list) else [{"decision": meaning}]:
                    if not one["decision"].startswith("/"):
                        yield name, f"operations.{name}.replies.{status}", one["decision"]

    def secrets(self) -> Iterable[str]:
        """What came from the environment, and the rest of what identifies."""
        return tuple(self._secrets)

    def _made(self, table: Mapping[str, Any], request: Request) -> Call:
        words = words_of(request, self.run)
        method, path = table["request"]
        headers = dict(self._common)
        body = b""
        if "json" in table:
            headers["content-type"] = "application/json"
            body = json.dumps(filled_json(table["json"], words)).encode()
        elif "form" in table:
            headers["content-type"] = "application/x-www-form-urlencoded"
            body = urlencode({name: filled(str(text), words) for name, text in table["form"].items()}).encode()
        elif "body" in table:
            body = filled(table["body"], words).encode()
        headers |= {name: filled(text, words) for name, text in table.get("headers", {}).items()}
        return Call(method, filled_path(path, words), tuple(headers.items()), body)

    # Reading the file

    def _wrong(self, key: str, what: str) -> UsageError:
        return UsageError(f"{self.path}: {key}: {what}")

    def _table(self, name: str, value: Any, kind: str = "") -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self._wrong(name, "it is a table")
        for key in value:
            if key not in (known := _KEYS[kind or name]):
                raise self._wrong(f"{name}.{key}" if name else key, f"unknown; {nearest(key, known)}")
        return value

    def _text(self, value: Any, key: str) -> str:
        if not isinstance(value, str):
            raise self._wrong(key, f"it is a text, not a {type(value).__name__}")  # of a token nothing is repeated
        return value

    def _truth(self, value: Any, key: str) -> bool:
        if not isinstance(value, bool):
            raise self._wrong(key, f"it is true or false, not {value!r:.40}")
        return value

    def _number(self, value: Any, key: str, most: float) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
            raise self._wrong(key, f"it is a number above 0 and up to {most:,.0f}, not {value!r:.40}")
        return float(value)

    def _header(self, value: Any, key: str) -> str:
        name = self._text(value, key)
        if not _TOKEN.fullmatch(name):
            raise self._wrong(key, f"{name!r:.40} is no name of a header")
        return name.lower()

    def _headers(self, table: Any, key: str) -> dict[str, str]:
        if not isinstance(table, dict):
            raise self._wrong(key, "it is a table of header to text")
        found = {}
        for name, text in table.items():
            where = f"{key}.{name}"
            value = self._secrets.put_in(self._text(text, where), f"{self.path}: {where}")
            if not value.isprintable() or not value.isascii():
                raise self._wrong(where, "a header is one line of ASCII")
            found[self._header(name, where)] = value
        return found

    def _common_headers(self, data: Mapping[str, Any]) -> dict[str, str]:
        headers = self._headers(data.get("headers", {}), "headers")
        if "token" in data:
            token = self._secrets.put_in(self._text(data["token"], "token"), f"{self.path}: token")
            self._secrets.keep(token, "token")
            headers["authorization"] = f"Bearer {token}"
        elif "authorization" in headers:
            self._secrets.keep(headers["authorization"].rpartition(" ")[2], "headers.authorization")
        if "cookies" in data:
            cookies = self._headers(data["cookies"], "cookies")
            names = {name.lower(): name for name in data["cookies"]}
            for name, value in cookies.items():
                self._secrets.keep(value, f"cookies.{name}")
            headers["cookie"] = "; ".join(f"{names[name]}={value}" for name, value in cookies.items())
        return headers

    def _all_operations(self, tables: Any) -> dict[str, dict[str, Any]]:
        if not isinstance(tables, dict) or not tables:
            raise self._wrong("operations", f"there is no [operations.NAME]; {nearest('', self._known)}")
        found: dict[str, dict[str, Any]] = {}
        for name, table in tables.items():
            key = f"operations.{name}"
            if self._known and name not in self._known:
                raise self._wrong(key, f"the scenario has no such operation; {nearest(name, self._known)}")
            args = self._known[name].args if name in self._known else None
            if isinstance(table, dict) and table.get("skip"):
                found[name] = {"skip": self._truth(table["skip"], f"{key}.skip")}
                continue
            found[name] = self._call_table(key, table, "operation", args)
            found[name]["replies"] = self._replies(table.get("replies"), f"{key}.replies")
            found[name]["values"] = table.get("values", {})
            if not isinstance(found[name]["values"], dict):
                raise self._wrong(f"{key}.values", "it is a table of value to /pointer")
            self._check_pointers(found[name]["values"], f"{key}.values")
        return found

    def _login_table(self, table: Any) -> Login:
        call = self._call_table("login", table, "login", NOTHING)
        send = self._headers(call.get("send", {}), "login.send")
        for name, text in send.items():
            if not pointers(text):
                raise self._wrong(f"login.send.{name}", "it has a /pointer into the answer, as in Bearer {/token}")
        ok, expired = (
            self._statuses(call.get(name, usual), f"login.{name}")
            for name, usual in (("ok", ["2xx"]), ("expired", [401]))
        )
        return Login(call, names_a_key(call), ok, expired, send, f"{self.path}: login")

    def _call_table(self, key: str, table: Any, kind: str, args: Mapping[str, Any] | None) -> dict[str, Any]:
        made = dict(self._table(key, table, kind))
        text = made.get("request")
        if not isinstance(text, str):
            raise self._wrong(key, f'request is missing: request = "POST /users/{{key}}/{key.rpartition(".")[2]}"')
        method, _, path = text.partition(" ")
        if method not in _METHODS or not path.startswith("/") or " " in path:
            raise self._wrong(
                f"{key}.request", f'it is a method and a path, as in "POST /users/{{key}}", not {text!r:.60}'
            )
        made["request"] = (method, self._secrets.put_in(path, f"{self.path}: {key}.request"))
        made["headers"] = self._headers(made.get("headers", {}), f"{key}.headers")
        self._body(key, made)
        for part in ("request", "json", "form", "body"):
            if part in made:
                check(str(made[part]), f"{self.path}: {key}.{part}", args)
        for name, value in made["headers"].items():
            check(value, f"{self.path}: {key}.headers.{name}", args)
        return made

    def _body(self, key: str, made: dict[str, Any]) -> None:
        """Check what a call sends, and put secrets in."""
        if sum(name in made for name in ("json", "form", "body")) > 1:
            raise self._wrong(key, "one of json, form and body")
        if "form" in made and not isinstance(made["form"], dict):
            raise self._wrong(f"{key}.form", "it is a table")
        if "body" in made:
            self._text(made["body"], f"{key}.body")
        for name in ("json", "form", "body"):
            if name in made:
                made[name] = self._with_secrets(made[name], f"{key}.{name}")

    def _with_secrets(self, value: Any, key: str) -> Any:
        """The same with every secret put in, and only what JSON has: TOML has dates, too."""
        if isinstance(value, str):
            return self._secrets.put_in(value, f"{self.path}: {key}")
        if isinstance(value, dict):
            return {name: self._with_secrets(one, f"{key}.{name}") for name, one in value.items()}
        if isinstance(value, list):
            return [self._with_secrets(one, key) for one in value]
        if not isinstance(value, int | float):
            raise self._wrong(key, f"{value} is no JSON; write it as a text")
        return value

    def _replies(self, table: Any, key: str) -> dict[str, Any]:
        if not isinstance(table, dict) or not table:
            raise self._wrong(key, 'it says what each status means, as in {200 = "accepted", 409 = "rejected"}')
        for status, meaning in table.items():
            where = f"{key}.{status}"
            if not _STATUS.fullmatch(status):
                raise self._wrong(where, "a status is a number, or 2xx, 4xx, 5xx for all of a kind")
            choices = meaning if isinstance(meaning, list) else [{"decision": meaning}]
            for one in choices:
                if (
                    not isinstance(one, dict)
                    or not isinstance(one.get("decision"), str)
                    or not one["decision"]
                    or not set(one) <= {"when", "decision"}
                ):
                    raise self._wrong(where, _NEW.format(new=f'{status} = "accepted"'))
                if not isinstance(one.get("when", {}), dict):
                    raise self._wrong(where, 'when is a table of /pointer to value, as in {"/ok" = true}')
        return table

    def _check_pointers(self, value: Any, key: str) -> None:
        for name, pointer in value.items() if isinstance(value, dict) else [("", value)]:
            if not isinstance(pointer, str) or not (pointer == "" or pointer.startswith("/")):
                raise self._wrong(
                    f"{key}.{name}" if name else key, f"it is a /pointer into the JSON answer, not {pointer!r:.40}"
                )

    def _statuses(self, value: Any, key: str) -> list[str]:
        found = [str(one) for one in value] if isinstance(value, list) else [str(value)]
        for one in found:
            if not _STATUS.fullmatch(one):
                raise self._wrong(key, f"a status is a number, or 2xx, 4xx, 5xx for all of a kind; not {one!r:.20}")
        return found


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file; docs/http.md shows one to begin with") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: it cannot be read: {getattr(error, 'strerror', None) or 'it is no UTF-8'}") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: this is no TOML: {error}") from None


def _decision(meaning: Any, document: Any) -> str | None:
    """The decision that an answer means; None where nothing says so."""
    for one in meaning if isinstance(meaning, list) else [{"decision": meaning}]:
        decision = one["decision"]
        if decision is None or any(pointed(document, at) != value for at, value in one.get("when", {}).items()):
            continue
        told = pointed(document, decision) if decision.startswith("/") else decision
        return told if isinstance(told, str) else None
    return None


def _among(status: int, kinds: Sequence[str]) -> bool:
    return str(status) in kinds or f"{status // 100}xx" in kinds
