"""Requests as the unit: counts that vary more than independent requests would, and evidence that allows for it.

phi is the variance of a tick's count over its mean. Independent requests have at most 1; real counts have 4 and more
(PetShop's errors: 3.9 and 4.2), and evidence for independent requests then fails everything. Dividing the counts by phi
is the common remedy and not honest with alternatives of 30 times the limit: the counts' tails are heavier than that. So
the likelihood ratio is that of counts which are gamma-Poisson with this phi (exponential tilting):

    rate:   F_k = exp(x*s_k - n*p0*psi_k)    s_k   = ln(R_k*phi / (1 + R_k(phi-1)))
                                             psi_k = ln((1 + R_k(phi-1))/phi) / (phi-1)
    ratio:  F_k = exp(x*s_k + y*u_k)         s_k = ln(R_k*c*phi / (1 + R_k*c(phi-1)))
                                             u_k = ln(c*phi / (1 + c(phi-1)))
            c such that  theta0*ln((1 + R_k*c(phi-1))/phi) + (1 - theta0)*ln((1 + c(phi-1))/phi) = 0

E[F_k] = 1 if a tick's count is gamma-Poisson with mean n*p0 and variance phi times that; at most 1 with a mean on the
null's side, and with a smaller phi. For the ratio, whatever rate both arms share. At phi = 1 the formulas are those of
`eprocess`, exact for independent requests. Section 5 of the design measures what it costs (docs/guardrails.md).

phi is estimated from control, by ticks before the one that is judged: a phi that saw the tick itself would be large
where the tick is, and break the bound silently. It is an approximation and is shown as one: that ticks are independent
and their counts gamma-Poisson is assumed, and what a few failing users do to requests cannot be seen in it at all.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, replace
from functools import lru_cache

from phase4.analysis import eprocess
from phase4.analysis.eprocess import Grid

LADDER = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0)
"""Values of phi that are used; an estimate is rounded up. Above the last nothing is judged."""
START = LADDER.index(6.0)
"""Place on the ladder before control has shown enough: too small a phi is worse than too large a one. At 4, equal arms
whose phi is 10 alarmed in 10 % of stages (decision 0014)."""
ENOUGH = 100
"""Groups from which on the estimate alone counts."""
FEWEST = 30
"""Below so many groups the bound is no bound (150 times the estimate at 11): it is as wide as for this number."""
DEVIATIONS = 2.33
"""Standard errors between the estimate and its upper bound: 1 % of a normal law is above."""
THETA_STEPS = 1000
"""theta0 is rounded to 1/1000, to the side that lowers E, so that few equations are solved."""
BISECTIONS = 60


@lru_cache(maxsize=1024)
def rate_grid(p0: float, phi: float, ratios: tuple[float, ...]) -> Grid:
    """Return the grid for "the rate is at most p0" (ratios above 1) or "at least p0" (below 1) under overdispersion.

    Args:
        p0: The limit, 0 < p0 <= 0.5.
        phi: Variance of a tick's count over its mean, at least 1; 1 gives `eprocess.rate_grid`.
        ratios: Alternatives as multiples of p0.

    Raises:
        ValueError: p0 is outside (0, 0.5], or phi is below 1.
    """
    independent = eprocess.rate_grid(p0, ratios)
    if _is_one(phi):
        return independent
    # a trial is an event or another outcome, and either costs p0 * psi
    costs = tuple(p0 * math.log((1.0 + ratio * (phi - 1.0)) / phi) / (phi - 1.0) for ratio in ratios)
    return Grid(
        up=tuple(_tilt(ratio, phi) - cost for ratio, cost in zip(ratios, costs, strict=True)),
        down=tuple(-cost for cost in costs),
    )


def ratio_grid(trials: int, trials_control: int, r0: float, phi: float, ratios: tuple[float, ...]) -> Grid:
    """Return the grid for "treatment's rate is at most r0 times control's" (or at least) under overdispersion.

    Args:
        trials: Trials of treatment in this tick, at least 1.
        trials_control: Trials of control in this tick, at least 1.
        r0: The ratio of the null, above 0.
        phi: Variance of a tick's count over its mean, at least 1; 1 gives `eprocess.ratio_grid`.
        ratios: Alternatives as multiples of r0: all above 1, or all below.

    Raises:
        ValueError: phi is below 1.
    """
    if _is_one(phi):
        return eprocess.ratio_grid(trials, trials_control, r0, ratios)
    weight = r0 * trials
    share = weight / (weight + trials_control) * THETA_STEPS
    return ratio_grid_at(math.ceil(share) if ratios[0] > 1.0 else math.floor(share), phi, ratios)


@lru_cache(maxsize=16384)
def ratio_grid_at(place: int, phi: float, ratios: tuple[float, ...]) -> Grid:
    """Return the grid of a ratio where treatment has a share of place/1000 of the trials, phi above 1."""
    theta0 = place / THETA_STEPS
    roots = tuple(_root(theta0, phi, ratio) for ratio in ratios)
    return Grid(
        up=tuple(_tilt(ratio * c, phi) for ratio, c in zip(ratios, roots, strict=True)),
        down=tuple(_tilt(c, phi) for c in roots),
    )


def _tilt(multiple: float, phi: float) -> float:
    """Return the exponent that turns a gamma-Poisson count into one of so many times its mean."""
    return math.log(multiple * phi / (1.0 + multiple * (phi - 1.0)))


def _root(theta0: float, phi: float, ratio: float) -> float:
    """Return c, from below: E[F] grows with c, and is to be at most 1."""
    low, high = min(1.0, 1.0 / ratio), max(1.0, 1.0 / ratio)
    for _ in range(BISECTIONS):
        c = 0.5 * (low + high)
        own = math.log((1.0 + ratio * c * (phi - 1.0)) / phi)
        other = math.log((1.0 + c * (phi - 1.0)) / phi)
        if theta0 * own + (1.0 - theta0) * other <= 0.0:
            low = c
        else:
            high = c
    return low


def _is_one(phi: float) -> bool:
    if not phi >= 1.0:
        raise ValueError(f"phi is at least 1: {phi}")
    return phi == 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispersion:
    """What control's ticks so far say about phi. Frozen, plain numbers, equal on replay.

    Ticks are put together until a group is expected to hold an event, at the rate of the groups before it: whether a
    group ends must not depend on its own events. Ticks up to the first event make the first rate and are no group.
    """

    groups: int = 0
    events: int = 0
    trials: int = 0
    squares: float = 0.0
    """Sum over the groups of events² / trials."""
    first_events: int = 0
    """Events of the ticks up to the first that had one."""
    first_trials: int = 0
    open_events: int = 0
    """Events of the group that has not ended."""
    open_trials: int = 0
    history: int | None = None
    """Place that control of an earlier stage showed: phi is at least that, and no start has to be assumed."""
    place: int = START
    """Of phi on the ladder; its length = above all of it."""

    @classmethod
    def following(cls, before: Dispersion, growth: float) -> Dispersion:
        """Return what is known at the entry of another stage, of what control showed in the one before.

        What all requests of a tick share weighs more the more of them there are: phi - 1 grows with control's trials.
        A smaller control is taken to be as wide.

        Args:
            before: At the end of the stage before.
            growth: Control's users now, as a multiple of those before.
        """
        place = before.place if before.groups >= ENOUGH else before.history
        if place is None:
            return cls()
        phi = LADDER[min(place, len(LADDER) - 1)]
        grown = bisect_left(LADDER, 1.0 + (phi - 1.0) * max(growth, 1.0))
        history = min(grown, len(LADDER) - 1)  # above the ladder nothing is judged: this stage's own control says that
        return cls(history=history, place=history)

    @property
    def phi(self) -> float:
        """The phi for the next tick; infinity above the ladder."""
        return LADDER[self.place] if self.place < len(LADDER) else math.inf

    def after(self, events: int, trials: int) -> Dispersion:
        """Return what is known after one more tick of control; a tick without trials says nothing.

        Args:
            events: Control's events in the tick.
            trials: Control's trials.
        """
        if not trials:
            return self
        if not self.first_events:
            return replace(self, first_events=events, first_trials=self.first_trials + trials)
        open_events, open_trials = self.open_events + events, self.open_trials + trials
        # integers: trials times the rate so far is at least 1, without rounding
        if open_trials * (self.first_events + self.events) < self.first_trials + self.trials:
            return replace(self, open_events=open_events, open_trials=open_trials)
        groups, total, number = self.groups + 1, self.events + open_events, self.trials + open_trials
        squares = self.squares + open_events * open_events / open_trials
        return replace(
            self,
            groups=groups,
            events=total,
            trials=number,
            squares=squares,
            open_events=0,
            open_trials=0,
            place=next_place(self.place, groups, upper_bound(groups, total, number, squares), self.history),
        )


def estimate(groups: int, events: int, trials: int, squares: float) -> float:
    """Return phi of so many groups: their variance over that of independent requests at control's own pooled rate.

    `1/(m-1) * sum of (x_i - n_i p)² / (n_i p(1-p))`, written with sums. 0 where nothing can be said: fewer than two
    groups, or nothing but events.

    Args:
        groups: m.
        events: Sum of x_i.
        trials: Sum of n_i.
        squares: Sum of x_i² / n_i.
    """
    if groups < 2 or not 0 < events < trials:
        return 0.0
    total = float(events)
    rate = total / trials
    return (squares - total * total / trials) / (rate * (1.0 - rate) * (groups - 1))


def upper_bound(groups: int, events: int, trials: int, squares: float) -> float:
    """Return the upper bound of phi; the arguments are those of `estimate`."""
    return estimate(groups, events, trials, squares) / (1.0 - DEVIATIONS * math.sqrt(2.0 / max(groups, FEWEST)))


def next_place(place: int, groups: int, bound: float, history: int | None = None) -> int:
    """Return the place on the ladder after a group has ended.

    From 100 groups on phi is only ever raised. Before that it is at least 6, or what an earlier stage showed, and may
    fall again: the bound of a few groups is mostly noise, and what noise has raised would stay for the stage.

    Args:
        place: Before.
        groups: How many have ended.
        bound: The upper bound that they give.
        history: What an earlier stage showed, None for nothing.
    """
    found = bisect_left(LADDER, bound)
    if groups < ENOUGH:
        return max(found, START if history is None else history)
    return max(found, (history or 0) if groups == ENOUGH else place)
