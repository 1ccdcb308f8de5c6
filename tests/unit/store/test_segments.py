"""Segments, hours, days: every event in exactly one file, whatever happens in between."""

import json
import subprocess
import sys

import duckdb
import numpy as np
import polars as pl
import pytest

from phase4.errors import FenceLost, InvariantViolation, StoreDamaged, WriteFailed
from phase4.store import manifest, segments
from phase4.store.intake import ROWS
from phase4.store.segments import MOST_SEGMENTS, SEGMENT_MS, SEGMENT_ROWS
from tests.unit.store.event_home import DAY, HOUR, START, EventHome, counts, emit, rows, spread


@pytest.fixture
def home(tmp_path):
    made = EventHome(tmp_path / "home")
    yield made
    made.close()


def tiers(home):
    return [file.tier for file in manifest.live(home.store)]


def paths(home):
    return [file.path for file in manifest.live(home.store)]


def hourly(home, hours, *, each=50):
    """Keep one segment for each hour; return all rows."""
    parts = []
    for hour in hours:
        part = rows(START + hour * HOUR + np.arange(each), first_seq=each * len(parts))
        home.keep(part)
        parts.append(part)
    return np.concatenate(parts)


# ------------------------------------------------------------------------------------------------------------ segments
def test_rows_wait_until_they_are_many_or_old(home):
    home.segments.add(rows(spread(10)), 1, 0, 10)
    assert home.segments.flush_due(START + SEGMENT_MS - 1) == {}
    assert home.segments.flush_due(START + SEGMENT_MS) == {1: 10}
    home.segments.add(rows(spread(SEGMENT_ROWS), first_seq=10), 1, 10, 10 + SEGMENT_ROWS)
    assert home.segments.flush_due(START) == {1: 10 + SEGMENT_ROWS}
    assert home.segments.waiting == 0


def test_a_segment_is_a_sorted_parquet_file_with_all_columns(home):
    events = rows(spread(200)[::-1])
    home.keep(events)
    (file,) = manifest.live(home.store)
    place = home.folder / file.path
    frame = pl.read_parquet(place)
    assert frame.columns == list(ROWS.names)
    assert frame["t_ms"].is_sorted()
    assert frame.height == file.rows == 200
    assert (file.min_ms, file.max_ms) == (events["t_ms"].min(), events["t_ms"].max())
    assert (file.size, place.stat().st_mode & 0o777) == (place.stat().st_size, 0o600)


def test_what_goes_in_comes_out(home):
    events = rows(spread(300))
    home.keep(events)
    frame = home.reader.frame(0, START + DAY)
    for name in ROWS.names:
        assert np.array_equal(frame[name].to_numpy(), events[name]), name


def test_every_utc_day_has_a_file_of_its_own(home):
    events = rows([START + DAY - 1, START + DAY])
    home.keep(events)
    assert [path.split("/")[1] for path in paths(home)] == ["2013-11-23", "2013-11-24"]
    assert home.counted() == counts(events)


def test_numbers_that_were_set_aside_are_used_up(home):
    events = rows(spread(10))
    assert home.keep(events[[0, 1, 5, 9]], end_seq=12) == {1: 12}
    home.segments.add(events, 1, 0, 10)
    assert home.segments.waiting == 0


def test_numbers_without_any_row_wait_for_the_next_file(home):
    home.segments.add(rows([]), 2, 0, 5)
    assert home.segments.flush(START) == {}
    assert home.keep(rows([START])) == {1: 1, 2: 5}


def test_reading_the_same_again_adds_nothing(home):
    events = rows(spread(100))
    home.keep(events[:60])
    home.begin()
    home.segments.add(events, 1, 0, 100)
    assert home.segments.waiting == 40
    home.segments.add(events, 1, 0, 100)
    home.segments.flush(START)
    assert home.counted() == counts(events)


def test_a_collector_that_was_replaced_writes_nothing_and_leaves_nothing(home):
    events = rows(spread(10))
    has_lost = []

    def check():
        if has_lost:
            raise FenceLost("another one")

    home.segments = segments.Segments(home.home, home.store, check)
    home.segments.add(events, 1, 0, 10)
    has_lost.append(True)
    with pytest.raises(FenceLost):
        home.segments.flush(START)
    assert home.files() == []
    assert home.segments.waiting == 10
    with pytest.raises(FenceLost):
        segments.Segments(home.home, home.store, check)


def test_a_spool_file_may_go_when_it_is_finished_kept_and_observed(home):
    writer = home.writer()
    for event in rows(START + np.arange(5)):
        emit(writer, event)
    home.clock.advance(DAY)
    home.collect()
    (file,) = home.spool.files.values()
    assert not home.segments.may_forget(file, 1, 5)  # the application still writes
    writer.close()
    home.collect()
    assert not home.segments.may_forget(file, 1, 5)  # in no file yet
    home.segments.flush(START)
    assert not home.segments.may_forget(file, 1, 4)  # one event is not observed yet
    assert home.segments.may_forget(file, 1, 5)


# ---------------------------------------------------------------------------------------------------------- compaction
def test_hours_that_are_over_become_hour_files(home):
    events = hourly(home, range(5))
    done = home.compact(at=4 * HOUR)
    assert done.hours == 3
    assert tiers(home).count("hour") == 9
    assert tiers(home).count("segment") == 2
    assert home.counted() == counts(events)


def test_an_hour_is_not_joined_before_its_late_events_came(home):
    hourly(home, [0])
    assert home.compact(at=2 * HOUR - 1).hours == 0
    assert home.compact(at=2 * HOUR).hours == 1


def test_late_events_of_an_hour_wait_for_the_next_hour_and_make_a_new_version(home):
    events = hourly(home, [0])
    home.compact(at=2 * HOUR)
    late = rows([START + 5], first_seq=50)
    home.keep(late)
    assert home.compact(at=2 * HOUR + 1).hours == 0
    assert home.compact(at=3 * HOUR).hours == 1
    assert paths(home)[0] == "hours/2013-11-23T00-v2.events.parquet"
    assert home.counted() == counts(np.concatenate([events, late]))


def test_too_many_segments_are_joined_before_their_hour_is_over(home):
    events = rows(START + np.arange(MOST_SEGMENTS + 1))
    for place in range(len(events)):
        home.keep(events[place : place + 1])
    assert home.compact(at=1000).hours == 1
    assert set(tiers(home)) == {"hour"}
    assert home.counted() == counts(events)


def test_a_day_that_is_over_becomes_one_file(home):
    events = hourly(home, [0, 1, 12, 23])
    home.compact(at=3 * HOUR)
    assert home.compact(at=25 * HOUR - 1).days == 0
    assert home.compact(at=25 * HOUR).days == 1
    assert paths(home) == ["days/2013-11-23-v1.duckdb"]
    assert home.counted() == counts(events)


def test_a_day_file_has_events_rollups_and_what_it_is(home):
    hourly(home, [0, 5])
    home.compact(at=25 * HOUR)
    with duckdb.connect(str(home.folder / paths(home)[0]), read_only=True) as connection:
        assert {row[0] for row in connection.execute("SHOW TABLES").fetchall()} == {"events", "r10", "h1", "info"}
        (info,) = connection.execute("SELECT * FROM info").fetchall()
    assert info == (1, START // DAY, 1, 100, START, START + 5 * HOUR + 49)


def test_late_events_of_a_sealed_day_make_its_next_version(home):
    events = hourly(home, [0])
    home.compact(at=25 * HOUR)
    late = rows([START + 7], first_seq=50)
    home.keep(late)
    assert home.compact(at=25 * HOUR + 1).days == 0  # it was sealed just now: others may come
    assert home.counted() == counts(np.concatenate([events, late]))
    assert home.compact(at=26 * HOUR).days == 1
    assert paths(home) == ["days/2013-11-23-v2.duckdb"]
    assert home.counted() == counts(np.concatenate([events, late]))


def test_no_step_begins_after_the_budget(home):
    hourly(home, [0])
    done = home.segments.compact(START + 30 * HOUR, 0.0)
    assert (done.days, done.is_done) == (0, False)


def test_ranges_are_joined_and_none_is_lost(home):
    hourly(home, [0, 1, 2])
    home.keep(rows([START + DAY - 1, START + DAY], first_seq=150), end_seq=160)
    for at in (4 * HOUR, 25 * HOUR, 49 * HOUR):
        home.compact(at=at)
        assert manifest.covered(home.store) == {1: ((1, 0, 160),)}


def test_replaced_files_go_after_ten_minutes(home):
    hourly(home, [0])
    home.compact(at=25 * HOUR)
    assert len(home.files()) == 2
    assert home.compact(at=25 * HOUR + manifest.GRACE_MS + 1).unlinked == 1
    assert home.files() == home.named() == ["days/2013-11-23-v1.duckdb"]


def test_a_file_that_was_changed_behind_our_back_is_not_thrown_away(home):
    hourly(home, [0])
    (file,) = manifest.live(home.store)
    events = segments.events_of(home.home, [file], {})
    with duckdb.connect() as connection, pytest.raises(InvariantViolation, match="50 events were read and 49"):
        segments.compare(connection, events, f"{events} WHERE seq > 0")


def test_the_comparison_sees_one_changed_value_and_one_row_twice(home):
    hourly(home, [0])
    (file,) = manifest.live(home.store)
    events = segments.events_of(home.home, [file], {})
    changed = f"SELECT * REPLACE (CASE seq WHEN 3 THEN bucket + 1 ELSE bucket END AS bucket) FROM ({events})"
    twice = f"SELECT * REPLACE (CASE seq WHEN 3 THEN 4 ELSE seq END AS seq) FROM ({events})"
    with duckdb.connect() as connection:
        segments.compare(connection, events, f"SELECT * FROM ({events}) ORDER BY unit")
        for wrong in (changed, twice):
            with pytest.raises(InvariantViolation):
                segments.compare(connection, events, wrong)


def test_a_name_that_is_taken_is_never_written_over(home):
    hourly(home, [0])
    place = home.folder / "days" / "2013-11-23-v1.duckdb"
    place.write_text("another collector's")
    with pytest.raises(WriteFailed, match="cannot be written"):
        home.compact(at=25 * HOUR)
    assert place.read_text() == "another collector's"
    assert tiers(home) == ["segment"]


def test_a_missing_segment_stops_the_compaction_and_changes_nothing(home):
    hourly(home, [0])
    (home.folder / paths(home)[0]).unlink()
    before = manifest.version(home.store)
    with pytest.raises(StoreDamaged, match="is in the manifest and not there"):
        home.compact(at=25 * HOUR)
    assert manifest.version(home.store) == before
    assert home.files() == []


# ------------------------------------------------------------------------------------------------------------- kill -9
CHILD = """
import json, os, sys
from phase4.clock import ManualClock
from phase4.store.control import ControlStore
from tests.unit.store.event_home import EventHome

def run(home, what, step, times, now_ms):
    passed = []

    def at(name):
        passed.append(name)
        if passed.count(step) == times:
            os._exit(9)

    made = EventHome.__new__(EventHome)
    made.folder, made.home, made.clock = None, home, ManualClock(now_ms)
    made.store = ControlStore(home, made.clock.now)
    made.begin(crash_points=at)
    made.collect()
    if what == "flush":
        made.segments.flush(now_ms)
    else:
        made.segments.compact(now_ms, 60.0)

for arguments in json.load(sys.stdin):
    # nothing has begun a thread yet, so a fork is as good as a new process, and ten times as quick
    child = os.fork()
    if child == 0:
        try:
            run(*arguments)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9, arguments
"""
POINTS = [
    ("flush", "segment written", 1, 2 * DAY),
    ("flush", "segment written", 2, 2 * DAY),
    ("flush", "segments published", 1, 2 * DAY),
    ("flush", "segments committed", 1, 2 * DAY),
    ("compact", "hour written", 1, 5 * HOUR),
    ("compact", "hour written", 2, 5 * HOUR),
    ("compact", "hours compared", 1, 5 * HOUR),
    ("compact", "hours published", 1, 5 * HOUR),
    ("compact", "hours committed", 1, 5 * HOUR),
    ("compact", "day written", 1, 26 * HOUR),
    ("compact", "day compared", 1, 26 * HOUR),
    ("compact", "day published", 1, 26 * HOUR),
    ("compact", "day committed", 1, 26 * HOUR),
    ("compact", "retired", 1, 26 * HOUR),
]
EVENTS = rows(np.array([START + hour * HOUR + i for hour in (0, 1, 23, 24) for i in range(20)]))


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Give one home for each point, whose writer was killed there."""
    homes = [with_events(tmp_path_factory.mktemp("killed") / "home", what) for what, *_ in POINTS]
    orders = [
        [home.home, what, step, times, START + at] for home, (what, step, times, at) in zip(homes, POINTS, strict=True)
    ]
    command = [sys.executable, "-c", CHILD]
    done = subprocess.run(command, check=False, input=json.dumps(orders), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    yield dict(zip(POINTS, homes, strict=True))
    for home in homes:
        home.close()


def with_events(folder, what):
    """Return a home with the events in the spool, or in segments."""
    home = EventHome(folder)
    if what == "flush":
        writer = home.writer()
        for event in EVENTS:
            emit(writer, event)
        writer.close()
    else:
        for hour in range(4):
            home.keep(EVENTS[20 * hour : 20 * (hour + 1)])
    return home


@pytest.mark.parametrize("point", POINTS, ids=lambda point: f"{point[1]}-{point[2]}")
def test_killed_at_any_step_every_event_counts_once(killed, point):
    home = killed[point]
    home.clock.advance(3 * DAY)
    assert home.counted() == counts(EVENTS)
    home.begin()
    assert home.files() == home.named()
    home.collect()
    home.segments.flush(home.clock.now())
    home.forget()
    assert list((home.folder / "spool").iterdir()) == []
    assert home.counted() == counts(EVENTS)
    home.compact()
    assert set(tiers(home)) == {"day"}
    assert home.counted() == counts(EVENTS)
