"""Who collects: one process of a home at a time. The others stand by and take over.

The lock is a `flock`, which drops by itself when its holder is killed; the lease is a row whose fence number every
write of the collector carries, so that one that was stopped and wakes up late is refused.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable
from typing import Any

from phase4.ids import new_id
from phase4.store.control import Change, ControlStore
from phase4.store.ticks import COLLECTOR

LOCK = "collector.lock"
STANDBY = "standby "
"""Before the name of a holder: its lease as one that stands by."""
INTERVALS = 3
"""A lease lasts so many intervals."""


class Lease:
    """One process's claim to collect."""

    def __init__(self, store: ControlStore, holder: str, *, interval_ms: int) -> None:
        """Make a claim; `holder` names this process."""
        self._store, self.holder, self._life_ms = store, holder, INTERVALS * interval_ms
        self._handle = -1
        self._patient_ms = 0
        """Until when a free lock says nothing: whoever took over from this process has to find it free first."""
        self.fence = 0
        """Number of this hold; 0 = this process does not hold it."""

    def hold(self, now_ms: int) -> bool:
        """Take or renew the lease; return whether this process collects."""
        if self.fence:
            self._lock()  # one that took over from a process that stood still gets the lock when that one wakes up
            self._do(lambda change: self._renew(change, now_ms))
        elif self._may_take(now_ms):
            self._do(lambda change: self._take(change, now_ms))
        else:
            self._do(lambda change: self._stand_by(change, now_ms))
        return self.fence > 0

    def _may_take(self, now_ms: int) -> bool:
        """Return whether nobody holds it: the lease has run out, or its holder is gone and the lock with it."""
        if self._store.lease(COLLECTOR, now_ms) is None:
            self._lock()
            return True
        return now_ms >= self._patient_ms and self._lock()

    def release(self) -> None:
        """Let another process collect at once."""
        self._do(self._drop)
        self.lose()

    def lose(self) -> None:
        """Step down: another process holds it, or this one ends."""
        self.fence = 0
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _lock(self) -> bool:
        if self._handle >= 0:
            return True
        handle = os.open(os.path.join(self._store.home, LOCK), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        self._handle = handle
        return True

    def _take(self, change: Change, now_ms: int) -> None:
        rows = change.store.rows("SELECT fence FROM lease WHERE name = ?", COLLECTOR)
        fence = int(rows[0][0]) + 1 if rows else 1
        change.write(
            "INSERT INTO lease VALUES (?, ?, ?, ?) ON CONFLICT(name) DO UPDATE SET holder = excluded.holder,"
            " fence = excluded.fence, expires_ms = excluded.expires_ms",
            *(COLLECTOR, self.holder, fence, now_ms + self._life_ms),
        )
        change.write("DELETE FROM lease WHERE name = ?", self._standby)
        self.fence = fence

    def _renew(self, change: Change, now_ms: int) -> None:
        cursor = change.write(
            "UPDATE lease SET expires_ms = ? WHERE name = ? AND fence = ?",
            *(now_ms + self._life_ms, COLLECTOR, self.fence),
        )
        if not cursor.rowcount:
            self._patient_ms = now_ms + self._life_ms
            self.lose()

    def _stand_by(self, change: Change, now_ms: int) -> None:
        change.write(
            "INSERT INTO lease VALUES (?, ?, 0, ?) ON CONFLICT(name) DO UPDATE SET expires_ms = excluded.expires_ms",
            *(self._standby, self.holder, now_ms + self._life_ms),
        )
        change.write("DELETE FROM lease WHERE name LIKE ? AND expires_ms < ?", f"{STANDBY}%", now_ms)

    def _drop(self, change: Change) -> None:
        change.write("UPDATE lease SET expires_ms = 0 WHERE name = ? AND fence = ?", COLLECTOR, self.fence)
        change.write("DELETE FROM lease WHERE name = ?", self._standby)

    @property
    def _standby(self) -> str:
        return f"{STANDBY}{self.holder}"

    def _do(self, work: Callable[[Change], None]) -> None:
        def done(change: Change) -> dict[str, Any]:
            work(change)
            return {}

        self._store.execute("lease", {}, done, actor=self.holder, request_id=new_id())


def standbys(store: ControlStore, now_ms: int) -> list[str]:
    """Return the names of the processes that stand by."""
    rows = store.rows("SELECT holder FROM lease WHERE name LIKE ? AND expires_ms > ?", f"{STANDBY}%", now_ms)
    return [str(row[0]) for row in rows]


def holders(store: ControlStore, now_ms: int) -> list[str]:
    """Return the names of all processes that collect or stand by, without those that were killed.

    The lease of one that was killed is there until it runs out; its lock is not, and neither is its process.
    """
    holder = store.lease(COLLECTOR, now_ms)
    collecting = [] if holder is None or _lock_is_free(store.home) else [holder]
    return collecting + [name for name in standbys(store, now_ms) if not _is_gone(name)]


def _lock_is_free(home: str) -> bool:
    try:
        with open(os.path.join(home, LOCK), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _is_gone(holder: str) -> bool:
    """Return whether a process of this machine is known to have ended: a name is host:pid:number."""
    host, _, pid = holder.rpartition(":")[0].rpartition(":")
    if host != socket.gethostname() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
