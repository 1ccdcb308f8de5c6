"""Real recordings: how often a healthy feature is rolled back on them, and which recorded incidents are caught.

Flights (ships): `sims/flights_year.toml`, every month of a year. PetShop (PetShop dataset, Amazon Science, CC-BY-4.0;
not shipped): a measured service in windows of 5 minutes with incidents that were really injected into it. Its rows know
no users, so requests are the unit. What is random is which request falls into which arm: treatment and control are
drawn from each window without replacement. An incident is laid over the recorded baseline as treatment's outcomes, its
five rows over and over from the onset on: real shapes, simulated exposure.

These settings were committed before any result was seen; nothing here is fitted to the recordings.

`python -m tests.benchmarks.recordings` prints every incident.
"""

from __future__ import annotations

import csv
import math
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import stats

from phase4.analysis import latency
from phase4.analysis.columns import ArmColumns, ExceedColumns, LatencyColumns
from phase4.analysis.specs import QuantileGuardrail, RateGuardrail, RatioGuardrail
from phase4.analysis.thresholds import thresholds_ms
from phase4.analysis.verdict import Unit
from phase4.rollout.plan import RolloutPlan, Stage
from phase4.sim.outcome import Outcome
from phase4.sim.scenario import Approver, Counts, Policy, Scenario, World, load
from phase4.sim.shapes import Constant
from phase4.sim.sweep import sweep
from phase4.sim.traffic import Exposure, Toll
from phase4.sim.world import Run
from tests.benchmarks.timing import Figure

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

ROOT = Path(__file__).parents[2]
PETSHOP = ROOT.parent / "shared" / "data" / "petshop"
YEAR = ROOT / "sims" / "flights_year.toml"

SEED = 20261125
ALPHA = 0.05
TICK_MS = 300_000
TICKS = 576
"""Two days of the baseline's 49 hours."""
ONSETS = (72, 288)
"""Incidents begin 6 h or 24 h after the start, in turn."""
SHARE = 25.0
"""Percentage of treatment, and of control."""
SCALES = (1, 10, 100)
"""Copies of the recorded traffic; 10 is the one that figures are held against."""
MAIN_SCALE = 10
HEALTHY = 500
"""Assignments without an incident at each scale."""
PER_INCIDENT = 10
"""Assignments of each incident; it is caught if more than half of them are rolled back after its onset."""
QUANTILES = (0.0, 0.5, 0.9, 0.95, 0.99, 1.0)
ENDS = (0.25, 2.0)
"""Latency between 0 and p50 begins at 0.25 p50; beyond p99 it ends at 2 p99. Between, its logarithm is linear."""


def plan() -> RolloutPlan:
    """Return one stage of two days under the default guards, counted in requests; no limit is set by the data."""
    length = TICKS * TICK_MS
    # baked as long as the recording lasts: nothing is completed before its end
    stage = Stage(
        name="25 %", percentage=SHARE, active_min=0, bake=length, max_duration=length + TICK_MS, approval=False
    )
    guards = (
        RateGuardrail(name="error_rate", limit=0.01, unit=Unit.REQUEST),
        RatioGuardrail(name="error_ratio", unit=Unit.REQUEST),
        RateGuardrail(name="emergency", limit=0.02, unit=Unit.REQUEST, ambient=False, prove=False, emergency=True),
        QuantileGuardrail(name="latency_p95", unit=Unit.REQUEST),
    )
    return RolloutPlan(plan_id="petshop.1", flag_key="petshop", stages=(stage,), guardrails=(guards,), alpha=ALPHA)


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Rows of 5 minutes."""

    requests: Ints
    error_rate: Floats
    quantiles: Floats
    """(windows, 6) latency in ms at `QUANTILES`."""

    def followed_by(self, incident: Windows, onset: int) -> Windows:
        """Return these windows, from one on with the rates and latencies of an incident, over and over."""
        places = np.arange(len(self.requests) - onset) % len(incident.requests)
        return Windows(
            requests=self.requests,
            error_rate=np.concatenate([self.error_rate[:onset], incident.error_rate[places]]),
            quantiles=np.concatenate([self.quantiles[:onset], incident.quantiles[places]]),
        )

    def below(self, bins: Floats) -> Floats:
        """Return the share of each window's latencies at most so long, (windows,); bins as in a histogram."""
        at = np.log(1000.0) + bins * (math.log(2.0) / latency.BINS_PER_OCTAVE)
        return np.array([np.interp(x, np.log(row), QUANTILES) for x, row in zip(at, self.quantiles, strict=True)])

    def shares(self, first: int, last: int) -> Floats:
        """Return the share of each window's latencies in the bins first..last, (windows, bins)."""
        edges = np.arange(first - 1, last + 1) * (math.log(2.0) / latency.BINS_PER_OCTAVE) + math.log(1000.0)
        below = np.stack([np.interp(edges, np.log(row), QUANTILES) for row in self.quantiles])
        return np.diff(below, axis=1)


def _windows(rows: Sequence[Mapping[str, str]]) -> Windows:
    known = np.array(
        [[float(row[f"latency_{name}_s"]) * 1000.0 for name in ("p50", "p90", "p95", "p99")] for row in rows]
    )
    known = np.maximum.accumulate(known, axis=1)
    return Windows(
        requests=np.array([int(float(row["requests"])) for row in rows], np.int64),
        error_rate=np.clip(1.0 - np.array([float(row["availability_pct"]) for row in rows]) / 100.0, 0.0, 1.0),
        quantiles=np.column_stack([known[:, 0] * ENDS[0], known, known[:, -1] * ENDS[1]]),
    )


def _read(name: str) -> list[dict[str, str]]:
    with (PETSHOP / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One injected fault."""

    id: str
    metric: str
    windows: Windows


def baseline() -> Windows:
    """Return two days without an incident."""
    return _windows(_read("petsite_high_traffic_noissue.csv")[:TICKS])


def incidents() -> tuple[Incident, ...]:
    """Return every incident that has its rows, in the file's order."""
    rows = _read("petsite_incident_metrics.csv")
    return tuple(
        Incident(
            id=one["incident"],
            metric=one["metric"],
            windows=_windows([row for row in rows if row["incident"] == one["incident"]]),
        )
        for one in _read("petsite_incidents.csv")
    )


class PetShop:
    """One assignment: the requests of each window, dealt out to the arms."""

    counts_exposures = False

    def __init__(self, base: Windows, incident: Incident | None, onset: int, scale: int, replicate: int) -> None:
        """Deal out."""
        self.onset_tick = None if incident is None else onset
        self._base, self._incident, self._scale = base, incident, scale
        self._key = (scale, onset)
        self._replicate = replicate

    def entry(self, percentage: float, first_tick: int) -> PetShop:
        """Return the traffic of the only entry."""
        assert (percentage, first_tick) == (SHARE, 0)
        return self

    def toll(self, exposures: tuple[Exposure, ...]) -> Toll:
        """Return that costs are not asked for."""
        del exposures
        return Toll(users_exposed=None, users_harmed=None, excess=0.0, users_since_onset=None, requests_since_onset=0)

    def columns(self, begin: int, end: int) -> tuple[ArmColumns, ArmColumns]:
        """Return (treatment, control) for the ticks begin..end-1."""
        treatment, control = (arm.slice(begin, end) for arm in self._arms)
        return treatment, control

    @cached_property
    def _arms(self) -> tuple[ArmColumns, ArmColumns]:
        base = self._base
        total = base.requests * self._scale
        deal = self._stream(0)
        errors = deal.binomial(total, base.error_rate)
        size = (total * SHARE / 100.0).astype(np.int64)
        ours = deal.hypergeometric(errors, total - errors, size)
        theirs = deal.hypergeometric(errors - ours, total - size - (errors - ours), size)
        treated = base
        if self._incident is not None:
            assert self.onset_tick is not None
            treated = base.followed_by(self._incident.windows, self.onset_tick)
            after = np.arange(TICKS) >= self.onset_tick
            ours = np.where(after, self._stream(1).binomial(size, treated.error_rate), ours)
        counted = (ArmColumns.of_requests(ours, size), ArmColumns.of_requests(theirs, size))
        return self._timed(counted, (treated, base), size)

    def _timed(
        self, counted: tuple[ArmColumns, ArmColumns], windows: tuple[Windows, Windows], size: Ints
    ) -> tuple[ArmColumns, ArmColumns]:
        """Return the arms with their latencies, as a collector counts them."""
        first = min(_lowest(shown.quantiles) for shown in windows)
        last = max(_highest(shown.quantiles) for shown in windows)
        drawn = [
            LatencyColumns(
                first_bin=first,
                counts=self._stream(2 + arm).multinomial(size, shown.shares(first, last)),
                s1=np.zeros(TICKS),
                s2=np.zeros(TICKS),
            )
            for arm, shown in enumerate(windows)
        ]
        (spec,) = (one for one in plan().guardrails[0] if isinstance(one, QuantileGuardrail))
        limit = thresholds_ms(drawn[1], spec.quantile)
        made = []
        for arm, raised in enumerate((1.0 + spec.margin, 1.0)):
            above = _above(drawn[arm], windows[arm], limit * raised, self._stream(4 + arm))
            found = ExceedColumns(threshold_ms=limit * raised, requests=above, first=np.zeros(TICKS, np.int64))
            made.append(replace(counted[arm], latencies=drawn[arm], exceed={spec.name: found}))
        return made[0], made[1]

    def _stream(self, purpose: int) -> np.random.Generator:
        name = "" if self._incident is None else self._incident.id
        key = (zlib.crc32(name.encode()), *self._key, self._replicate, purpose)
        return np.random.default_rng(np.random.SeedSequence(SEED, spawn_key=key))


def _above(drawn: LatencyColumns, windows: Windows, limit_ms: Floats, luck: np.random.Generator) -> Ints:
    """Return how many latencies of each window are above its threshold; the bin that holds it is split."""
    named = ~np.isnan(limit_ms)
    place = latency.BINS_PER_OCTAVE * np.log2(np.where(named, limit_ms, 1000.0) / 1000.0)
    upper = np.ceil(place - 1e-9).astype(np.int64)  # a threshold of control is an edge
    cell = np.clip(upper - drawn.first_bin, 0, drawn.counts.shape[1] - 1)
    beyond = drawn.counts.sum(axis=1) - np.cumsum(drawn.counts, axis=1)[np.arange(TICKS), cell]
    edge = upper.astype(np.float64)
    low, at, high = windows.below(edge - 1.0), windows.below(np.minimum(place, edge)), windows.below(edge)
    share = np.divide(high - at, high - low, out=np.zeros(TICKS), where=high > low)
    split = luck.binomial(drawn.counts[np.arange(TICKS), cell], np.clip(share, 0.0, 1.0))
    return np.where(named, beyond + split, 0)


def _lowest(ms: Floats) -> int:
    return math.floor(latency.BINS_PER_OCTAVE * math.log2(float(ms.min()) / 1000.0))


def _highest(ms: Floats) -> int:
    return math.ceil(latency.BINS_PER_OCTAVE * math.log2(float(ms.max()) / 1000.0)) + 1


def rehearse(base: Windows, incident: Incident | None, onset: int, scale: int, replicate: int) -> Outcome:
    """Return how the production controller ends on one assignment."""
    policy = Policy(name="default guards", about="", plan=plan())
    world = World(
        name="petshop",
        about="",
        start_ms=0,
        traffic=Counts(shape=Constant(rate=1.0), error_rate=0.0),
        faults=(),
    )
    scenario = Scenario(
        name="petshop", covers="", source="", seed=SEED, duration_ms=TICKS * TICK_MS, tick_ms=TICK_MS,
        flag_key="petshop", worlds=(world,), policies=(policy,),
        approver=Approver(median_ms=0, sigma=0.0, reject_p=0.0), replicates=1, expect_run=None, expect_cells=(),
    )  # fmt: skip
    source = PetShop(base, incident, onset, scale, replicate)
    return Run(scenario, world, policy, source, seed=SEED, replicate=replicate, keep=False).run().outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Caught:
    """What became of one incident."""

    id: str
    metric: str
    after: int
    """Assignments rolled back after the onset."""
    before: int
    """Assignments rolled back before it."""
    guardrails: tuple[str, ...]
    delay_min: float
    """Median minutes from the onset to the rollback; infinite if fewer than half were."""

    @property
    def is_caught(self) -> bool:
        """Whether more than half of its assignments were rolled back after its onset."""
        return self.after > PER_INCIDENT / 2


def catch(base: Windows, incident: Incident, number: int, scale: int) -> Caught:
    """Return what becomes of one incident over its assignments."""
    onset = ONSETS[number % len(ONSETS)]
    made = [rehearse(base, incident, onset, scale, replicate) for replicate in range(PER_INCIDENT)]
    delays = sorted(one.delay_ms / 60_000 if one.caught and one.end_ms > onset * TICK_MS else math.inf for one in made)
    after = sum(not math.isinf(delay) for delay in delays)
    return Caught(
        id=incident.id,
        metric=incident.metric,
        after=after,
        before=sum(one.rolled_back for one in made) - after,
        guardrails=tuple(sorted({one.guardrail for one in made if one.guardrail is not None})),
        delay_min=delays[len(delays) // 2],
    )


def _exact(seen: int, runs: int) -> tuple[float, float]:
    """Return the exact 95 % interval of a share (Clopper and Pearson 1934), by scipy."""
    found = stats.binomtest(seen, runs).proportion_ci(method="exact")
    return float(found.low), float(found.high)


def _false(seen: int, runs: int) -> tuple[str, bool]:
    """Return a share of false rollbacks in words, and whether its upper limit keeps the plan's alpha."""
    low, high = _exact(seen, runs)
    bound = ALPHA + 3.0 * math.sqrt(ALPHA * (1.0 - ALPHA) / runs)
    return f"{seen} of {runs}: {seen / runs:.1%} ({low:.1%} to {high:.1%})", high <= bound


def flights() -> Iterator[Figure]:
    """Return the figures of the recorded year."""
    scenario = load(YEAR)
    made = sweep(
        scenario, seed=scenario.seed, replicates=scenario.replicates, workers=2, progress=lambda _done, _planned: None
    ).outcomes
    healthy = [one for one in made if not one.world.endswith("broken")]
    broken = [one for one in made if one.world.endswith("broken")]
    words, is_met = _false(sum(one.false_rollback for one in healthy), len(healthy))
    yield Figure(
        name="flights, 12 months, nothing broken: rolled back", seen=words, bound="<= alpha + 3 s.e.", is_met=is_met
    )
    caught = sum(bool(one.caught) for one in broken)
    low, high = _exact(caught, len(broken))
    words = f"{caught} of {len(broken)}: {caught / len(broken):.1%} ({low:.1%} to {high:.1%})"
    yield Figure(
        name="flights, 12 months, 2 more of 100 fail from hour 100 on: caught", seen=words, bound="", is_met=None
    )


def petshop(scale: int) -> Iterator[tuple[Figure, tuple[Caught, ...]]]:
    """Return the figures of one scale of the recorded service; with the second, every incident."""
    base = baseline()
    is_main = scale == MAIN_SCALE
    wrong = sum(rehearse(base, None, 0, scale, replicate).rolled_back for replicate in range(HEALTHY))
    words, is_met = _false(wrong, HEALTHY)
    name = f"petshop, {scale} times the traffic"
    yield Figure(name=f"{name}, nothing broken: rolled back", seen=words, bound="<= alpha + 3 s.e.", is_met=is_met), ()
    found = tuple(catch(base, one, number, scale) for number, one in enumerate(incidents()))
    caught = sum(one.is_caught for one in found)
    low, high = _exact(caught, len(found))
    words = f"{caught} of {len(found)}: {caught / len(found):.0%} ({low:.0%} to {high:.0%})"
    yield (
        Figure(
            name=f"{name}: incidents caught",
            seen=words,
            bound=">= 50 %" if is_main else "",
            is_met=2 * caught >= len(found) if is_main else None,
        ),
        found,
    )


def figures() -> Iterator[Figure]:
    """Return the figures of this page; those of recordings that are not there are left out."""
    yield from flights()
    if not PETSHOP.is_dir():
        yield Figure(name="petshop: the recording is not here", seen="", bound="", is_met=None)
        return
    for scale in SCALES:
        for figure, found in petshop(scale):
            yield figure
            for one in found:
                if not one.is_caught:
                    words = f"{one.after} of {PER_INCIDENT} after, {one.before} before the onset"
                    yield Figure(name=f"    missed: {one.id} ({one.metric})", seen=words, bound="", is_met=None)


def main() -> int:
    """Print every figure and every incident."""
    for figure in flights():
        print(f"{figure.name}: {figure.seen}  {figure.bound} {figure.is_met}", flush=True)
    for scale in SCALES:
        for figure, found in petshop(scale):
            print(f"{figure.name}: {figure.seen}  {figure.bound} {figure.is_met}", flush=True)
            for one in found:
                state = "caught" if one.is_caught else "MISSED"
                print(
                    f"    {state} {one.id} ({one.metric}): {one.after} after, {one.before} before the onset;"
                    f" {', '.join(one.guardrails) or 'nobody'}; median {one.delay_min:g} min",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
