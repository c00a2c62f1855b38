"""What a result says of the service that bursts were sent to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.http.site import Site
    from harness.results.build import Document


def with_service(document: Document, site: Site) -> Document:
    """The same document with `service`: where it is and what it speaks. There is no secret in it."""
    target = site.options.target
    return {
        **document,
        "service": {
            "url": site.place.shown,
            "http": site.version,
            "tls": site.place.tls,
            "target": None if target is None else str(target),
            "race_serve": bool(site.cell),
            "bursts_not_let_in": site.not_let_in,
            "senseless_stamps": site.senseless,
        },
    }
