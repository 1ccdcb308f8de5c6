"""Calibration of the judge: false alarms and delays over many simulated stages of 5,760 ticks, alpha 5 %, requests."""

from __future__ import annotations

import math

import numpy as np

from phase4.analysis import paths
from tests.benchmarks.timing import Figure
from tests.unit.analysis import stages
from tests.unit.analysis.stages import ALPHA, LIMIT, TICKS, fixed

ROLLOUTS = 1000


def figures() -> list[Figure]:
    """Return the figures of this page."""
    lines = [_at_the_limit(n) for n in (10, 100, 1000)]
    events = stages.binomials(1, np.full((TICKS, 1), 0.005), 100, ROLLOUTS)
    raw = float(((events / 100) > LIMIT).any(axis=0).mean())
    lines.append(_share("raw rule per tick, healthy 0.5 %, n = 100: rolled back", raw, ">= 99 %", is_met=raw >= 0.99))
    lines += [line for n in (10, 100, 1000) for line in _late(n)]
    return lines + [line for n in (10, 100, 1000) for line in _outage(n)]


def _at_the_limit(n: int) -> Figure:
    events = stages.binomials(n, np.full((TICKS, 1), LIMIT), n, ROLLOUTS)
    share = _failed(paths.paths_rate(events, fixed(n), LIMIT, horizon_ticks=TICKS))
    return _at_most(f"exactly at the limit of 1 %, n = {n}: false rollback", share, ALPHA)


def _late(n: int) -> list[Figure]:
    events, jump = stages.late_jump(60 + n, n, ROLLOUTS)
    crossed = stages.first_crossing(paths.paths_rate(events, fixed(n), LIMIT, horizon_ticks=TICKS))
    caught = float(((crossed >= jump) & (crossed < TICKS)).mean())
    delay = float(np.median(np.where(crossed < TICKS, (crossed - jump + 1) * n, np.inf)))
    bounded = n == 100  # the bound is stated for 100 requests a tick
    name = f"0.5 % to 1.5 % at a random moment, n = {n}"
    return [
        _share(f"{name}: caught", caught, ">= 99 %" if bounded else "", is_met=caught >= 0.99 if bounded else None),
        Figure(
            name=f"{name}: median exposed requests",
            seen=f"{delay:,.0f}",
            bound="<= 11,000" if bounded else "",
            is_met=delay <= 11_000 if bounded else None,
        ),
    ]


def _outage(n: int) -> list[Figure]:
    own, control = stages.outage(100 + n, n, ROLLOUTS)
    frozen = paths.above_limit(control, np.broadcast_to(fixed(n), control.shape), LIMIT)
    ratio = _failed(paths.paths_ratio(own, fixed(n), control, fixed(n), max_ratio=1.0, horizon_ticks=TICKS))
    plain = _failed(paths.paths_rate(own, fixed(n), LIMIT, horizon_ticks=TICKS))
    protected = _failed(paths.paths_rate(own, fixed(n), LIMIT, horizon_ticks=TICKS, frozen=frozen))
    name = f"shared hour at 3 %, n = {n}"
    bounded = n == 100
    return [
        _at_most(f"{name}: ratio rolls back", ratio, ALPHA),
        _share(
            f"{name}: limit without protection rolls back",
            plain,
            ">= 85 %" if bounded else "",
            is_met=plain >= 0.85 if bounded else None,
        ),
        _at_most(f"{name}: limit with protection rolls back", protected, 0.03),
    ]


def _failed(log_e: stages.Floats) -> float:
    return float((stages.first_crossing(log_e) < TICKS).mean())


def _at_most(name: str, share: float, bound: float) -> Figure:
    limit = stages.upper(bound, ROLLOUTS)
    return _share(name, share, f"<= {limit:.1%}", is_met=share <= limit)


def _share(name: str, share: float, bound: str, *, is_met: bool | None) -> Figure:
    error = math.sqrt(share * (1 - share) / ROLLOUTS)
    return Figure(name=name, seen=f"{share:.1%} (s.e. {error:.1%})", bound=bound, is_met=is_met)
