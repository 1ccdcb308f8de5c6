from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phase4.analysis.observation import OutcomeSet
from phase4.analysis.specs import RepeatGuardrail
from phase4.flags import vector
from phase4.flags.bucketing import Arm
from phase4.sim.faults import FaultShape
from phase4.sim.replay import ReplaySource, ReplayWindow
from phase4.sim.traffic import Exposure
from tests.unit.sim.worlds import (
    ERROR,
    INVALID,
    OK,
    TICK,
    TIMEOUT,
    fault,
    policy,
    recording,
    replay_world,
    scenario,
    users,
)

TICKS = 8
SETS = tuple(OutcomeSet)
BAD = {
    OutcomeSet.ERROR: {ERROR, TIMEOUT},
    OutcomeSet.BAD: {ERROR, TIMEOUT, INVALID},
    OutcomeSet.INVALID: {INVALID},
}
TRIALS = {OutcomeSet.ERROR: {2, 3, 4, 5}, OutcomeSet.BAD: {2, 3, 4, 5}, OutcomeSet.INVALID: {OK, INVALID}}
NAMES = {OK: "ok", ERROR: "error", TIMEOUT: "timeout", INVALID: "invalid"}
MANY = [(f"u{user}", tick, OK) for user in range(40) for tick in range(0, TICKS, 2)]
EVERYONE = 50.0
"""Percentage at which each user is in one of the two arms."""


def source(rows, *faults, scale=1, replicate=0, sets=("error", "bad", "invalid"), seed=7):
    whole = scenario(replay_world(*faults, scale=scale), policies=(policy(with_repeats(users(*sets))),), ticks=TICKS)
    window = ReplayWindow(whole, whole.worlds[0], recording(rows))
    return ReplaySource(window, seed=seed, replicate=replicate)


def with_repeats(plan):
    """Return a plan that counts users with their third error as well."""
    specs = tuple((*of_stage, RepeatGuardrail(percentage=5.0)) for of_stage in plan.guardrails)
    return replace(plan, guardrails=specs)


def columns(of, percentage=EVERYONE, first=0, begin=None, end=TICKS):
    return of.entry(percentage, first).columns(first if begin is None else begin, end)


def requests(of, percentage=EVERYONE):
    """Return the requests of all users, in either arm, at each tick."""
    return sum(arm.requests for arm in columns(of, percentage)).tolist()


# ------------------------------------------------------------------------------------- the same by a plain loop


def copies(of):
    """Yield (index of the copy of a user, arms at any percentage, rows as (tick, outcome, luck)) user by user."""
    window = of.window
    luck = of.luck()
    by_unit = {}
    for place, (key, tick, outcome) in enumerate(zip(window.key, window.tick, window.outcome, strict=True)):
        by_unit.setdefault(int(key) // (TICKS + 1), []).append((place, int(tick), int(outcome)))
    for copy in range(window.copies):
        for unit, rows in sorted(by_unit.items()):
            lucky = [(tick, outcome, luck[copy * window.rows + place]) for place, tick, outcome in rows]
            yield copy * window.units + unit, lucky


def seen(of, arm, percentage, first):
    """Yield the rows of each user of an arm from a tick on, as they came out: (user, [(tick, outcome, is_harmed)])."""
    arms = vector.arms_of(of.hashes, percentage)
    for user, rows in copies(of):
        if arms[user] != arm:
            continue
        out = []
        for tick, outcome, luck in rows:
            if tick < first:
                continue
            fails = outcome == OK and luck < of.window.fails[arm][tick]
            harmed = fails and arm is Arm.TREATMENT and luck >= of.window.fails[Arm.CONTROL][tick]
            out.append((tick, ERROR if fails else outcome, harmed))
        if out:
            yield user, out


def by_loop(of, arm, percentage, first):
    """Return every column of an arm, counted one row at a time."""
    size = TICKS - first
    counts = {name: [0] * size for name in (*NAMES.values(), "units", "error_third_x")}
    for outcome_set in SETS:
        counts |= {f"{outcome_set}_{kind}": [0] * size for kind in ("risk_n", "risk_x", "first_n", "first_x")}
    for _, rows in seen(of, arm, percentage, first):
        counts["units"][rows[0][0] - first] += 1
        failed = [tick for tick, outcome, _ in rows if outcome in BAD[OutcomeSet.ERROR]]
        if len(failed) >= 3:
            counts["error_third_x"][failed[2] - first] += 1
        for tick, outcome, _ in rows:
            counts[NAMES[outcome]][tick - first] += 1
        for outcome_set in SETS:
            is_first, had_bad = True, False
            for tick, outcome, _ in rows:
                if outcome not in TRIALS[outcome_set]:
                    continue
                is_bad = outcome in BAD[outcome_set]
                if is_first:
                    counts[f"{outcome_set}_first_n"][tick - first] += 1
                    counts[f"{outcome_set}_first_x"][tick - first] += is_bad
                    is_first = False
                if not had_bad:
                    counts[f"{outcome_set}_risk_n"][tick - first] += 1
                    counts[f"{outcome_set}_risk_x"][tick - first] += is_bad
                had_bad |= is_bad
    return counts


ROWS = st.lists(
    st.tuples(
        st.sampled_from([f"u{user}" for user in range(6)]),
        st.integers(0, TICKS - 1),
        st.sampled_from([OK, OK, ERROR, TIMEOUT, INVALID]),
    ),
    max_size=40,
)
FAULTS = st.lists(
    st.builds(
        fault,
        arm=st.sampled_from(["treatment", "control", "both"]),
        add=st.sampled_from([0.0, 0.3, 1.0]),
        at=st.integers(0, TICKS - 1).map(lambda tick: tick * TICK),
        for_ms=st.sampled_from([None, TICK, 3 * TICK]),
        shape=st.sampled_from([FaultShape.STEP, FaultShape.RAMP]),
        over_ms=st.just(3 * TICK),
    ),
    max_size=2,
)
PERCENTAGES = st.sampled_from([5.0, 25.0, EVERYONE, 80.0, 100.0])
FIRST = st.integers(0, TICKS)


@settings(max_examples=200)
@given(ROWS, FAULTS, PERCENTAGES, FIRST, st.integers(1, 3), st.integers(0, 5))
def test_every_column_is_what_a_loop_over_the_rows_counts(rows, faults, percentage, first, scale, replicate):
    of = source(rows, *faults, scale=scale, replicate=replicate)
    for arm, counted in zip((Arm.TREATMENT, Arm.CONTROL), columns(of, percentage, first), strict=True):
        for name, expected in by_loop(of, arm, percentage, first).items():
            assert getattr(counted, name).tolist() == expected, name


@settings(max_examples=100)
@given(ROWS, FAULTS, st.lists(st.tuples(PERCENTAGES, FIRST, FIRST), max_size=3), st.integers(1, 3))
def test_the_toll_is_what_a_loop_over_the_rows_counts(rows, faults, stretches, scale):
    of = source(rows, *faults, scale=scale)
    exposures = tuple(
        Exposure(percentage=percentage, first_tick=min(ends), end_tick=max(ends)) for percentage, *ends in stretches
    )
    exposed, harmed, later, excess, since = set(), set(), set(), 0, 0
    for exposure in exposures:
        for user, all_rows in seen(of, Arm.TREATMENT, exposure.percentage, exposure.first_tick):
            for tick, _, is_harmed in all_rows:
                if tick >= exposure.end_tick:
                    continue
                exposed.add(user)
                excess += is_harmed
                if is_harmed:
                    harmed.add(user)
                if of.onset_tick is not None and tick >= of.onset_tick:
                    later.add(user)
                    since += 1
    toll = of.toll(exposures)
    assert (toll.users_exposed, toll.users_harmed, toll.users_since_onset) == (len(exposed), len(harmed), len(later))
    assert (toll.excess, toll.requests_since_onset) == (excess, since)


# ----------------------------------------------------------------------------------------------------------- rows


def test_a_row_belongs_to_the_tick_it_lies_in():
    assert requests(source([("a", 0, OK), ("a", 3, OK), ("b", 3, OK)])) == [1, 0, 0, 2, 0, 0, 0, 0]


def test_rows_before_and_after_the_days_of_the_run_are_left_out():
    assert requests(source([("a", -1, OK), ("a", 7, OK), ("b", 8, OK)])) == [0] * 7 + [1]


def test_a_user_without_rows_in_the_days_of_the_run_is_nobody():
    assert source([("a", 0, OK), ("b", 8, OK)]).window.units == 1


def test_each_outcome_is_counted_under_its_name():
    counted = [columns(source([("a", 0, code)]), 100.0)[0] for code in NAMES]
    assert [[getattr(arm, name)[0] for name in NAMES.values()] for arm in counted] == np.eye(4, dtype=int).tolist()


def test_a_stretch_of_ticks_is_a_part_of_the_whole():
    of = source(MANY)
    for part, whole in zip(columns(of, first=2, begin=4, end=6), columns(of, first=2), strict=True):
        assert part.ok.tolist() == whole.ok[2:4].tolist()


def test_an_entry_at_the_very_end_has_no_ticks():
    assert [len(arm) for arm in columns(source(MANY), first=TICKS)] == [0, 0]


def test_only_the_sets_that_a_policy_counts_are_counted():
    treatment, _ = columns(source(MANY, sets=("error",)))
    assert treatment.error_risk_n is not None
    assert treatment.bad_risk_n is None
    assert treatment.invalid_risk_n is None


def test_the_same_entry_is_counted_once_for_all_policies():
    of = source(MANY)
    assert of.entry(5.0, 3) is of.entry(5.0, 3)


# ---------------------------------------------------------------------------------------------------------- users


def test_a_user_counts_afresh_in_a_new_entry():
    of = source([("a", 0, ERROR), ("a", 4, ERROR)])
    firsts = [columns(of, 100.0, first)[0].error_first_x.tolist() for first in (0, 4)]
    assert firsts == [[1, 0, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0]]


def test_after_the_first_error_a_user_is_no_longer_at_risk():
    treatment, _ = columns(source([("a", 0, OK), ("a", 1, ERROR), ("a", 2, OK), ("a", 3, ERROR)]), 100.0)
    assert treatment.error_risk_n.tolist() == [1, 1, 0, 0, 0, 0, 0, 0]
    assert treatment.error_risk_x.tolist() == [0, 1, 0, 0, 0, 0, 0, 0]


def test_of_validated_outcomes_an_error_is_none():
    treatment, _ = columns(source([("a", 0, ERROR), ("a", 1, INVALID)]), 100.0)
    assert treatment.invalid_first_n.tolist() == [0, 1, 0, 0, 0, 0, 0, 0]
    assert treatment.units.tolist() == [1, 0, 0, 0, 0, 0, 0, 0]


@given(st.integers(0, 20), st.sampled_from([(5.0, 10.0), (10.0, EVERYONE), (1.0, 100.0)]))
def test_raising_the_percentage_takes_the_feature_from_nobody(replicate, percentages):
    of = source(MANY, scale=5, replicate=replicate)
    before, after = (vector.arms_of(of.hashes, percentage) == Arm.TREATMENT for percentage in percentages)
    assert not (before & ~after).any()


# ---------------------------------------------------------------------------------------------------------- scale


@pytest.mark.parametrize("scale", [1, 2, 7])
def test_a_scale_of_k_is_k_times_the_traffic(scale):
    assert requests(source(MANY, scale=scale)) == [scale * count for count in requests(source(MANY))]


def test_copies_of_a_user_are_users_of_their_own():
    of = source([("a", 0, OK)], scale=200)
    treatment, control = columns(of)
    assert treatment.units[0] + control.units[0] == 200
    assert 60 < treatment.units[0] < 140


def test_the_first_copy_keeps_the_ids_of_the_recording():
    one, three = (source(MANY, scale=scale) for scale in (1, 3))
    assert three.hashes[: len(one.hashes)].tolist() == one.hashes.tolist()


# ----------------------------------------------------------------------------------------------------- replicates


def test_between_replicates_the_assignment_changes():
    hashes = [source(MANY, replicate=replicate).hashes.tolist() for replicate in range(3)]
    assert len(set(map(tuple, hashes))) == 3


def test_between_replicates_only_the_assignment_changes():
    mixed = [(user, tick, OK if (tick + place) % 3 else ERROR) for place, (user, tick, _) in enumerate(MANY)]
    sums = []
    for replicate in range(5):
        arms = columns(source(mixed, replicate=replicate))
        sums.append([sum(getattr(arm, name) for arm in arms).tolist() for name in ("ok", "error", "error_risk_n")])
    assert all(one == sums[0] for one in sums)


def test_another_seed_assigns_otherwise():
    assert source(MANY, seed=7).hashes.tolist() != source(MANY, seed=8).hashes.tolist()


def test_the_same_seed_and_replicate_assign_alike_and_fail_alike():
    one, other = (source(MANY, fault(add=0.5), replicate=3) for _ in range(2))
    assert one.hashes.tolist() == other.hashes.tolist()
    assert one.luck().tolist() == other.luck().tolist()


# --------------------------------------------------------------------------------------------------------- faults


def test_a_fault_fails_only_rows_that_were_fine():
    rows = [(f"u{code}", 0, code) for code in NAMES]
    treatment, _ = columns(source(rows, fault(add=1.0)), 100.0)
    counts = [int(getattr(treatment, name)[0]) for name in NAMES.values()]
    assert counts == [0, 2, 1, 1]


def test_a_fault_of_treatment_leaves_control_as_it_was():
    plain, broken = source(MANY), source(MANY, fault("treatment", 1.0))
    assert columns(broken)[1].ok.tolist() == columns(plain)[1].ok.tolist()
    assert columns(broken)[0].ok.sum() == 0


def test_an_ambient_fault_hits_both_arms():
    treatment, control = columns(source(MANY, fault("both", 1.0)))
    assert (treatment.ok.sum(), control.ok.sum()) == (0, 0)


def test_a_fault_begins_with_its_tick():
    treatment, _ = columns(source(MANY, fault(add=1.0, at=4 * TICK)), 100.0)
    assert treatment.error.tolist() == [0, 0, 0, 0, 40, 0, 40, 0]


def test_a_fault_fails_about_its_share():
    treatment, _ = columns(source(MANY, fault(add=0.3), scale=100), 100.0)
    share = treatment.error.sum() / treatment.requests.sum()
    assert share == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 16_000) ** 0.5)


def test_an_ambient_fault_harms_nobody_through_the_feature():
    toll = source(MANY, fault("both", 1.0)).toll((Exposure(percentage=100.0, first_tick=0, end_tick=TICKS),))
    assert (toll.users_exposed, toll.users_harmed, toll.excess) == (40, 0, 0.0)


def test_the_onset_is_the_first_tick_at_which_treatment_fails_more():
    faults = fault("both", 0.5), fault("treatment", 0.1, at=3 * TICK)
    assert source(MANY, *faults).onset_tick == 3


@pytest.mark.parametrize(
    "faults",
    [(), (fault("both"),), (fault("control"),), (fault("both", 1.0), fault("treatment"))],
    ids=["none", "both", "control", "all-fail-anyway"],
)
def test_a_world_in_which_treatment_never_fails_more_has_no_onset(faults):
    assert source(MANY, *faults).onset_tick is None


def test_the_onset_is_the_same_in_all_replicates():
    assert [source(MANY, fault(at=3 * TICK), replicate=replicate).onset_tick for replicate in range(3)] == [3, 3, 3]
