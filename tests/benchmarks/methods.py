"""The compared methods over simulated stages, beside the tables of the design (guardrails.md, section 13).

Stages of 5,760 ticks (2 days of 30 s), alpha 5 %, requests as units. "Late" is a jump at a moment uniform in the first
90 % of the stage. A rollout that alarmed before its jump detects nothing: shares and delays are those of the others,
and how many were lost is shown. A delay without an alarm counts as endless, so a median may be "-": not before the end.

`python -m tests.benchmarks.methods [replicates]` prints the tables; 1,000 replicates take about two minutes.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from phase4.analysis import eprocess
from phase4.analysis.compared import methods
from phase4.analysis.compared.alarms import Counts as Given
from phase4.analysis.compared.alarms import OneArm, TwoArms, first_alarms
from phase4.analysis.compared.cusum import Cusum
from phase4.analysis.compared.mann_whitney import MannWhitney
from phase4.analysis.compared.mixtures import ConditionalMixture, GridMixture, Restarts, Schedule
from phase4.analysis.paths import paths_ratio
from tests.benchmarks.timing import Figure

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int32]

ALPHA = BETA = 0.05
LIMIT = 0.01
TICKS, DAY, HOUR = 5760, 2880, 120
LOOKS = 48
REPLICATES = 1000
CHUNK = 250
"""Rollouts drawn at once; with temporaries of the methods about 200 MB."""
BLOCK = 240
"""Ticks drawn at once."""
CALIBRATION = 4
"""Times as many rollouts calibrate CUSUM, whose threshold carries their error: 5 % give or take 0.3 % with 4,000."""
FEW = 30
"""Shares and medians of fewer rollouts are shown and not judged."""
NEVER = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One figure beside the design's."""

    what: str
    seen: float
    table: float | None
    """The design's figure; None = it has none."""
    runs: int
    """Rollouts behind it."""
    runs_table: int
    tick: int | None = None
    """For a number of requests: those of one tick. None = a share."""
    note: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether it lies within the tolerance of the design: shares on both sides, requests above only."""
        if self.table is None or self.runs < FEW:
            return None
        if self.tick is not None:
            return self.seen <= max(1.1 * self.table, self.table + self.tick)
        p = (self.seen * self.runs + self.table * self.runs_table) / (self.runs + self.runs_table)
        error = math.sqrt(p * (1.0 - p) * (1.0 / self.runs + 1.0 / self.runs_table))
        return abs(self.seen - self.table) <= max(3.0 * error, 0.01) + 1e-12

    def written(self, value: float | None) -> str:
        """Return a figure as it stands in a table."""
        if value is None:
            return ""
        if math.isnan(value):
            return "none left"
        if self.tick is None:
            return f"{value:.1%}"
        return "-" if math.isinf(value) else f"{value:,.0f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One method at one traffic."""

    table: str
    method: str
    label: str
    n: int
    cells: tuple[Cell, ...]

    def __str__(self) -> str:
        marks = {True: "", False: " MISSED", None: ""}
        parts = [
            f"{c.what} {c.written(c.seen)}"
            + (f" ({c.written(c.table)})" if c.table is not None else "")
            + (f" {c.note}" if c.note else "")
            + marks[c.is_met]
            for c in self.cells
        ]
        return f"{self.table} | n = {self.n:<4} | {self.method} [{self.label}] | " + " | ".join(parts)


# ------------------------------------------------------------------------------------------- the design's figures
Expected = Sequence[tuple[float | None, ...]]
NOTHING: Expected = ((None,) * 5,) * 3

# for n = 10, 100, 1,000: false alarms at 0.5 %, at 1 %; immediate: median; late: detected, median
TABLE_A: tuple[Expected, ...] = (
    ((1.0, 1.0, 50, 1.0, 20), (1.0, 1.0, 200, 1.0, 100), (1.0, 1.0, 1000, 1.0, 1000)),
    ((1.0, 1.0, 50, 1.0, 100), (1.0, 1.0, 200, 1.0, 600), (0.014, 1.0, 1000, 1.0, 5000)),
    ((0.022, 0.958, 1000, 0.53, 27750), (0.012, 0.981, 1000, 0.54, 268_600), (0.014, 0.99, 1000, 0.56, 2_580_000)),
    ((0.13, 0.56, 240, 0.46, NEVER), (0.011, 0.546, 600, 0.51, 297_600), (0.0, 0.504, 2000, 0.55, 2_680_000)),
    ((0.0, 0.058, 4800, 0.45, NEVER), (0.0, 0.057, 12000, 0.5, 307_500), (0.0, 0.047, 120_000, 0.55, 2_750_000)),
    ((0.0, 0.043, 2120, 0.28, NEVER), (0.0, 0.034, 2300, 0.28, NEVER), (0.0, 0.02, 3000, 0.28, NEVER)),
    ((0.0, 0.011, 3730, 0.37, NEVER), (0.0, 0.012, 4100, 0.47, NEVER), (0.0, 0.005, 5000, 0.54, 2_790_000)),
    ((0.001, 0.031, 2960, 0.39, NEVER), (0.0, 0.023, 3400, 0.44, NEVER), (0.0, 0.009, 4000, 0.48, NEVER)),
    # the judge's own weights: section 2, 600 runs
    ((None, 0.023, 3320, 0.962, 7060), (None, 0.022, 3500, 1.0, 9600), (None, 0.018, 5000, 1.0, 13000)),
    ((0.0, 0.039, 4850, 0.98, 5020), (0.0, 0.053, 6700, 1.0, 6700), (0.0, 0.044, 9000, 1.0, 9000)),
)
EVEN_A: Expected = ((0.001, 0.026, 3680, 0.95, 7060), (0.0, 0.021, 4100, 1.0, 9300), (0.0, 0.008, 5000, 1.0, 12000))

# false alarms, with an outage; immediate: median, 95 %; late: detected, median
TABLE_B: tuple[tuple[float | None, ...], ...] = (
    (0.878, 0.892, 1000, 1000, 1.0, 8100),
    (0.525, 0.535, 200, 900, 1.0, 6200),
    (0.017, None, 24000, None, 0.85, 131_500),
    (0.042, 0.045, 12000, 12000, 1.0, 15300),
    (0.003, 0.005, 1200, 2600, 1.0, 13000),
    (0.017, 0.01, 1300, 2500, 1.0, 11700),
    (0.023, 0.02, 800, 1900, 1.0, 13200),
    (None,) * 6,
)
IGNORING_CONTROL: tuple[float | None, ...] = (0.0, 1.0, 3900, 8700, 0.96, 7000)
EVERY_TEN_MINUTES: dict[int, tuple[float | None, ...]] = {
    10: (0.042, 0.032, 720, 1870, 1.0, 1490),
    100: (0.022, 0.023, 900, 2200, 1.0, 2100),
    1000: (0.01, 0.018, 1000, 3000, 1.0, 4000),
}
EQUAL_ARMS: dict[int, tuple[float | None, ...]] = {
    10: (0.015, 0.02, 1270, None, 0.997, 2760),
    100: (0.048, 0.04, 1400, None, 1.0, 3800),
    1000: (0.015, 0.028, 2000, None, 1.0, 5000),
}

# PASS, FAIL, INCONCLUSIVE in % for n = 10, 100, 1,000
CLEAR_PASS, CLEAR_FAIL = ((100.0, 0.0, 0.0),) * 3, ((0.0, 100.0, 0.0),) * 3
TABLE_D: dict[float, tuple[tuple[float, ...], ...]] = {
    0.001: CLEAR_PASS,
    0.005: CLEAR_PASS,
    0.008: ((97.9, 0.3, 1.8), (99.8, 0.2, 0.0), (100.0, 0.0, 0.0)),
    0.009: ((38.4, 0.4, 61.2), (99.7, 0.3, 0.0), (99.9, 0.1, 0.0)),
    0.01: ((4.4, 2.6, 93.0), (3.2, 2.1, 94.7), (1.9, 1.5, 96.6)),
    0.011: ((1.6, 34.1, 64.3), (0.0, 99.3, 0.7), (0.0, 100.0, 0.0)),
    0.012: ((0.0, 96.0, 4.0), (0.0, 100.0, 0.0), (0.0, 100.0, 0.0)),
    0.015: CLEAR_FAIL,
    0.02: CLEAR_FAIL,
}


# ------------------------------------------------------------------------------------------- drawing
def chunks(replicates: int) -> Iterator[tuple[int, int]]:
    """Yield (number, size) of the parts in which rollouts are drawn."""
    for begin in range(0, replicates, CHUNK):
        yield begin // CHUNK, min(CHUNK, replicates - begin)


def draw(generator: np.random.Generator, n: int, rates: Floats, rollouts: int) -> Counts:
    """Return errors of n requests a tick, (ticks, rollouts) int32; rates are (ticks, 1) or (ticks, rollouts)."""
    events = np.empty((TICKS, rollouts), np.int32)
    for begin in range(0, TICKS, BLOCK):
        size = min(BLOCK, TICKS - begin)
        events[begin : begin + size] = generator.binomial(n, rates[begin : begin + size], (size, rollouts))
    return events


def jumps(generator: np.random.Generator, rollouts: int) -> Ints:
    """Return the tick of each rollout's jump, ascending: neighbours share a rate, which makes drawing quicker."""
    return np.sort(generator.integers(0, int(0.9 * TICKS), rollouts))


def constant(rate: float) -> Floats:
    """Return the same rate at every tick, (ticks, 1)."""
    return np.full((TICKS, 1), rate)


def fixed(n: int) -> Counts:
    """Return n trials at every tick, (ticks, 1)."""
    return np.full((TICKS, 1), n, np.int32)


def median(delays: Floats) -> float:
    """Return the median of delays, some of which may be endless."""
    return float(np.sort(delays)[[(len(delays) - 1) // 2, len(delays) // 2]].mean()) if len(delays) else NEVER


def high(delays: Floats) -> float:
    """Return the delay that 95 % stay within."""
    return float(np.sort(delays)[math.ceil(0.95 * len(delays)) - 1])


def delays_of(alarms: Ints, jump: Ints, n: int) -> Floats:
    """Return requests from the jump to the alarm, both ends included; endless without an alarm."""
    return np.where(alarms >= 0, (alarms - jump + 1.0) * n, NEVER)


@dataclass(frozen=True, slots=True)
class Late:
    """What a method made of late jumps."""

    detected: float
    median: float
    eligible: int
    """Rollouts without an alarm before their jump."""
    rollouts: int

    @classmethod
    def of(cls, alarms: Ints, jump: Ints, n: int) -> Late:
        """Return the summary of first alarms and jumps."""
        is_eligible = (alarms < 0) | (alarms >= jump)
        delays = delays_of(alarms, jump, n)[is_eligible]
        share = float(np.isfinite(delays).mean()) if len(delays) else math.nan
        return cls(share, median(delays), int(is_eligible.sum()), len(alarms))

    @property
    def note(self) -> str:
        """How many alarmed before."""
        lost = 1.0 - self.eligible / self.rollouts
        return f"[{lost:.1%} alarmed before]" if lost >= 0.1 else ""


# ------------------------------------------------------------------------------------------- table A
def table_a(n: int, replicates: int) -> list[Row]:
    """Return the rows of one arm against a limit of 1 %."""
    place = (10, 100, 1000).index(n)
    generator = np.random.default_rng([1, n])
    known = methods.one_arm(
        limit=LIMIT,
        alpha=ALPHA,
        trials=n,
        horizon_ticks=TICKS,
        looks=LOOKS,
        replicates=CALIBRATION * replicates,
        generator=generator,
    )
    even = GridMixture(limit=LIMIT, alpha=ALPHA, schedule=schedule(Restarts.EVEN))
    plain = Cusum(limit=LIMIT, alternative=methods.STEP * LIMIT, threshold=-math.log(ALPHA))
    rows = [*zip(known, TABLE_A, strict=True), (even, EVEN_A), (plain, NOTHING)]
    found = one_arm_alarms([method for method, _ in rows], n, replicates)
    return [_row_a(method, n, alarms, table[place]) for (method, table), alarms in zip(rows, found, strict=True)]


def one_arm_alarms(chosen: Sequence[OneArm], n: int, replicates: int) -> list[list[Ints]]:
    """Return for each method its alarms at 0.5 %, at 1 %, with an immediate and a late 1.5 %, and the late jumps."""
    parts: list[list[list[Ints]]] = [[[] for _ in range(5)] for _ in chosen]
    for number, size in chunks(replicates):
        generator = np.random.default_rng([2, n, number])
        jump = jumps(generator, size)
        late = np.where(np.arange(TICKS)[:, None] < jump, 0.005, 0.015)
        for scenario, rates in enumerate((constant(0.005), constant(LIMIT), constant(0.015), late)):
            events = draw(generator, n, rates, size)
            for method, found in zip(chosen, parts, strict=True):
                found[scenario].append(method.alarms(events, fixed(n)))
        for found in parts:
            found[4].append(jump)
    return [[np.concatenate(part) for part in found] for found in parts]


def _row_a(method: OneArm, n: int, alarms: Sequence[Ints], table: Sequence[float | None]) -> Row:
    healthy, at_limit, immediate, late, jump = alarms
    runs = len(healthy)
    of_table = 600 if isinstance(method, GridMixture) and method.schedule.restarts is Restarts.JUDGE else 1000
    seen = Late.of(late, jump, n)
    soon = median(delays_of(immediate, np.zeros(runs, np.int64), n))
    few = round(of_table * seen.eligible / seen.rollouts) or 1
    cells = (
        Cell(what="PFA 0.5 %", seen=share(healthy), table=table[0], runs=runs, runs_table=of_table),
        Cell(what="PFA 1 %", seen=share(at_limit), table=table[1], runs=runs, runs_table=of_table),
        Cell(what="immediate", seen=soon, table=table[2], runs=runs, runs_table=of_table, tick=n),
        Cell(what="late", seen=seen.detected, table=table[3], runs=seen.eligible, runs_table=few, note=seen.note),
        Cell(what="median", seen=seen.median, table=table[4], runs=seen.eligible, runs_table=few, tick=n),
    )
    return Row(table="A", method=method.name, label=method.label, n=n, cells=cells)


def share(alarms: Ints) -> float:
    """Return the share of rollouts with an alarm."""
    return float((alarms >= 0).mean())


def schedule(restarts: Restarts, every: int = 1) -> Schedule:
    """Return a schedule for the whole stage."""
    return Schedule(restarts=restarts, horizon_ticks=TICKS, every=every)


# ------------------------------------------------------------------------------------------- table B
@dataclass(frozen=True, slots=True, kw_only=True)
class IgnoringControl:
    """A rate against a limit, whatever control does."""

    inner: GridMixture

    @property
    def name(self) -> str:
        """What the method is called in a table."""
        return f"{self.inner.name}, against 1 %, ignoring control"

    @property
    def label(self) -> str:
        """What the method controls."""
        return self.inner.label

    def alarms(self, events: Given, trials: Given, events_control: Given, trials_control: Given) -> Ints:
        """Return the alarms of the rate."""
        del events_control, trials_control
        return self.inner.alarms(events, trials)


class UnknownLength:
    """The judge's ratio in a stage whose length is not known, as where nobody plans one."""

    name = "conditional mixture, restarts every tick, length unknown"
    label = "PFA"

    def alarms(self, events: Given, trials: Given, events_control: Given, trials_control: Given) -> Ints:
        """Return the alarms of the ratio."""
        n, m = (np.broadcast_to(each, events.shape).astype(np.int64) for each in (trials, trials_control))
        x, y = events.astype(np.int64), events_control.astype(np.int64)
        log_e = paths_ratio(x, n, y, m, max_ratio=1.0, horizon_ticks=None)
        return first_alarms(log_e >= -math.log(ALPHA))


def table_b(replicates: int) -> list[Row]:
    """Return the rows of treatment against control: 10 : 90 at n = 100, then more traffic and equal arms."""
    known = methods.two_arms(share=0.1, alpha=ALPHA, horizon_ticks=TICKS, looks=LOOKS)
    tens = ConditionalMixture(alpha=ALPHA, schedule=schedule(Restarts.EVEN, 20))
    against = IgnoringControl(inner=GridMixture(limit=LIMIT, alpha=ALPHA, schedule=schedule(Restarts.EVEN)))
    judge = ConditionalMixture(alpha=ALPHA, schedule=schedule(Restarts.JUDGE))
    rows: list[tuple[TwoArms, Sequence[float | None]]] = [
        *zip(known, TABLE_B, strict=True),
        (
            MannWhitney(min_samples=1),
            (None,) * 6,
        ),  # the program's rule to the letter; the design leaves its first look out
    ]
    made = _rows_b("B 10:90, flat", rows, Traffic(100, 9, flat()), replicates, 600)
    swinging: list[tuple[TwoArms, Sequence[float | None]]] = [
        (tens, EVERY_TEN_MINUTES[100]),
        (against, IGNORING_CONTROL),
    ]
    made += _rows_b("B 10:90, swing", swinging, Traffic(100, 9, swing()), replicates, 600)
    for n in (10, 1000):
        made += _rows_b("B 10:90, swing", [(tens, EVERY_TEN_MINUTES[n])], Traffic(n, 9, swing()), replicates, 600)
    for n in (10, 100, 1000):
        even: list[tuple[TwoArms, Sequence[float | None]]] = [(judge, EQUAL_ARMS[n]), (UnknownLength(), (None,) * 6)]
        made += _rows_b("B 1:1, flat", even, Traffic(n, 1, flat()), replicates, 400)
    return made


def flat() -> Floats:
    """Return what both arms have in most rows: 0.5 %, (ticks, 1)."""
    return constant(0.005)


def swing() -> Floats:
    """Return 0.5 % with a swing of half over the day, from its mean on, (ticks, 1).

    The design names the swing for the whole of table B. Its figures say otherwise: "ignoring control" (late, 7,000) has
    the swing, and the rules that nobody here made (z-test, group-sequential, rank test, asymptotic sequence) have
    theirs without it, in every cell; with it, from any phase, they do not. Each row is held where its figures are.
    """
    return 0.005 * (1.0 + 0.5 * np.sin(2.0 * np.pi * np.arange(TICKS)[:, None] / DAY))


def _rows_b(
    table: str,
    rows: Sequence[tuple[TwoArms, Sequence[float | None]]],
    traffic: Traffic,
    replicates: int,
    of_table: int,
) -> list[Row]:
    found = two_arm_alarms([method for method, _ in rows], traffic, replicates)
    return [
        _row_b(table, method, traffic.n, alarms, expected, of_table)
        for (method, expected), alarms in zip(rows, found, strict=True)
    ]


class Traffic(NamedTuple):
    """What two arms have."""

    n: int
    """Trials of treatment in a tick."""
    control: int
    """Control's trials as a multiple of those."""
    calm: Floats
    """(ticks, 1) the rate of both arms while nothing is wrong."""


def two_arm_alarms(chosen: Sequence[TwoArms], traffic: Traffic, replicates: int) -> list[list[Ints]]:
    """Return for each method its alarms if nothing differs, in a shared outage, with x3 at once and late; the jumps."""
    n, control, calm = traffic
    parts: list[list[list[Ints]]] = [[[] for _ in range(5)] for _ in chosen]
    t = np.arange(TICKS)[:, None]
    for number, size in chunks(replicates):
        generator = np.random.default_rng([3, n, control, number])
        begin, jump = np.sort(generator.integers(0, TICKS - HOUR, size)), jumps(generator, size)
        outage = np.where((t >= begin) & (t < begin + HOUR), 0.03, calm)
        late = np.where(t < jump, calm, 3.0 * calm)
        for scenario, (ours, theirs) in enumerate(
            ((calm, calm), (outage, outage), (3.0 * calm, calm), (late, calm)),
        ):
            x, y = draw(generator, n, ours, size), draw(generator, control * n, theirs, size)
            for method, found in zip(chosen, parts, strict=True):
                found[scenario].append(method.alarms(x, fixed(n), y, fixed(control * n)))
        for found in parts:
            found[4].append(jump)
    return [[np.concatenate(part) for part in found] for found in parts]


def _row_b(
    table: str, method: TwoArms, n: int, alarms: Sequence[Ints], expected: Sequence[float | None], of_table: int
) -> Row:
    calm, outage, immediate, late, jump = alarms
    runs = len(calm)
    soon = delays_of(immediate, np.zeros(runs, np.int64), n)
    seen = Late.of(late, jump, n)
    few = round(of_table * seen.eligible / seen.rollouts) or 1
    cells = (
        Cell(what="PFA", seen=share(calm), table=expected[0], runs=runs, runs_table=of_table),
        Cell(what="in outage", seen=share(outage), table=expected[1], runs=runs, runs_table=of_table),
        Cell(what="immediate", seen=median(soon), table=expected[2], runs=runs, runs_table=of_table, tick=n),
        Cell(what="95 %", seen=high(soon), table=expected[3], runs=runs, runs_table=of_table, tick=n),
        Cell(what="late", seen=seen.detected, table=expected[4], runs=seen.eligible, runs_table=few, note=seen.note),
        Cell(what="median", seen=seen.median, table=expected[5], runs=seen.eligible, runs_table=few, tick=n),
    )
    return Row(table=table, method=method.name, label=method.label, n=n, cells=cells)


# ------------------------------------------------------------------------------------------- table D
def table_d(replicates: int) -> list[Row]:
    """Return PASS, FAIL and INCONCLUSIVE at the end of the stage.

    FAIL latches and precedes PASS, and PASS is scored at its first crossing, so its shares are upper limits.
    """
    passing = GridMixture(limit=LIMIT, alpha=BETA, schedule=schedule(Restarts.NONE), ratios=eprocess.PASS_RATIOS)
    failing = [
        GridMixture(limit=LIMIT, alpha=ALPHA, schedule=schedule(Restarts.EVEN, 20)),
        GridMixture(limit=LIMIT, alpha=ALPHA, schedule=schedule(Restarts.JUDGE)),
    ]
    rows = []
    for place, n in enumerate((10, 100, 1000)):
        for rate, expected in TABLE_D.items():
            proved, failed = _ends(passing, failing, n, rate, replicates)
            for method, alarms in zip(failing, failed, strict=True):
                shares = _verdicts(proved, alarms)
                cells = tuple(
                    Cell(what=what, seen=seen, table=table / 100.0, runs=replicates, runs_table=1000)
                    for what, seen, table in zip(("PASS", "FAIL", "INC"), shares, expected[place], strict=True)
                )
                name = f"true rate {rate:.1%}, FAIL by {method.schedule.name}"
                rows.append(Row(table="D", method=name, label=method.label, n=n, cells=cells))
    return rows


def _ends(
    passing: GridMixture, failing: Sequence[GridMixture], n: int, rate: float, replicates: int
) -> tuple[Ints, list[Ints]]:
    proved: list[Ints] = []
    failed: list[list[Ints]] = [[] for _ in failing]
    for number, size in chunks(replicates):
        events = draw(np.random.default_rng([4, n, round(rate * 1e4), number]), n, constant(rate), size)
        proved.append(passing.alarms(events, fixed(n)))
        for method, found in zip(failing, failed, strict=True):
            found.append(method.alarms(events, fixed(n)))
    return np.concatenate(proved), [np.concatenate(found) for found in failed]


def _verdicts(proved: Ints, failed: Ints) -> tuple[float, float, float]:
    """Return the shares of (PASS, FAIL, INCONCLUSIVE); a FAIL at any tick is one at the end."""
    is_fail = failed >= 0
    is_pass = (proved >= 0) & ~is_fail
    return float(is_pass.mean()), float(is_fail.mean()), float((~is_fail & ~is_pass).mean())


# ------------------------------------------------------------------------------------------- reporting
def run(replicates: int = REPLICATES) -> list[Row]:
    """Return all rows; 1,000 replicates take about two minutes."""
    return [row for part in parts_of(replicates) for row in part()]


def parts_of(replicates: int) -> list[Callable[[], list[Row]]]:
    """Return the parts of a run, in order."""
    ones = [partial(table_a, n, replicates) for n in (10, 100, 1000)]
    return [*ones, partial(table_b, replicates), partial(table_d, replicates)]


def figures() -> list[Figure]:
    """Return the figures of this page: a line for each cell."""
    return [
        Figure(
            name=f"{row.table}, n = {row.n}, {row.method} [{row.label}]: {cell.what}",
            seen=" ".join(filter(None, (cell.written(cell.seen), cell.note))),
            bound=f"({cell.written(cell.table)})" if cell.table is not None else "",
            is_met=cell.is_met,
        )
        for row in run()
        for cell in row.cells
    ]


def main(arguments: list[str]) -> int:
    """Print the tables; exit status 1 if a cell is not within its tolerance."""
    replicates = int(arguments[0]) if arguments else REPLICATES
    missed = counted = 0
    began = time.process_time()
    print(f"{replicates} rollouts; in brackets the design's figure; MISSED = not within its tolerance")
    for part in parts_of(replicates):
        for row in part():
            print(row, flush=True)
            missed += sum(cell.is_met is False for cell in row.cells)
            counted += sum(cell.is_met is not None for cell in row.cells)
    print(f"{counted} cells compared, {missed} missed; {time.process_time() - began:.0f} s of CPU time")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
