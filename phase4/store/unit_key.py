"""The key under which targeting keys are hashed. Who has it can test a guess at a user; no raw id is ever on disk."""

from __future__ import annotations

import contextlib
import errno
import os

from phase4.digests import hexdigest
from phase4.errors import StoreUnavailable
from phase4.store.record import UNIT_KEY_SIZE

NAME = os.path.join("keys", "unit.key")


def load_or_make(home: str) -> bytes:
    """Return the home's key, made on first use; of two that make it at once one wins.

    Raises:
        StoreUnavailable: it cannot be read or made, or is no key.
    """
    path = os.path.join(home, NAME)
    try:
        if not os.path.exists(path):
            _make(path)
        with open(path, "rb") as file:
            key = file.read()
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be used: {error.strerror}") from error
    if len(key) != UNIT_KEY_SIZE:
        raise StoreUnavailable(f"{path} is no key: it has {len(key)} bytes, not {UNIT_KEY_SIZE}")
    return key


def key_id(key: bytes) -> str:
    """Return a name of the key that does not tell it: 12 hex digits."""
    return hexdigest(b"phase4 unit key" + key)[:12]


def _make(path: str) -> None:
    from phase4.ids import new_id, new_key

    temporary = f"{path}.{new_id()}.tmp"  # a thread's own: what is linked below must not be truncated by another
    handle = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)
    try:
        try:
            if os.write(handle, new_key(UNIT_KEY_SIZE)) != UNIT_KEY_SIZE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(handle)
        finally:
            os.close(handle)
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)  # unlike a rename it never takes another's place
    finally:
        os.unlink(temporary)
