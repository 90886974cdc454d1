"""``python -m envelope.cli``."""

from __future__ import annotations

from envelope.cli import main

main()
