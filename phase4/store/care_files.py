"""Whether the event files that the manifest names are there and are what they were when they were written."""

from __future__ import annotations

import hashlib
import os
import sqlite3

_LIVE = "SELECT path, bytes, sha256 FROM segment WHERE retired_version IS NULL ORDER BY path"
_STILL = "SELECT count(*) FROM segment WHERE path = ? AND retired_version IS NULL"


def findings(home: str, connection: sqlite3.Connection, *, deep: bool) -> list[str]:
    """Return a line for each file that is missing or other than the manifest says.

    A file that is replaced meanwhile is no finding: it is looked up again before anything is said of it.

    Args:
        home: PHASE4_HOME.
        connection: Of the control database, outside a transaction.
        deep: Read every file and compare its digest; otherwise its size alone.
    """
    found = []
    for path, size, sha256 in connection.execute(_LIVE).fetchall():
        wrong = _wrong(os.path.join(home, path), size, sha256 if deep else None)
        if wrong and connection.execute(_STILL, (path,)).fetchone()[0]:
            found.append(f"{path}: {wrong}")
    return found


def _wrong(path: str, size: int, sha256: bytes | None) -> str:
    try:
        with open(path, "rb") as file:
            is_long = os.fstat(file.fileno()).st_size
            if is_long != size:
                return f"has {is_long:,} bytes, and {size:,} when it was written"
            if sha256 is not None and hashlib.file_digest(file, "sha256").digest() != sha256:
                return "is not what it was when it was written"
    except FileNotFoundError:
        return "is missing; its events are gone unless a backup has them"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return ""
