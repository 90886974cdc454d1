"""The fixtures of this folder."""

from tests.locks.storages.fixtures import anyio_backend, place, socket_valkey

__all__ = ["anyio_backend", "place", "socket_valkey"]
