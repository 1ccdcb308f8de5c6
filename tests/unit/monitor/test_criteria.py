"""The guide's five success criteria: each as pass, fail and unknown, and never pass for what is not known."""

import math

import pytest

from phase4.analysis.specs import RateGuardrail
from phase4.analysis.verdict import Assessment, Reason, Role, Unit, Verdict
from phase4.clock import ManualClock
from phase4.ids import new_uuid7
from phase4.monitor import criteria
from phase4.monitor.coverage import Coverage
from phase4.monitor.criteria import SEEN_MS, Judged, Status
from phase4.store import ticks
from tests.data.homes.make import SEARCH, START, change, create, plan

NOTHING = Coverage(0, 0, 0, 0, 0, 0)
FULL = Coverage(0, 0, 10, 10, 0, 0)
DAY = 86_400_000


@pytest.fixture
def clock():
    return ManualClock(START)


@pytest.fixture
def store(home, clock):
    made = create(home, clock)
    yield made
    made.close()


def evaluator(store, started_ms, served=(), closed_ms=None):
    """Make a process known with the (version, time) that it noted."""

    def work(making):
        about = {"kind": "process", "pid": 1, "boot_id": "b", "host": "h"}
        number = ticks.source_id(making, new_uuid7(started_ms), started_ms=started_ms, **about)
        for version, at_ms in served:
            making.write("INSERT INTO served VALUES (?, ?, ?)", number, version, at_ms)
        making.write("UPDATE source SET closed_ms = ? WHERE id = ?", closed_ms, number)

    change(store, work)


def toggle(store, action="flag_enabled"):
    """Switch a flag at the store's time; return the version that this made."""
    change(store, lambda making: making.set_flag(store.flag(SEARCH), action, None))
    return store.version


def five(store, *, plans=(), coverage=NOTHING, until_ms=START + DAY, target=0.99):
    return criteria.all_of(store, plans, coverage, target=target, until_ms=until_ms)


def status(store, place, **more):
    return five(store, **more)[place].status


def answer(verdict, guardrail="error_rate", estimate=0.003):
    return Assessment(
        guardrail=guardrail,
        role=Role.GUARD,
        unit=Unit.USER,
        verdict=verdict,
        reason=Reason.EVIDENCE,
        log_e_fail=0.0,
        log_e_pass=None,
        p_value=1.0,
        estimate=estimate,
        alpha=0.01,
        beta=0.05,
        units=1_000,
        units_control=None,
        first_crossed_tick=None,
    )


def judged(*answers, stage=1, wanted=None):
    return Judged(plan=wanted or plan(), stages=((stage, answers),))


# --------------------------------------------------------------------------------------------- all
def test_a_fresh_home_reports_five_unknowns_with_a_reason_and_no_number(store):
    found = five(store)
    assert [(each.status, each.measured) for each in found] == [(Status.UNKNOWN, None)] * 5
    assert all(each.why for each in found)


def test_a_criterion_in_json_is_plain(store):
    assert five(store)[3].to_json() == {
        "name": "coverage >= 99%",
        "status": "unknown",
        "measured": None,
        "why": "nothing was expected",
    }


# --------------------------------------------------------------------------------------------- without restart
RESTART, TEN, IMPACT, COVERAGE, FAST = range(5)


@pytest.fixture
def switched(store, clock):
    """Return the version of a toggle an hour after the start."""
    clock.advance(3_600_000)
    return toggle(store)


AT = START + 3_600_000


def test_a_toggle_that_every_running_process_served_passes(store, switched):
    for _ in range(2):
        evaluator(store, START, [(1, START), (switched, AT + 5)])
    assert status(store, RESTART) is Status.PASS


def test_a_later_version_served_is_that_toggle_served(store, switched):
    evaluator(store, START, [(switched + 3, AT + 5)])
    assert status(store, RESTART) is Status.PASS


def test_a_process_alive_a_minute_later_that_has_not_seen_it_fails(store, switched):
    evaluator(store, START, [(switched, AT + 5)])
    evaluator(store, START, [(1, START)])
    assert status(store, RESTART, until_ms=AT + SEEN_MS) is Status.FAIL


def test_before_the_minute_is_over_nothing_has_failed(store, switched):
    evaluator(store, START, [(1, START)])
    assert status(store, RESTART, until_ms=AT + SEEN_MS - 1) is Status.UNKNOWN


def test_what_was_served_only_after_the_minute_has_failed_too(store, switched):
    evaluator(store, START, [(1, START), (switched, AT + SEEN_MS + 1)])
    assert status(store, RESTART) is Status.FAIL


def test_a_process_that_ended_within_the_minute_says_nothing(store, switched):
    evaluator(store, START, [(1, START)], closed_ms=AT + SEEN_MS)
    assert status(store, RESTART) is Status.UNKNOWN
    assert switched


def test_a_process_that_started_after_the_toggle_says_nothing(store, switched):
    evaluator(store, AT, [(switched, AT + 5)])
    assert status(store, RESTART) is Status.UNKNOWN


def test_without_a_toggle_it_is_unknown(store):
    evaluator(store, START - 1, [(1, START)])
    assert status(store, RESTART) is Status.UNKNOWN


# --------------------------------------------------------------------------------------------- 10 %
@pytest.mark.parametrize(
    ("verdict", "wanted"),
    [
        (Verdict.PASS, Status.PASS),
        (Verdict.FAIL, Status.FAIL),
        (Verdict.INCONCLUSIVE, Status.UNKNOWN),
        (Verdict.NO_DATA, Status.UNKNOWN),
    ],
)
def test_the_error_guardrail_of_the_ten_percent_stage_decides(store, verdict, wanted):
    assert status(store, TEN, plans=[judged(answer(verdict))]) is wanted


def test_the_rate_it_rests_on_is_told_and_none_without_data(store):
    found = five(store, plans=[judged(answer(Verdict.PASS))])[TEN]
    assert found.measured == {"checkout.1": 0.003}
    found = five(store, plans=[judged(answer(Verdict.NO_DATA, estimate=math.nan))])[TEN]
    assert found.measured == {"checkout.1": None}


@pytest.mark.parametrize("case", [judged(answer(Verdict.PASS), stage=0), judged(answer(Verdict.PASS, "emergency"))])
def test_another_stage_or_guardrail_says_nothing_of_it(store, case):
    assert status(store, TEN, plans=[case]) is Status.UNKNOWN


def test_a_stage_held_against_more_than_one_percent_says_nothing_of_it(store):
    specs = (RateGuardrail(name="error_rate", limit=0.02),)
    lax = plan()
    lax = type(lax)(**{name: getattr(lax, name) for name in lax.__slots__} | {"guardrails": (specs,) * 3})
    assert status(store, TEN, plans=[judged(answer(Verdict.PASS), wanted=lax)]) is Status.UNKNOWN


def test_one_flag_that_failed_fails_it_for_all(store):
    cases = [judged(answer(Verdict.PASS)), judged(answer(Verdict.FAIL), wanted=plan(SEARCH))]
    assert status(store, TEN, plans=cases) is Status.FAIL


def test_one_flag_that_is_not_decided_leaves_it_unknown(store):
    cases = [judged(answer(Verdict.PASS)), judged(answer(Verdict.INCONCLUSIVE), wanted=plan(SEARCH))]
    assert status(store, TEN, plans=cases) is Status.UNKNOWN


def test_a_stage_that_was_begun_anew_is_judged_by_its_last_entry(store):
    again = Judged(plan=plan(), stages=((1, (answer(Verdict.INCONCLUSIVE),)), (1, (answer(Verdict.PASS),))))
    assert status(store, TEN, plans=[again]) is Status.PASS


# --------------------------------------------------------------------------------------------- impact
@pytest.mark.parametrize(
    ("verdicts", "wanted"),
    [
        ([Verdict.PASS], Status.PASS),
        ([Verdict.PASS, Verdict.FAIL], Status.FAIL),
        ([Verdict.PASS, Verdict.NO_DATA], Status.UNKNOWN),
        ([Verdict.INCONCLUSIVE], Status.UNKNOWN),
        ([], Status.UNKNOWN),
    ],
)
def test_the_latency_against_concurrent_control_decides(store, verdicts, wanted):
    cases = [judged(answer(verdict, "latency_p95")) for verdict in verdicts]
    assert status(store, IMPACT, plans=cases) is wanted


# --------------------------------------------------------------------------------------------- coverage
@pytest.mark.parametrize(
    ("observed", "wanted"), [(99, Status.PASS), (98, Status.FAIL), (100, Status.PASS), (0, Status.FAIL)]
)
def test_coverage_at_the_target_passes_and_below_it_fails(store, observed, wanted):
    found = five(store, coverage=Coverage(0, 0, observed, 100, 0, 0))[COVERAGE]
    assert (found.status, found.measured) == (wanted, observed / 100)


@pytest.mark.parametrize(("target", "name"), [(0.995, "coverage >= 99.5%"), (0.99, "coverage >= 99%")][:1])
def test_the_target_is_named_as_it_is(store, target, name):
    assert five(store, target=target)[COVERAGE].name == name


# --------------------------------------------------------------------------------------------- within 1 s
def toggles(store, clock, took):
    """Switch a flag so often, each seen by one process after so many ms."""
    evaluator(store, START - 1, [(1, START)])
    for ms in took:
        clock.advance(120_000)
        version, at_ms = toggle(store), store.now()
        change(
            store,
            lambda making, v=version, t=at_ms + ms: making.write("INSERT INTO served VALUES (1, ?, ?)", v, t),
        )


@pytest.mark.parametrize(
    ("took", "wanted"),
    [
        ([999] * 3, Status.PASS),
        ([999, 1_000], Status.FAIL),
        ([1_000, *[5] * 18], Status.FAIL),
        ([1_000, *[5] * 19], Status.PASS),
        ([1_000, 1_000, *[5] * 18], Status.FAIL),
        ([], Status.UNKNOWN),
    ],
)
def test_few_toggles_are_all_within_a_second_and_of_twenty_nineteen_are(store, clock, took, wanted):
    toggles(store, clock, took)
    assert status(store, FAST) is wanted


def test_the_slowest_and_the_95th_percentile_are_told(store, clock):
    toggles(store, clock, [*range(1, 20), 700])
    assert five(store)[FAST].measured == {"p95_ms": 19, "slowest_ms": 700}


@pytest.mark.parametrize("action", ["flag_disabled", "emergency", "stage_entered", "rolled_back", "percentage_set"])
def test_every_change_of_who_has_a_feature_is_a_toggle(store, clock, action):
    clock.advance(3_600_000)
    evaluator(store, START, [(toggle(store, action), store.now() + 1)])
    assert [status(store, place) for place in (RESTART, FAST)] == [Status.PASS] * 2
