"""What was counted of a flag, arm by arm: sums of stored observations, with intervals and denominators.

A rate without a denominator is None: no data is neither 0 % nor 100 %.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from phase4.analysis import interval
from phase4.analysis.observation import Observation
from phase4.flags.bucketing import Arm
from phase4.store import observe, ticks
from phase4.store.control import ControlStore, FlagRow

ARMS = {Arm.TREATMENT: "treatment", Arm.CONTROL: "control"}
P95 = 0.95
P95_ERROR = 0.01083
"""Largest relative error of a percentile read off a histogram."""


class Rate(NamedTuple):
    """A proportion with its 95 % interval (Wilson) and what it is of."""

    events: int
    trials: int

    def to_json(self) -> dict[str, Any]:
        """Return value, interval and denominator; None for what is not defined."""
        if not self.trials:
            return {"value": None, "low": None, "high": None, "events": self.events, "of": 0}
        low, high = interval.wilson(self.events, self.trials)
        value = self.events / self.trials
        return {"value": value, "low": low, "high": high, "events": self.events, "of": self.trials}


class ArmTotals(NamedTuple):
    """One arm's counts over some ticks."""

    users: int
    ok: int
    error: int
    timeout: int
    invalid: int
    late: int
    timed: int
    p95_ms: float | None
    mean_ms: float | None

    @property
    def requests(self) -> int:
        """Outcomes of any kind."""
        return self.ok + self.error + self.timeout + self.invalid

    def to_json(self) -> dict[str, Any]:
        """Return the counts and the rates they give."""
        failed = self.error + self.timeout
        return {
            "users": self.users,
            "requests": self.requests,
            "ok": self.ok,
            "errors": self.error,
            "timeouts": self.timeout,
            "invalid": self.invalid,
            "late": self.late,
            "error_rate": Rate(failed, self.requests).to_json(),
            "success_rate": Rate(self.ok, self.requests).to_json(),
            "invalid_rate": Rate(self.invalid, self.ok + self.invalid).to_json(),
            "latency_p95_ms": self.p95_ms,
            "latency_mean_ms": self.mean_ms,
        }


def of_flag(store: ControlStore, flag: FlagRow, *, entry: int | None = None) -> dict[str, ArmTotals]:
    """Return the totals of a flag by arm, of one stage entry or of all that is stored."""
    seen = ticks.observations(store, flag.id)
    rows = [row for each in seen.values() for row in each if entry is None or row.entry == entry]
    return {name: totals([row for row in rows if row.arm == arm]) for arm, name in ARMS.items()}


def totals(rows: Iterable[Observation]) -> ArmTotals:
    """Return the sums of observations of one arm."""
    rows = list(rows)
    places, counts = _histogram(rows)
    timed = int(counts.sum())
    return ArmTotals(
        users=sum(row.units or 0 for row in rows),
        ok=sum(row.ok for row in rows),
        error=sum(row.error for row in rows),
        timeout=sum(row.timeout for row in rows),
        invalid=sum(row.invalid for row in rows),
        late=sum(row.late for row in rows),
        timed=timed,
        p95_ms=_quantile(places, counts, P95),
        mean_ms=sum(row.s1 for row in rows) / timed if timed else None,
    )


def _histogram(rows: list[Observation]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return (bins, counts) of all rows together, by bin."""
    parts = [np.frombuffer(row.hist, observe.BIN) for row in rows if row.hist]
    if not parts:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    joined = np.concatenate(parts)
    places, inverse = np.unique(joined["bin"], return_inverse=True)
    counts = np.bincount(inverse, weights=joined["count"]).astype(np.int64)
    return places.astype(np.int64), counts


def _quantile(places: np.ndarray[Any, Any], counts: np.ndarray[Any, Any], q: float) -> float | None:
    if not len(counts):
        return None
    place = int(np.searchsorted(np.cumsum(counts), q * counts.sum()))
    return float(observe.middle_ms(places[place : place + 1])[0])
