"""Timed comparisons with peers: `python -m benchmarks` runs them all and writes one table.

Each module is one comparison with a function `rows`, which yields dicts; `benchmarks.rows` says
what they hold, and `python -m benchmarks.NAME` prints those of one module. A peer that is not
installed is a row that says so: peers are extras (`pip install energynets[bench]`).
"""
