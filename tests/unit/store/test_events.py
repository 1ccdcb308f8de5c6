"""Questions about events: the same answer wherever they lie, and whoever moves them meanwhile."""

import shutil
import threading
import time

import numpy as np
import polars as pl
import pytest

from phase4.errors import StoreUnavailable
from phase4.store import manifest, retention
from phase4.store.control import ControlStore
from phase4.store.events import EXACT, NEAR, EventReader, Gap
from phase4.store.intake import ROWS
from phase4.store.record import NO_LATENCY, Outcome
from tests.unit.store.event_home import ALWAYS, DAY, HOUR, START, EventHome, counted, counts, emit, rows, spread

BOUND = 0.010831


@pytest.fixture
def home(tmp_path):
    made = EventHome(tmp_path / "home", now_ms=START)
    yield made
    made.close()


def timed(events):
    return events[(events["outcome"] >= Outcome.OK) & (events["latency_ms"] >= 0)]


def sealed(home, events):
    """Put the events into day files."""
    home.keep(events)
    home.compact(at=10 * DAY)
    return home


# ------------------------------------------------------------------------------------------------------------- windows
def test_an_empty_home_has_no_rates(home):
    table = home.reader.rates(*ALWAYS)
    assert (table.rows, table.exactness, table.gaps) == ((), EXACT, ())
    assert home.reader.quantiles(*ALWAYS).rows == ()
    assert home.reader.frame(*ALWAYS).height == 0


def test_a_window_has_its_begin_and_not_its_end(home):
    events = rows([START, START + 1, START + 2])
    home.keep(events)
    assert home.counted(START, START + 2) == counts(events[:2])
    assert home.counted(START + 1, START + 1) == {}


def test_windows_of_any_length_and_place_are_counted_exactly(home):
    events = rows(spread(5000, days=3))
    sealed(home, events)
    random = np.random.default_rng(3)
    for length in (1, 5_000, HOUR, HOUR + 1, 7 * HOUR + 123, DAY, 2 * DAY + 1):
        begin = START + int(random.integers(0, DAY))
        table = home.reader.rates(begin, begin + length)
        assert counted(table) == counts(events, begin, begin + length), length
        assert (table.exactness, table.gaps) == (EXACT, ())


def test_a_long_window_counts_latencies_too(home):
    events = rows(spread(3000, days=1))
    sealed(home, events)
    (row,) = home.reader.rates(*ALWAYS, by=()).rows
    own = timed(events)["latency_ms"].astype(np.float64)
    assert (row.timed, row.min_ms, row.max_ms) == (len(own), own.min(), own.max())
    assert (row.s1, row.s2) == pytest.approx((own.sum(), (own * own).sum()))
    assert (row.flag, row.entry, row.arm) == (None, None, None)


def test_an_hour_has_exact_percentiles_and_a_day_has_them_within_the_bound(home):
    events = rows(spread(20_000))
    sealed(home, events)
    for length, exactness, bound in ((HOUR, EXACT, 1e-9), (5 * HOUR + 77, NEAR, BOUND), (DAY, NEAR, BOUND)):
        begin = START + 3 * HOUR + 5
        table = home.reader.quantiles(begin, begin + length, by=("arm",), qs=(0.5, 0.95, 0.99))
        assert table.exactness == exactness
        for row in table.rows:
            own = timed(events[(events["t_ms"] >= begin) & (events["t_ms"] < begin + length)])
            own = np.sort(own[own["arm"] == row.arm]["latency_ms"].astype(np.float64))
            ranks = [int(np.ceil(q * len(own))) - 1 for q in (0.5, 0.95, 0.99)]
            assert row.count == len(own)
            assert row.values_ms == pytest.approx(own[ranks], rel=bound)


def test_outcomes_without_a_latency_count_and_have_no_percentile(home):
    events = rows(START + np.arange(4))
    events["outcome"], events["latency_ms"] = Outcome.OK, NO_LATENCY
    home.keep(events)
    assert sum(row.ok for row in home.reader.rates(*ALWAYS).rows) == 4
    assert home.reader.quantiles(*ALWAYS).rows == ()


def test_what_is_asked_by_something_else_is_refused(home):
    with pytest.raises(ValueError, match="unit"):
        home.reader.rates(*ALWAYS, by=("unit",))
    for qs in ((), (1.5,), (float("nan"),)):
        with pytest.raises(ValueError, match="between 0 and 1"):
            home.reader.quantiles(*ALWAYS, qs=qs)


# ---------------------------------------------------------------------------------------------------------- spool tails
def test_the_spool_counts_before_the_collector_has_seen_it(home):
    events = rows(START + np.arange(30))
    home.clock.advance(1000)
    writer = home.writer()
    for event in events:
        emit(writer, event)
    assert home.counted() == counts(events)
    home.collect()
    assert home.counted() == counts(events)
    home.segments.flush(home.clock.now())
    assert home.counted() == counts(events)
    emit(writer, events[0])
    assert home.counted().total() == 31


def test_nothing_that_the_collector_would_set_aside_is_counted(home):
    home.clock.advance(1000)
    bad = rows(START + np.arange(8))
    bad["outcome"] = Outcome.OK
    bad["latency_ms"][:3] = [np.nan, np.inf, -2.0]
    bad["flag"][3], bad["entry"][4], bad["arm"][5] = 99, 9, 3
    bad["t_ms"][6] = START + DAY
    writer = home.writer()
    for event in bad:
        emit(writer, event)
    assert home.counted().total() == 1
    home.collect()
    home.segments.flush(home.clock.now())
    assert home.counted().total() == 1
    assert home.reader.frame(*ALWAYS)["latency_ms"].is_finite().all()


def test_a_damaged_spool_file_does_not_stop_the_others(home):
    home.clock.advance(1000)
    (home.folder / "spool" / "00-0.sp").write_text("no spool file")
    writer = home.writer()
    emit(writer, rows([START])[0])
    assert home.counted().total() == 1


# -------------------------------------------------------------------------------------------------------------- reading
def test_a_frame_has_all_events_of_all_places_in_order(home):
    events = rows(spread(500, days=2))
    home.clock.advance(3 * DAY)
    home.keep(events[:400])
    home.compact()
    home.keep(events[400:])
    frame = home.reader.frame(START + HOUR, START + 2 * DAY)
    inside = events[events["t_ms"] >= START + HOUR]
    assert frame.columns == list(ROWS.names)
    assert frame["seq"].to_list() == inside["seq"].tolist()
    assert frame["latency_ms"].dtype == pl.Float32


def test_the_view_of_one_moment_can_be_asked_anything(home):
    events = rows(START + np.arange(100))
    home.keep(events)
    with home.reader.view(*ALWAYS) as connection:
        assert connection.execute("SELECT count(DISTINCT unit) FROM events").fetchall() == [(100,)]


def test_a_folder_may_be_called_anything(tmp_path):
    home = EventHome(tmp_path / "it's [a] home*")
    events = rows(spread(50))
    home.keep(events)
    assert home.counted() == counts(events)
    home.compact(at=10 * DAY)
    assert home.counted() == counts(events)
    home.close()


def test_a_file_that_is_not_in_the_manifest_is_not_read(home):
    home.keep(rows(START + np.arange(10)))
    (file,) = manifest.live(home.store)
    place = home.folder / file.path
    shutil.copy(place, place.with_stem("copy"))
    assert home.counted().total() == 10


def test_a_missing_file_is_an_error_and_no_smaller_number(home):
    home.keep(rows(START + np.arange(10)))
    (file,) = manifest.live(home.store)
    (home.folder / file.path).unlink()
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        home.reader.rates(*ALWAYS)


def test_replaced_day_files_are_closed(home):
    sealed(home, rows(spread(100)))
    assert home.counted().total() == 100
    home.keep(rows([START], first_seq=100))
    home.compact(at=11 * DAY)
    assert home.counted().total() == 101
    assert len(home.reader._attached) == 1


def test_what_retention_dropped_is_a_gap_and_not_a_zero(home):
    events = rows(spread(1000, days=1))
    sealed(home, events)
    retention.apply(home.store, home.home, START + 40 * DAY, 30, 90, 730)
    table = home.reader.rates(START + HOUR, START + 3 * HOUR)
    assert (counted(table), table.gaps) == (counts(events, START + HOUR, START + 3 * HOUR), ())
    table = home.reader.rates(START + HOUR + 1, START + 3 * HOUR)
    assert table.gaps == (Gap(from_ms=START + HOUR + 1, until_ms=START + HOUR + 10_000),)
    assert home.reader.quantiles(START + HOUR, START + 2 * HOUR).exactness == NEAR


# ------------------------------------------------------------------------------------------- while others work on files
class Reading(threading.Thread):
    """Asks without a pause; every answer must lie between what was written before and after the question."""

    def __init__(self, home, written):
        super().__init__()
        self.home, self.written = home, written
        self.is_over = threading.Event()
        self.asked = 0
        self.wrong = []

    def run(self):
        store = ControlStore(self.home.home, self.home.clock.now)
        reader = EventReader(self.home.home, store)
        try:
            while not self.is_over.is_set():
                for ask in (lambda: counted(reader.rates(*ALWAYS)).total(), lambda: reader.frame(*ALWAYS).height):
                    low = self.written[0]
                    found = ask()
                    high = self.written[1]
                    self.asked += 1
                    if not low <= found <= high:
                        self.wrong.append((low, found, high))
                    time.sleep(0.005)  # the writer shares the interpreter
        except Exception as error:  # noqa: BLE001  whatever it is, the test must tell of it
            self.wrong.append(error)
        finally:
            reader.close()
            store.close()


def test_no_reader_ever_counts_wrong_while_files_move(tmp_path):
    home = EventHome(tmp_path / "home", now_ms=START + 5 * DAY)
    moments = np.random.default_rng(1).integers(0, 600_000, 3200)
    events = rows(START + moments + HOUR * np.repeat([0, 6, 12, 30], 800))
    written = [0, 0]
    """Events that are in the spool for certain, and that may be."""
    readers = [Reading(home, written)]
    for reader in readers:
        reader.start()
    for place in range(12):
        part = events[place::12]
        written[1] += len(part)
        writer = home.writer()
        for event in part:
            emit(writer, event)
        writer.close()
        written[0] += len(part)
        home.collect()
        home.segments.flush(home.clock.now())
        home.forget()
        # the first day fills up, is sealed, and gets late events; all that was replaced goes at once
        at = place * 3 * HOUR if place < 10 else 5 * DAY + place * 2 * HOUR
        home.segments.compact(START + at, 60.0)
        manifest.unlink_retired(home.store, START + 90 * DAY, actor="c", request_id=f"u{place}")
    for reader in readers:
        reader.is_over.set()
        reader.join()
    assert [reader.wrong for reader in readers] == [[]]
    assert min(reader.asked for reader in readers) >= 10
    assert home.counted() == counts(events)
    home.close()
