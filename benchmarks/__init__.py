"""asv benchmarks, one module a stem; `peers.py` and `check.py` are scripts."""
