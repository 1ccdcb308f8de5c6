"""Random identifiers of files and orders, and keys: the only maker of them. They are no part of any result."""

from __future__ import annotations

import os


def new_id() -> str:
    """Return 32 random hex digits."""
    return os.urandom(16).hex()


def new_uuid7(now_ms: int) -> bytes:
    """Return a version 7 UUID (RFC 9562) as 16 bytes: it sorts by the time it was made.

    Args:
        now_ms: The time, ms since the Unix epoch.
    """
    tail = bytearray(os.urandom(10))
    tail[0] = 0x70 | tail[0] & 0x0F
    tail[2] = 0x80 | tail[2] & 0x3F
    return now_ms.to_bytes(6, "big") + bytes(tail)


def new_key(size: int) -> bytes:
    """Return `size` random bytes that nobody can guess."""
    return os.urandom(size)
