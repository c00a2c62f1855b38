"""How fast race itself is: `python -m bench`; and the table of mutants: `python -m bench.mutants`."""
