"""Measurements, each run by hand: `python -m benchmarks.NAME --help`. Timings live here, never in tests."""
