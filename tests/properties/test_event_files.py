"""Events in any order of writing, reading, keeping, joining, sealing and starting anew: always the same answers."""

import itertools
import shutil
import tempfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from phase4.durations import DAY_MS, HOUR_MS
from phase4.store import manifest, observe
from phase4.store.events import EXACT
from tests.unit.store.event_home import ALWAYS, START, EventHome, counts, emit, rows

BEGIN = START + 4 * DAY_MS
MOMENTS = st.integers(0, 60).map(lambda step: START + step * HOUR_MS - 1)
"""Of events: the last ms of an hour, so also just before midnight."""
PLACES = st.lists(st.sampled_from([0, 1, HOUR_MS, DAY_MS - 1, DAY_MS, DAY_MS + 5]), min_size=1, max_size=6)


class Files(RuleBasedStateMachine):
    """Three applications, the collector's hands, and a reader that must always see everything."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.home = EventHome(f"{self.folder}/home", now_ms=BEGIN)
        self.writers = [self.home.writer() for _ in range(3)]
        self.parts = [rows([])]

    def teardown(self):
        self.home.close()
        shutil.rmtree(self.folder)

    @rule(writer=st.integers(0, 2), places=PLACES, base=MOMENTS)
    def write(self, writer, places, base):
        """An application writes some events; its file ends now and then."""
        part = rows(base + np.array(places), source=writer + 1, first_seq=sum(map(len, self.parts)))
        for event in part:
            emit(self.writers[writer], event)
        self.parts.append(part)

    @rule(writer=st.integers(0, 2))
    def end(self, writer):
        """An application ends, and another begins."""
        self.writers[writer].close()
        self.writers[writer] = self.home.writer()

    @rule()
    def collect(self):
        """The collector reads."""
        self.home.collect()

    @rule()
    def flush(self):
        """It writes segments, and removes what is kept twice."""
        self.home.segments.flush(self.home.clock.now())
        self.home.forget()

    @rule(at=st.sampled_from([12, 26, 50, 100]))
    def compact(self, at):
        """It joins what was over at some hour: the days of the events, or only some hours."""
        self.home.segments.compact(START + at * HOUR_MS, 60.0)

    @rule()
    def begin_anew(self):
        """It is killed: what only waited is read again."""
        self.home.begin()

    @rule()
    def let_go(self):
        """What was replaced goes at once."""
        manifest.unlink_retired(self.home.store, BEGIN + DAY_MS, actor="c", request_id="r")

    @invariant()
    def all_events_count_once(self):
        """Every window has what was written of it."""
        events = np.concatenate(self.parts)
        for window in (ALWAYS, (START + 7, START + DAY_MS + 1), (START, START + HOUR_MS)):
            assert self.home.counted(*window) == counts(events, *window)

    @invariant()
    def ranges_have_no_gap(self):
        """What is in files are the first numbers of each source."""
        assert all(len(ranges) == 1 for ranges in manifest.covered(self.home.store).values())


TestFiles = Files.TestCase
TestFiles.settings = settings(max_examples=12, stateful_step_count=14, deadline=None)


@given(split=st.lists(st.integers(0, 400), max_size=4), stage=st.sampled_from(["spool", "segment", "hour", "day"]))
@settings(max_examples=12, deadline=None)
def test_any_split_has_the_percentiles_of_all_rows(split, stage):
    moments = START + np.arange(400) * 3 * 60_000
    events = rows(moments)
    edges = [0, *sorted(split), 400]
    folder = tempfile.mkdtemp()
    home = EventHome(f"{folder}/home", now_ms=BEGIN)
    for low, high in itertools.pairwise(edges):
        writer = home.writer()
        for event in events[low:high]:
            emit(writer, event)
        writer.close()
        if stage != "spool":
            home.collect()
            home.segments.flush(BEGIN)
    if stage in {"hour", "day"}:
        home.segments.compact(START + (22 if stage == "hour" else 50) * HOUR_MS, 60.0)
    table = home.reader.quantiles(*ALWAYS, by=("flag",), qs=(0.0, 0.5, 0.95, 1.0))
    for row in table.rows:
        own = events[(events["flag"] == row.flag) & (events["outcome"] >= 2) & (events["latency_ms"] >= 0)]
        latencies = np.sort(own["latency_ms"].astype(np.float64))
        exact = latencies[[0, -(-len(latencies) // 2) - 1, int(np.ceil(0.95 * len(latencies))) - 1, -1]]
        if table.exactness == EXACT:
            assert row.values_ms == tuple(exact)
        else:
            assert row.values_ms == pytest.approx(tuple(observe.middle_ms(observe.bins(exact))), rel=1e-12)
            assert row.values_ms == pytest.approx(tuple(exact), rel=0.010831)
        assert row.count == len(own)
    home.close()
    shutil.rmtree(folder)
