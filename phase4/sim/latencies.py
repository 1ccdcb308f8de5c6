"""Latencies of synthetic traffic: laid over the counts of another source, which stay as they are.

Latencies of a tick are drawn by cell, control's first: they name the thresholds of the ticks after. How many of each
arm are above a threshold follows from the cells, the one that holds it split by a binomial; which of those are users'
first outcomes is drawn without replacement, for a latency does not know whose it is.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from phase4 import rng
from phase4.analysis import latency
from phase4.analysis.columns import ArmColumns, ExceedColumns, Floats, Ints, LatencyColumns
from phase4.analysis.latency import BINS_PER_OCTAVE, Histogram
from phase4.analysis.specs import QuantileGuardrail
from phase4.analysis.thresholds import thresholds_ms
from phase4.errors import Phase4Error
from phase4.rollout.plan import RolloutPlan
from phase4.sim.faults import FaultArm, slowdown
from phase4.sim.scenario import Counts, Scenario, World
from phase4.sim.service import Cells, lay_out
from phase4.sim.traffic import Entry, Exposure, Source, Toll

BLOCK = 512
"""Ticks that are drawn at once; the first tick of an entry begins a block."""
DISPLAYED = (0.95, 0.05)
"""A quantile and margin that every world has fine cells for, whatever its plans look at."""
ARMS = (FaultArm.TREATMENT, FaultArm.CONTROL)


def timed(source: Source, scenario: Scenario, world: World, plan: RolloutPlan, *, seed: int, replicate: int) -> Source:
    """Return a source with latencies, where the world has them and the plan asks for them; else the source itself."""
    has_them = isinstance(world.traffic, Counts) and world.traffic.latency is not None
    if not has_them or "latency" not in plan.measures:
        return source
    return TimedSource(source, scenario, world, plan, seed=seed, replicate=replicate)


class TimedSource:
    """One replicate of a world of synthetic counts with latencies, as one plan looks at them."""

    def __init__(
        self, inner: Source, scenario: Scenario, world: World, plan: RolloutPlan, *, seed: int, replicate: int
    ) -> None:
        """Lay out cells and slowdowns of the whole run; cells follow from all plans of the scenario."""
        assert isinstance(world.traffic, Counts)
        assert world.traffic.latency is not None
        self._inner, self._seed, self._replicate = inner, seed, replicate
        self.counts_exposures, self.onset_tick = inner.counts_exposures, inner.onset_tick
        begin = np.arange(scenario.ticks, dtype=np.int64) * scenario.tick_ms
        self.slowdown = {arm: slowdown(world.faults, arm, begin) for arm in ARMS}
        control = self.slowdown[FaultArm.CONTROL]
        looked_at = {(one.quantile, one.margin) for policy in scenario.policies for one in _quantiles(policy.plan)}
        self.cells: Cells = lay_out(
            world.traffic.latency, sorted(looked_at | {DISPLAYED}), (float(control.min()), float(control.max()))
        )
        self.specs = _quantiles(plan)

    def entry(self, percentage: float, first_tick: int) -> Entry:
        """Return the traffic of an entry."""
        return _TimedEntry(self, self._inner.entry(percentage, first_tick), percentage, first_tick)

    def toll(self, exposures: tuple[Exposure, ...]) -> Toll:
        """Return what these exposures cost in errors; slow answers harm nobody in this sum."""
        return self._inner.toll(exposures)

    def stream(self, *key: int) -> rng.Generator:
        """Return the generator of one part of the latencies."""
        return rng.stream(self._seed, "latency", replicate=self._replicate, key=key)


class _TimedEntry:
    def __init__(self, source: TimedSource, inner: Entry, percentage: float, first_tick: int) -> None:
        self._source, self._inner = source, inner
        self._first, self._key = first_tick, (first_tick, round(percentage * 1e6))
        self._before: list[Histogram] = [()]
        """Control's latencies before each block that has been drawn, and before the next."""
        self._drawn: dict[int, tuple[ArmColumns, ArmColumns]] = {}
        """The newest blocks; older ones are drawn again, and come out the same."""

    def columns(self, begin: int, end: int) -> tuple[ArmColumns, ArmColumns]:
        """Return (treatment, control) for the ticks begin..end-1."""
        blocks = range((begin - self._first) // BLOCK, (end - 1 - self._first) // BLOCK + 1)
        parts = [self._block(index) for index in blocks]
        offset = self._first + blocks[0] * BLOCK
        treatment, control = (
            ArmColumns.join([part[arm] for part in parts]).slice(begin - offset, end - offset) for arm in (0, 1)
        )
        return treatment, control

    def _block(self, index: int) -> tuple[ArmColumns, ArmColumns]:
        for place in range(len(self._before) - 1, index):
            self._block(place)
        if index not in self._drawn:
            made = self._draw(index)
            self._drawn = {place: old for place, old in self._drawn.items() if place == index - 1} | {index: made}
        return self._drawn[index]

    def _draw(self, index: int) -> tuple[ArmColumns, ArmColumns]:
        source = self._source
        begin = self._first + index * BLOCK
        end = min(begin + BLOCK, len(source.slowdown[FaultArm.CONTROL]))
        counted = self._inner.columns(begin, end)
        factors = [source.slowdown[arm][begin:end] for arm in ARMS]
        streams = [source.stream(*self._key, index, arm) for arm in range(2)]
        cells = [
            _in_cells(source.cells, columns.requests, factor, stream)
            for columns, factor, stream in zip(counted, factors, streams, strict=True)
        ]
        latencies = [_sums(source.cells, each, factor) for each, factor in zip(cells, factors, strict=True)]
        before = self._before[index]
        limits = {spec: thresholds_ms(latencies[1], spec.quantile, before=before) for spec in source.specs}
        if len(self._before) == index + 1:
            self._before.append(latency.merge(before, latencies[1].histogram(0, end - begin)))
        above: tuple[dict[str, ExceedColumns], ...] = ({}, {})
        for number, (spec, limit) in enumerate(limits.items()):
            _check(source.cells, limit, spec)
            for arm, raised in enumerate((1.0 + spec.margin, 1.0)):
                luck = source.stream(*self._key, index, arm, number)
                above[arm][spec.name] = _above(
                    source.cells, cells[arm], limit * raised, factors[arm], counted[arm], luck
                )
        treatment, control = (replace(counted[arm], latencies=latencies[arm], exceed=above[arm]) for arm in range(2))
        return treatment, control


def _quantiles(plan: RolloutPlan) -> tuple[QuantileGuardrail, ...]:
    """Return a plan's guardrails on quantiles, each once."""
    every = (spec for specs in plan.guardrails for spec in specs if isinstance(spec, QuantileGuardrail))
    return tuple({spec.name: spec for spec in every}.values())


def _in_cells(cells: Cells, requests: Ints, factor: Floats, stream: rng.Generator) -> Ints:
    """Return how many latencies of each tick fall into each cell, (ticks, cells) int64."""
    levels, which = np.unique(factor, return_inverse=True)
    shares = np.stack([cells.shares(float(level)).p for level in levels])
    return np.asarray(stream.multinomial(requests, shares[which]), np.int64)


def _sums(cells: Cells, counts: Ints, factor: Floats) -> LatencyColumns:
    levels, which = np.unique(factor, return_inverse=True)
    made = [cells.shares(float(level)) for level in levels]
    mean, square = np.stack([one.mean for one in made])[which], np.stack([one.square for one in made])[which]
    return LatencyColumns(
        first_bin=cells.low,
        counts=cells.histograms(counts),
        s1=(counts * mean).sum(axis=1),
        s2=(counts * square).sum(axis=1),
    )


def _above(
    cells: Cells, counts: Ints, limit_ms: Floats, factor: Floats, arm: ArmColumns, luck: rng.Generator
) -> ExceedColumns:
    """Return how many latencies of each tick are above its threshold."""
    named = ~np.isnan(limit_ms)
    at = BINS_PER_OCTAVE * np.log2(np.where(named, limit_ms, 1000.0) / 1000.0)
    place = np.where(named, at, cells.low + 1.0)  # where no threshold is named any place will do
    cell_bin = np.ceil(place).astype(np.int64)
    cell = cells.first + cell_bin - cells.low - 1
    from_top = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]
    ticks = np.arange(len(counts))
    beyond = from_top[ticks, cell + 1]
    split = luck.binomial(counts[ticks, cell], cells.share_above(place, cell_bin, factor))
    above = np.where(named, beyond + split, 0)
    first = np.zeros(len(above), np.int64)
    if arm.error_first_n is not None:
        first = luck.hypergeometric(above, arm.requests - above, arm.error_first_n).astype(np.int64)
    return ExceedColumns(threshold_ms=limit_ms, requests=above, first=first)


def _check(cells: Cells, limit_ms: Floats, spec: QuantileGuardrail) -> None:
    """Hold thresholds to where cells are fine: `lay_out` leaves a risk of 1e-9 that one is not."""
    named = limit_ms[~np.isnan(limit_ms)]
    low, high = latency.edge_ms(cells.low + 1), latency.edge_ms(cells.high) / (1.0 + spec.margin)
    if len(named) and (named.min() < low or named.max() > high):
        raise Phase4Error(f"{spec.name}: a threshold of {named.min():g} to {named.max():g} ms left the fine cells")
