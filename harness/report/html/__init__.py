"""A document as one HTML file: no network, no script, light and dark, for the screen and for paper."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from harness.report.figures import bound, count, cut, interval, milliseconds, per_second, percent
from harness.report.html.live import live_view, theme
from harness.report.html.plots import rate_bar
from harness.report.html.views import MEANINGS, TONES, VIEWS
from harness.report.html.views_kept import KEPT_VIEWS
from harness.report.html.views_library import LIBRARY_VIEWS

if TYPE_CHECKING:
    from jinja2 import Environment

Document = Mapping[str, Any]

__all__ = ["live", "page"]

_VIEWS = {**VIEWS, **LIBRARY_VIEWS, **KEPT_VIEWS}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def page(document: Document) -> str:
    """The whole file. Everything that a script or a store says is escaped; what no page may hold becomes `?`."""
    kind = _kind(document)
    template = _environment().get_template(f"{kind}.html")
    return _clean(template.render(document=document, style=_style(), **_VIEWS[kind](document)))


def live(documents: Sequence[Document], shown: int, starting: str = "") -> str:
    """A piece of a page about tests that may still run: number `shown` from 1, or the last; and all as rows.

    `starting` names the one that gets ready.
    """
    from markupsafe import Markup

    style = _style()
    colours = Markup(theme(style) + _sheet("live.css"))  # noqa: S704 - our own files
    template = _environment().get_template("live.html")
    return _clean(template.render(style=style, theme=colours, starting=starting, **live_view(documents, shown)))


def _clean(text: str) -> str:
    return _CONTROL.sub("?", text).encode("utf-8", "replace").decode("utf-8")


def _kind(document: Document) -> str:
    return str(document["schema"].removeprefix("race.").partition("/")[0])


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("harness.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=count, milliseconds=milliseconds, per_second=per_second, rate_bar=rate_bar, rate_text=_rate_text,
        broken_of=_broken_of, interval_text=_interval_text,
        shortened=cut,
    )  # fmt: skip
    environment.globals.update(tones=TONES, meanings=MEANINGS)
    return environment


@cache
def _style() -> Any:
    """The style sheet, ours and so not to be escaped."""
    from markupsafe import Markup

    return Markup(_sheet("style.css"))  # noqa: S704 - our own file


@cache
def _sheet(name: str) -> str:
    return files("harness.report.html").joinpath("templates", name).read_text(encoding="utf-8")


def _broken_of(violations: Document) -> str:
    """`633 of 647`."""
    return f"{count(violations['bursts'])} of {count(violations['judged'])}" if violations["judged"] else "none judged"


def _interval_text(violations: Document) -> str:
    """`97.8 % (96.3-98.9)`; where none broke, `at most 0.46 %`."""
    if not violations["judged"]:
        return ""
    if not violations["bursts"]:
        return f"at most {bound(violations)} %"
    return f"{percent(violations['rate'])} % ({interval(violations)})"


def _rate_text(violations: Document) -> str:
    """Both of them, and what the bound is: no column says it here."""
    text = ", ".join(filter(None, (_broken_of(violations), _interval_text(violations))))
    return f"{text} by the one-sided 95 % bound" if violations["judged"] and not violations["bursts"] else text
