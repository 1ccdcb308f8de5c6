"""How much data a guardrail needs before it can answer. Plain arithmetic, without simulation.

PASS evidence has no restarts, so it depends on two totals alone, units and events. What it needs is therefore exact:
how many events may be among n units, and how likely a true rate stays below that. FAIL evidence restarts at every
tick; its figures follow the expected path of the grid, and guides stand on both sides of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from phase4.analysis import binomial, eprocess, searching
from phase4.analysis.eprocess import FAIL_RATIOS, PASS_RATIOS, restart_weight

MEDIAN = 0.5
_MOST_FOLLOWED = 400
"""Expected events up to which their path is followed: some tenths of a second."""
_CAP = 700.0
"""exp(700) is finite."""
_MOST_UNITS = 1e15
"""More than anybody has: what needs more is never reached."""


def clean_units(limit: float, beta: float) -> int:
    """Return how many units without a single event are needed before any rule can prove `rate < limit`.

    Args:
        limit: The limit p0, in (0, 1).
        beta: Probability, in (0, 1), of proving it wrongly.

    Raises:
        ValueError: an argument is outside its range.

    Source: the point alternative 0 in Wald's test, `ln(1/beta) / -ln(1-p0)`. The grid of `eprocess.PASS_RATIOS` needs
    about 1.41 times as many: `grid_clean_units`.

    >>> clean_units(0.005, 0.05), clean_units(0.01, 0.05), clean_units(0.02, 0.05)
    (598, 299, 149)
    """
    _check_open_unit("limit", limit)
    _check_open_unit("beta", beta)
    return math.ceil(math.log(1.0 / beta) / -math.log1p(-limit))


def kl_bernoulli(p: float, q: float) -> float:
    """Return the Kullback-Leibler divergence of two coins, in nats.

    Source: Kullback and Leibler (1951). `ln(1/alpha) / kl_bernoulli(p1, p0)` is Wald's lower guide to the units that
    prove a rate of p1 to be above p0.

    >>> round(math.log(20) / kl_bernoulli(0.015, 0.01), 2)
    2736.77
    """
    _check_open_unit("p", p)
    _check_open_unit("q", q)
    return p * math.log(p / q) + (1.0 - p) * math.log((1.0 - p) / (1.0 - q))


# ----------------------------------------------------------------------------------------------------------------- PASS
def log_e_pass(limit: float, events: float, units: float) -> float:
    """Return ln of the PASS evidence for "the rate is below the limit" after so many units with so many events.

    Args:
        limit: The limit p0, in (0, 0.5].
        events: Events among the units; an expected number, so with a fraction, gives the expected path.
        units: Units, at least `events`.

    Source: `eprocess.PassEvidence`, whose sum over ticks depends on the totals alone.
    """
    grid = eprocess.rate_grid.__wrapped__(limit, PASS_RATIOS)  # a search over limits would empty the cache
    log_f = [events * up + (units - events) * down for up, down in zip(grid.up, grid.down, strict=True)]
    return _log_sum(log_f) - math.log(len(log_f))


def units_to_pass_with(limit: float, beta: float, events: int, *, at_least: int = 0) -> int:
    """Return the fewest units among which so many events still leave the limit proved.

    Args:
        limit: The limit p0, in (0, 0.5].
        beta: Probability, in (0, 1), of proving it wrongly.
        events: Events, at least 0.
        at_least: Where the search begins: known to be no more than the answer.
    """
    _check_open_unit("beta", beta)
    bound = math.log(1.0 / beta)
    return searching.first(max(events, at_least, 1), lambda units: log_e_pass(limit, events, units) >= bound)


def grid_clean_units(limit: float, beta: float) -> int:
    """Return how many units without a single event the judge needs before it can prove `rate < limit`.

    >>> [grid_clean_units(limit, 0.05) for limit in (0.005, 0.01, 0.02)]
    [846, 422, 210]
    """
    return units_to_pass_with(limit, beta, 0)


def most_events(limit: float, beta: float, units: int) -> int:
    """Return how many events among so many units still leave the limit proved, -1 if even none is too few units.

    >>> most_events(0.01, 0.05, 421), most_events(0.01, 0.05, 422)
    (-1, 0)
    """
    bound = math.log(1.0 / beta)
    if units < 1 or log_e_pass(limit, 0, units) < bound:
        return -1
    low, high = 0, units
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if log_e_pass(limit, middle, units) >= bound else (low, middle)
    return low


def proof_probability(limit: float, beta: float, rate: float, units: int, *, first_look: int = 0) -> float:
    """Return how likely the limit is proved at some look, if units fail independently at a true rate.

    Exact: after n units the limit is proved with at most `most_events(n)` events, so the path of the events is followed
    from the first look on, along the numbers of units at which one event more becomes bearable. Where so many events
    are expected that this would take long, the probability of proof at the last look alone, which is lower.

    Args:
        limit: The limit p0, in (0, 0.5].
        beta: Probability, in (0, 1), of proving it wrongly.
        rate: The true rate, in [0, 1].
        units: Units at the last look.
        first_look: Units at the first look, 0 to `units`; proof that was there before and is gone by then is none.

    >>> round(proof_probability(0.01, 0.05, 0.005, 2_000), 2)
    0.51
    """
    bearable = most_events(limit, beta, units)
    if bearable < 0:
        return 0.0
    if rate <= 0.0:
        return 1.0
    if units * rate > _MOST_FOLLOWED:
        return binomial.cdf(bearable, units, rate)
    return _Path(limit, beta, rate, first_look).until(units)


@lru_cache(maxsize=512)
def units_to_pass(limit: float, beta: float, rate: float, power: float = MEDIAN) -> float:
    """Return the fewest units by which a true rate is proved to be below the limit with a given probability.

    Exact for a judge that looks at every unit and up to some 400 expected events; above, a little more than needed.

    Args:
        limit: The limit p0, in (0, 0.5].
        beta: Probability, in (0, 1), of proving it wrongly.
        rate: The true rate, at least 0.
        power: How likely the proof has been there, in (0, 1); a half gives the median.

    Returns:
        Units; infinity where the rate is so near the limit that the evidence does not grow.

    >>> units_to_pass(0.01, 0.05, 0.0), units_to_pass(0.01, 0.05, 0.005), units_to_pass(0.01, 0.05, 0.0099)
    (422, 1903, inf)
    """
    _check_open_unit("power", power)
    if rate <= 0.0:
        return grid_clean_units(limit, beta)
    if max(rate_drifts(limit, rate, PASS_RATIOS)) <= 0.0:
        return math.inf
    return _Path(limit, beta, rate, 0).units_until(power) or units_to_stand(limit, beta, rate, power)


def units_to_stand(limit: float, beta: float, rate: float, power: float = MEDIAN) -> float:
    """Return the fewest units at which proof stands with a probability: at that look, and not at some look before.

    The arguments are those of `units_to_pass`, which needs fewer: evidence goes up and down. Where all users of a stage
    have come before it may be left, this is what counts.

    >>> units_to_stand(0.01, 0.05, 0.0), units_to_stand(0.01, 0.05, 0.005), units_to_stand(0.01, 0.05, 0.0099)
    (422, 2493, inf)
    """
    _check_open_unit("power", power)
    if max(rate_drifts(limit, rate, PASS_RATIOS)) <= 0.0:
        return math.inf

    def is_likely(events: int) -> bool:
        # the probability is highest where one more event has just become bearable
        return binomial.cdf(events, units_to_pass_with(limit, beta, events), rate) >= power

    return units_to_pass_with(limit, beta, searching.first(0, is_likely))


class _Path:
    """The distribution of the events among those who have not been proved yet, followed look by look."""

    def __init__(self, limit: float, beta: float, rate: float, first_look: int) -> None:
        self._limit, self._beta, self._rate = limit, beta, rate
        self._units, self._proved = 0, 0.0
        self._alive = {0: 1.0}
        """Events -> probability."""
        if first_look > 0:
            self._move(first_look)
            self._absorb(most_events(limit, beta, first_look))

    def until(self, units: int) -> float:
        """Return the probability of proof by so many units."""
        for look, events in self._looks():
            if look > units:
                break
            self._move(look)
            self._absorb(events)
        return self._proved

    def units_until(self, probability: float) -> int | None:
        """Return after how many units proof has that probability; None if too many events had to be followed."""
        for look, events in self._looks():
            if events > _MOST_FOLLOWED:
                return None
            self._move(look)
            self._absorb(events)
            if self._proved >= probability:
                return look
        return None

    def _looks(self) -> Iterator[tuple[int, int]]:
        """Yield (units, events) at which so many events become bearable, from here on."""
        events, units = max(most_events(self._limit, self._beta, self._units) + 1, 0), self._units
        while True:
            units = units_to_pass_with(self._limit, self._beta, events, at_least=units)
            yield units, events
            events += 1

    def _move(self, units: int) -> None:
        steps = binomial.likely(units - self._units, self._rate)
        moved: dict[int, float] = {}
        for events, weight in self._alive.items():
            for more, probability in steps:
                moved[events + more] = moved.get(events + more, 0.0) + weight * probability
        # what is that unlikely changes no figure, and would be carried along for ever
        self._alive = {events: weight for events, weight in moved.items() if weight > 1e-12}
        self._units = units

    def _absorb(self, events: int) -> None:
        self._proved += math.fsum(self._alive.pop(each) for each in [x for x in self._alive if x <= events])


def wald_units(limit: float, rate: float, error: float) -> float:
    """Return the lower guide to the units that tell a true rate from the limit, on either side; infinity if equal.

    Args:
        limit: The limit p0, in (0, 1).
        rate: The true rate, in (0, 1).
        error: alpha for FAIL, beta for PASS.

    Source: Wald (1945): no sequential test with this error needs fewer on average, if it ends for certain.

    >>> round(wald_units(0.01, 0.005, 0.05))
    1937
    """
    return math.inf if rate == limit else math.log(1.0 / error) / kl_bernoulli(rate, limit)


def smallest_limit(units: int, beta: float, rate: float = 0.0, power: float = MEDIAN) -> float:
    """Return the smallest limit that so many units can prove, at a true rate with a given probability.

    Returns:
        A limit in (0, 0.5]; infinity where not even 0.5 can be proved.

    >>> round(smallest_limit(846, 0.05), 4), smallest_limit(2, 0.05)
    (0.005, inf)
    """
    bound = math.log(1.0 / beta)
    events = binomial.quantile(power, units, rate)

    def is_proved(limit: float) -> bool:
        return log_e_pass(limit, events, units) >= bound

    if units < 1 or not is_proved(0.5):
        return math.inf
    low, high = max(events / units, 1e-12), 0.5  # at the share that was seen nothing is proved
    while high - low > 1e-9 + 1e-6 * low:
        middle = (low + high) / 2.0
        low, high = (low, middle) if is_proved(middle) else (middle, high)
    return high


# ----------------------------------------------------------------------------------------------------------------- FAIL
def rate_drifts(limit: float, rate: float, ratios: Sequence[float] = FAIL_RATIOS) -> tuple[float, ...]:
    """Return by how much each alternative's evidence grows with each unit at a true rate, in nats."""
    grid = eprocess.rate_grid(limit, tuple(ratios))
    return tuple(rate * up + (1.0 - rate) * down for up, down in zip(grid.up, grid.down, strict=True))


def ratio_drifts(
    rate: float, ratio: float, r0: float, control_per_unit: float, ratios: Sequence[float] = FAIL_RATIOS
) -> tuple[float, ...]:
    """Return by how much each alternative's evidence grows with each unit of treatment, compared with control, in nats.

    Args:
        rate: Control's rate, in (0, 1).
        ratio: Treatment's rate over control's.
        r0: Ratio of the null, above 0.
        control_per_unit: Units of control for each of treatment, above 0.
        ratios: The alternatives, as multiples of r0.
    """
    grid = eprocess.ratio_grid(1_000_000, max(round(1_000_000 * control_per_unit), 1), r0, tuple(ratios))
    ours, theirs = min(rate * ratio, 1.0), rate * control_per_unit
    return tuple(ours * up + theirs * down for up, down in zip(grid.up, grid.down, strict=True))


def units_to_prove(drifts: Sequence[float], beta: float) -> float:
    """Return after how many units the PASS evidence of a comparison reaches 1/beta, on the expected path.

    The arguments are those of `units_to_fail`, with the alternatives of the PASS side. All weight is put in at once.

    >>> round(units_to_prove(ratio_drifts(0.01, 1.0, 1.5, 1.0, PASS_RATIOS), 0.05), -2)
    11000.0
    """
    weight = math.log(1.0 / len(drifts))
    return _crossing(lambda units: _log_sum([units * drift for drift in drifts]) + weight, drifts, beta)


def units_to_fail(drifts: Sequence[float], alpha: float) -> float:
    """Return after how many units FAIL comes if a defect is there from the first one, on the expected path.

    Args:
        drifts: Growth of the evidence with each unit, in nats, one for each alternative.
        alpha: Of the guardrail, in (0, 1).

    Returns:
        Units; infinity where the evidence does not grow.

    Source: half of the weight is put in at the first tick (`eprocess.restart_weight`); later restarts are left out.
    """
    weight = restart_weight(0, None) / len(drifts)
    return _crossing(lambda units: _log_sum([units * drift for drift in drifts]) + math.log(weight), drifts, alpha)


def units_to_fail_late(
    drifts: Sequence[float], alpha: float, *, units_per_tick: float, horizon_ticks: int | None
) -> float:
    """Return after how many units FAIL comes if a defect begins in the middle of the stage, on the expected path.

    Args:
        drifts: Growth of the evidence with each unit, in nats, one for each alternative.
        alpha: Of the guardrail, in (0, 1).
        units_per_tick: Units in a tick, above 0.
        horizon_ticks: Planned length of the stage in ticks; None = unknown.

    Returns:
        Units; infinity where the evidence does not grow.

    Source: at every tick the evidence is put in again (`eprocess.restart_weight`), a geometric series for each
    alternative. What was there before the defect began is left out.
    """
    middle = max((horizon_ticks or 2) // 2, 1)
    weight = restart_weight(middle, horizon_ticks) / len(drifts)
    steps = [units_per_tick * drift for drift in drifts]

    def log_e(units: float) -> float:
        ticks = max(units / units_per_tick, 1.0)
        return _log_sum([_log_geometric(step, ticks) for step in steps]) + math.log(weight)

    return _crossing(log_e, drifts, alpha)


def immediate_guide(limit: float, rate: float, alpha: float) -> float:
    """Return the upper guide to the units until FAIL, for a defect near an alternative, there from the first one on.

    Source: the weight of one alternative out of eight, of which one half is put in at once, and Wald's divergence.

    >>> round(immediate_guide(0.01, 0.015, 0.05))
    5270
    """
    return (math.log(1.0 / alpha) + math.log(2.0) + math.log(len(FAIL_RATIOS))) / kl_bernoulli(rate, limit)


def late_guide(limit: float, rate: float, alpha: float, horizon_ticks: int) -> float:
    """Return the upper guide to the units until FAIL, for a defect that begins late in a stage of so many ticks.

    Source: of one alternative out of eight, the share 3/(8 J) that is put in at each tick, and Wald's divergence.
    """
    share = math.log(8.0 * horizon_ticks / 3.0)
    return (math.log(1.0 / alpha) + math.log(len(FAIL_RATIOS)) + share) / kl_bernoulli(rate, limit)


# ------------------------------------------------------------------------------------------------------------- searches
def _crossing(log_e: Callable[[float], float], drifts: Sequence[float], alpha: float) -> float:
    """Return the number of units at which the evidence reaches 1/alpha."""
    _check_open_unit("alpha", alpha)
    if max(drifts) <= 0.0:
        return math.inf
    bound, low, high = math.log(1.0 / alpha), 0.0, 1.0
    while log_e(high) < bound:
        low, high = high, high * 2.0
        if high > _MOST_UNITS:
            return math.inf
    while high - low > 1e-6 * high:
        middle = (low + high) / 2.0
        low, high = (low, middle) if log_e(middle) >= bound else (middle, high)
    return high


def _log_sum(values: Sequence[float]) -> float:
    top = max(values)
    return top + math.log(math.fsum(math.exp(value - top) for value in values))


def _log_geometric(step: float, count: float) -> float:
    """Return ln of the sum of exp(j * step) over j = 1 .. count."""
    if abs(step * count) < 1e-9:
        return math.log(count)
    grown = math.expm1(min(step * count, _CAP)) / math.expm1(min(step, _CAP))
    return step + math.log(grown)


def _check_open_unit(name: str, value: float) -> None:
    if not 0.0 < value < 1.0:
        raise ValueError(f"{name} lies in (0, 1): {value}")
