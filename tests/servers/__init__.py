"""Real servers for tests: each a context manager, on a loopback port of its own, ended whatever happens."""
