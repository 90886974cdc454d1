"""Benchmarks of the object locks: rows 12 to 14 of the design's table, beside the floors and the peers.

Run by ``uv run --group benchmarks python -m tests.benchmarks.locks [--quick]``. The server is a real Valkey on the
loopback interface. Like the other benchmarks they print, and never fail because of a figure.
"""
