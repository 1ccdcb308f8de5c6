"""SHA-256 without the start-up cost of `hashlib`, which loads OpenSSL: 2 ms of the 30 that a toggle may take.

CPython's own implementation is what `hashlib` falls back to; where its module has another name, `hashlib` is used.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def _own() -> Callable[[bytes], Any]:
    for name in ("_sha2", "_sha256"):  # from Python 3.12 on, and before
        try:
            made: Callable[[bytes], Any] = importlib.import_module(name).sha256
        except (ImportError, AttributeError):
            continue
        return made
    return importlib.import_module("hashlib").sha256  # type: ignore[no-any-return]


_sha256 = _own()


def digest(data: bytes) -> bytes:
    """Return the SHA-256 of some bytes, 32 bytes.

    >>> digest(b"abc").hex()[:16]
    'ba7816bf8f01cfea'
    """
    found: bytes = _sha256(data).digest()
    return found


def hexdigest(data: bytes) -> str:
    """Return the SHA-256 of some bytes as 64 hex digits."""
    return digest(data).hex()
