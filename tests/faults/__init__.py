"""The proof of the object locks: processes use them while things break, write down what they saw, and are judged.

``python -m tests.faults.long`` runs the scenarios that take minutes, ``python -m tests.faults.compare`` runs the
comparable ones against redis-py's own lock as well.
"""
