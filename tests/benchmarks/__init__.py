"""Benchmarks, run by ``python -m tests.benchmarks``: ours beside the peers that are installed."""
