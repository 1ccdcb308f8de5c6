"""The way in for events: what is acknowledged is in the file, what is not is counted, and nobody is failed by it."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from hashlib import blake2b
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest

from phase4.clock import ManualClock
from phase4.store import spool
from phase4.store.intake import RECORDS, Spool
from phase4.store.record import (
    HEADER_SIZE,
    RECORD,
    RECORD_SIZE,
    Header,
    Outcome,
    pack_header,
    unit_of,
    unpack_header,
)
from phase4.store.spool import FILE_MS, FILE_RECORDS, RETRY_MS, SpoolWriter
from tests.data.homes.make import ROOT, START

HEADER = Header(bytes(range(16)), 3, 2**40, START, 5, "0f0e2b5e-6b2d-4c0e-9c7e-0a1b2c3d4e5f", 4711, 9)
KEY = bytes(range(32))


@pytest.fixture
def place(tmp_path):
    """A home of which there is only the spool."""
    (tmp_path / "spool").mkdir()
    return tmp_path


@pytest.fixture
def clock():
    return ManualClock(START)


@pytest.fixture
def writer(place, clock):
    made = SpoolWriter(str(place), clock.now)
    yield made
    made.close()


def emit(writer, at=START, *, unit=1, latency_ms=5.0, outcome=Outcome.OK, version=2, **more):
    return writer.emit(at, unit, version, latency_ms, 1, 1, 77, 2, 4, outcome, **more)


def names(place):
    return sorted(path.name for path in (place / "spool").iterdir())


def files(place):
    """Return (header, records) of every file, in the order they were made."""
    found = []
    for path in (place / "spool").glob("[!.]*.sp"):
        raw = path.read_bytes()
        count = (len(raw) - HEADER_SIZE) // RECORD_SIZE
        found.append((unpack_header(raw), np.frombuffer(raw, RECORDS, count=count, offset=HEADER_SIZE)))
    return sorted(found, key=lambda each: (each[0].uuid, each[0].file_no))


def seqs(place):
    return [header.first_seq + int(index) for header, records in files(place) for index in records["index"]]


@contextlib.contextmanager
def files_end_at(size):
    """Let no file of this process grow beyond a size: a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# --------------------------------------------------------------------------------------------- the head
def test_a_head_is_128_bytes_and_comes_back_as_it_was():
    raw = pack_header(HEADER)
    assert len(raw) == HEADER_SIZE
    assert unpack_header(raw) == HEADER


def test_a_head_without_a_boot_id_comes_back():
    assert unpack_header(pack_header(HEADER._replace(boot_id=""))).boot_id == ""


def test_a_flipped_bit_anywhere_in_a_head_is_seen():
    for bit in range(8 * HEADER_SIZE):
        raw = bytearray(pack_header(HEADER))
        raw[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match=r"is no spool file|has a damaged head"):
            unpack_header(bytes(raw))


def test_a_head_of_another_schema_is_named():
    body = bytearray(pack_header(HEADER)[:-4])
    body[8] = 2
    with pytest.raises(ValueError, match="schema 2, this version knows 1"):
        unpack_header(bytes(body) + crc32(body).to_bytes(4, "little"))


@pytest.mark.parametrize("size", [0, 7, 8, HEADER_SIZE - 1])
def test_a_head_that_is_cut_off_is_none(size):
    with pytest.raises(ValueError, match="is no spool file"):
        unpack_header(pack_header(HEADER)[:size])


def test_what_follows_a_head_is_not_looked_at():
    assert unpack_header(pack_header(HEADER) + b"\xff" * 40) == HEADER


# --------------------------------------------------------------------------------------------- the record
def test_the_reader_knows_the_layout_that_the_writer_packs():
    row = (START, 2**64 - 1, 2**32 - 1, 7, 2.5, 65_535, 3, 9_999, 2, 4, 5)
    raw = RECORD.pack(*row)
    read = np.frombuffer(raw, RECORDS)[0]
    assert (len(raw), RECORDS.itemsize) == (RECORD_SIZE, RECORD_SIZE)
    assert [read[name].item() for name in RECORDS.names if name != "zero"] == list(row)


def test_the_last_byte_of_a_record_is_its_outcome():
    assert RECORD.pack(START, 1, 0, 1, 0.0, 1, 1, 1, 1, 1, Outcome.EXPOSURE)[-1] == 1


def test_a_unit_is_the_keyed_blake2b_of_rfc_7693_little_endian():
    digest = blake2b(b"user-123", digest_size=8, key=KEY).digest()
    assert unit_of(KEY, b"user-123") == int.from_bytes(digest, "little")
    assert unit_of(KEY, b"user-123") != unit_of(KEY[::-1], b"user-123")


# --------------------------------------------------------------------------------------------- writing
def test_no_file_is_made_before_the_first_event(place, writer):
    assert names(place) == []


def test_what_is_acknowledged_is_in_the_file_at_once(place, writer):
    assert emit(writer, unit=17, latency_ms=2.5, outcome=Outcome.ERROR)
    [(header, records)] = files(place)
    assert (header.uuid, header.file_no, header.first_seq, header.dropped_before) == (writer.source, 0, 0, 0)
    assert (header.wall_ms, header.pid) == (START, os.getpid())
    assert (records[0]["t_ms"], records[0]["unit"], records[0]["latency_ms"], records[0]["outcome"]) == (
        START,
        17,
        2.5,
        Outcome.ERROR,
    )


def test_a_file_is_for_the_owner_alone(place, writer):
    emit(writer)
    [name] = names(place)
    assert (place / "spool" / name).stat().st_mode & 0o777 == 0o600


def test_a_durable_event_is_written_as_the_others_are(place, writer):
    assert emit(writer, is_durable=True)
    assert emit(writer)
    assert seqs(place) == [0, 1]


def test_the_boot_id_in_the_head_is_the_machines(place, writer):
    emit(writer)
    [(header, _)] = files(place)
    assert header.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def test_two_writers_are_two_sources(place, clock, writer):
    other = SpoolWriter(str(place), clock.now)
    assert emit(writer)
    assert emit(other)
    other.close()
    assert sorted(header.uuid for header, _ in files(place)) == sorted([writer.source, other.source])


def test_an_event_after_closing_begins_the_next_file(place, writer):
    emit(writer)
    writer.close()
    emit(writer)
    assert [(header.file_no, header.first_seq, len(records)) for header, records in files(place)] == [
        (0, 0, 1),
        (1, 1, 1),
    ]


def test_closing_twice_and_without_an_event_is_nothing(place, writer):
    writer.close()
    writer.close()
    assert files(place) == []


# --------------------------------------------------------------------------------------------- the next file
def test_a_file_has_at_most_64_mib():
    assert HEADER_SIZE + FILE_RECORDS * RECORD_SIZE <= 64 * 2**20 < HEADER_SIZE + (FILE_RECORDS + 1) * RECORD_SIZE


def test_a_full_file_is_followed_by_the_next_without_a_gap(place, writer, monkeypatch):
    monkeypatch.setattr(spool, "FILE_RECORDS", 10)
    assert all(emit(writer, START + number) for number in range(25))
    assert [(header.file_no, header.first_seq, len(records)) for header, records in files(place)] == [
        (0, 0, 10),
        (1, 10, 10),
        (2, 20, 5),
    ]
    assert seqs(place) == list(range(25))


@pytest.mark.parametrize(("after", "count"), [(FILE_MS - 1, 1), (FILE_MS, 2)])
def test_a_file_is_followed_by_the_next_after_ten_minutes(place, writer, after, count):
    emit(writer)
    emit(writer, START + after)
    assert len(files(place)) == count
    assert seqs(place) == [0, 1]


def test_a_file_that_is_left_is_free_for_the_reader_while_the_writer_lives(place, writer):
    emit(writer)
    emit(writer, START + FILE_MS)
    reader = Spool(str(place))
    assert [len(batch.records) for batch in reader.read()] == [1, 1]
    assert [file.is_finished for file in sorted(reader.files.values(), key=lambda f: f.header.file_no)] == [True, False]


# --------------------------------------------------------------------------------------------- what cannot be written
def test_a_record_that_is_cut_off_is_dropped_and_counted_in_the_next_head(place, writer):
    with files_end_at(HEADER_SIZE + 3 * RECORD_SIZE + 11):
        written = [emit(writer) for _ in range(5)]
    assert written == [True, True, True, False, False]
    assert writer.dropped == 2
    assert emit(writer, START + RETRY_MS)
    (_, first), (header, second) = files(place)
    assert (len(first), header.first_seq, header.dropped_before, len(second)) == (3, 3, 2, 1)


@pytest.mark.parametrize("more", range(RECORD_SIZE))
def test_a_disk_that_is_full_at_any_byte_loses_nothing_that_was_acknowledged(place, writer, more):
    with files_end_at(HEADER_SIZE + RECORD_SIZE + more):
        written = [emit(writer, START + number * RETRY_MS, unit=number) for number in range(6)]
    units = [int(unit) for _, records in files(place) for unit in records["unit"]]
    assert units == [number for number, is_written in enumerate(written) if is_written]
    assert seqs(place) == list(range(len(units)))
    assert writer.dropped == written.count(False)


def test_a_head_for_which_there_is_no_room_leaves_no_file(place, writer):
    (place / "spool" / f".{writer.source.hex()}-0.sp").symlink_to("/dev/full")
    assert not emit(writer)
    assert names(place) == []
    assert emit(writer, START + RETRY_MS)
    [(header, _)] = files(place)
    assert header.dropped_before == 1


@pytest.mark.parametrize("size", [1, 100, HEADER_SIZE - 1])
def test_a_head_that_is_cut_off_leaves_no_file(place, writer, size):
    with files_end_at(size):
        assert not emit(writer)
    assert names(place) == []


def test_without_a_folder_nothing_is_raised_and_everything_is_counted(tmp_path, clock):
    writer = SpoolWriter(str(tmp_path), clock.now)
    assert [emit(writer) for _ in range(3)] == [False] * 3
    (tmp_path / "spool").mkdir()
    assert emit(writer, START + RETRY_MS)
    assert writer.dropped == 3
    [(header, _)] = files(tmp_path)
    assert header.dropped_before == 3
    writer.close()


def test_after_a_failure_nothing_is_tried_for_a_second(tmp_path, clock):
    writer = SpoolWriter(str(tmp_path), clock.now)
    assert not emit(writer)
    (tmp_path / "spool").mkdir()
    assert not emit(writer, START + RETRY_MS - 1)
    assert emit(writer, START + RETRY_MS)
    writer.close()


def test_a_clock_that_is_set_back_does_not_prolong_a_failure(tmp_path, clock):
    writer = SpoolWriter(str(tmp_path), clock.now)
    assert not emit(writer)
    (tmp_path / "spool").mkdir()
    assert [emit(writer, START - 3_600_000 + after) for after in range(0, 5_000, 1_000)][-1]
    writer.close()


@pytest.mark.parametrize(
    "values",
    [
        {"unit": -1},
        {"unit": 2**64},
        {"unit": "user-123"},
        {"unit": 1.5},
        {"version": 2**32},
        {"latency_ms": 1e39},
        {"latency_ms": None},
        {"outcome": 256},
    ],
    ids=str,
)
def test_a_value_that_fits_no_field_is_dropped_and_the_next_event_is_written(place, writer, values):
    assert emit(writer)
    assert not emit(writer, **values)
    assert writer.dropped == 1
    assert emit(writer)
    assert seqs(place) == [0, 1]


class Alarm(Exception):
    """Raised by a signal's handler, wherever the program is."""


@pytest.mark.parametrize("kind", [KeyboardInterrupt, TimeoutError, Alarm])
def test_a_signal_that_interrupts_an_event_spoils_none_of_the_others(place, writer, kind):
    """A time limit by SIGALRM, or Ctrl-C, raises wherever Python is: most often right after a system call."""

    def ring(_number, _frame):
        raise kind

    before = signal.signal(signal.SIGALRM, ring)
    acknowledged = interrupted = 0
    try:
        for number in range(400):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.00005 + 0.0000007 * number)
                for _ in range(5_000):
                    acknowledged += emit(writer)
            except kind:
                interrupted += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    found = seqs(place)
    assert found == list(range(len(found)))
    assert len(found) >= acknowledged
    assert interrupted == 400  # an application's own time limit reaches it
    assert writer.dropped == 0


# --------------------------------------------------------------------------------------------- threads and processes
def test_eight_threads_write_gapless_numbers_and_no_record_is_torn(place, writer):
    start = threading.Barrier(8)

    def work(number):
        start.wait()
        for event in range(5_000):
            assert emit(writer, unit=number << 32 | event, latency_ms=float(event))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [(_, records)] = files(place)
    assert (records["index"] == np.arange(40_000)).all()
    assert (records["latency_ms"] == (records["unit"] & 0xFFFFFFFF)).all()
    assert len(np.unique(records["unit"])) == 40_000
    for number in range(8):  # each thread's events are in its own order
        own = records["unit"][records["unit"] >> 32 == number]
        assert (np.diff(own.astype(np.int64)) > 0).all()


FORK = """
import json, os, sys
from phase4.store.spool import SpoolWriter

writer = SpoolWriter(sys.argv[1], lambda: 1_385_164_800_000)
emit = lambda unit: writer.emit(1_385_164_800_000, unit, 1, 5.0, 1, 1, 1, 2, 4, 2)
parent = writer.source.hex()
assert emit(1)
if sys.argv[2] == "locked":
    writer._lock.acquire()  # as another thread does at the moment of the fork
child = os.fork()
if child == 0:
    assert writer.dropped == 0
    assert emit(100) and emit(101)
    print(json.dumps({"child": writer.source.hex()}), flush=True)
    os._exit(0)
if sys.argv[2] == "locked":
    writer._lock.release()
assert os.waitpid(child, 0)[1] == 0
assert emit(2)
print(json.dumps({"parent": parent, "parent_now": writer.source.hex()}), flush=True)
"""


@pytest.mark.parametrize("how", ["free", "locked"])
def test_a_forked_child_is_a_source_of_its_own_and_leaves_the_parents_file_alone(place, how):
    words = [sys.executable, "-c", FORK, str(place), how]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    child, parent = map(json.loads, done.stdout.splitlines())
    assert parent["parent"] == parent["parent_now"] != child["child"]
    units = {header.uuid.hex(): records["unit"].tolist() for header, records in files(place)}
    assert units == {parent["parent"]: [1, 2], child["child"]: [100, 101]}
    assert all((records["index"] == np.arange(len(records))).all() for _, records in files(place))


LIVES = """
import os, sys
from phase4.store.spool import SpoolWriter

writer = SpoolWriter(sys.argv[1], lambda: 1_385_164_800_000)
assert writer.emit(1_385_164_800_000, 1, 1, 5.0, 1, 1, 1, 2, 4, 2)
if os.fork() == 0:
    print("child", flush=True)
    sys.stdin.read()
    os._exit(0)
os._exit(0)
"""


def test_a_child_that_outlives_its_parent_does_not_hold_the_parents_file(place):
    words = [sys.executable, "-c", LIVES, str(place)]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"child\n"
        process.wait(60)
        reader = Spool(str(place))
        assert [len(batch.records) for batch in reader.read()] == [1]
        assert [file.is_finished for file in reader.files.values()] == [True]
        process.stdin.close()
