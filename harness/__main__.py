"""`python -m harness` is `race`."""

from harness.cli import main

main()
