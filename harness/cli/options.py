"""The options that commands share, their checks, and the command line that they came from."""

from __future__ import annotations

import random
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from urllib.parse import urlsplit

import click
from click.core import ParameterSource

from harness.model import UsageError
from harness.results.shelf import Shelf

if TYPE_CHECKING:
    from harness.burst import Load, StoresOptions

Function = TypeVar("Function", bound=Callable[..., Any])

BURST_SIZE, PROCESSES, WORK_US, THINK_MS, KEYS, SUSTAINED_CONNECTIONS = 2, 2, 300, 0.0, 64, 16


class AtLeast(click.ParamType[Any]):
    """A number with a lower limit, refused in one plain sentence; also with an upper one, where there is a reason."""

    def __init__(
        self, least: float, kind: type[int | float] = int, *, most: float = float("inf"), reason: str = ""
    ) -> None:
        """`reason` says why there may be no more than `most`."""
        self.least = least
        self.most = most
        self.kind = kind
        self.reason = reason
        self.name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ARG002
        """The number. Raises UsageError."""
        name = param.opts[-1] if param is not None else "the number"
        try:
            number = self.kind(value)
        except ValueError:
            what = "a whole number" if self.kind is int else "a number"
            raise UsageError(f"{name} must be {what}, not '{value}'") from None
        if not self.least <= number < float("inf"):
            raise UsageError(f"{name} must be {self.least:g} or more, not {value}")
        if number > self.most:
            raise UsageError(f"{name} must be {self.most:,.0f} or less, not {value}: {self.reason}")
        return number


SEED = AtLeast(float("-inf"))
"""Any whole number."""


class BurstSize(AtLeast):
    """How many requests meet; one alone meets nobody."""

    def __init__(self, *, most: float = float("inf"), reason: str = "") -> None:
        """Two or more."""
        super().__init__(2, most=most, reason=reason)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The size. Raises UsageError."""
        if str(value).strip() == "1":
            raise UsageError("a burst of 1 cannot overlap: use --size 2 or more")
        return super().convert(value, param, ctx)


def _decorated(options: Iterable[Callable[[Function], Function]]) -> Callable[[Function], Function]:
    def decorate(function: Function) -> Function:
        for option in reversed(list(options)):
            function = option(function)
        return function

    return decorate


class Sectioned(click.Command):
    """A command whose options are told in sections."""

    _SECTIONS: ClassVar = {
        "What": ("whole", "strategy", "strategies", "scenario", "rule", "rules", "table", "flow", "mode"),
        "Search": ("faults", "every", "search", "most", "switches", "most_faults", "save"),
        "Where": ("port", "host", "workers", "certfile", "keyfile", "headless", "web_host", "master",
                  "master_bind_host", "master_bind_port", "master_host", "master_port"),
        "How much": ("bursts", "size", "processes", "connections", "keys", "work_us", "think_ms", "kills", "duration_s",
                     "seed", "budget_s"),
        "Stores": ("redis_url", "postgres_url", "allow_hosts"),
        "A service": ("url", "target", "http_version", "ca_file", "insecure"),
        "Output": (),
    }  # fmt: skip
    """The title of a section to the options in it; the last takes all others."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click does, section by section, with all their columns at one width."""
        titles = {name: title for title, names in self._SECTIONS.items() for name in names}
        sections: dict[str, list[tuple[str, str]]] = {title: [] for title in self._SECTIONS}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                sections[titles.get(parameter.name or "", "Output")].append(record)
        width = max((len(option) for records in sections.values() for option, _help in records), default=0)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl([(option.ljust(width), help_) for option, help_ in records])


def _address(_context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse an address that is none: mostly a variable that is not set. Raises UsageError."""
    if value is not None and not value.strip():
        raise UsageError(f"{parameter.opts[-1]} is empty: give an address, or leave it out for the embedded server")
    return value


def _service_address(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse an address that is none: mostly a variable that is not set. Raises UsageError."""
    if value is not None and not value.strip():
        raise UsageError("--url is empty: give an address, as in http://127.0.0.1:8000")
    return value


_KEYS = AtLeast(1, most=1_000_000, reason="each is prepared before, and read after")
_PROCESSES = AtLeast(1, most=32, reason="each is a Python of its own that waits without sleeping")

load_options = _decorated(
    [
        click.option("--processes", type=_PROCESSES, default=PROCESSES, show_default=True, help="OS processes."),
        click.option("--connections", type=AtLeast(1), help="Of all processes; 16 under sustained load."),
        click.option("--size", type=BurstSize(), default=BURST_SIZE, show_default=True, help="Requests in a burst."),
        click.option("--work", "work_us", type=AtLeast(0), help="Length of the effect, microseconds.  [300]"),
        click.option("--think", "think_ms", type=AtLeast(0, float), default=THINK_MS,
                     help="Milliseconds added between check and write."),
        click.option("--keys", type=_KEYS, default=KEYS, show_default=True, help="Hot keys, sustained."),
        click.option("--seed", type=SEED, help="Draws the bursts; chosen and printed without it."),
    ]
)  # fmt: skip

_ALLOW_HOST = click.option(
    "--allow-host", "allow_hosts", multiple=True, metavar="HOST", help="A host beyond loopback that may be used."
)

store_options = _decorated(
    [
        click.option(
            "--redis-url",
            envvar="RACE_REDIS_URL",
            callback=_address,
            metavar="URL",
            help="Your Redis, in place of the embedded one.",
        ),
        click.option(
            "--postgres-url",
            envvar="RACE_POSTGRES_URL",
            callback=_address,
            metavar="URL",
            help="Your PostgreSQL, likewise.",
        ),
        _ALLOW_HOST,
    ]
)

service_options = _decorated(
    [
        click.option("--url", envvar="RACE_URL", metavar="URL", callback=_service_address,
                     help="A service to send the bursts to; race serve without --target."),
        click.option("--target", type=click.Path(path_type=Path), metavar="FILE",
                     help="Your own service, described: TOML or a script."),
        click.option("--http", "http_version", type=click.Choice(["auto", "1.1", "2"]), default="auto",
                     show_default=True, help="Over TLS both sides agree; else 1.1."),
        click.option("--ca-file", type=click.Path(), default="", metavar="FILE", help="Certificates to trust, PEM."),
        click.option("--insecure", is_flag=True, help="Trust any certificate."),
    ]
)  # fmt: skip

postgres_options = _decorated(
    [
        click.option(
            "--postgres-url",
            envvar="RACE_POSTGRES_URL",
            callback=_address,
            metavar="URL",
            help="Your PostgreSQL, in place of our own.",
        ),
        _ALLOW_HOST,
    ]
)

results_option = click.option(
    "--results", type=click.Path(path_type=Path), default=Path("results"), metavar="DIR",
    show_default=True, help="Where results are kept.",
)  # fmt: skip

_EXPORTS = [
    click.option(f"--export-{form}", type=click.Path(path_type=Path), metavar="FILE", help=text)
    for form, text in (
        ("json", "Write it to a file."),
        ("markdown", "Write it as Markdown."),
        ("csv", "Write it as CSV."),
        ("html", "Write it as a page, in one file."),
    )
]

table_options = _decorated(_EXPORTS)
text_options = _decorated(_EXPORTS[:2])

output_options = _decorated(
    [
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document."),
        *_EXPORTS,
        results_option,
        click.option("--quiet", is_flag=True, help="No progress, no remarks."),
        click.option("--exit-zero", is_flag=True, help="Exit 0 where it would be 1."),
    ]
)


@dataclass(frozen=True, slots=True)
class Output:
    """Where the document goes, besides the screen."""

    as_json: bool
    results: Shelf
    quiet: bool
    exit_zero: bool
    exports: Mapping[str, Path]

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Output:
        """From a command's options."""
        return cls(
            options["as_json"], Shelf(options["results"]), options["quiet"], options["exit_zero"], exports_of(options)
        )


def exports_of(options: Mapping[str, Any]) -> dict[str, Path]:
    """Format to file, of those that were asked for."""
    return {
        name.removeprefix("export_"): path
        for name, path in options.items()
        if name.startswith("export_") and path is not None
    }


def names(text: str) -> list[str]:
    """`a,b` as names, each once."""
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def faults_of(options: Mapping[str, Any]) -> list[str]:
    """The faults that are named; none where nobody asks for any. Raises UsageError where the list is empty."""
    found = names(options["faults"] or "")
    if options["faults"] is not None and not found:  # a shell's variable that was empty, say
        from harness.explore import FAULTS

        raise UsageError(f"--faults names no fault: say which of {', '.join(FAULTS)}, or leave it out")
    return found


def seed_or_new(seed: int | None) -> int:
    """The seed given, or a new one that is short enough to type."""
    return seed if seed is not None else random.SystemRandom().randint(1, 9999)


def load_of(options: Mapping[str, Any], seed: int) -> Load:
    """The load that a run is asked for."""
    from harness.burst import Load

    return Load(
        mode=options["mode"],
        processes=options["processes"],
        connections=_connections(options),
        bursts=options["bursts"],
        size=options["size"],
        duration_s=options["duration_s"],
        keys=options["keys"],
        work_us=WORK_US if options["work_us"] is None else options["work_us"],
        think_ms=options["think_ms"],
        seed=seed,
        kills=options.get("kills", 0),
    )


def _connections(options: Mapping[str, Any]) -> int:
    """As many as asked for; else one for each request of a burst, or sixteen under sustained load."""
    if options["connections"] is not None:
        return int(options["connections"])
    return int(options["size"]) if options["mode"] == "burst" else SUSTAINED_CONNECTIONS


def stores_of(options: Mapping[str, Any]) -> StoresOptions:
    """Which stores to use."""
    from harness.burst import StoresOptions

    return StoresOptions(options.get("redis_url"), options["postgres_url"], tuple(options["allow_hosts"]))


def command_line(context: click.Context, seed: int | None, *, keep: Iterable[str] = ()) -> str:
    """The command that does this again: what differs from the defaults, the seed if there is one, and no password.

    Where results go is no part of it, but for the options named in `keep`.
    """
    left_out = {"seed", "as_json", "quiet", "exit_zero", "results", "history", "help"} - set(keep)
    words = ["race", context.info_name or ""]
    for parameter in context.command.params:
        name = parameter.name or ""
        value = context.params.get(name)
        if name in left_out or name.startswith("export_") or value is None or value == ():
            continue
        if context.get_parameter_source(name) is ParameterSource.ENVIRONMENT:
            continue  # it will be there again
        if isinstance(parameter, click.Argument):
            words.append(str(value))
        elif value != parameter.get_default(context):
            words += _option(parameter, value)
    words += ["--seed", str(seed)] if seed is not None else []
    return " ".join(map(quoted, words))


def quoted(word: str) -> str:
    """For a shell, which is to put in the value of one of our variables."""
    return f'"{word}"' if word.startswith("$RACE_") else shlex.quote(word)


def _option(parameter: click.Parameter, value: Any) -> list[str]:
    flag = parameter.opts[-1]
    if flag.endswith("-url"):
        return [flag, without_secret(str(value), flag)]
    if isinstance(value, tuple):
        return [word for one in value for word in (flag, str(one))]
    if isinstance(value, bool):
        return [flag] if value else []
    return [flag, f"{value:g}" if isinstance(value, float) else str(value)]


def without_secret(url: str, flag: str) -> str:
    """The address itself where it can hold no password; else the variable that may hold it."""
    try:
        parts = urlsplit(url)
        plain = parts.password is None and not parts.query
    except ValueError:
        plain = False
    return url if plain else f"$RACE_{flag.removeprefix('--').replace('-', '_').upper()}"
