"""Synthetic traffic of users: requests, and what users had first, for each tick and arm.

Each user's requests are a Poisson process with the intensity of the world times the user's activity; each request fails
with the probability of the user's class, arm and tick. In an entry a user is unexposed, exposed without an error, or
had one; entering a stage makes all users unexposed again. Drawn are, in this order, so that a fault changes no arrival:

- for each user the moment of the first request: one exponential clock;
- for each class of an arm and each tick the further requests, which are spread over the users there so far;
- which first requests fail, and how many of the further ones;
- on whom and when these errors fall, as far as they may be somebody's first (`phase4.sim.firsts`);
- how many of the fine requests fell on users without an error so far: these are at risk.

That is exact, and its cost depends on users and ticks: on the rate of requests only where one tick has many errors of
every user.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from phase4 import rng
from phase4.analysis.columns import ArmColumns
from phase4.analysis.observation import OutcomeSet
from phase4.flags import vector
from phase4.flags.bucketing import Arm
from phase4.sim.faults import FaultArm, failure_probability, is_slower
from phase4.sim.firsts import Moments, Waiting
from phase4.sim.population import lay_out
from phase4.sim.scenario import Counts, Scenario, World
from phase4.sim.traffic import Entry, Exposure, Toll

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BLOCK = 512
"""Ticks that are drawn at once; the first tick of an entry begins a block."""
KEPT = 8
"""Entries kept for the other policies and for the toll at the end; each at most 10 MB for 60,000 ticks."""
_ARMS = {Arm.TREATMENT: FaultArm.TREATMENT, Arm.CONTROL: FaultArm.CONTROL}
_FAILS, _NUMBERS, _PLACES, _AT_RISK, _FINE_NUMBERS, _FINE_PLACES, _REPEATS = range(7)
_SECOND_NUMBERS, _SECOND_PLACES, _THIRD_NUMBERS, _THIRD_PLACES = range(7, 11)
"""Purposes of the draws of outcomes, each with a stream: what happens at one tick shifts no draw before it."""


class UsersSource:
    """One replicate of a world of synthetic counts that has a population."""

    counts_exposures = False

    def __init__(self, scenario: Scenario, world: World, *, seed: int, replicate: int) -> None:
        """Lay out users, intensity and error probabilities of the whole run: they do not depend on exposure."""
        assert isinstance(world.traffic, Counts)
        population = world.traffic.population
        assert population is not None
        self._seed, self._replicate = seed, replicate
        self.outcome_sets, self.counts_repeats = scenario.outcome_sets, scenario.counts_repeats
        self.ticks = scenario.ticks
        begin = np.arange(scenario.ticks, dtype=np.int64) * scenario.tick_ms
        rate = world.traffic.shape.at(world.start_ms + begin + scenario.tick_ms // 2)
        self.users = lay_out(population)
        self.hazard = rate * scenario.tick_ms / 1000.0 / len(self.users)
        """(ticks,) expected requests of the mean user."""
        fails = {
            arm: np.stack(
                [failure_probability(world.faults, of, begin, user_class=one.name) for one in population.classes]
            )
            for arm, of in _ARMS.items()
        }
        base = np.array([one.rate(world.traffic.error_rate) for one in population.classes])[:, np.newaxis]
        self.rate = {arm: base + (1.0 - base) * fail for arm, fail in fails.items()}
        """For each arm (classes, ticks): probability that a request fails."""
        self.excess = np.maximum(self.rate[Arm.TREATMENT] - self.rate[Arm.CONTROL], 0.0)
        harmful = np.flatnonzero((self.excess.max(axis=0) > 0.0) | is_slower(world.faults, begin))
        self.onset_tick = int(harmful[0]) if len(harmful) else None
        # A hash for each user, uniform and sticky: it splits every group of users over the percentages multinomially,
        # whatever the percentages are.
        assignment = rng.stream(seed, "assignment", replicate=replicate)
        self.hashes = assignment.integers(0, 2**32, len(self.users), dtype=np.uint32)
        # shared by all policies of the replicate: the same entry is drawn once
        self._entry = lru_cache(maxsize=KEPT)(self._make_entry)

    def entry(self, percentage: float, first_tick: int) -> Entry:
        """Return the traffic of an entry."""
        return self._entry(percentage, first_tick)

    def toll(self, exposures: tuple[Exposure, ...]) -> Toll:
        """Return what the exposures cost.

        Users exposed, and requests since the onset, are counted. Excess errors are expected values given the requests.
        Whether a user was harmed, or came back after an onset that it was exposed before, is drawn given its exposure,
        with one number for each user that all policies share: the more exposure, the more such users.
        """
        tally = _Tally(self)
        for exposure in exposures:
            if exposure.end_tick > exposure.first_tick:
                entry = self._entry(exposure.percentage, exposure.first_tick)
                tally.add(entry.arms[0], exposure)
        return tally.toll()

    def stream(self, name: str, *key: int) -> rng.Generator:
        """Return a stream of this replicate."""
        return rng.stream(self._seed, name, replicate=self._replicate, key=key)

    def _make_entry(self, percentage: float, first_tick: int) -> _UsersEntry:
        return _UsersEntry(self, percentage, first_tick)


class _UsersEntry:
    def __init__(self, source: UsersSource, percentage: float, first_tick: int) -> None:
        arms = vector.arms_of(source.hashes, percentage)
        key = (first_tick, round(percentage * 1e6))
        self.arms = tuple(_ArmTraffic(source, np.flatnonzero(arms == arm), arm, first_tick, key) for arm in _ARMS)

    def columns(self, begin: int, end: int) -> tuple[ArmColumns, ArmColumns]:
        """Return (treatment, control) for the ticks begin..end-1."""
        treatment, control = (arm.columns(begin, end) for arm in self.arms)
        return treatment, control


class _ArmTraffic:
    """One arm of an entry, drawn block by block and in order."""

    def __init__(self, source: UsersSource, members: Ints, arm: Arm, first_tick: int, key: tuple[int, int]) -> None:
        self.first_tick = first_tick
        self._ticks, self._sets = source.ticks - first_tick, source.outcome_sets
        class_of = source.users.class_of[members]
        bounds = np.searchsorted(class_of, np.arange(len(source.excess) + 1))
        self.groups = tuple(
            _Group(source, members[bounds[index] : bounds[index + 1]], arm, first_tick, (*key, int(arm), index))
            for index in range(len(source.excess))
        )
        self._blocks: list[ArmColumns] = []

    def columns(self, begin: int, end: int) -> ArmColumns:
        """Return the counts of the ticks begin..end-1 of the run."""
        low, high = begin - self.first_tick, end - self.first_tick
        self._draw(high)
        first, last = low // BLOCK, (high - 1) // BLOCK
        return ArmColumns.join(self._blocks[first : last + 1]).slice(low - first * BLOCK, high - first * BLOCK)

    def _draw(self, until: int) -> None:
        while len(self._blocks) * BLOCK < until:
            begin = len(self._blocks) * BLOCK
            self._blocks.append(self._block(begin, min(begin + BLOCK, self._ticks)))

    def _block(self, begin: int, end: int) -> ArmColumns:
        parts = [group.block(begin, end) for group in self.groups]
        counts: dict[str, Ints] = {name: np.add.reduce([part[name] for part in parts]) for name in parts[0]}
        zero = np.zeros(end - begin, np.int64)
        columns: dict[str, Any] = {name: counts[name] for name in ("ok", "error", "units")}
        for outcome_set in sorted(self._sets):
            columns |= _user_counts(outcome_set, counts, zero)
        if "third_x" in counts:
            columns["error_third_x"] = counts["third_x"]
        return ArmColumns(**columns, timeout=zero, invalid=zero, late=zero, crossed=zero)


def _user_counts(outcome_set: OutcomeSet, counts: dict[str, Ints], zero: Ints) -> dict[str, Ints]:
    """Return the four user counts of one outcome set. Outcomes are ok or errors, so errors are all that is bad."""
    values = (
        (counts["ok"], zero, counts["first_ok"], zero)  # validated outcomes are the fine ones, none is invalid
        if outcome_set is OutcomeSet.INVALID
        else (counts["risk_n"], counts["risk_x"], counts["units"], counts["first_x"])
    )
    names = ("risk_n", "risk_x", "first_n", "first_x")
    return {f"{outcome_set}_{name}": value for name, value in zip(names, values, strict=True)}


class _Group:
    """The users of one class in one arm of an entry."""

    def __init__(self, source: UsersSource, members: Ints, arm: Arm, first_tick: int, key: tuple[int, ...]) -> None:
        self._hazard = source.hazard[first_tick:]
        self._rate = source.rate[arm][key[-1], first_tick:]
        self._arrivals = source.stream("arrivals", *key)
        self._outcomes = [source.stream("outcomes", *key, purpose) for purpose in range(11)]
        self.users, self.exposed = self._expose(members, source.users.activity[members])
        self._units = self.exposed.counts(len(self._hazard))
        self._weight = self.exposed.coverage(len(self._hazard))
        self._unhurt = Waiting(self._outcomes[_NUMBERS], self._outcomes[_PLACES])
        """Users that were exposed and had no error yet."""
        self._unserved = Waiting(self._outcomes[_FINE_NUMBERS], self._outcomes[_FINE_PLACES])
        """Users that were exposed and had errors only."""
        self._counts_invalid = OutcomeSet.INVALID in source.outcome_sets
        self._counts_repeats = source.counts_repeats
        self._once = Waiting(self._outcomes[_SECOND_NUMBERS], self._outcomes[_SECOND_PLACES])
        """Users that had one error."""
        self._twice = Waiting(self._outcomes[_THIRD_NUMBERS], self._outcomes[_THIRD_PLACES])
        """Users that had two."""
        self._requests: list[Ints] = []

    def requests(self, ticks: int) -> Ints:
        """Return the requests of the entry's first ticks, which have been drawn, (ticks,) int64."""
        return np.concatenate(self._requests)[:ticks]

    def block(self, begin: int, end: int) -> dict[str, Ints]:
        """Return the counts of the ticks begin..end-1 of the entry, each (end - begin,) int64."""
        size = end - begin
        low, high = np.searchsorted(self.exposed.tick, (begin, end))
        new = self.exposed.slice(int(low), int(high), back=begin)
        units, weight, rate = self._units[begin:end], self._weight[begin:end], self._rate[begin:end]
        repeats = self._arrivals.poisson(self._hazard[begin:end] * weight).astype(np.int64, copy=False)
        self._requests.append(units + repeats)
        failed = self._outcomes[_FAILS].random(len(new.tick)) < rate[new.tick]
        first_x = new.where(failed).counts(size)
        errors = self._outcomes[_REPEATS].binomial(repeats, rate).astype(np.int64, copy=False)
        fine = repeats - errors
        unhurt, before = new.where(~failed), self._unhurt.weight
        hurt = self._unhurt.find(unhurt, errors, weight)
        at_risk = np.clip(before + unhurt.coverage(size) - hurt.coverage(size), 0.0, weight)
        fine_at_risk = self._outcomes[_AT_RISK].binomial(fine, _share(at_risk, weight))
        later_x = hurt.counts(size)
        counts = {
            "ok": units - first_x + fine,
            "error": first_x + errors,
            "units": units,
            "first_x": first_x,
            "risk_x": first_x + later_x,
            "risk_n": units + later_x + fine_at_risk,
        }
        if self._counts_repeats:
            hurt_now = new.where(failed).with_others(hurt)
            counts["third_x"] = self._third(hurt_now, errors - later_x, weight - at_risk, size)
        if self._counts_invalid:
            # the fine requests at risk went to users that had a fine one before: the others may be somebody's first
            served = self._unserved.find(new.where(failed), fine - fine_at_risk, weight - at_risk)
            counts["first_ok"] = units - first_x + served.counts(size)
        return counts

    def _third(self, hurt: Moments, errors: Ints, weight: Floats, ticks: int) -> Ints:
        """Return how many users had their third error, (ticks,) int64.

        Args:
            hurt: Users with their first error, and when.
            errors: (ticks,) errors that fell on users who had one before.
            weight: (ticks,) activity of these.
            ticks: How many ticks there are.
        """
        before = self._once.weight
        second = self._once.find(hurt, errors, weight)
        with_one = np.clip(before + hurt.coverage(ticks) - second.coverage(ticks), 0.0, weight)
        third = self._twice.find(second, errors - second.counts(ticks), weight - with_one)
        return third.counts(ticks)

    def _expose(self, members: Ints, activity: Floats) -> tuple[Ints, Moments]:
        """Return who makes a first request before the end of the run, and when, by the time of it."""
        clock = self._arrivals.standard_exponential(len(members)) / activity
        order = np.argsort(clock)
        passed = np.cumsum(self._hazard)
        # the sum of nothing is 0: an entry after the last tick exposes nobody
        order = order[: np.searchsorted(clock[order], passed[-1:].sum(), side="right")]
        clock = clock[order]
        tick = np.searchsorted(passed, clock)
        left = (passed[tick] - clock) / self._hazard[tick]
        return members[order], Moments(tick, np.clip(1.0 - left, 0.0, 1.0), activity[order])


def _share(part: Floats, whole: Floats) -> Floats:
    return np.minimum(np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0.0), 1.0)


class _Tally:
    """Adds up what exposures cost, user by user."""

    def __init__(self, source: UsersSource) -> None:
        users = len(source.users)
        self._source = source
        self._exposed, self._later = np.zeros(users, np.bool_), np.zeros(users, np.bool_)
        self._harm, self._return = np.zeros(users), np.zeros(users)
        """Minus the logarithm of the probability of no excess error, and of no request after the onset."""
        self._excess, self._since = 0.0, 0

    def add(self, arm: _ArmTraffic, exposure: Exposure) -> None:
        """Add the users of treatment during one exposure."""
        first, end = exposure.first_tick, exposure.end_tick
        arm.columns(first, end)  # draws what nobody has asked for yet
        for group, excess in zip(arm.groups, self._source.excess, strict=True):
            seen = int(np.searchsorted(group.exposed.tick, end - first))
            self._exposed[group.users[:seen]] = True
            if self._source.onset_tick is None:
                continue
            requests = group.requests(end - first)
            self._excess += float(requests @ excess[first:end])
            self._since += int(requests[max(self._source.onset_tick - first, 0) :].sum())
            users, moments = group.users[:seen], group.exposed.slice(0, seen, back=-first)
            self._add_harm(users, moments, excess, end)
            self._add_later(users, moments, self._source.onset_tick, end)

    def _add_harm(self, users: Ints, moments: Moments, excess: Floats, end: int) -> None:
        """Add the chance that the first request of a user, or one after it, is an excess error."""
        hazard = self._source.hazard[:end] * excess[:end]
        before = np.cumsum(hazard) - hazard
        until = before[moments.tick] + moments.phase * hazard[moments.tick]
        with np.errstate(divide="ignore"):  # where every request is one
            self._harm[users] -= np.log1p(-excess[moments.tick])
        self._harm[users] += moments.weight * np.maximum(hazard.sum() - until, 0.0)

    def _add_later(self, users: Ints, moments: Moments, onset: int, end: int) -> None:
        """Note who was exposed after the onset, and add the chance that the others came back after it."""
        early = moments.tick < onset
        self._later[users[~early]] = True
        self._return[users[early]] += moments.weight[early] * self._source.hazard[onset:end].sum()

    def toll(self) -> Toll:
        """Return the sums."""
        harmed, later = 0, 0
        if self._source.onset_tick is not None:
            luck = self._source.stream("users").random((2, len(self._exposed)))
            harmed = int((luck[0] < -np.expm1(-self._harm)).sum())
            later = int((self._later | (luck[1] < -np.expm1(-self._return))).sum())
        return Toll(
            users_exposed=int(self._exposed.sum()),
            users_harmed=harmed,
            excess=self._excess,
            users_since_onset=later,
            requests_since_onset=self._since,
        )
