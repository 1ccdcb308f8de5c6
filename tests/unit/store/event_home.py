"""A home with events: written through the spool as applications do; read, kept and counted as the collector does."""

import socket
from collections import Counter
from pathlib import Path

import numpy as np

from phase4.clock import ManualClock
from phase4.durations import DAY_MS, HOUR_MS
from phase4.ids import new_id
from phase4.store import intake, ticks
from phase4.store.events import EventReader
from phase4.store.intake import ROWS, Known, Spool
from phase4.store.record import NO_LATENCY, Outcome
from phase4.store.segments import Segments
from phase4.store.spool import SpoolWriter
from tests.data.homes.make import START, change, create

ALWAYS = (0, START + 400 * DAY_MS)


def unfenced():
    """Let everybody write."""


def rows(t_ms, *, source=1, first_seq=0, seed=0):
    """Return events at these times, with everything else drawn."""
    random = np.random.default_rng([seed, source, first_seq])
    count = len(t_ms)
    found = np.zeros(count, ROWS)
    found["t_ms"] = t_ms
    found["unit"] = random.integers(0, 2**63, count, np.uint64) * 2 + 1
    found["seq"] = first_seq + np.arange(count)
    found["arrived_ms"] = START
    found["flag"] = random.integers(1, 3, count)
    found["entry"] = random.integers(0, 3, count)
    found["arm"] = random.integers(1, 3, count)
    found["outcome"] = random.integers(1, 6, count)
    found["source"] = source
    latency = random.lognormal(3.0, 1.0, count).astype(np.float32)
    has_none = (found["outcome"] == Outcome.EXPOSURE) | (random.random(count) < 0.1)
    found["latency_ms"] = np.where(has_none, np.float32(NO_LATENCY), latency)
    return found


def counts(events, from_ms=None, until_ms=None):
    """Return (flag, entry, arm, outcome) -> how many, of rows: the oracle."""
    low, high = ALWAYS if from_ms is None else (from_ms, until_ms)
    inside = events[(events["t_ms"] >= low) & (events["t_ms"] < high)]
    return Counter(zip(*(inside[name].tolist() for name in ("flag", "entry", "arm", "outcome")), strict=True))


def counted(table):
    """Return the same of an answer."""
    found = Counter()
    for row in table.rows:
        for code, name in enumerate(("exposed", "ok", "error", "timeout", "invalid"), 1):
            if getattr(row, name):
                found[row.flag, row.entry, row.arm, code] = getattr(row, name)
    return found


class EventHome:
    """A home, its files' only writer, and a reader."""

    def __init__(self, folder, *, now_ms=START):
        self.clock = ManualClock(now_ms)
        self.folder, self.home = Path(folder), str(folder)
        self.store = create(self.home, self.clock)
        change(self.store, lambda making: making.write("UPDATE flag SET entries = 2"))
        self.begin()
        self.reader = EventReader(self.home, self.store)

    def begin(self, **more):
        """Start the writer anew, as after a kill."""
        self.spool = Spool(self.home)
        self.segments = Segments(self.home, self.store, unfenced, **more)

    def close(self):
        self.reader.close()
        self.store.close()

    def writer(self):
        """Return the spool of one more application."""
        return SpoolWriter(self.home, self.clock.now)

    def collect(self):
        """Read what is new in the spool, and let it wait for a file; return how many records were read."""
        known = Known({flag.id: flag.entries for flag in self.store.flags()}, self.clock.now())
        read = 0
        for batch in self.spool.read():
            source = self.source(batch.file.header.uuid)
            good, _ = intake.rows_of(batch, source, known)
            self.segments.add(good, source, batch.first_seq, batch.first_seq + len(batch.records))
            read += len(batch.records)
        return read

    def source(self, uuid):
        """Return the number of a source."""
        found = []

        def work(making):
            values = {"kind": "process", "pid": 1, "boot_id": "", "started_ms": START, "host": socket.gethostname()}
            found.append(ticks.source_id(making, uuid, **values))
            return {}

        self.store.execute("source", {}, work, actor="test", request_id=new_id())
        return found[0]

    def forget(self):
        """Remove the spool files that are needed no more."""
        for path, file in list(self.spool.files.items()):
            if self.segments.may_forget(file, self.source(file.header.uuid), file.end_seq):
                self.spool.forget(path)

    def keep(self, events, *, source=1, end_seq=None):
        """Write rows to segments at once."""
        first = int(events["seq"][0])
        self.segments.add(events, source, first, int(events["seq"][-1]) + 1 if end_seq is None else end_seq)
        return self.segments.flush(self.clock.now())

    def compact(self, *, at=None):
        """Compact, `at` ms after the start of the first day."""
        if at is not None:
            self.clock.advance(max(0, START + at - self.clock.now()))
        return self.segments.compact(self.clock.now(), 60.0)

    def files(self):
        """Return the paths of all files that lie in the folders of events, and of those half written."""
        found = [path for name in ("segments", "hours", "days", "tmp") for path in (self.folder / name).rglob("*")]
        return sorted(str(path.relative_to(self.folder)) for path in found if path.is_file())

    def named(self):
        """Return the paths of all files that the manifest names, live or retired."""
        return sorted(row[0] for row in self.store.rows("SELECT path FROM segment"))

    def counted(self, from_ms=ALWAYS[0], until_ms=ALWAYS[1]):
        """Return (flag, entry, arm, outcome) -> how many, as the reader has it."""
        return counted(self.reader.rates(from_ms, until_ms))


def emit(writer, event):
    """Write one row to a spool."""
    names = ("t_ms", "unit", "flag_version", "latency_ms", "flag", "entry", "bucket", "arm", "reason", "outcome")
    assert writer.emit(*(event[name].item() for name in names))


def spread(count, *, days=1, seed=0, begin=START):
    """Return sorted times over so many days."""
    return np.sort(np.random.default_rng(seed).integers(begin, begin + days * DAY_MS, count))


HOUR, DAY = HOUR_MS, DAY_MS
