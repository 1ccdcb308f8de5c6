"""Ten rules on the same simulated stages: how often each is wrong, how soon each is right, and what it controls.

A stage is a sequence of ticks with the same number of requests, each failing with the world's rate. All rules see the
same counts. This needs no controller and no plan: it compares the arithmetic of a decision, not a rollout.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from phase4 import rng
from phase4.analysis import interval
from phase4.analysis.columns import Ints
from phase4.analysis.compared import methods
from phase4.analysis.compared.alarms import OneArm

HEALTHY, AT_LIMIT, BROKEN, LATER = "healthy", "exactly at the limit", "broken from the start", "breaks later"
WORLDS = (HEALTHY, AT_LIMIT, BROKEN, LATER)
LAST_JUMP = 0.9
"""A late defect begins at a moment uniform in this share of the stage."""
LOOKS_MS = 3_600_000
CALIBRATED_BY = 4
"""Times as many rollouts calibrate the rule that needs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """What the rules are put through."""

    limit: float = 0.01
    """The rate that must not be exceeded, in (0, 0.5]."""
    healthy: float = 0.005
    """A rate that keeps it, in (0, limit)."""
    broken: float = 0.015
    """A rate that does not, above the limit."""
    alpha: float = 0.05
    """Probability of a false alarm over the stage, in (0, 0.5), for the rules that control it."""
    requests: int = 100
    """In each tick, at least 1."""
    ticks: int = 2880
    tick_ms: int = 30_000
    rollouts: int = 400
    """Simulated stages of each world, at least 1."""
    seed: int = 1

    def __post_init__(self) -> None:
        """Refuse what is no contest."""
        if not 0.0 < self.healthy < self.limit < self.broken < 1.0:
            raise ValueError(f"0 < healthy < limit < broken < 1: {self.healthy}, {self.limit}, {self.broken}")
        if min(self.requests, self.ticks, self.rollouts, self.tick_ms) < 1:
            raise ValueError("requests, ticks, rollouts and tick_ms are at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of it."""

    rules: tuple[str, ...]
    """Each with what it controls in brackets, those that control nothing first."""
    judge: str
    """The rule of the product among them."""
    figures: pl.DataFrame
    """world, policy (a rule), figure (`false_rollback`, `caught`), estimate, lower, upper (95 %, Wilson), runs."""
    outcomes: pl.DataFrame
    """world, policy, caught (null = stopped before the defect began), delay_ms since the defect began (inf = never)."""


def run(contest: Contest) -> Result:
    """Return how every rule does, the same for the same seed."""
    draws = rng.stream(contest.seed, "outcomes", replicate=0)
    rules = methods.one_arm(
        limit=contest.limit,
        alpha=contest.alpha,
        trials=contest.requests,
        horizon_ticks=contest.ticks,
        looks=max(contest.ticks * contest.tick_ms // LOOKS_MS, 1),
        replicates=CALIBRATED_BY * contest.rollouts,
        generator=rng.stream(contest.seed, "outcomes", replicate=1),
    )
    names = tuple(map(name, rules))
    rows: list[dict[str, Any]] = []
    endings: list[dict[str, Any]] = []
    for world, events, jump in _worlds(contest, draws):
        trials = np.full((contest.ticks, 1), contest.requests, np.int64)
        for rule, rule_name in zip(rules, names, strict=True):
            alarms = rule.alarms(events, trials)
            rows += _figures(world, rule_name, alarms, jump)
            endings += _outcomes(contest, world, rule_name, alarms, jump)
    judge = next(each for each in names if each.startswith("grid mixture, restarts"))
    return Result(rules=names, judge=judge, figures=pl.DataFrame(rows), outcomes=pl.DataFrame(endings))


def name(rule: OneArm) -> str:
    """Return what a rule is called, with what it controls."""
    return f"{rule.name} [{rule.label}]"


def table(result: Result, contest: Contest) -> list[str]:
    """Return the figures as lines of text, a line for each rule."""
    figures = {(row["world"], row["policy"], row["figure"]): row for row in result.figures.iter_rows(named=True)}
    width = max(map(len, result.rules))
    head = ("healthy", "at limit", "immediate", "late", "median late delay")
    lines = [f"{'':{width}}" + "".join(f"{text:>{len(text) + 4}}" for text in head)]
    for rule in result.rules:
        shown = [
            figures[HEALTHY, rule, "false_rollback"],
            figures[AT_LIMIT, rule, "false_rollback"],
            figures[BROKEN, rule, "caught"],
            figures[LATER, rule, "caught"],
        ]
        cells = [f"{row['estimate']:.1%}" if row["runs"] else "-" for row in shown]
        cells.append(_requests(result.outcomes, rule, contest))
        texts = "".join(f"{cell:>{len(text) + 4}}" for cell, text in zip(cells, head, strict=True))
        lines.append(f"{rule:{width}}{texts}")
    return lines


def _requests(outcomes: pl.DataFrame, rule: str, contest: Contest) -> str:
    own = outcomes.filter((pl.col("world") == LATER) & (pl.col("policy") == rule) & pl.col("caught").is_not_null())
    delay = interval.quantile_interval(own["delay_ms"].to_list(), 0.5)[0]
    if math.isnan(delay):
        return "-"
    return "never" if math.isinf(delay) else f"{delay / contest.tick_ms * contest.requests:,.0f} requests"


def _worlds(contest: Contest, draws: rng.Generator) -> Iterator[tuple[str, Ints, Ints | None]]:
    """Yield each world with its errors, (ticks, rollouts), and the tick at which the defect begins; None = never."""
    size = (contest.ticks, contest.rollouts)
    zero = np.zeros(contest.rollouts, np.int64)
    jump = draws.integers(0, max(int(LAST_JUMP * contest.ticks), 1), contest.rollouts)
    later = np.where(np.arange(contest.ticks)[:, None] < jump, contest.healthy, contest.broken)
    yield HEALTHY, draws.binomial(contest.requests, contest.healthy, size), None
    yield AT_LIMIT, draws.binomial(contest.requests, contest.limit, size), None
    yield BROKEN, draws.binomial(contest.requests, contest.broken, size), zero
    yield LATER, draws.binomial(contest.requests, later), jump


def _figures(world: str, rule: str, alarms: Ints, jump: Ints | None) -> list[dict[str, Any]]:
    if jump is None:
        return [_row(world, rule, "false_rollback", alarms >= 0)]
    before = (alarms >= 0) & (alarms < jump)
    return [
        _row(world, rule, "false_rollback", before),
        _row(world, rule, "caught", (alarms >= jump)[~before]),
    ]


def _row(world: str, rule: str, figure: str, holds: Sequence[bool] | np.ndarray[Any, Any]) -> dict[str, Any]:
    seen, runs = int(np.sum(holds)), len(holds)
    lower, upper = interval.wilson(seen, runs)
    estimate = seen / runs if runs else math.nan
    return {
        "world": world,
        "policy": rule,
        "figure": figure,
        "estimate": estimate,
        "lower": lower,
        "upper": upper,
        "runs": runs,
    }


def _outcomes(contest: Contest, world: str, rule: str, alarms: Ints, jump: Ints | None) -> list[dict[str, Any]]:
    if jump is None:
        return []
    made = []
    for alarm, begin in zip(alarms.tolist(), jump.tolist(), strict=True):
        is_early = 0 <= alarm < begin
        is_caught = None if is_early else alarm >= begin
        delay = (alarm - begin + 1) * float(contest.tick_ms) if is_caught else math.inf
        made.append({"world": world, "policy": rule, "caught": is_caught, "delay_ms": delay})
    return made
