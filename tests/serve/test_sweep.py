"""What a strategy claims is so behind a web server as well, under every scenario and rule."""

from __future__ import annotations

import pytest

from tests.serve.conftest import ENVIRONMENT
from tests.serve.sweep import cells, sweep

pytestmark = [
    pytest.mark.stores, pytest.mark.load, pytest.mark.long, pytest.mark.xdist_group("load"),
    pytest.mark.skipif(bool(ENVIRONMENT), reason="a server of ours has no room for so many cells"),
]  # fmt: skip


def test_every_cell_does_as_it_claims() -> None:
    """As many as there is time for; the rules that scenarios begin with come first, of every strategy."""
    asked, differ = sweep(15.0)
    assert differ == []
    assert asked > len(cells()) // 32
