"""The methods that the judge is compared with, each labelled with what it controls; for rehearsals and notebooks only.

A plan accepts the e-process and the raw threshold, nothing else here. "PFA" stands for the probability of a false alarm
over the whole stage, at any number of looks. Show `label` wherever a result is shown: a raw rule that "found the defect
first" controls nothing.
"""

from __future__ import annotations

from phase4.analysis.compared.alarms import OneArm, TwoArms
from phase4.analysis.compared.asymptotic import AsymptoticSequence
from phase4.analysis.compared.cusum import Binomials, Cusum
from phase4.analysis.compared.group_sequential import GroupSequential, Looks, TwoArmGroupSequential
from phase4.analysis.compared.likelihood_ratios import BetaBinomial, ConditionalDirichlet, Sprt
from phase4.analysis.compared.mann_whitney import MannWhitney
from phase4.analysis.compared.mixtures import ConditionalMixture, GridMixture, Restarts, Schedule
from phase4.analysis.compared.raw_rules import PeekingTwoArmZTest, PeekingZTest, RawImpact, RawRule

WINDOW_TICKS = 10
"""Length of the raw rule's window: 5 min of 30 s."""
MIN_UNITS = 1000
"""Fewest units before a cumulative raw rule is looked at."""
MIN_SAMPLES = 4
"""Fewest samples of the rank test: its first look, at two samples against two, is left out."""
STEP = 1.5
"""The alternative of SPRT and CUSUM, as a multiple of the limit."""


def one_arm(
    *,
    limit: float,
    alpha: float,
    trials: int,
    horizon_ticks: int,
    looks: int,
    replicates: int,
    generator: Binomials,
) -> tuple[OneArm, ...]:
    """Return the methods that hold a rate against a limit, those without control first.

    Args:
        limit: p0, in (0, 0.5].
        alpha: Probability of a false alarm over the stage, in (0, 0.5), for those that control it.
        trials: Trials of a tick, for which CUSUM is calibrated.
        horizon_ticks: Planned length in ticks.
        looks: Looks of the group-sequential test, evenly spaced.
        replicates: Simulated rollouts for calibrating CUSUM, at least 1/alpha.
        generator: A numpy Generator, which calibration draws from.

    Raises:
        ValueError: an argument is outside its range.
    """
    calibrated = Cusum.calibrated(
        limit=limit,
        alternative=STEP * limit,
        trials=trials,
        ticks=horizon_ticks,
        alpha=alpha,
        replicates=replicates,
        generator=generator,
    )
    return (
        RawRule(limit=limit, window=1),
        RawRule(limit=limit, window=WINDOW_TICKS),
        RawRule(limit=limit, window=None, min_units=MIN_UNITS),
        PeekingZTest(limit=limit),
        GroupSequential(limit=limit, looks=Looks(alpha=alpha, horizon_ticks=horizon_ticks, count=looks)),
        Sprt(limit=limit, alternative=STEP * limit, alpha=alpha),
        BetaBinomial(limit=limit, alpha=alpha),
        GridMixture(limit=limit, alpha=alpha, schedule=_schedule(Restarts.NONE, horizon_ticks)),
        GridMixture(limit=limit, alpha=alpha, schedule=_schedule(Restarts.JUDGE, horizon_ticks)),
        calibrated,
    )


def two_arms(*, share: float, alpha: float, horizon_ticks: int, looks: int) -> tuple[TwoArms, ...]:
    """Return the methods that compare treatment with concurrent control, those without control of errors first.

    Args:
        share: Treatment's share of the traffic of both arms, in (0, 1).
        alpha: Probability of a false alarm over the stage, in (0, 0.5), for those that control it.
        horizon_ticks: Planned length in ticks.
        looks: Looks of the group-sequential test, evenly spaced.

    Raises:
        ValueError: an argument is outside its range.
    """
    return (
        RawImpact(min_units=MIN_UNITS),
        PeekingTwoArmZTest(),
        MannWhitney(min_samples=MIN_SAMPLES),
        TwoArmGroupSequential(looks=Looks(alpha=alpha, horizon_ticks=horizon_ticks, count=looks)),
        AsymptoticSequence(alpha=alpha),
        ConditionalDirichlet(share=share, alpha=alpha),
        ConditionalMixture(alpha=alpha, schedule=_schedule(Restarts.NONE, horizon_ticks)),
        ConditionalMixture(alpha=alpha, schedule=_schedule(Restarts.JUDGE, horizon_ticks)),
    )


def _schedule(restarts: Restarts, horizon_ticks: int) -> Schedule:
    return Schedule(restarts=restarts, horizon_ticks=horizon_ticks)
