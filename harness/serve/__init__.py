"""Every scenario under every strategy as a service over HTTP: workers that share a port, on the real stores."""

from harness.serve.catalogue import Catalogue
from harness.serve.server import Address, Serving, serve

__all__ = ["Address", "Catalogue", "Serving", "serve"]
