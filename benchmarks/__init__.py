"""Benchmarks: asv classes in ``bench_*.py``, and the ratios that the project promises (``make bench``)."""
