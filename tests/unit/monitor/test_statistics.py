"""What was counted, arm by arm: rates with interval and denominator, None where there is none."""

import numpy as np
import pytest

from phase4.analysis.observation import Observation
from phase4.clock import ManualClock
from phase4.monitor.statistics import P95_ERROR, ArmTotals, Rate, of_flag, totals
from phase4.store import observe
from tests.data.homes.make import SEARCH, create
from tests.unit.monitor.live import START, Live


def row(latencies=(), **counts):
    timed = np.asarray(latencies, np.float64)
    return Observation(
        tick=0, flag_id=1, entry=0, arm=2, s1=float(timed.sum()), hist=observe.histogram(timed), **counts
    )


def test_a_rate_without_a_denominator_is_none_and_no_number():
    assert Rate(0, 0).to_json() == {"value": None, "low": None, "high": None, "events": 0, "of": 0}


def test_a_rate_has_its_wilson_interval():
    found = Rate(5, 100).to_json()
    assert (found["value"], found["events"], found["of"]) == (0.05, 5, 100)
    # computed by hand: (x + z²/2 ± z sqrt(x(n-x)/n + z²/4)) / (n + z²), z = 1.959964
    assert (found["low"], found["high"]) == (pytest.approx(0.021543, abs=1e-6), pytest.approx(0.111750, abs=1e-6))


@pytest.mark.parametrize(("events", "edge"), [(0, "low"), (10, "high")])
def test_none_of_some_and_all_of_some_are_at_the_edge(events, edge):
    assert Rate(events, 10).to_json()[edge] == pytest.approx(events / 10)


def test_nothing_counted_has_no_latency_and_no_rate():
    empty = totals([])
    assert empty == ArmTotals(0, 0, 0, 0, 0, 0, 0, None, None)
    told = empty.to_json()
    assert all(told[name]["value"] is None for name in ("error_rate", "success_rate", "invalid_rate"))


def test_sums_are_over_all_rows():
    found = totals([row(ok=3, error=1, units=2), row(ok=2, timeout=1, invalid=4, late=1)])
    assert (found.users, found.ok, found.error, found.timeout, found.invalid, found.late) == (2, 5, 1, 1, 4, 1)
    told = found.to_json()
    assert told["requests"] == 11
    assert (told["error_rate"]["events"], told["error_rate"]["of"]) == (2, 11)
    assert (told["success_rate"]["events"], told["success_rate"]["of"]) == (5, 11)
    assert (told["invalid_rate"]["events"], told["invalid_rate"]["of"]) == (4, 9)


def test_the_mean_is_exact_and_the_percentile_within_its_error():
    random = np.random.default_rng(1)
    latencies = random.lognormal(3.0, 1.0, 5_000)
    found = totals([row(latencies[:2_000]), row(latencies[2_000:])])
    assert found.timed == 5_000
    assert found.mean_ms == pytest.approx(latencies.mean())
    exact = np.sort(latencies)[int(np.ceil(0.95 * 5_000)) - 1]
    assert abs(found.p95_ms / exact - 1) <= P95_ERROR


def test_one_latency_is_its_own_percentile():
    assert totals([row([20.0], ok=1)]).p95_ms == pytest.approx(20.0, rel=P95_ERROR)


def test_arms_and_entries_are_told_apart(home):
    clock = ManualClock(START)
    store = create(home, clock)
    live = Live(store, clock)
    try:
        for arm, entry, word in ((2, 0, "ok"), (1, 0, "error")):
            live.emit(arm, word, flag_key=SEARCH, entry=entry)
        live.round()
        live.round()
        flag = store.flag(SEARCH)
        found = of_flag(store, flag)
        assert {name: (arm.ok, arm.error) for name, arm in found.items()} == {"treatment": (1, 0), "control": (0, 1)}
        assert of_flag(store, flag, entry=0) == found
        assert of_flag(store, flag, entry=1)["treatment"].requests == 0
    finally:
        live.collector.close()
        live.writer.close()
        store.close()
