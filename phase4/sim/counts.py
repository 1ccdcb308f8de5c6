"""Synthetic counts: Poisson requests and binomial errors for each tick and arm.

There are no users, and the cost does not grow with the traffic.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from phase4 import rng
from phase4.analysis.columns import ArmColumns
from phase4.sim.faults import FaultArm, failure_probability, is_slower
from phase4.sim.scenario import Counts, Scenario, World
from phase4.sim.traffic import Entry, Exposure, Toll

BLOCK = 512
"""Ticks that are drawn at once; the first tick of an entry begins a block."""
KEPT = 512
"""Blocks kept for the other policies and for the toll at the end; 40 KB each."""


class CountsSource:
    """One replicate of a world of synthetic counts."""

    counts_exposures = False

    def __init__(self, scenario: Scenario, world: World, *, seed: int, replicate: int) -> None:
        """Lay out rates and error probabilities of the whole run: they do not depend on exposure."""
        assert isinstance(world.traffic, Counts)
        self._seed, self._replicate = seed, replicate
        middle = np.arange(scenario.ticks, dtype=np.int64) * scenario.tick_ms + scenario.tick_ms // 2
        begin = np.arange(scenario.ticks, dtype=np.int64) * scenario.tick_ms
        self._requests = world.traffic.shape.at(world.start_ms + middle) * scenario.tick_ms / 1000.0
        base = world.traffic.error_rate
        fails = {arm: failure_probability(world.faults, arm, begin) for arm in (FaultArm.TREATMENT, FaultArm.CONTROL)}
        self._rate = {arm: base + (1.0 - base) * fail for arm, fail in fails.items()}
        self._excess = self._rate[FaultArm.TREATMENT] - self._rate[FaultArm.CONTROL]
        harmful = np.flatnonzero((self._excess > 0.0) | is_slower(world.faults, begin))
        self.onset_tick = int(harmful[0]) if len(harmful) else None
        # shared by all policies of the replicate: the same entry is drawn once
        self._block = lru_cache(maxsize=KEPT)(self._draw)

    def entry(self, percentage: float, first_tick: int) -> Entry:
        """Return the traffic of an entry."""
        return _CountsEntry(self, percentage, first_tick)

    def toll(self, exposures: tuple[Exposure, ...]) -> Toll:
        """Return the excess errors and requests; a source without users counts no users."""
        excess, since = 0.0, 0
        for exposure in exposures:
            if exposure.end_tick == exposure.first_tick:
                continue
            treatment, _ = self.entry(exposure.percentage, exposure.first_tick).columns(
                exposure.first_tick, exposure.end_tick
            )
            span = slice(exposure.first_tick, exposure.end_tick)
            excess += float((treatment.requests * np.maximum(self._excess[span], 0.0)).sum())
            if self.onset_tick is not None:
                since += int(treatment.requests[max(self.onset_tick - exposure.first_tick, 0) :].sum())
        return Toll(
            users_exposed=None, users_harmed=None, excess=excess, users_since_onset=None, requests_since_onset=since
        )

    def block(self, percentage: float, first_tick: int, index: int) -> tuple[ArmColumns, ArmColumns]:
        """Return both arms of one block of an entry."""
        return self._block(percentage, first_tick, index)

    def _draw(self, percentage: float, first_tick: int, index: int) -> tuple[ArmColumns, ArmColumns]:
        begin = first_tick + index * BLOCK
        span = slice(begin, min(begin + BLOCK, len(self._requests)))
        key = (first_tick, round(percentage * 1e6), index)
        arrivals = rng.stream(self._seed, "arrivals", replicate=self._replicate, key=key)
        share = percentage / 100.0
        arms = []
        for index_of_arm, (arm, part) in enumerate(
            ((FaultArm.TREATMENT, share), (FaultArm.CONTROL, min(share, 1.0 - share)))
        ):
            # outcomes have streams of their own: a fault of one arm changes neither arrivals nor the other arm
            outcomes = rng.stream(self._seed, "outcomes", replicate=self._replicate, key=(*key, index_of_arm))
            trials = arrivals.poisson(self._requests[span] * part).astype(np.int64)
            events = outcomes.binomial(trials, self._rate[arm][span]).astype(np.int64)
            arms.append(ArmColumns.of_requests(events, trials))
        return arms[0], arms[1]


class _CountsEntry:
    def __init__(self, source: CountsSource, percentage: float, first_tick: int) -> None:
        self._source, self._percentage, self._first = source, percentage, first_tick

    def columns(self, begin: int, end: int) -> tuple[ArmColumns, ArmColumns]:
        """Return (treatment, control) for the ticks begin..end-1."""
        blocks = range((begin - self._first) // BLOCK, (end - 1 - self._first) // BLOCK + 1)
        parts = [self._source.block(self._percentage, self._first, index) for index in blocks]
        offset = self._first + blocks[0] * BLOCK
        arms = tuple(
            ArmColumns.join([part[arm] for part in parts]).slice(begin - offset, end - offset) for arm in (0, 1)
        )
        return arms[0], arms[1]
