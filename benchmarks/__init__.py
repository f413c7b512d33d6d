"""Timed comparisons with peers: `python -m benchmarks.NAME`."""
