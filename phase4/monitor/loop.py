"""The collector's timer: one round at every multiple of the interval, until somebody says stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from phase4 import clock
from phase4.errors import Phase4Error
from phase4.monitor import alerts, coverage
from phase4.monitor.collector import Collector
from phase4.monitor.notifier import Background, Notifier
from phase4.monitor.resources import Resources
from phase4.monitor.rounds import Round
from phase4.monitor.settings import MonitorSettings
from phase4.store import rollouts, ticks
from phase4.store.control import ControlStore

SLICE_S = 0.2
"""How often somebody may say stop."""


class Told(NamedTuple):
    """What a round came to: it was done, or it failed and is taken up again by the next."""

    round: Round | None
    error: Phase4Error | None


class Watch:
    """A collector with its alerts: what `monitor run`, the dashboard and the server have in common."""

    def __init__(self, store: ControlStore, settings: MonitorSettings, *, holder: str | None = None) -> None:
        """Make ready to collect for a home."""
        self.store, self.settings = store, settings
        self._resources = Resources()
        self.collector = Collector(store, settings, holder=holder, usage=self._resources.usage)
        self._started_ms = store.now()
        self._background: Background | None = None

    def step(self) -> Told:
        """Do one round, and raise what it found. A failure is told, and tried again by the next round."""
        self._resources.begin()
        try:
            recent = ticks.newest(self.store, alerts.SUSTAINED)
            done = self.collector.step()
            if done.is_holder:
                self._settle(done, recent)
            self._send(is_holder=done.is_holder)
        except Phase4Error as error:
            return Told(None, error)
        finally:
            self._resources.end()
        return Told(done, None)

    def run(self, *, is_stopped: Callable[[], bool], tell: Callable[[Told], None]) -> None:
        """Do rounds until `is_stopped`, or until somebody asked this home's processes to end; then hand over."""
        try:
            while not self._is_over(is_stopped):
                tell(self.step())
                self._wait(is_stopped)
        finally:
            self.close()

    def close(self) -> None:
        """Hand over: another process may collect, and send, at once."""
        self._send(is_holder=False)
        self.collector.close()

    def _send(self, *, is_holder: bool) -> None:
        """Have the notices sent, on a thread of their own; only the process that collects sends."""
        url = self.settings.webhook_url
        if is_holder and url is not None:
            if self._background is None:
                secret_file = self.settings.webhook_secret_file
                self._background = Background(Notifier(self.store.home, self.store.now, url, secret_file))
            self._background.poke()
        elif self._background is not None:
            self._background.close()
            self._background = None

    def _settle(self, done: Round, recent: list[ticks.Tick]) -> None:
        now_ms = self.store.now()
        seen = coverage.measure(self.store, now_ms, interval_ms=self.settings.interval_ms)
        flags = self.store.flags()
        found = alerts.of_round(done, seen, self.settings, recent=recent, flags=flags)
        by_id = {flag.id: flag for flag in flags}
        for row in self.store.plans():
            if row.ended_ms is None:
                state = rollouts.state_of(self.store, row.plan_id)
                found += alerts.of_plan(row.plan_id, state, by_id[row.flag_id], now_ms)
        alerts.settle(self.store, found, now_ms=now_ms)

    def _wait(self, is_stopped: Callable[[], bool]) -> None:
        interval = self.settings.interval_ms
        now_ms = self.store.now()
        until = clock.monotonic() + (interval - now_ms % interval) / 1000
        while (left := until - clock.monotonic()) > 0 and not self._is_over(is_stopped):
            clock.wait(min(left, SLICE_S))

    def _is_over(self, is_stopped: Callable[[], bool]) -> bool:
        if is_stopped():
            return True
        try:
            asked_ms = self.store.meta("stop_ms")
        except Phase4Error:
            return False  # the database is away: the next round says so
        return asked_ms is not None and int(asked_ms) >= self._started_ms
