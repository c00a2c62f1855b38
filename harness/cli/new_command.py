"""race new: a small, commented script that runs at once, and its test."""

from __future__ import annotations

import re
import sys
from importlib.resources import files
from pathlib import Path

import click

from harness.model import UsageError
from harness.results.save import write_file

_NEXT = {
    "scenario": (
        "race run ./{script} --strategy naive",
        "race compare ./{script}",
        "pytest {test}",
        "race check --init    # and name {script} in race.toml: a gate for CI",
    ),
    "strategy": ("race explore double-submit --strategy ./{script}", "pytest {test}"),
}
_PLACEHOLDERS = {"scenario": "my rule", "strategy": "my fix"}


@click.command("new")
@click.argument("kind", type=click.Choice(tuple(_NEXT)))
@click.argument("name")
def command(kind: str, name: str) -> None:
    """Write a small, commented scenario or strategy that runs at once, and its test, into this folder.

    `race new scenario seat-booking` writes seat_booking.py and test_seat_booking.py.
    """
    words = _words(name)
    script, test = Path("_".join(words) + ".py"), Path("test_" + "_".join(words) + ".py")
    texts = {script: _filled(kind, f"{kind}.py.txt", words), test: _filled(kind, f"test_{kind}.py.txt", words)}
    for path in texts:
        if path.exists():
            raise UsageError(f"{path} is there already: choose another name, or remove it first")
    try:
        for path, text in texts.items():
            write_file(path, text)
    except UsageError:  # half of it would be in the way of the next try
        script.unlink(missing_ok=True)
        raise
    click.echo(f"wrote {script} and {test}; next:")
    for line in _NEXT[kind]:
        click.echo(f"  {line.format(script=script, test=test)}")


def _words(name: str) -> list[str]:
    """`seat-booking`, `seat_booking` or `SeatBooking` as words. Raises UsageError."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name.removesuffix(".py")).replace("_", "-").lower()
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", spaced, re.ASCII):
        raise UsageError(f"'{name}' is no name for a script: use letters, digits and dashes, as in seat-booking")
    words = spaced.split("-")
    module = "_".join(words)
    if module in sys.stdlib_module_names | {"harness", "pytest"}:
        raise UsageError(f"a script {module}.py would hide the module {module} from its test: choose another name")
    return words


def _filled(kind: str, template: str, words: list[str]) -> str:
    """The template with its placeholder in every spelling replaced by the name."""
    text = files("harness.cli").joinpath("templates", template).read_text(encoding="utf-8")
    placeholder = _PLACEHOLDERS[kind].split()
    for spelled in ("-".join, "_".join, _camel):
        text = text.replace(spelled(placeholder), spelled(words))
    return text


def _camel(words: list[str]) -> str:
    return "".join(word.capitalize() for word in words)
