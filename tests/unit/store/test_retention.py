"""Retention: what is old goes, in the order of its detail, and nothing of a live plan."""

import duckdb
import numpy as np
import pytest

from phase4.errors import FenceLost
from phase4.store import manifest, retention
from tests.data.homes.make import CHECKOUT, add_plan, change, new_request_id
from tests.unit.store.event_home import ALWAYS, DAY, START, EventHome, counts, rows, spread


@pytest.fixture
def home(tmp_path):
    made = EventHome(tmp_path / "home")
    yield made
    made.close()


def sealed(home, *, days=1):
    events = rows(spread(600, days=days))
    home.keep(events)
    home.compact(at=(days + 1) * DAY)
    return events


def apply(home, at, **more):
    limits = {"raw_days": 30, "r10_days": 90, "h1_days": 730}
    home.clock.advance(max(0, START + at - home.clock.now()))
    return retention.apply(home.store, home.home, START + at, **limits, **more)


def tables(home):
    (file,) = manifest.live(home.store)
    with duckdb.connect(str(home.folder / file.path), read_only=True) as connection:
        return {row[0] for row in connection.execute("SHOW TABLES").fetchall()}


def live(home):
    return [(file.path, file.has_events) for file in manifest.live(home.store)]


def test_a_young_day_stays_as_it_is(home):
    sealed(home)
    apply(home, 31 * DAY)
    assert live(home) == [("days/2013-11-23-v1.duckdb", True)]


def test_after_raw_days_a_new_version_has_the_rollups_and_no_events(home):
    events = sealed(home)
    assert apply(home, 31 * DAY + 1).raw_days == 1
    assert live(home) == [("days/2013-11-23-v2.duckdb", False)]
    assert tables(home) == {"r10", "h1", "info"}
    assert home.counted(START, START + DAY) == counts(events)
    assert manifest.covered(home.store) == {1: ((1, 0, 600),)}


def test_after_r10_days_only_the_histograms_are_left(home):
    sealed(home)
    apply(home, 40 * DAY)
    assert apply(home, 91 * DAY + 1).r10_days == 1
    assert tables(home) == {"h1", "info"}
    assert home.reader.rates(*ALWAYS).gaps != ()
    assert sum(row.count for row in home.reader.quantiles(*ALWAYS).rows) > 0


def test_after_h1_days_the_day_goes(home):
    sealed(home)
    assert apply(home, 731 * DAY + 1).days == 1
    assert live(home) == []
    home.clock.advance(manifest.GRACE_MS + 1)
    home.compact()
    assert home.files() == []


def test_late_events_of_a_day_without_events_join_its_rollups(home):
    events = sealed(home)
    apply(home, 40 * DAY)
    late = rows(START + np.arange(10), first_seq=600)
    home.keep(late)
    home.compact()
    assert live(home) == [("days/2013-11-23-v3.duckdb", False)]
    assert home.counted(START, START + DAY) == counts(np.concatenate([events, late]))


def test_applied_twice_it_changes_nothing_the_second_time(home):
    sealed(home, days=3)
    apply(home, 40 * DAY)
    before = manifest.version(home.store)
    assert apply(home, 40 * DAY) == retention.Applied(0, 0, 0, 0, 0, 0)
    assert manifest.version(home.store) == before


def test_a_collector_that_was_replaced_drops_nothing(home):
    sealed(home)

    def lost():
        raise FenceLost("another one")

    with pytest.raises(FenceLost):
        apply(home, 40 * DAY, fence_check=lost)
    assert home.files() == home.named()
    assert live(home) == [("days/2013-11-23-v1.duckdb", True)]


def test_a_day_with_events_of_a_live_plans_entry_stays(home):
    events = sealed(home)
    flag = home.store.flag(CHECKOUT)
    assert (events["entry"][events["flag"] == flag.id] == 2).any()
    row = add_plan(home.store)
    enter(home, row.plan_id, 2)
    assert apply(home, 900 * DAY).days == 0
    assert tables(home) == {"events", "r10", "h1", "info"}
    change(home.store, lambda making: making.end_plan(row.plan_id))
    assert apply(home, 901 * DAY).days == 1


def test_a_live_plan_without_events_of_a_day_does_not_keep_it(home):
    sealed(home)
    row = add_plan(home.store)
    enter(home, row.plan_id, 7)
    assert apply(home, 40 * DAY).raw_days == 1


def test_ticks_and_observations_go_after_90_days_but_for_the_last(home):
    for number in range(3):
        tick(home, number, START + number * DAY)
    assert apply(home, 91 * DAY + 1).ticks == 2
    assert kept(home, "tick") == kept(home, "observation") == [2]


def test_all_ticks_since_a_live_plan_was_made_stay(home):
    tick(home, 0, START - 1)
    add_plan(home.store)
    for number in range(1, 4):
        tick(home, number, START + number * DAY)
    assert apply(home, 500 * DAY).ticks == 1
    assert kept(home, "tick") == [1, 2, 3]


def test_an_order_is_known_again_for_30_days(home):
    orders = len(home.store.rows("SELECT 1 FROM command"))
    assert apply(home, 30 * DAY).commands == 0
    assert apply(home, 30 * DAY + 1).commands == orders > 0


def test_quarantine_goes_by_its_day(home):
    folder = home.folder / "quarantine"
    for day in ("2013-11-23", "2013-11-24"):
        (folder / f"{day}.jsonl").write_text("{}\n")
    assert apply(home, 30 * DAY).quarantine_files == 0
    assert apply(home, 31 * DAY).quarantine_files == 1
    assert [path.name for path in folder.iterdir()] == ["2013-11-24.jsonl"]


def enter(home, plan_id, entry):
    """Write that a plan's stage was entered."""
    body = f'{{"entry":{entry},"stage":0}}'
    change(
        home.store,
        lambda making: making.append(plan_id, 1, at_ms=START, kind="stage_entered", body=body, tick=None),
        request_id=new_request_id(),
    )


def tick(home, number, watermark_ms):
    columns = "tick, from_ms, watermark_ms, closed_ms, manifest_version, fence, upto, due, received"
    values = (number, watermark_ms - 1, watermark_ms, watermark_ms, 0, 0, "{}", 0, 0)
    observed = "tick, flag_id, entry, arm, ok, error, timeout, invalid, late, s1, s2, hist, exceed, metrics"

    def work(making):
        making.write(f"INSERT INTO tick({columns}) VALUES ({', '.join('?' * 9)})", *values)
        row = (number, 1, 1, 1, 1, 0, 0, 0, 0, 0.0, 0.0, b"", "{}", "{}")
        making.write(f"INSERT INTO observation({observed}) VALUES ({', '.join('?' * 14)})", *row)

    change(home.store, work)


def kept(home, table):
    return [row[0] for row in home.store.rows(f"SELECT DISTINCT tick FROM {table} ORDER BY tick")]
