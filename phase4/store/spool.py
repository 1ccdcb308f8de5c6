"""The way in for events: each process appends 40-byte records to a file of its own. No lock is shared.

`emit` returns when the bytes are in the page cache: they outlive the process, killed or not, and not a power cut. The
writer holds a shared `flock` on its file, so that whoever gets it exclusively knows that the writer is gone. What
cannot be written is dropped and counted, and the count stands in the head of the next file: nothing is lost silently.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import threading
import weakref
from collections.abc import Callable

from phase4 import clock
from phase4.ids import new_uuid7
from phase4.store.record import HEADER_SIZE, RECORD, RECORD_SIZE, Header, pack_header

FOLDER = "spool"
SUFFIX = ".sp"
FILE_RECORDS = (64 * 2**20 - HEADER_SIZE) // RECORD_SIZE
"""A file is closed at 64 MiB ..."""
FILE_MS = 10 * 60_000
"""... or after this time."""
RETRY_MS = 1_000
"""How long nothing is tried after a write failed."""
_BOOT_ID = "/proc/sys/kernel/random/boot_id"


class SpoolWriter:
    """The spool of this process: one source, one file after the other. Safe for threads; a forked child begins anew."""

    def __init__(self, home: str, now: Callable[[], int]) -> None:
        """Write below a home; no file is made before the first event.

        Args:
            home: PHASE4_HOME.
            now: Tells the time in ms since the Unix epoch.
        """
        self._folder = os.path.join(home, FOLDER)
        self._now = now
        self._lock = threading.Lock()
        self._boot_id = _boot_id()
        self._reset()
        _alive.add(self)

    def _reset(self) -> None:
        self._uuid = new_uuid7(self._now())
        self._handle = -1
        self._file_no = self._first_seq = self._index = 0
        self._rotate_ms = self._retry_ms = 0
        self.dropped = 0
        """Events that could not be written, in all."""

    @property
    def source(self) -> bytes:
        """UUID of this source."""
        return self._uuid

    def emit(  # noqa: PLR0917  called a million times: naming ten arguments takes as long as writing them
        self,
        t_ms: int,
        unit: int,
        flag_version: int,
        latency_ms: float,
        flag: int,
        entry: int,
        bucket: int,
        arm: int,
        reason: int,
        outcome: int,
        *,
        is_durable: bool = False,
    ) -> bool:
        """Append one event; the fields are those of `phase4.store.record`. Return whether it is written. Never raises.

        Args:
            t_ms: When the outcome was known.
            unit: Keyed hash of the targeting key.
            flag_version: Version of the flag that was evaluated.
            latency_ms: At least 0, or -1 for none.
            flag: Number of the flag.
            entry: Stage entry in force.
            bucket: 0..9999.
            arm: 1 or 2.
            reason: Code of the reason.
            outcome: Code of the outcome.
            is_durable: Whether it outlives a power cut too when this returns; costs a disk's sync.
        """
        with self._lock:
            if (t_ms >= self._rotate_ms or self._index >= FILE_RECORDS) and not self._open(t_ms):
                return self._drop()
            try:
                record = RECORD.pack(
                    t_ms, unit, self._index, flag_version, latency_ms, flag, entry, bucket, arm, reason, outcome
                )
                if not outcome:
                    return self._drop()  # readers take it for a record that is not committed yet, and wait
                if os.write(self._handle, record) != RECORD_SIZE:
                    return self._fail(t_ms)
                self._index += 1
                if is_durable:
                    os.fdatasync(self._handle)
            except OSError as error:
                if error.errno is None:  # a time limit's TimeoutError, raised by a signal in here: not the disk's
                    self._close()
                    raise
                return self._fail(t_ms)
            except (struct.error, OverflowError, TypeError):  # a value that fits no field
                return self._drop()
            except BaseException:
                self._close()  # a signal came in between: the file knows whether the record is written
                raise
            return True

    def close(self) -> None:
        """Close the file: the collector may then finish it."""
        with self._lock:
            self._close()

    def _open(self, t_ms: int) -> bool:
        """Begin the next file; return whether there is one."""
        if self._handle < 0 and 0 < self._retry_ms - t_ms <= RETRY_MS:  # more than that: the clock was set back
            return False
        self._close()
        name = f"{self._uuid.hex()}-{self._file_no}{SUFFIX}"
        temporary = os.path.join(self._folder, f".{name}")
        handle = -1
        try:
            handle = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
            fcntl.flock(handle, fcntl.LOCK_SH)
            _write_whole(handle, pack_header(self._header()))
            os.rename(temporary, os.path.join(self._folder, name))
        except OSError as error:
            if handle >= 0:
                os.close(handle)
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
            if error.errno is None:
                raise
            self._retry_ms = t_ms + RETRY_MS
            return False
        self._handle, self._index = handle, 0
        self._rotate_ms = t_ms + FILE_MS
        self._file_no += 1
        return True

    def _header(self) -> Header:
        return Header(
            uuid=self._uuid,
            file_no=self._file_no,
            first_seq=self._first_seq,
            wall_ms=self._now(),
            monotonic_ns=int(clock.monotonic() * 1e9),
            boot_id=self._boot_id,
            pid=os.getpid(),
            dropped_before=self.dropped,
        )

    def _close(self) -> None:
        if self._handle >= 0:
            # counted in the file, and not by `_index`: a signal may have come between a write and its count
            written = (os.fstat(self._handle).st_size - HEADER_SIZE) // RECORD_SIZE
            handle, self._handle, self._first_seq = self._handle, -1, self._first_seq + written
            os.close(handle)
        self._index, self._rotate_ms = 0, 0

    def _fail(self, t_ms: int) -> bool:
        """Give this file up: half a record may stand at its end, which readers leave alone."""
        self._close()
        self._retry_ms = t_ms + RETRY_MS
        return self._drop()

    def _drop(self) -> bool:
        self.dropped += 1
        return False

    def _forget(self) -> None:
        """Begin anew in a forked child: the parent's file and lock are the parent's."""
        if self._handle >= 0:
            os.close(self._handle)
        self._lock = threading.Lock()
        self._reset()


_alive: weakref.WeakSet[SpoolWriter] = weakref.WeakSet()


def _write_whole(handle: int, raw: bytes) -> None:
    if os.write(handle, raw) != len(raw):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _boot_id() -> str:
    try:
        with open(_BOOT_ID, encoding="ascii") as file:
            return file.read().strip()
    except (FileNotFoundError, PermissionError):
        return ""


def _forget_after_fork() -> None:
    for writer in _alive:
        writer._forget()  # noqa: SLF001  of this module


os.register_at_fork(after_in_child=_forget_after_fork)
