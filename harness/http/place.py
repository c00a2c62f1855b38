"""Where a service is: its URL taken apart, refused where it is not this machine and was not named."""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from harness.model import UsageError

Version = Literal["", "1.1", "2"]
_LARGEST_PORT = 65_535
_DEFAULT = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Place:
    """A service's address. `base` stands before every path. `version` "": over TLS what both speak, else HTTP/1.1.

    `ca` names a file of certificates to trust, "" for the system's; `insecure` trusts anybody.
    """

    host: str
    port: int
    tls: bool = False
    base: str = ""
    version: Version = ""
    ca: str = ""
    insecure: bool = False

    @property
    def shown(self) -> str:
        """The address, which holds no secret."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.tls else ''}://{host}:{self.port}{self.base}"

    @property
    def may_be_two(self) -> bool:
        """Whether it may come to speak HTTP/2: without TLS only where that was asked for."""
        return self.version == "2" or (self.tls and self.version == "")

    @property
    def authority(self) -> str:
        """The host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT["https" if self.tls else "http"] else f"{host}:{self.port}"

    def context(self) -> ssl.SSLContext | None:
        """What TLS is to trust and to offer; None without TLS. Raises UsageError."""
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca or None)
        except (OSError, ssl.SSLError):
            raise UsageError(
                f"{self.ca}: no certificates can be read from it; it is a PEM file of those to trust"
            ) from None
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        offered = {"": ["h2", "http/1.1"], "1.1": ["http/1.1"], "2": ["h2"]}[self.version]
        context.set_alpn_protocols(offered)
        return context


def parse_place(
    url: str,
    allow_hosts: Collection[str] = (),
    *,
    what: str = "--url",
    version: Version = "",
    ca: str = "",
    insecure: bool = False,
) -> Place:
    """The place behind an http:// or https:// URL. Raises UsageError, in which no part of a login is repeated."""
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise UsageError(f"{what}: this is no such URL; it looks like http://127.0.0.1:8000") from None
    if parts.scheme not in _DEFAULT or not host or port == 0:
        raise UsageError(f"{what}: this is no such URL; it looks like http://127.0.0.1:8000")
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            f'{what}: leave the login out of the address: a target file has headers and token = "env:NAME"'
        )
    if parts.query or parts.fragment:
        raise UsageError(f"{what}: an address ends before ? and #; --rule chooses the rule")
    if not re.fullmatch(r"[\x21-\x7e]*", parts.path):
        raise UsageError(f"{what}: the path has a space or a letter beyond ASCII in it; write it as %20, say")
    _allow(host, allow_hosts)
    if ca and not Path(ca).is_file():
        raise UsageError(f"{ca}: there is no such file of certificates")
    tls = parts.scheme == "https"
    return Place(host, port or _DEFAULT[parts.scheme], tls, parts.path.rstrip("/"), version, ca, insecure)


def _allow(host: str, allow_hosts: Collection[str]) -> None:
    """Load belongs on one's own machine unless its host was named."""
    if is_loopback(host) or host.lower() in {name.lower() for name in allow_hosts}:
        return
    raise UsageError(
        f"{host} is not this machine: race sends requests at it as fast as it can; add --allow-host {host} to do so"
    )


def is_loopback(host: str) -> bool:
    """Whether this is this machine, by what it is called."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
