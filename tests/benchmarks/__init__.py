"""Benchmarks: what the convention costs, beside the bare application, the floor and what people write today.

Run by ``uv run python -m tests.benchmarks``; those of the rate limits are ``rate_limits/``. They print
ratios and never fail because of one.
"""
