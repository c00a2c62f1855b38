"""Bursts over HTTP: at `race serve`, or at a service of one's own that a few lines describe."""
