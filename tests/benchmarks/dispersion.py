"""Requests as the unit: evidence that allows for overdispersion, beside the table of the design (section 5).

Stages of 5,760 ticks (2 days of 30 s), alpha 5 %, counts gamma-Poisson: the variance of a tick's count is phi times its
mean, and phi = 1 is the binomial. "Late" is a jump at a moment uniform in the first 90 % of the stage, from 0.5 to 2 %
for the rate against 1 %, and to three times control's rate for the ratio, whose arms share 0.5 %. Shares and medians
are those of the rollouts without an alarm before the jump.

The design's cells know phi. The last part does not: a guardrail estimates it from control, as a rollout does, in its
first stage or in a later one, which knows what the stage before has shown.

`python -m tests.benchmarks.dispersion [replicates]` prints all; 1,000 replicates take about three and a half minutes.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from phase4.analysis import block, dispersion, dispersion_block, guardrails, paths
from phase4.analysis.columns import ArmColumns
from phase4.analysis.dispersion import Dispersion
from phase4.analysis.eprocess import FAIL_RATIOS
from phase4.analysis.specs import RateGuardrail, RatioGuardrail, Terms
from phase4.analysis.verdict import Unit
from tests.benchmarks.timing import Figure

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

TICKS, BLOCK = 5760, 512
ALPHA, LIMIT, BASE = 0.05, 0.01, 0.005
BOUND = math.log(1.0 / ALPHA)
REPLICATES = 1000
DESIGN_RUNS = 400
SEED = 505
PLAIN, EFFECTIVE, TILTED = "binomial", "effective counts", "tilted"

# phi: false alarms of (binomial, effective counts, tilted), median requests of a late jump, tilted
RATES: dict[int, dict[float, tuple[float, float, float, float]]] = {
    100: {2: (1.0, 0.132, 0.023, 6_300), 4: (1.0, 0.392, 0.028, 12_900), 10: (1.0, 0.552, 0.018, 29_100)},
    1000: {2: (0.987, 0.047, 0.023, 9_000), 4: (1.0, 0.097, 0.02, 16_000), 10: (1.0, 0.273, 0.028, 38_000)},
}
# (trials of treatment, trials of control): the same
RATIOS: dict[tuple[int, int], dict[float, tuple[float, float | None, float, float]]] = {
    (100, 900): {2: (0.99, 0.092, 0.016, 4_500), 4: (1.0, 0.142, 0.03, 8_500), 10: (1.0, 0.142, 0.022, 19_000)},
    (100, 100): {1: (0.048, None, 0.048, 3_800), 2: (0.66, 0.03, 0.03, 6_500), 4: (1.0, 0.025, 0.022, 12_500)},
    (1000, 1000): {1: (0.015, None, 0.015, 5_000), 2: (0.94, 0.022, 0.03, 9_000), 4: (1.0, 0.035, 0.022, 17_000)},
}
# true phi 4, n = 1,000, exactly at the limit: false alarms by the phi that is used
USED = {2.0: 0.925, 3.0: 0.165, 4.0: 0.017, 8.0: 0.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One figure beside the design's."""

    what: str
    seen: float
    table: float | None
    """The design's figure; None = it has none."""
    runs: int
    tick: int | None = None
    """For a number of requests: those of one tick. None = a share."""
    at_most: float | None = None
    """For a share without a figure in the design: what was promised of it."""

    @property
    def is_met(self) -> bool | None:
        """Whether it lies within the tolerance of the design: shares on both sides, requests above only."""
        if self.at_most is not None:
            return self.seen <= self.at_most + 3.0 * math.sqrt(self.at_most * (1.0 - self.at_most) / self.runs)
        if self.table is None:
            return None
        if self.tick is not None:
            return self.seen <= max(1.1 * self.table, self.table + self.tick)
        p = (self.seen * self.runs + self.table * DESIGN_RUNS) / (self.runs + DESIGN_RUNS)
        error = math.sqrt(p * (1.0 - p) * (1.0 / self.runs + 1.0 / DESIGN_RUNS))
        return abs(self.seen - self.table) <= max(3.0 * error, 0.01) + 1e-12

    def figure(self) -> Figure:
        """Return it as a line of the report."""
        bound = f"({self._written(self.table)})" if self.table is not None else ""
        if self.at_most is not None:
            bound = f"<= {self.at_most:.1%}"
        return Figure(name=self.what, seen=self._written(self.seen), bound=bound, is_met=self.is_met)

    def _written(self, value: float) -> str:
        if self.tick is None:
            return f"{value:.1%}"
        return "-" if math.isinf(value) else f"{value:,.0f}"


# ------------------------------------------------------------------------------------------- drawing
def draw(generator: np.random.Generator, n: int, rates: Floats, phi: float, rollouts: int) -> Ints:
    """Return events of n trials a tick, (ticks, rollouts) int64; rates are (ticks, 1) or (ticks, rollouts)."""
    shape = (TICKS, rollouts)
    if phi == 1.0:
        return generator.binomial(n, rates, shape).astype(np.int64)
    means = generator.gamma(np.broadcast_to(n * rates / (phi - 1.0), shape), phi - 1.0)
    return np.minimum(generator.poisson(means), n).astype(np.int64)


def calm() -> Floats:
    """Return the rate that both arms share: 0.5 %, (ticks, 1)."""
    return np.full((TICKS, 1), BASE)


def jumps(generator: np.random.Generator, rollouts: int) -> Ints:
    """Return the tick of each rollout's jump."""
    return generator.integers(0, int(0.9 * TICKS), rollouts)


def after(jump: Ints) -> npt.NDArray[np.bool_]:
    """Return whether a tick is after a rollout's jump, (ticks, rollouts)."""
    return np.arange(TICKS)[:, None] >= jump


def first_alarms(log_e: Floats) -> Ints:
    """Return the tick of each rollout's first alarm, (rollouts,); `TICKS` = none."""
    hit = log_e >= BOUND
    return np.where(hit.any(axis=0), hit.argmax(axis=0), TICKS)


def share(alarms: Ints) -> float:
    """Return the share of rollouts with an alarm."""
    return float((alarms < TICKS).mean())


def median_delay(alarms: Ints, jump: Ints, n: int) -> tuple[float, int]:
    """Return the median number of requests from jump to alarm, and of how many rollouts; endless without an alarm."""
    is_eligible = alarms >= jump
    delays = np.where(alarms < TICKS, (alarms - jump + 1.0) * n, math.inf)[is_eligible]
    ordered = np.sort(delays)
    return float(ordered[[(len(ordered) - 1) // 2, len(ordered) // 2]].mean()), int(is_eligible.sum())


# ------------------------------------------------------------------------------------------- the design's table
def effective(x: Ints, y: Ints | None, n: int, m: int, phi: float) -> Floats:
    """Return log E of the binomial evidence where all counts are divided by phi: the common remedy."""
    horizon = TICKS
    grid = (
        dispersion.rate_grid(LIMIT, 1.0, FAIL_RATIOS)
        if y is None
        else dispersion.ratio_grid(n, m, 1.0, 1.0, FAIL_RATIOS)
    )
    up, down = np.array(grid.up)[:, None], np.array(grid.down)[:, None]
    others = (n - x) if y is None else y
    weights = paths.restart_weights(0, TICKS, horizon) / len(FAIL_RATIOS)
    e, out = np.zeros((len(FAIL_RATIOS), x.shape[1])), np.empty(x.shape)
    for t in range(TICKS):
        e = np.minimum((e + weights[t]) * np.exp(np.minimum((x[t] * up + others[t] * down) / phi, 700.0)), 1e300)
        out[t] = e.sum(axis=0)
    with np.errstate(divide="ignore"):
        return np.log(out)


def rate_cells(n: int, phi: float, replicates: int) -> Iterator[Cell]:
    """Yield a row of the table: a rate against its limit."""
    generator = np.random.default_rng([SEED, n, int(phi)])
    name = f"rate at its limit, n = {n}, phi = {phi:g}"
    x, trials = draw(generator, n, np.full((TICKS, 1), LIMIT), phi, replicates), np.full((TICKS, 1), n)
    table = dict(zip((PLAIN, EFFECTIVE, TILTED), RATES[n][phi], strict=False))
    made = {
        PLAIN: paths.paths_rate(x, trials, LIMIT, horizon_ticks=TICKS),
        EFFECTIVE: effective(x, None, n, n, phi),
        TILTED: paths.paths_rate(x, trials, LIMIT, horizon_ticks=TICKS, phi=phi),
    }
    for method, log_e in made.items():
        seen = share(first_alarms(log_e))
        yield Cell(what=f"{name}: false alarms, {method}", seen=seen, table=table[method], runs=replicates)
    jump = jumps(generator, replicates)
    x = draw(generator, n, np.where(after(jump), 0.02, BASE), phi, replicates)
    alarms = first_alarms(paths.paths_rate(x, trials, LIMIT, horizon_ticks=TICKS, phi=phi))
    delay, runs = median_delay(alarms, jump, n)
    yield Cell(what=f"{name}: late 0.5 to 2 %, requests", seen=delay, table=RATES[n][phi][3], runs=runs, tick=n)


def ratio_cells(n: int, m: int, phi: float, replicates: int) -> Iterator[Cell]:
    """Yield a row of the table: a ratio of equal arms."""
    generator = np.random.default_rng([SEED, n, m, int(phi)])
    name = f"ratio, {n} and {m} a tick, phi = {phi:g}"
    own, control = draw(generator, n, calm(), phi, replicates), draw(generator, m, calm(), phi, replicates)
    sizes = np.full((TICKS, 1), n), np.full((TICKS, 1), m)

    def evidence(x: Ints, y: Ints, used: float) -> Floats:
        return paths.paths_ratio(x, sizes[0], y, sizes[1], max_ratio=1.0, horizon_ticks=TICKS, phi=used)

    table = dict(zip((PLAIN, EFFECTIVE, TILTED), RATIOS[n, m][phi], strict=False))
    made = {PLAIN: evidence(own, control, 1.0)}
    if phi > 1.0:
        made |= {EFFECTIVE: effective(own, control, n, m, phi), TILTED: evidence(own, control, phi)}
    for method, log_e in made.items():
        seen = share(first_alarms(log_e))
        yield Cell(what=f"{name}: false alarms, {method}", seen=seen, table=table[method], runs=replicates)
    jump = jumps(generator, replicates)
    own = draw(generator, n, np.where(after(jump), 3.0, 1.0) * calm(), phi, replicates)
    alarms = first_alarms(evidence(own, control, phi))
    delay, runs = median_delay(alarms, jump, n)
    yield Cell(what=f"{name}: late x3, requests", seen=delay, table=RATIOS[n, m][phi][3], runs=runs, tick=n)


def used_cells(replicates: int) -> Iterator[Cell]:
    """Yield what too small and too large a phi make of a service at its limit."""
    n = 1000
    x = draw(np.random.default_rng([SEED, 4]), n, np.full((TICKS, 1), LIMIT), 4.0, replicates)
    for used, table in USED.items():
        log_e = paths.paths_rate(x, np.full((TICKS, 1), n), LIMIT, horizon_ticks=TICKS, phi=used)
        name = f"rate at its limit, n = {n}, phi = 4, phi used = {used:g}: false alarms"
        yield Cell(what=name, seen=share(first_alarms(log_e)), table=table, runs=replicates)


# ------------------------------------------------------------------------------------------- phi from control
RATE = RateGuardrail(name="rate", limit=LIMIT, unit=Unit.REQUEST, ambient=False)
RATIO = RatioGuardrail(name="ratio", unit=Unit.REQUEST)
TERMS = Terms(alpha=ALPHA, beta=0.05, horizon_ticks=TICKS)


def judged(
    spec: RateGuardrail | RatioGuardrail, own: Ints, control: Ints, n: int, before: Ints | None = None
) -> tuple[Ints, Ints, Floats]:
    """Return first alarms, first proofs and the last phi of each rollout, (rollouts,), from whole guardrails.

    `before` is control's events in the stage before, (ticks, rollouts), of as many trials.
    """
    trials = np.full(TICKS, n, np.int64)
    alarms, proofs, phis = [], [], []
    for place, (x, y) in enumerate(zip(own.T, control.T, strict=True)):
        arms = ArmColumns.of_requests(x, trials), ArmColumns.of_requests(y, trials)
        state, proof = guardrails.start(spec), TICKS
        if before is not None:
            shown = dispersion_block.run(Dispersion(), before[:, place], trials)[1]
            state = replace(state, dispersion=Dispersion.following(shown, 1.0))
        for begin in range(0, TICKS, BLOCK):
            end = min(begin + BLOCK, TICKS)
            made = block.run(spec, TERMS, state, begin, *(arm.slice(begin, end) for arm in arms))
            state = made.state
            if proof == TICKS and made.log_e_pass is not None and (made.log_e_pass >= TERMS.pass_bound).any():
                proof = begin + int(np.argmax(made.log_e_pass >= TERMS.pass_bound))
            if state.crossed_tick is not None:
                break
        alarms.append(TICKS if state.crossed_tick is None else state.crossed_tick)
        proofs.append(proof)
        phis.append(state.dispersion.phi)
    return np.array(alarms), np.array(proofs), np.array(phis)


def estimated_false_alarms(n: int, phi: float, replicates: int) -> Iterator[Cell]:
    """Yield how often a guardrail that estimates phi fails a service at its limit, and equal arms."""
    generator = np.random.default_rng([SEED, 7, n, int(phi)])
    at_limit = draw(generator, n, np.full((TICKS, 1), LIMIT), phi, replicates)
    own, control, before = (draw(generator, n, calm(), phi, replicates) for _ in range(3))
    for spec, x in ((RATE, at_limit), (RATIO, own)):
        alarms, _, phis = judged(spec, x, control, n)
        name = f"phi from control, {spec.name}, n = {n}, true phi = {phi:g}"
        yield Cell(what=f"{name}: false alarms", seen=share(alarms), table=None, runs=replicates, at_most=ALPHA)
        later = share(judged(spec, x, control, n, before)[0])
        yield Cell(
            what=f"{name}: false alarms of a later stage", seen=later, table=None, runs=replicates, at_most=ALPHA
        )
        below = float((phis[alarms == TICKS] < phi).mean()) if (alarms == TICKS).any() else 0.0
        yield Cell(what=f"{name}: phi too small at the end", seen=below, table=None, runs=replicates)


def price_cells(n: int, replicates: int) -> Iterator[Cell]:
    """Yield what allowing for overdispersion costs where there is none: requests of binomial counts until an answer."""
    generator = np.random.default_rng([SEED, 8, n])
    control, before = (draw(generator, n, calm(), 1.0, replicates) for _ in range(2))
    trials = np.full((TICKS, 1), n)
    for name, spec, factor in (("0.5 to 1.5 % against 1 %", RATE, 3.0), ("x3 against control", RATIO, 3.0)):
        for late in (False, True):
            jump = jumps(generator, replicates) if late else np.zeros(replicates, np.int64)
            own = draw(generator, n, np.where(after(jump), factor, 1.0) * calm(), 1.0, replicates)
            if spec is RATE:
                plain = paths.paths_rate(own, trials, LIMIT, horizon_ticks=TICKS)
            else:
                plain = paths.paths_ratio(own, trials, control, trials, max_ratio=1.0, horizon_ticks=TICKS)
            moment = "late" if late else "at once"
            for how, alarms in (
                ("as independent", first_alarms(plain)),
                ("phi from control", judged(spec, own, control, n)[0]),
                ("phi from the stage before too", judged(spec, own, control, n, before)[0]),
            ):
                delay, runs = median_delay(alarms, jump, n)
                what = f"independent requests, n = {n}, {name}, {moment}: requests, {how}"
                yield Cell(what=what, seen=delay, table=None, runs=runs, tick=n)
    healthy = draw(generator, n, calm(), 1.0, replicates)
    for how, proofs in (
        ("phi from control", judged(RATE, healthy, control, n)[1]),
        ("phi from the stage before too", judged(RATE, healthy, control, n, before)[1]),
    ):
        delay, runs = median_delay(proofs, np.zeros(replicates, np.int64), n)
        what = f"independent requests, n = {n}, 0.5 % proved below 1 %: requests, {how}"
        yield Cell(what=what, seen=delay, table=None, runs=runs, tick=n)


# ------------------------------------------------------------------------------------------- the page
def run(replicates: int = REPLICATES) -> Iterator[Cell]:
    """Yield every cell."""
    for n, rows in RATES.items():
        for phi in rows:
            yield from rate_cells(n, phi, replicates)
    for (n, m), columns in RATIOS.items():
        for phi in columns:
            yield from ratio_cells(n, m, phi, replicates)
    yield from used_cells(replicates)
    for n in (10, 100, 1000):
        for phi in (1.0, 2.0, 4.0, 10.0):
            yield from estimated_false_alarms(n, phi, replicates // 2)
    for n in (10, 100, 1000):
        yield from price_cells(n, replicates // 2)


def figures() -> list[Figure]:
    """Return the figures of this page: a line for each cell."""
    return [cell.figure() for cell in run()]


def main(arguments: list[str]) -> int:
    """Print the cells; exit status 1 if one is not within its tolerance."""
    replicates = int(arguments[0]) if arguments else REPLICATES
    missed, began = 0, time.process_time()
    print(f"{replicates} rollouts; in brackets the design's figure; MISSED = not within its tolerance")
    for cell in run(replicates):
        line = cell.figure()
        missed += line.is_met is False
        verdict = {True: "met", False: "MISSED", None: ""}[line.is_met]
        print(f"{line.name:<96} {line.seen:>9} {line.bound:<11} {verdict}", flush=True)
    print(f"{missed} missed; {time.process_time() - began:.0f} s of CPU time")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
