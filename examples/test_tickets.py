"""The tickets in a test: pytest examples/test_tickets.py."""

import pytest

TICKETS, FIX = "examples/tickets.py", "examples/fix.py"


def test_every_order(race):
    race.explore(TICKETS, FIX, expect="proved")


@pytest.mark.race(size=3, faults=["duplicate"])
def test_without_a_fix_it_breaks(race):
    race.explore(TICKETS, "naive", expect="violated")


def test_under_load(race):
    race.run(TICKETS, FIX, bursts=200)
