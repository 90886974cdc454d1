"""A verification service whose objects stay locked while a worker, another process, verifies them.

README.md beside this file says how to start it and what to try.
"""
