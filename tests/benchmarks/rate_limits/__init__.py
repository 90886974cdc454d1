"""Benchmarks of the rate limits: rows 5 to 11 of the design's table, beside the floor and the peers.

Run by ``uv run --group benchmarks python -m tests.benchmarks.rate_limits [--quick]``. The server is a real Valkey
on the loopback interface. Like the other benchmarks they print, and never fail because of a figure.
"""
