"""From a tick's events to its observation rows: requests by outcome, latency sums and histogram, and the users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from phase4.analysis.observation import Observation
from phase4.store.intake import Rows
from phase4.store.record import Outcome
from phase4.store.units import Key, Thresholds

BINS_PER_OCTAVE = 32
LEAST_MS = 0.001
BIN = np.dtype([("bin", "<i2"), ("count", "<u4")])
"""One entry of a sparse latency histogram."""


def observations(
    tick: int,
    rows: Rows,
    users: Mapping[Key, Mapping[str, int]],
    *,
    closed_until_ms: int,
    thresholds: Thresholds | None = None,
    first_above: Mapping[tuple[str, Key], int] | None = None,
) -> tuple[Observation, ...]:
    """Return one row for each (flag, entry, arm) that has events in a tick.

    Args:
        tick: Its number.
        rows: (n,) its events.
        users: The user columns, from `Units.count`.
        closed_until_ms: End of the newest tick that was closed before: what is older is late.
        thresholds: For each (flag, entry, arm) the limits in ms, by guardrail, that were named before this tick.
        first_above: How many users' first outcomes were above them, from `Units.count`.
    """
    key = rows["flag"].astype(np.int64) << 24 | rows["entry"].astype(np.int64) << 8 | rows["arm"]
    found = []
    for each in np.unique(key):
        own = rows[key == each]
        flag, entry, arm = int(each) >> 24, int(each) >> 8 & 0xFFFF, int(each) & 0xFF
        outcomes = np.bincount(own["outcome"], minlength=6)
        timed = own[(own["outcome"] >= Outcome.OK) & (own["latency_ms"] >= 0)]["latency_ms"].astype(np.float64)
        counted: Mapping[str, Any] = users[flag, entry, arm]
        found.append(
            Observation(
                tick=tick,
                flag_id=flag,
                entry=entry,
                arm=arm,
                ok=int(outcomes[Outcome.OK]),
                error=int(outcomes[Outcome.ERROR]),
                timeout=int(outcomes[Outcome.TIMEOUT]),
                invalid=int(outcomes[Outcome.INVALID]),
                late=int(((own["t_ms"] < closed_until_ms) & (own["outcome"] >= Outcome.OK)).sum()),
                s1=float(timed.sum()),
                s2=float((timed * timed).sum()),
                hist=histogram(timed),
                exceed={
                    name: (limit, int((timed > limit).sum()), (first_above or {}).get((name, (flag, entry, arm)), 0))
                    for name, limit in (thresholds or {}).get((flag, entry, arm), {}).items()
                },
                **counted,
            )
        )
    return tuple(found)


def bins(latency_ms: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the histogram bin of each latency: bin b holds (2^((b-1)/32), 2^(b/32)] seconds.

    It is the grid of exponential histograms of scale 5 (OpenTelemetry), over seconds.
    """
    seconds = np.maximum(latency_ms, LEAST_MS) / 1000.0
    return np.asarray(np.ceil(BINS_PER_OCTAVE * np.log2(seconds)), np.int64)


def histogram(latency_ms: npt.NDArray[np.float64]) -> bytes:
    """Return the sparse histogram of latencies in ms: pairs of bin (i16) and count (u32), by bin."""
    if not len(latency_ms):
        return b""
    places, counts = np.unique(bins(latency_ms), return_counts=True)
    packed = np.empty(len(places), BIN)
    packed["bin"], packed["count"] = places, counts
    return packed.tobytes()


def middle_ms(places: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the latency in ms that stands for each bin: at most 1.083 % from any latency in it."""
    edge = np.exp2(places / BINS_PER_OCTAVE)
    return np.asarray(1000.0 * 2.0 * edge / (np.exp2(1.0 / BINS_PER_OCTAVE) + 1.0))
