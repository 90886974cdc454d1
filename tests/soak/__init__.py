"""The soak: a real service under load for minutes, which must not grow and must leave nothing behind."""
