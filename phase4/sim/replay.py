"""Row replay: each row of a recording keeps its unit, time and outcome; a replicate draws anew who is in which arm.

`scale = k` puts k copies of the population, with ids of their own, through the same recorded days. The arms come from
the production bucketing with the replicate's salt. A fault makes rows of its arm fail that were fine.
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
from phase4.sim.faults import FaultArm, failure_probability
from phase4.sim.recording import Recording
from phase4.sim.scenario import Replay, Scenario, World
from phase4.sim.traffic import Entry, Exposure, Toll

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
_OK, _ERROR, _TIMEOUT, _INVALID = 2, 3, 4, 5


class ReplayWindow:
    """The rows of one world's days, the same for all replicates: laid out once for each process."""

    def __init__(self, scenario: Scenario, world: World, recording: Recording) -> None:
        """Cut the recording to the world's days and pack the population's ids."""
        assert isinstance(world.traffic, Replay)
        self.scenario, self.world = scenario, world
        end_ms = world.start_ms + scenario.duration_ms
        inside = (recording.t_ms >= world.start_ms) & (recording.t_ms < end_ms)
        self.tick = (recording.t_ms[inside] - world.start_ms) // scenario.tick_ms
        self.outcome = recording.outcome[inside]
        present, unit = np.unique(recording.unit[inside], return_inverse=True)
        self.units = len(present)
        self.copies = world.traffic.scale
        # rows are sorted by unit, then time: one ascending key finds "the unit's rows from tick t on"
        self.key = unit.astype(np.int64) * (scenario.ticks + 1) + self.tick
        names = [recording.names[index] for index in present]
        ids = [name if copy == 0 else f"{name}~{copy}" for copy in range(self.copies) for name in names]
        self.population = vector.Population(ids)
        begin = np.arange(scenario.ticks, dtype=np.int64) * scenario.tick_ms
        fails = {arm: failure_probability(world.faults, arm, begin) for arm in (FaultArm.TREATMENT, FaultArm.CONTROL)}
        self.fails = {Arm.TREATMENT: fails[FaultArm.TREATMENT], Arm.CONTROL: fails[FaultArm.CONTROL]}
        harmful = np.flatnonzero(self.fails[Arm.TREATMENT] > self.fails[Arm.CONTROL])
        self.onset_tick = int(harmful[0]) if len(harmful) else None

    @property
    def rows(self) -> int:
        """Rows of one copy of the population."""
        return len(self.tick)

    def rows_from(self, first_tick: int) -> tuple[Ints, Ints]:
        """Return (begin, end) of each unit's rows from a tick on, each (units,) int64."""
        base = np.arange(self.units, dtype=np.int64) * (self.scenario.ticks + 1)
        begin = np.searchsorted(self.key, base + first_tick)
        end = np.searchsorted(self.key, base + self.scenario.ticks)
        return begin, end


class ReplaySource:
    """One replicate of a replayed world."""

    def __init__(self, window: ReplayWindow, *, seed: int, replicate: int) -> None:
        """Assign the arms by a salt of this replicate's own."""
        self.window = window
        self.counts_exposures = False
        self.onset_tick = window.onset_tick
        self._seed, self._replicate = seed, replicate
        self.hashes = window.population.hashes(f"{window.scenario.flag_key}.{seed}.{replicate}")
        # shared by all policies of the replicate: the same entry is counted once
        self._entry = lru_cache(maxsize=16)(self._make_entry)
        self._luck: npt.NDArray[np.float32] | None = None

    def entry(self, percentage: float, first_tick: int) -> Entry:
        """Return the traffic of an entry."""
        return self._entry(percentage, first_tick)

    def toll(self, exposures: tuple[Exposure, ...]) -> Toll:
        """Return the distinct users exposed and harmed, and the excess errors, row by row."""
        population = self.window.units * self.window.copies
        exposed, harmed, later = (np.zeros(population, np.bool_) for _ in range(3))
        excess, since = 0, 0
        for exposure in exposures:
            if exposure.end_tick == exposure.first_tick:
                continue
            rows = self._entry(exposure.percentage, exposure.first_tick).treatment
            seen = rows.tick < exposure.end_tick
            exposed[rows.user[seen]] = True
            hurt = seen & rows.harmed
            harmed[rows.user[hurt]] = True
            excess += int(hurt.sum())
            if self.onset_tick is not None:
                after = seen & (rows.tick >= self.onset_tick)
                later[rows.user[after]] = True
                since += int(after.sum())
        return Toll(
            users_exposed=int(exposed.sum()),
            users_harmed=int(harmed.sum()),
            excess=float(excess),
            users_since_onset=int(later.sum()),
            requests_since_onset=since,
        )

    def luck(self) -> npt.NDArray[np.float32]:
        """Return one uniform number for each row of each copy, (copies * rows,), drawn when a fault first asks."""
        if self._luck is None:
            generator = rng.stream(self._seed, "faults", replicate=self._replicate)
            self._luck = generator.random(self.window.copies * self.window.rows, dtype=np.float32)
        return self._luck

    def _make_entry(self, percentage: float, first_tick: int) -> _ReplayEntry:
        return _ReplayEntry(self, percentage, first_tick)


class _ArmRows:
    """The rows of one arm from a tick on, user by user in time order."""

    def __init__(self, source: ReplaySource, members: Bools, arm: Arm, first_tick: int) -> None:
        window = source.window
        copy_of = np.flatnonzero(members)
        base = copy_of % window.units
        begin, end = window.rows_from(first_tick)
        length = (end - begin)[base]
        copy_of, base, length = copy_of[length > 0], base[length > 0], length[length > 0]
        first = np.cumsum(length) - length
        row = np.repeat(begin[base] - first, length) + np.arange(int(length.sum()))
        self.first_tick = first_tick
        self.first = first
        """Place of each user's first row."""
        self.user = np.repeat(copy_of, length)
        self.tick = window.tick[row]
        self.outcome = window.outcome[row]
        self.harmed = np.zeros(len(row), np.bool_)
        self._fail(source, arm, row)

    def _fail(self, source: ReplaySource, arm: Arm, row: Ints) -> None:
        """Make fine rows fail as the faults of this arm have it, and note which would not have failed in control."""
        window = source.window
        fails, control = window.fails[arm], window.fails[Arm.CONTROL]
        if not fails[self.first_tick :].any():
            return
        luck = source.luck()[(self.user // window.units) * window.rows + row]
        fine = self.outcome == _OK
        failed = fine & (luck < fails[self.tick])
        self.outcome = np.where(failed, np.uint8(_ERROR), self.outcome)
        if arm is Arm.TREATMENT:
            self.harmed = failed & (luck >= control[self.tick])

    def columns(self, ticks: int, sets: frozenset[OutcomeSet], *, with_repeats: bool) -> ArmColumns:
        """Return the counts of the ticks first_tick..ticks-1."""
        size = ticks - self.first_tick
        place = self.tick - self.first_tick
        counts: dict[str, Any] = {
            name: np.bincount(place[self.outcome == code], minlength=size)
            for name, code in (("ok", _OK), ("error", _ERROR), ("timeout", _TIMEOUT), ("invalid", _INVALID))
        }
        users: dict[str, Any] = {}
        for outcome_set in sorted(sets):
            users |= self._user_counts(outcome_set, place, size)
        if with_repeats:
            users["error_third_x"] = np.bincount(place[self._third_errors()], minlength=size)
        units = np.bincount(place[self.first], minlength=size) if len(self.first) else np.zeros(size, np.int64)
        zero = np.zeros(size, np.int64)
        return ArmColumns(**counts, late=zero, units=units, crossed=zero, **users)

    def _third_errors(self) -> Bools:
        """Return which rows are a user's third error."""
        failed = (self.outcome == _ERROR) | (self.outcome == _TIMEOUT)
        so_far = np.cumsum(failed)
        before = np.repeat((so_far - failed)[self.first], np.diff(self.first, append=len(failed)))
        return np.asarray(failed & (so_far - before == 3), np.bool_)

    def _user_counts(self, outcome_set: OutcomeSet, place: Ints, size: int) -> dict[str, Ints]:
        """Return the four user counts of one outcome set: see `phase4.analysis.observation`."""
        first, outcome = self.first, self.outcome
        if outcome_set is OutcomeSet.INVALID:  # of validated outcomes only
            kept = (outcome == _OK) | (outcome == _INVALID)
            owner = np.repeat(np.arange(len(first)), np.diff(first, append=len(outcome)))[kept]
            place, outcome = place[kept], outcome[kept]
            first = np.flatnonzero(np.diff(owner, prepend=-1))
            bad = outcome == _INVALID
        else:
            bad = (outcome == _ERROR) | (outcome == _TIMEOUT)
            if outcome_set is OutcomeSet.BAD:
                bad |= outcome == _INVALID
        rows = len(outcome)
        if not rows:
            return {
                f"{outcome_set}_{name}": np.zeros(size, np.int64) for name in ("risk_n", "risk_x", "first_n", "first_x")
            }
        index = np.arange(rows)
        first_bad = np.minimum.reduceat(np.where(bad, index, rows), first)
        at_risk = index <= np.repeat(first_bad, np.diff(first, append=rows))
        had_bad = first_bad[first_bad < rows]
        return {
            f"{outcome_set}_risk_n": np.bincount(place[at_risk], minlength=size),
            f"{outcome_set}_risk_x": np.bincount(place[had_bad], minlength=size),
            f"{outcome_set}_first_n": np.bincount(place[first], minlength=size),
            f"{outcome_set}_first_x": np.bincount(place[first[bad[first]]], minlength=size),
        }


class _ReplayEntry:
    def __init__(self, source: ReplaySource, percentage: float, first_tick: int) -> None:
        scenario = source.window.scenario
        arms = vector.arms_of(source.hashes, percentage)
        self.first_tick = first_tick
        self.treatment = _ArmRows(source, arms == Arm.TREATMENT, Arm.TREATMENT, first_tick)
        control = _ArmRows(source, arms == Arm.CONTROL, Arm.CONTROL, first_tick)
        self._arms = tuple(
            rows.columns(scenario.ticks, scenario.outcome_sets, with_repeats=scenario.counts_repeats)
            for rows in (self.treatment, control)
        )

    def columns(self, begin: int, end: int) -> tuple[ArmColumns, ArmColumns]:
        """Return (treatment, control) for the ticks begin..end-1."""
        treatment, control = (arm.slice(begin - self.first_tick, end - self.first_tick) for arm in self._arms)
        return treatment, control
