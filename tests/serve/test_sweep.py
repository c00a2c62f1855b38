"""What a strategy claims is so behind a web server as well, under every scenario."""

from __future__ import annotations

import pytest

from harness.strategy.loader import bundled
from tests.serve.conftest import ENVIRONMENT
from tests.serve.sweep import one_of_each, sweep

pytestmark = [
    pytest.mark.stores, pytest.mark.load, pytest.mark.long, pytest.mark.xdist_group("load"),
    pytest.mark.skipif(bool(ENVIRONMENT), reason="a server of ours has no room for so many cells"),
]  # fmt: skip


def test_a_cell_of_every_scenario_does_as_it_claims() -> None:
    """Each under another strategy; `python -m tests.serve.sweep` asks all cells."""
    sample = one_of_each()
    assert len(sample) == len(bundled("scenario"))
    asked, differ = sweep(sample, 90.0)
    assert differ == []
    assert asked == len(sample)
