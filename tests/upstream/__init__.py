"""Proof that nothing is lost: Starlette's own tests fail the same with the middleware as without it.

Run by ``uv run --group upstream python -m tests.upstream``. pytest does not collect it: it runs pytest itself.
"""
