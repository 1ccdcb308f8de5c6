"""Random identifiers of files and orders: the only maker of them. They are no part of any result."""

from __future__ import annotations

import os


def new_id() -> str:
    """Return 32 random hex digits."""
    return os.urandom(16).hex()
