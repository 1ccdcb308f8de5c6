"""Emitters that are killed: every acknowledged event is read once, and no torn one ever is."""

import itertools
import random
import select
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest

from phase4.clock import ManualClock
from phase4.store.control import ControlStore
from phase4.store.intake import Known, Spool, rows_of
from tests.data.homes.make import CHECKOUT, ROOT, START, create, started
from tests.unit.monitor.live import TICK, Live

EMIT = """
import itertools, os, sys
from phase4.store.spool import SpoolWriter

home, first, entry, at = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
writer = SpoolWriter(home, lambda: at)
for number in itertools.count(first):
    if number % 400 == 0:  # a new file now and then
        writer.close()
    assert writer.emit(at, number, 3, float(number % 1_000), 1, entry, number % 10_000, 2, 4, 2)
    os.write(1, b".")
"""
EMITTERS = 2
MOST = 10_000_000
"""Units of one emitter; the next ones begin there."""


def emitter(home, first, entry, at):
    words = [sys.executable, "-c", EMIT, str(home), str(first), str(entry), str(at)]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def acknowledged(process):
    """Return how many events an emitter that has ended was told of."""
    dots, errors = process.communicate()
    assert (process.returncode, errors) == (-signal.SIGKILL, b"")
    return len(dots)


def storm(home, round_, *, entry=0, at=START, meanwhile=lambda: None):
    """Let emitters write until they are killed, at moments of their own; return how much each was told of."""
    chance = random.Random(round_)
    emitters = [emitter(home, ((round_ * EMITTERS) + n) * MOST, entry, at) for n in range(EMITTERS)]
    for process in emitters:
        assert select.select([process.stdout], [], [], 30)[0]
    for process in chance.sample(emitters, EMITTERS):
        time.sleep(chance.uniform(0.0, 0.02))
        meanwhile()
        process.kill()
    return [acknowledged(process) for process in emitters]


class Reader:
    """Reads on from storm to storm, and keeps what it read."""

    def __init__(self, home):
        self.spool, self.units, self.aside = Spool(str(home)), Counter(), []

    def read(self):
        for batch in self.spool.read():
            rows, aside = rows_of(batch, 1, Known({1: 0}, START))
            self.aside += aside
            assert (rows["latency_ms"] == rows["unit"] % 1_000).all()
            assert (rows["bucket"] == rows["unit"] % 10_000).all()
            self.units.update(rows["unit"].tolist())


def outlive(home, rounds):
    """Kill emitters again and again, with a reader that reads while they write, and one that begins afterwards."""
    (home / "spool").mkdir(parents=True)
    reader, told = Reader(home), []
    for round_ in range(rounds):
        told += storm(home, round_, meanwhile=reader.read)
        reader.read()
        assert sum(told[-EMITTERS:]) > 0
    late = Reader(home)
    late.read()
    assert reader.units == late.units
    assert set(reader.units.values()) == {1}
    assert (reader.aside, late.aside, reader.spool.problems) == ([], [], {})
    read = Counter(unit // MOST for unit in reader.units)
    lost = {
        number: (count, read[number]) for number, count in enumerate(told) if read[number] not in {count, count + 1}
    }
    assert lost == {}
    assert all(file.is_finished for file in reader.spool.files.values())


def test_no_acknowledged_event_is_lost_or_read_twice_when_emitters_are_killed(tmp_path):
    outlive(tmp_path, rounds=20)


@pytest.mark.slow
def test_no_acknowledged_event_is_lost_or_read_twice_when_emitters_are_killed_again_and_again(tmp_path):
    outlive(tmp_path, rounds=300)


def test_a_collector_counts_every_acknowledged_event_of_killed_emitters_once(home):
    """Also when the collector itself is another one in each round."""
    clock = ManualClock(START)
    store = create(home, clock)
    started(store)
    entry = store.flag(CHECKOUT).entry
    told, observed = [], 0
    for round_ in range(6):
        live = Live(store, clock)
        told += storm(home, round_, entry=entry, at=clock.now())
        rounds = [live.round(after=after) for after in (TICK, TICK)]
        assert [each.set_aside for each in rounds] == [0, 0]
        live.collector.close()
        observed = store.rows("SELECT coalesce(sum(ok), 0), coalesce(sum(units), 0) FROM observation")[0]
    store.close()
    assert observed[0] == observed[1]
    assert sum(told) <= observed[0] <= sum(told) + len(told)


def test_an_emitter_that_is_killed_between_two_files_has_lost_nothing(tmp_path):
    (tmp_path / "spool").mkdir()
    [count, *_] = storm(tmp_path, 1)
    files = sorted(Spool(str(tmp_path)).read(), key=lambda batch: (batch.file.header.uuid, batch.first_seq))
    for before, after in itertools.pairwise(files):
        if before.file.header.uuid == after.file.header.uuid:
            assert after.file.header.file_no == before.file.header.file_no + 1
            assert after.first_seq == before.file.end_seq
    assert count <= sum(len(batch.records) for batch in files)


def test_the_store_of_killed_emitters_opens_as_ever(home):
    store = create(home, ManualClock(START))
    store.close()
    storm(home, 3)
    again = ControlStore(str(home), lambda: START)
    assert np.array([flag.enabled for flag in again.flags()]).sum() == 1
    again.close()
