"""Proof that nothing is lost: the frameworks' own tests fail the same with the library as without it.

Run by ``uv run --group upstream python -m tests.upstream``. pytest does not collect it: it runs pytest itself.
"""
