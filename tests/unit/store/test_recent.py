"""What has lately been seen of a flag: traffic of all users, how many there are, and failures without the feature."""

import numpy as np
import pytest

from phase4.analysis.observation import OutcomeSet
from phase4.clock import ManualClock
from phase4.durations import DAY_MS, HOUR_MS
from phase4.store import exchange, recent
from phase4.store.mapping import wishes
from tests.data.homes.make import CHECKOUT, SEARCH, create, started
from tests.unit.monitor.live import START, TICK, Live

BAND = 100
"""Users of each arm at 5 %: of 2,000 in all."""
TICKS = 20


@pytest.fixture
def live(home):
    clock = ManualClock(START)
    store = create(home, clock, search=0.0)
    made = Live(store, clock)
    yield made
    made.collector.close()
    made.writer.close()
    store.close()


def visit(live, requests, *, failing=0.0, band=BAND):
    """Let users of both arms at 5 % come by chance, over some ticks; those of control fail at a rate."""
    live.round()
    rng = np.random.default_rng(1)
    for _ in range(TICKS):
        for arm in (1, 2):
            for user in rng.integers(0, band, requests // TICKS).tolist():
                outcome = "error" if arm == 1 and rng.random() < failing else "ok"
                live.emit(arm, outcome, unit=1_000_000 * arm + user, t_ms=live.clock.now() + 1)
        live.round()
    live.round()


def seen(live, flag_key=CHECKOUT):
    return recent.of_flag(live.store, live.store.flag(flag_key), now_ms=live.clock.now())


def test_nothing_was_seen_of_a_flag_that_nobody_asked_for(live):
    live.round()
    assert seen(live) is None
    assert recent.busiest(live.store, now_ms=live.clock.now()) is None
    assert recent.imported(live.store, live.store.flag(CHECKOUT)) is None


def test_traffic_of_all_users_follows_from_that_of_the_two_arms(live):
    started(live.store)
    visit(live, 200)
    found = seen(live)
    assert (found.flag_key, found.origin, found.requests) == (CHECKOUT, "observations", 400)
    took = (found.until_ms - found.from_ms) / DAY_MS
    assert found.requests_per_day == pytest.approx(400 / 0.10 / took)
    assert TICKS * TICK <= found.until_ms - found.from_ms <= (TICKS + 2) * TICK


def test_how_many_users_there_are_follows_from_how_often_they_came_again(live):
    started(live.store)
    visit(live, 200)
    found = seen(live)
    assert found.users_counted < 2 * BAND
    assert found.users == pytest.approx(2_000, rel=0.1)


def test_where_nobody_came_twice_the_number_of_users_is_not_known(live):
    started(live.store)
    visit(live, 100, band=10**9)
    found = seen(live)
    assert (found.users_counted, found.users) == (200, None)


def test_failures_are_those_without_the_feature(live):
    started(live.store)
    visit(live, 400, failing=0.1, band=10**9)
    events, trials = seen(live).rates[OutcomeSet.ERROR]
    assert trials == 400
    assert 0.05 < events / trials < 0.15


def test_an_entry_that_ended_more_than_a_week_ago_says_nothing(live):
    started(live.store)
    visit(live, 40)
    assert seen(live) is not None
    live.clock.advance(8 * DAY_MS)
    assert seen(live) is None


def test_the_busiest_flag_stands_for_all(live):
    started(live.store)
    visit(live, 40)
    assert recent.busiest(live.store, now_ms=live.clock.now()).flag_key == CHECKOUT
    assert seen(live, SEARCH) is None


def test_imported_events_are_taken_for_all_there_were(live, tmp_path):
    lines = [f"2013-11-2{1 + hour // 24}T{hour % 24:02}:00:00Z,user-{hour % 10},ok" for hour in range(40)]
    lines[7] = lines[7].replace(",ok", ",error")
    path = tmp_path / "old.csv"
    path.write_text("\n".join(["time,targeting_key,outcome", *lines]))
    order = exchange.Order(
        wishes=wishes(consts=[f"flag={CHECKOUT}", "arm=control", "latency=-1"]), actor="ana", request_id="bring"
    )
    list(exchange.import_files(live.store, [str(path)], order))
    found = recent.imported(live.store, live.store.flag(CHECKOUT))
    assert (found.origin, found.requests, found.users_counted) == ("imported", 40, 10)
    assert found.requests_per_day == pytest.approx(40 / (39 * HOUR_MS) * DAY_MS)
    assert found.rates[OutcomeSet.ERROR] == (1, 40)
    assert found.users == pytest.approx(10, rel=0.05)
    assert recent.imported(live.store, live.store.flag(SEARCH)) is None
