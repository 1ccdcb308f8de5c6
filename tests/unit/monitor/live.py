"""A home with a collector on a clock that stands, and traffic written through the spool as applications write it."""

import numpy as np

from phase4.monitor.collector import Collector
from phase4.monitor.settings import MonitorSettings
from phase4.store.record import NO_LATENCY, Outcome
from phase4.store.spool import SpoolWriter
from tests.data.homes.make import CHECKOUT

TICK = 30_000
START = 1_385_164_800_000
BY_WORD = {"ok": Outcome.OK, "error": Outcome.ERROR, "timeout": Outcome.TIMEOUT, "invalid": Outcome.INVALID}


class Live:
    """One home: a store, a collector, a spool and a clock."""

    def __init__(self, store, clock, *, interval_ms=TICK, seed=7):
        self.store, self.clock, self.interval_ms = store, clock, interval_ms
        self.settings = MonitorSettings(interval_ms=interval_ms)
        self.collector = Collector(store, self.settings, holder="test")
        self.writer = SpoolWriter(store.home, clock.now)
        self.random = np.random.default_rng(seed)
        self.latency = np.random.default_rng(seed + 1)
        self.users = 0

    def emit(self, arm, outcome, *, unit=None, t_ms=None, entry=None, flag_key=CHECKOUT, latency_ms=5.0):
        """Write one event of a flag's present entry."""
        flag = self.store.flag(flag_key)
        if unit is None:
            self.users += 1
            unit = self.users
        at = self.clock.now() if t_ms is None else t_ms
        number = flag.entry if entry is None else entry
        code = Outcome.EXPOSURE if outcome == "exposure" else BY_WORD[outcome]
        latency = NO_LATENCY if outcome == "exposure" else latency_ms
        assert self.writer.emit(at, unit, flag.version, latency, flag.id, number, 1, arm, 4, code)

    def traffic(self, users, *, treatment, control=0.001, flag_key=CHECKOUT, slower=1.0):
        """Write one request of so many new users in each arm, spread over the coming interval."""
        flag = self.store.flag(flag_key)
        for arm, rate in ((2, treatment), (1, control)):
            failed = self.random.random(users) < rate
            at = np.sort(self.random.integers(0, self.interval_ms, users)) + self.clock.now()
            took = 5.0 * self.latency.lognormal(0.0, 0.5, users) * (slower if arm == 2 else 1.0)
            for t_ms, is_failed, took_ms in zip(at.tolist(), failed.tolist(), took.tolist(), strict=True):
                self.users += 1
                code = Outcome.ERROR if is_failed else Outcome.OK
                row = (t_ms, self.users, flag.version, took_ms, flag.id, flag.entry, 1, arm, 4, code)
                assert self.writer.emit(*row)

    def round(self, *, after=None):
        """Let an interval pass, and do a round."""
        self.clock.advance(self.interval_ms if after is None else after)
        return self.collector.step()
