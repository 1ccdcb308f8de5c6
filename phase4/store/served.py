"""When each running evaluator first served a version of the store: what "without restart" is measured by.

An evaluator appends 16-byte marks to a file of its own and holds a shared lock on it for as long as it lives; the
collector reads them into the control database. No evaluator ever waits for the database.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from phase4.ids import new_id
from phase4.store.control import Change, ControlStore
from phase4.store.spool import FOLDER

SUFFIX = ".served"
_MARK = struct.Struct("<qq")
"""Version, time in ms."""
_NAME = re.compile(rf"[0-9a-f]{{32}}{re.escape(SUFFIX)}")
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
VERSIONS = 1 << 32
"""The epoch's word counts versions below it, and nudges above it."""


class ServedMarks:
    """The marks of this process."""

    def __init__(self, home: str) -> None:
        """Make ready; no file is made before the first mark."""
        self._home, self._handle, self._newest = home, -1, -1

    def mark(self, source: bytes, version: int, at_ms: int) -> None:
        """Note that a version is served from now on. Never raises.

        Args:
            source: UUID of the process's spool.
            version: The epoch's word when the flags were loaded.
            at_ms: The time.
        """
        version %= VERSIONS
        if version == self._newest:
            return
        with contextlib.suppress(OSError):
            if self._handle < 0:
                self._handle = _locked(os.path.join(self._home, FOLDER, f"{source.hex()}{SUFFIX}"))
            written = os.write(self._handle, _MARK.pack(version, at_ms))
            if written == _MARK.size:
                self._newest = version
            else:  # half a mark would shift all that follow
                os.ftruncate(self._handle, os.fstat(self._handle).st_size - written)

    def close(self) -> None:
        """Close the file: this process serves nothing from now on."""
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = self._newest = -1


class Marks(NamedTuple):
    """What one evaluator has noted."""

    path: str
    source: bytes
    marks: tuple[tuple[int, int], ...]
    """(version, time in ms), as noted."""
    is_over: bool
    """Whether the evaluator is gone."""


def read(home: str) -> Iterator[Marks]:
    """Yield what every evaluator has noted so far."""
    folder = os.path.join(home, FOLDER)
    for name in sorted(filter(_NAME.fullmatch, os.listdir(folder))):
        path = os.path.join(folder, name)
        with contextlib.suppress(OSError), open(path, "rb") as file:
            is_over = _lock_is_free(file.fileno())
            raw = file.read()
            marks = tuple(_MARK.iter_unpack(raw[: len(raw) // _MARK.size * _MARK.size]))
            yield Marks(path, bytes.fromhex(name.removesuffix(SUFFIX)), marks, is_over)


def keep(change: Change, source_id: int, found: Marks, over_ms: int | None) -> None:
    """Take an evaluator's marks into the control database, in this transaction; the first time of a version stands.

    Args:
        change: The transaction.
        source_id: Number of the evaluator.
        found: Its marks.
        over_ms: When it was found gone, by who saw it alive before; None if nobody did: then it is known to have
            lived until its last mark, and no longer.
    """
    for version, at_ms in found.marks:
        change.write("INSERT INTO served VALUES (?, ?, ?) ON CONFLICT DO NOTHING", source_id, version, at_ms)
    if found.is_over:
        end_ms = over_ms if over_ms is not None else max((at_ms for _, at_ms in found.marks), default=change.now_ms)
        change.write("UPDATE source SET closed_ms = ? WHERE id = ? AND closed_ms IS NULL", end_ms, source_id)


class Evaluator(NamedTuple):
    """One process that served flags."""

    source_id: int
    started_ms: int
    closed_ms: int | None
    served: tuple[tuple[int, int], ...]
    """(version, time in ms), by version."""


def evaluators(store: ControlStore) -> list[Evaluator]:
    """Return every process that has noted what it served."""
    served: dict[int, list[tuple[int, int]]] = {}
    for source_id, version, at_ms in store.rows("SELECT source_id, version, at_ms FROM served ORDER BY version"):
        served.setdefault(source_id, []).append((version, at_ms))
    rows = store.rows("SELECT id, started_ms, closed_ms FROM source")
    return [Evaluator(source, begin, end, tuple(served[source])) for source, begin, end in rows if source in served]


def _locked(path: str) -> int:
    """Return a file that is locked before anybody sees it: who looks in between would see its evaluator gone."""
    temporary = f"{path}.{new_id()}"
    handle = os.open(temporary, _APPEND | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        os.link(temporary, path)
    except OSError as error:
        os.close(handle)
        if not isinstance(error, FileExistsError):
            raise
        handle = os.open(path, _APPEND)  # another thread was first, or it was closed
        fcntl.flock(handle, fcntl.LOCK_SH)
    finally:
        os.unlink(temporary)
    return handle


def _lock_is_free(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
