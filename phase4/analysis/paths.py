"""Evidence along whole stages: for many rollouts at once, and the running sums that the block form shares with it.

`paths_rate` and `paths_ratio` judge many rollouts tick by tick, for calibration and for compared methods.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from phase4.analysis import dispersion, dispersion_block, eprocess
from phase4.analysis.columns import Floats, Ints
from phase4.analysis.reading import AMBIENT_WINDOWS

Bools = npt.NDArray[np.bool_]


def restart_weights(begin: int, count: int, horizon_ticks: int | None) -> Floats:
    """Return `eprocess.restart_weight` for the ticks begin, begin + 1, ..., as (count,) float64."""
    index = np.arange(max(begin, 1), begin + count + 1, dtype=np.float64)
    g = 1.0 / (1.0 + np.log(index))
    tail = g[:-1] - g[1:]
    if horizon_ticks is None:
        weights = 0.5 * tail
    else:
        weights = np.where(index[:-1] <= horizon_ticks, 3.0 / (8.0 * horizon_ticks), 0.0) + 0.125 * tail
    return weights if begin or not count else np.concatenate([[0.5], weights])


def paths_rate(
    events: Ints,
    trials: Ints,
    limit: float,
    *,
    horizon_ticks: int | None,
    frozen: Bools | None = None,
    phi: float = 1.0,
) -> Floats:
    """Return log E of the FAIL side of a rate for many rollouts.

    Args:
        events: Events, (ticks, rollouts).
        trials: Trials, (ticks, rollouts) or (ticks, 1).
        limit: p0, in (0, 0.5].
        horizon_ticks: Planned length in ticks, None = unknown.
        frozen: (ticks, rollouts) bool, True where control calls the tick ambient: no evidence, no weight.
        phi: Overdispersion that the evidence allows for, at least 1.

    Returns:
        (ticks, rollouts) float64.
    """
    grid = dispersion.rate_grid(limit, phi, eprocess.FAIL_RATIOS)
    up, down = np.array(grid.up)[:, None], np.array(grid.down)[:, None]
    usable = np.broadcast_to(trials > 0, events.shape)
    if frozen is not None:
        usable = usable & ~frozen
    return _paths(
        usable, lambda t: events[t] * (up - down) + trials[t] * down, horizon_ticks, len(eprocess.FAIL_RATIOS)
    )


def paths_ratio(
    events: Ints,
    trials: Ints,
    events_control: Ints,
    trials_control: Ints,
    *,
    max_ratio: float,
    horizon_ticks: int | None,
    phi: float = 1.0,
) -> Floats:
    """Return log E of the FAIL side of a ratio for many rollouts.

    Args:
        events: Events of treatment, (ticks, rollouts).
        trials: Trials of treatment, (ticks, rollouts) or (ticks, 1).
        events_control: Events of control, as `events`.
        trials_control: Trials of control, as `trials`.
        max_ratio: r0 of the null.
        horizon_ticks: Planned length in ticks, None = unknown.
        phi: Overdispersion that the evidence allows for, at least 1.

    Returns:
        (ticks, rollouts) float64.
    """
    usable = np.broadcast_to((trials > 0) & (trials_control > 0), events.shape)

    def steps(t: int) -> Floats:
        n, m = np.maximum(trials[t], 1), np.maximum(trials_control[t], 1)
        up, down = dispersion_block.ratio_grids_at(n, m, max_ratio, phi, eprocess.FAIL_RATIOS)
        result: Floats = events[t] * up + events_control[t] * down
        return result

    return _paths(usable, steps, horizon_ticks, len(eprocess.FAIL_RATIOS))


def _paths(usable: Bools, steps: Callable[[int], Floats], horizon_ticks: int | None, alternatives: int) -> Floats:
    ticks, rollouts = usable.shape
    weights = restart_weights(0, ticks, horizon_ticks) / alternatives
    e = np.zeros((alternatives, rollouts))
    read = np.zeros(rollouts, np.int64)
    out = np.empty((ticks, rollouts))
    with np.errstate(over="ignore"):  # what is beyond the cap is cut to it
        for t in range(ticks):
            now = usable[t]
            grown = (e + weights[np.minimum(read, ticks - 1)]) * np.exp(np.minimum(steps(t), eprocess.EXPONENT_CAP))
            e = np.where(now, np.minimum(grown, eprocess.E_CAP), e)
            read += now
            out[t] = e.sum(axis=0)
    with np.errstate(divide="ignore"):
        return np.log(out)


def above_limit(events: Ints, trials: Ints, limit: float) -> Bools:
    """Return where control itself is above the limit: `reading.is_ambient` for every tick at once.

    Args:
        events: Control's events on its ticks with data, (ticks,) or (ticks, rollouts).
        trials: Control's trials, of the same shape.
        limit: The rate p0.
    """
    total_x, total_n = np.cumsum(events, axis=0), np.cumsum(trials, axis=0)
    flags = np.zeros(events.shape, np.bool_)
    for length in AMBIENT_WINDOWS:
        x, n = last_sums(total_x, length), last_sums(total_n, length)
        flags |= x > n * limit + np.sqrt(n * (limit * (1.0 - limit)))
    return flags


def restarted(steps: Floats, log_weights: Floats, carried: Floats) -> Floats:
    """Return ln E_k before and after each tick: (alternatives, ticks + 1), from E := (E + w_t) * F_t.

    With C_t the sum of the steps so far, `ln E_t = C_t + ln(E_0 + sum over j <= t of w_j exp(-C_(j-1)))`.
    """
    total = np.zeros((steps.shape[0], steps.shape[1] + 1))
    np.cumsum(steps, axis=1, out=total[:, 1:])
    terms = np.empty_like(total)
    terms[:, 0] = carried
    terms[:, 1:] = log_weights - total[:, :-1]
    return total + np.logaddexp.accumulate(terms, axis=1)


def capped(steps: Floats, weights: Floats, carried: Floats) -> Floats:
    """Return what `restarted` returns where a component comes within reach of the cap: tick by tick, in linear form.

    Args:
        steps: ln F_k, (alternatives, ticks), at most `eprocess.EXPONENT_CAP`.
        weights: Restart weight of each alternative, (ticks,).
        carried: E_k before the first tick, (alternatives,).
    """
    factors = np.exp(steps)
    made = np.empty((steps.shape[0], steps.shape[1] + 1))
    made[:, 0] = carried
    with np.errstate(over="ignore"):  # what is beyond the cap is cut to it
        for tick in range(steps.shape[1]):
            made[:, tick + 1] = np.minimum((made[:, tick] + weights[tick]) * factors[:, tick], eprocess.E_CAP)
    with np.errstate(divide="ignore"):
        return np.log(made)


def log_sum(components: Floats) -> Floats:
    """Return ln of the sum of exp over the alternatives, (ticks,); minus infinity where all are."""
    top = components.max(axis=0)
    safe = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        total: Floats = safe + np.log(np.exp(components - safe).sum(axis=0))
    return total


def last_sums(total: Ints, length: int | None) -> Ints:
    """Return the sums over the last `length` places from running totals, along axis 0."""
    if length is None or length >= len(total):
        return total
    result = total.copy()
    result[length:] -= total[:-length]
    return result
