"""Overdispersion for many ticks at once: what `dispersion` says tick by tick, in numpy."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from phase4.analysis import dispersion
from phase4.analysis.columns import Floats, Ints
from phase4.analysis.dispersion import ENOUGH, FEWEST, LADDER, START, THETA_STEPS, Dispersion


class Places(NamedTuple):
    """Places of phi on the ladder, each (ticks,) int64; the ladder's length = above all of it."""

    before: Ints
    """For the tick: what was known before it."""
    after: Ints


class _Groups(NamedTuple):
    """Groups that end in a block: the index of the last tick of each, and its sums; each (groups,) int64."""

    ends: Ints
    events: Ints
    trials: Ints


def run(start: Dispersion, events: Ints, trials: Ints) -> tuple[Places, Dispersion]:
    """Return phi's places at consecutive ticks, and what is known after the last: bit for bit the scalar form's.

    Args:
        start: What is known before the first tick.
        events: Control's events, (ticks,).
        trials: Control's trials, (ticks,); 0 where a tick says nothing.
    """
    seen = np.flatnonzero(trials)
    x, n = events[seen], trials[seen]
    begin = 0
    if not start.first_events:  # ticks up to the first event make the first rate
        begin = int(np.argmax(x > 0)) + 1 if (x > 0).any() else len(x)
        first = int(x[:begin].sum()), int(n[:begin].sum())
        start = replace(start, first_events=first[0], first_trials=start.first_trials + first[1])
    groups = _group(start, x[begin:], n[begin:])
    places, end = _after_groups(start, groups)
    taken = begin + (int(groups.ends[-1]) + 1 if len(groups.ends) else 0)
    fresh = len(groups.ends) > 0
    end = replace(
        end,
        open_events=(0 if fresh else start.open_events) + int(x[taken:].sum()),
        open_trials=(0 if fresh else start.open_trials) + int(n[taken:].sum()),
    )
    ended = np.zeros(len(events), np.int64)
    ended[seen[begin + groups.ends]] = 1
    known = np.concatenate([[start.place], places])
    after = known[np.cumsum(ended)]
    return Places(np.concatenate([[start.place], after[:-1]]), after), end


def _group(start: Dispersion, x: Ints, n: Ints) -> _Groups:
    """Return how ticks with trials fall into groups. Whether a group ends depends on the groups before it."""
    if not len(x):
        return _Groups(x, x, n)
    own, number = start.open_events + np.cumsum(x), start.open_trials + np.cumsum(n)
    events, trials = start.first_events + start.events, start.first_trials + start.trials
    # with much traffic each tick is a group: so long as that is so, no tick waits for the one before
    before_x, before_n = events + own - x, trials + number - n
    before_x[0], before_n[0] = events, trials
    size = n.copy()
    size[0] = number[0]
    alone = size * before_x >= before_n
    single = len(x) if alone.all() else int(np.argmin(alone))
    ends = list(range(single))
    totals = number.tolist()
    sums = own.tolist()
    base_x, base_n = (sums[single - 1], totals[single - 1]) if single else (0, 0)
    place = single
    while True:
        # trials times the rate so far is at least 1, in whole numbers
        needed = base_n - (-(trials + base_n) // (events + base_x))
        place = bisect_left(totals, needed, place)
        if place == len(totals):
            break
        ends.append(place)
        base_x, base_n = sums[place], totals[place]
        place += 1
    chosen = np.array(ends, np.int64)
    return _Groups(chosen, np.diff(own[chosen], prepend=0), np.diff(number[chosen], prepend=0))


def _after_groups(start: Dispersion, groups: _Groups) -> tuple[Ints, Dispersion]:
    """Return phi's place after each group, and what is known after the last but for the group that is open."""
    count = len(groups.ends)
    if not count:
        return np.zeros(0, np.int64), start
    number = start.groups + np.arange(1, count + 1)
    events, trials = start.events + np.cumsum(groups.events), start.trials + np.cumsum(groups.trials)
    # from the left, as the scalar form adds
    squares = np.cumsum(np.concatenate([[start.squares], groups.events * groups.events / groups.trials]))[1:]
    places = _places(start, number, np.searchsorted(LADDER, _upper_bounds(number, events, trials, squares)))
    return places, replace(
        start,
        groups=int(number[-1]),
        events=int(events[-1]),
        trials=int(trials[-1]),
        squares=float(squares[-1]),
        place=int(places[-1]),
    )


def _upper_bounds(groups: Ints, events: Ints, trials: Ints, squares: Floats) -> Floats:
    """Return `dispersion.upper_bound` after each group, (groups,)."""
    known = (groups >= 2) & (events > 0) & (events < trials)
    total = events.astype(np.float64)
    rate = np.where(known, total / trials, 0.5)
    found = (squares - total * total / trials) / (rate * (1.0 - rate) * np.maximum(groups - 1, 1))
    wide = 1.0 - dispersion.DEVIATIONS * np.sqrt(2.0 / np.maximum(groups, FEWEST))
    return np.where(known, found, 0.0) / wide


def _places(start: Dispersion, groups: Ints, found: Ints) -> Ints:
    """Return `dispersion.next_place` group after group."""
    places = np.maximum(found, START if start.history is None else start.history)
    sure = groups >= ENOUGH
    least = start.place if start.groups >= ENOUGH else start.history or 0
    places[sure] = np.maximum(np.maximum.accumulate(found[sure]), least)
    return places


def rate_grids(p0: float, places: Ints, ratios: tuple[float, ...]) -> tuple[Floats, Floats]:
    """Return `dispersion.rate_grid` for phi at these places, as (up, down), each (alternatives, ticks)."""
    named, which = np.unique(places, return_inverse=True)
    grids = [dispersion.rate_grid(p0, LADDER[place], ratios) for place in named.tolist()]
    up, down = (np.array(rows).reshape(-1, len(ratios)).T for rows in ([g.up for g in grids], [g.down for g in grids]))
    return up[:, which], down[:, which]


def ratio_grids(n: Ints, m: Ints, r0: float, places: Ints, ratios: tuple[float, ...]) -> tuple[Floats, Floats]:
    """Return `dispersion.ratio_grid` as (up, down), each (alternatives, ticks).

    Args:
        n: Trials of treatment, (ticks,), at least 1.
        m: Trials of control, (ticks,), at least 1.
        r0: The ratio of the null.
        places: Of phi on the ladder, (ticks,).
        ratios: Alternatives as multiples of r0: all above 1, or all below.
    """
    named = np.unique(places).tolist()
    if len(named) == 1:
        return ratio_grids_at(n, m, r0, LADDER[named[0]], ratios)
    up, down = np.empty((len(ratios), len(n))), np.empty((len(ratios), len(n)))
    for place in named:
        here = places == place
        up[:, here], down[:, here] = ratio_grids_at(n[here], m[here], r0, LADDER[place], ratios)
    return up, down


def ratio_grids_at(n: Ints, m: Ints, r0: float, phi: float, ratios: tuple[float, ...]) -> tuple[Floats, Floats]:
    """Return `ratio_grids` for one phi, at least 1."""
    if phi == 1.0:
        return independent_ratio_grids(n, m, r0, ratios)
    weight = r0 * n
    share = weight / (weight + m) * THETA_STEPS
    rounded = (np.ceil(share) if ratios[0] > 1.0 else np.floor(share)).astype(np.int64)
    up, down = _ratio_table(phi, ratios)
    return up[:, rounded], down[:, rounded]


@lru_cache(maxsize=64)
def _ratio_table(phi: float, ratios: tuple[float, ...]) -> tuple[Floats, Floats]:
    """Return `dispersion.ratio_grid_at` for every share of treatment, as (up, down), each (alternatives, shares)."""
    ratio = np.array(ratios)[:, None]
    theta0 = np.arange(THETA_STEPS + 1) / THETA_STEPS
    low = np.broadcast_to(np.minimum(1.0, 1.0 / ratio), (len(ratios), len(theta0)))
    high = np.broadcast_to(np.maximum(1.0, 1.0 / ratio), low.shape)
    for _ in range(dispersion.BISECTIONS):
        c = 0.5 * (low + high)
        own, other = (np.log((1.0 + multiple * (phi - 1.0)) / phi) for multiple in (ratio * c, c))
        is_below = theta0 * own + (1.0 - theta0) * other <= 0.0
        low, high = np.where(is_below, c, low), np.where(is_below, high, c)
    up, down = (np.log(multiple * phi / (1.0 + multiple * (phi - 1.0))) for multiple in (ratio * low, low))
    return up, down


def independent_ratio_grids(n: Ints, m: Ints, r0: float, ratios: tuple[float, ...]) -> tuple[Floats, Floats]:
    """Return `eprocess.ratio_grid` as (up, down), each (alternatives, ticks).

    With q = r0*n/(r0*n + m) both follow from one logarithm: the first ratio is k/(1 + (k-1)q), the second 1/k of it.
    """
    q = r0 * n / (r0 * n + m)
    k = np.array(ratios)[:, None]
    down = -np.log1p((k - 1.0) * q)
    return down + np.log(k), down
