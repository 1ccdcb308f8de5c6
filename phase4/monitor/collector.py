"""The collector: reads what applications wrote, closes ticks, and drives the rollouts from them.

`step` is one round; a timer calls it, a test by hand. What is stored is the truth: a round that fails, or a process
that is killed, is taken up again from the newest recorded tick, and every event counts exactly once.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from phase4.ids import new_id
from phase4.monitor.lease import Lease
from phase4.monitor.rounds import Round, Usage, Work
from phase4.monitor.settings import MonitorSettings
from phase4.store import emergency
from phase4.store.control import ControlStore


class Collector:
    """The collector of one home, as one process has it."""

    def __init__(
        self,
        store: ControlStore,
        settings: MonitorSettings,
        *,
        holder: str | None = None,
        usage: Callable[[], Usage] = Usage,
    ) -> None:
        """Make ready; nothing is read before the first round.

        Args:
            store: The control store; it tells the time.
            settings: What to watch by.
            holder: Name of this process.
            usage: Tells what this process takes.
        """
        self.store, self.settings = store, settings
        self.holder = holder or f"{socket.gethostname()}:{os.getpid()}:{new_id()[:6]}"
        self.lease = Lease(store, self.holder, interval_ms=settings.interval_ms)
        self._usage = usage
        self._work: Work | None = None

    def step(self) -> Round:
        """Do one round: record stop files, read, close what is due, let the controllers decide.

        Raises:
            Phase4Error: it could not be finished; the next round takes it up again.
        """
        now_ms = self.store.now()
        emergency.record_pending(self.store)
        if not self.lease.hold(now_ms):
            self._forget()
            return Round(is_holder=False)
        try:
            if self._work is None:
                self._work = Work(self.store, self.settings, self._usage, self.lease.fence)
            return self._work.round(now_ms)
        except BaseException:
            self._forget()
            raise

    def close(self) -> None:
        """End: another process may collect at once."""
        if self._work is not None and self.lease.fence:
            self._work.flush(self.store.now())
        self._forget()
        self.lease.release()

    def _forget(self) -> None:
        if self._work is not None:
            self._work.close()
            self._work = None
