"""What the collector reads of the spool: whole records, each once; what cannot be is set aside with a reason."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from phase4.store import intake
from phase4.store.intake import CODES, FUTURE_MS, RECORDS, ROWS, Batch, Known, Spool, SpoolFile, rows_of, set_aside
from phase4.store.record import HEADER_SIZE, NO_LATENCY, RECORD, RECORD_SIZE, Header, Outcome, pack_header
from phase4.store.spool import FILE_MS, SpoolWriter
from tests.data.homes.make import ROOT, START

KNOWN = Known({1: 3, 65_535: 0}, START)
GOOD = {"flag": 1, "entry": 3, "arm": 2, "outcome": Outcome.OK, "latency_ms": 5.0, "t_ms": START}


@pytest.fixture
def place(tmp_path):
    """A home of which there is only what is read here."""
    for name in ("spool", "quarantine"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def writer(place):
    made = SpoolWriter(str(place), lambda: START)
    yield made
    made.close()


@pytest.fixture
def reader(place):
    return Spool(str(place))


def emit(writer, unit, at=START, outcome=Outcome.OK):
    assert writer.emit(at, unit, 1, 5.0, 1, 1, 1, 2, 4, outcome)


def path_of(place):
    [path] = (place / "spool").glob("[!.]*.sp")
    return path


def append(place, raw):
    with path_of(place).open("ab") as file:
        file.write(raw)


def units(reader):
    return [int(unit) for batch in reader.read() for unit in batch.records["unit"]]


def batch_of(*changes, first_seq=0, start=0):
    """Return a batch of records, each good but for its changes."""
    records = np.zeros(len(changes), RECORDS)
    for place, change in enumerate(changes):
        for name, value in {**GOOD, "index": start + place, "unit": place, **change}.items():
            records[place][name] = value
    header = Header(b"u" * 16, 0, first_seq, START, 0, "", 1, 0)
    return Batch(SpoolFile("a.sp", header, read=start + len(changes)), first_seq + start, records)


def code_of(change, known=KNOWN):
    """Return why a record is set aside; "" for a good one."""
    rows, aside = rows_of(batch_of(change), 7, known)
    assert len(rows) + len(aside) == 1
    return aside[0]["code"] if aside else ""


# --------------------------------------------------------------------------------------------- reading on
def test_every_record_is_read_once(writer, reader):
    emit(writer, 1)
    emit(writer, 2)
    assert units(reader) == [1, 2]
    assert units(reader) == []
    emit(writer, 3)
    assert units(reader) == [3]


def test_a_reader_that_is_started_again_reads_from_the_beginning(place, writer, reader):
    emit(writer, 1)
    assert units(reader) == [1]
    emit(writer, 2)
    assert units(Spool(str(place))) == [1, 2]


def test_an_empty_folder_has_nothing(reader):
    assert units(reader) == []


def test_a_batch_says_where_in_the_source_it_begins(writer, reader):
    emit(writer, 1)
    list(reader.read())
    emit(writer, 2)
    emit(writer, 3, START + FILE_MS)
    batches = list(reader.read())
    assert [(batch.first_seq, batch.file.end_seq, len(batch.records)) for batch in batches] == [(1, 2, 1), (2, 3, 1)]


def test_the_files_of_a_source_are_read_in_the_order_of_their_numbers(place, writer, reader):
    for number in range(12):  # "10" stands before "2" by name
        emit(writer, number, START + number * FILE_MS)
    assert units(reader) == list(range(12))


def test_a_long_file_is_read_in_pieces(writer, reader, monkeypatch):
    monkeypatch.setattr(intake, "AT_ONCE", 4)
    for number in range(10):
        emit(writer, number)
    writer.close()
    sizes = [len(batch.records) for batch in reader.read()]
    assert sizes == [4, 4, 2]
    assert all(file.is_finished for file in reader.files.values())


def test_a_long_file_whose_length_is_a_whole_number_of_pieces_is_finished_too(writer, reader, monkeypatch):
    monkeypatch.setattr(intake, "AT_ONCE", 4)
    for number in range(8):
        emit(writer, number)
    writer.close()
    assert units(reader) == list(range(8))
    assert all(file.is_finished for file in reader.files.values())


def test_a_file_is_finished_once_its_writer_is_gone(writer, reader):
    emit(writer, 1)
    assert units(reader) == [1]
    [file] = reader.files.values()
    assert not file.is_finished
    writer.close()
    assert units(reader) == []
    assert file.is_finished


def test_a_file_whose_writer_went_before_the_first_look_is_read_and_finished(writer, reader):
    emit(writer, 1)
    writer.close()
    assert units(reader) == [1]
    [file] = reader.files.values()
    assert file.is_finished


def test_reading_does_not_lock_the_writer_out(writer, reader):
    for number in range(50):
        emit(writer, number)
        assert units(reader) == [number]


def test_a_file_that_is_being_made_is_not_looked_at(place, writer, reader):
    emit(writer, 1)
    path = path_of(place)
    path.rename(path.with_name(f".{path.name}"))
    assert units(reader) == []
    assert reader.problems == {}


def test_a_file_that_is_forgotten_is_gone(place, writer, reader):
    emit(writer, 1)
    writer.close()
    list(reader.read())
    reader.forget(str(path_of(place)))
    assert list((place / "spool").iterdir()) == []
    assert units(reader) == []


# --------------------------------------------------------------------------------------------- damaged tails and heads
@pytest.mark.parametrize("size", [1, 39])
def test_a_torn_record_at_the_end_is_left_alone_and_read_when_it_is_whole(place, writer, reader, size):
    emit(writer, 1)
    raw = RECORD.pack(START, 2, 1, 1, 5.0, 1, 1, 1, 2, 4, 2)
    append(place, raw[:size])
    assert units(reader) == [1]
    append(place, raw[size:])
    assert units(reader) == [2]


def test_a_torn_record_of_a_writer_that_is_gone_is_no_record(place, writer, reader):
    emit(writer, 1)
    writer.close()
    append(place, b"\x01" * 39)
    assert units(reader) == [1]
    [file] = reader.files.values()
    assert (file.is_finished, file.end_seq) == (True, 1)


def test_zeros_at_the_end_wait_while_the_writer_lives(place, writer, reader):
    emit(writer, 1)
    append(place, bytes(3 * RECORD_SIZE + 5))
    assert units(reader) == [1]
    assert units(reader) == []


def test_zeros_at_the_end_of_a_writer_that_is_gone_are_set_aside(place, writer, reader):
    emit(writer, 1)
    writer.close()
    append(place, bytes(3 * RECORD_SIZE + 5))
    [batch] = reader.read()
    rows, aside = rows_of(batch, 1, Known({1: 1}, START))
    assert rows["unit"].tolist() == [1]
    assert [(each["seq"], each["code"]) for each in aside] == [(seq, "bad_index") for seq in (1, 2, 3)]


def test_zeros_right_after_the_head_have_no_outcome(place, writer, reader):
    emit(writer, 1)
    writer.close()
    raw = path_of(place).read_bytes()
    path_of(place).write_bytes(raw[:HEADER_SIZE] + bytes(RECORD_SIZE))
    [batch] = reader.read()
    assert [each["code"] for each in rows_of(batch, 1, KNOWN)[1]] == ["bad_outcome"]


def test_a_file_that_was_cut_after_it_was_read_gives_nothing_twice(place, writer, reader):
    for number in range(3):
        emit(writer, number)
    assert units(reader) == [0, 1, 2]
    os.truncate(path_of(place), HEADER_SIZE + RECORD_SIZE)
    assert units(reader) == []


def test_a_file_with_a_flipped_bit_in_its_head_is_named_and_the_others_are_read(place, writer, reader):
    emit(writer, 1)
    writer.close()
    bad = path_of(place)
    raw = bytearray(bad.read_bytes())
    raw[20] ^= 4
    bad.write_bytes(raw)
    emit(writer, 2)
    assert units(reader) == [2]
    assert reader.problems == {str(bad): "has a damaged head"}


@pytest.mark.parametrize("raw", [b"", b"P4SPOOL1", b"notes", bytes(400)])
def test_a_file_that_is_none_of_ours_is_named(place, reader, raw):
    (place / "spool" / "x.sp").write_bytes(raw)
    assert units(reader) == []
    assert reader.problems == {str(place / "spool" / "x.sp"): "is no spool file"}


def test_a_head_alone_is_a_file_without_records(place, reader):
    header = Header(b"u" * 16, 0, 40, START, 0, "", 1, 12)
    (place / "spool" / "x.sp").write_bytes(pack_header(header))
    assert units(reader) == []
    [file] = reader.files.values()
    assert (file.end_seq, file.is_finished, file.header.dropped_before) == (40, True, 12)


WRITER = """
import sys
from phase4.store.spool import SpoolWriter

writer = SpoolWriter(sys.argv[1], lambda: 1_385_164_800_000)
assert writer.emit(1_385_164_800_000, 1, 1, 5.0, 1, 1, 1, 2, 4, 2)
print("there", flush=True)
sys.stdin.read()
"""


def test_a_writer_that_is_killed_leaves_a_finished_file(place, reader):
    words = [sys.executable, "-c", WRITER, str(place)]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"there\n"
        assert units(reader) == [1]
        [file] = reader.files.values()
        assert not file.is_finished
        process.kill()
    assert units(reader) == []
    assert file.is_finished


# --------------------------------------------------------------------------------------------- the door
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, ""),
        ({"index": 1}, "bad_index"),
        ({"index": 2**32 - 1}, "bad_index"),
        ({"zero": (1, 0, 0)}, "bad_index"),
        ({"zero": (0, 0, 255)}, "bad_index"),
        ({"outcome": 0}, "bad_outcome"),
        ({"outcome": 1, "latency_ms": NO_LATENCY}, ""),
        ({"outcome": 5}, ""),
        ({"outcome": 6}, "bad_outcome"),
        ({"outcome": 255}, "bad_outcome"),
        ({"t_ms": -(2**63)}, "bad_time"),
        ({"t_ms": -1}, "bad_time"),
        ({"t_ms": 0}, "bad_time"),
        ({"t_ms": 1}, ""),
        ({"t_ms": START + FUTURE_MS}, ""),
        ({"t_ms": START + FUTURE_MS + 1}, "bad_time"),
        ({"t_ms": 2**63 - 1}, "bad_time"),
        ({"latency_ms": float("nan")}, "bad_latency"),
        ({"latency_ms": float("inf")}, "bad_latency"),
        ({"latency_ms": float("-inf")}, "bad_latency"),
        ({"latency_ms": -0.0}, ""),
        ({"latency_ms": 0.0}, ""),
        ({"latency_ms": NO_LATENCY}, ""),
        ({"latency_ms": -0.5}, "bad_latency"),
        ({"latency_ms": np.nextafter(np.float32(-1), np.float32(0))}, "bad_latency"),
        ({"latency_ms": np.nextafter(np.float32(-1), np.float32(-2))}, "bad_latency"),
        ({"latency_ms": -2.0}, "bad_latency"),
        ({"latency_ms": np.finfo(np.float32).max}, ""),
        ({"flag": 0}, "unknown_flag"),
        ({"flag": 2}, "unknown_flag"),
        ({"flag": 65_535, "entry": 0}, ""),
        ({"flag": 65_535, "entry": 1}, "unknown_entry"),
        ({"entry": 0}, ""),
        ({"entry": 4}, "unknown_entry"),
        ({"entry": 65_535}, "unknown_entry"),
        ({"arm": 0}, "unknown_arm"),
        ({"arm": 1}, ""),
        ({"arm": 3}, "unknown_arm"),
    ],
    ids=str,
)
def test_a_record_is_good_or_set_aside_with_the_first_reason_that_holds(change, code):
    assert code_of(change) == code


def test_every_code_is_reached_by_the_cases_above():
    reached = {code_of(change) for change in ({}, {"index": 9}, {"outcome": 6}, {"t_ms": 0}, {"latency_ms": -3.0})}
    reached |= {code_of(change) for change in ({"flag": 9}, {"entry": 9}, {"arm": 9})}
    assert reached == set(CODES)


def test_the_first_reason_is_the_one_that_is_told():
    bad = {"index": 9, "outcome": 9, "t_ms": 0, "latency_ms": -3.0, "flag": 9, "entry": 9, "arm": 9}
    for name, code in zip(bad, CODES[1:], strict=True):
        assert code_of(bad) == code
        bad = {**bad, name: GOOD.get(name, 0)}
    assert code_of(bad) == ""


def test_good_rows_keep_their_numbers_when_others_are_set_aside():
    batch = batch_of({}, {"arm": 9}, {}, {"latency_ms": float("nan")}, first_seq=1_000, start=5)
    rows, aside = rows_of(batch, 7, KNOWN)
    assert rows.dtype == ROWS
    assert rows["seq"].tolist() == [1_005, 1_007]
    assert [each["seq"] for each in aside] == [1_006, 1_008]
    assert (rows["source"] == 7).all()
    assert (rows["arrived_ms"] == START).all()


def test_the_columns_of_a_row_are_those_of_its_record():
    change = {"unit": 2**64 - 1, "flag_version": 9, "latency_ms": 2.5, "bucket": 9_999, "reason": 4, "t_ms": START - 1}
    [row] = rows_of(batch_of(change), 7, KNOWN)[0]
    expected = {**GOOD, **change}
    assert {name: row[name].item() for name in expected} == expected


def test_what_is_set_aside_is_a_json_document_with_all_that_is_known():
    [aside] = rows_of(batch_of({"latency_ms": float("nan"), "unit": 255}), 7, KNOWN)[1]
    assert json.loads(json.dumps(aside, allow_nan=False)) == aside
    assert (aside["source"], aside["seq"], aside["code"]) == (7, 0, "bad_latency")
    assert aside["record"] == {
        "t_ms": START,
        "unit": "00000000000000ff",
        "index": 0,
        "flag_version": 0,
        "latency_ms": "nan",
        "flag": 1,
        "entry": 3,
        "bucket": 0,
        "arm": 2,
        "reason": 0,
        "outcome": 2,
    }


def test_the_days_quarantine_has_one_line_for_each_and_grows(place):
    set_aside(str(place), "2013-11-23", [{"seq": 1}, {"seq": 2}])
    set_aside(str(place), "2013-11-23", [{"seq": 3}])
    path = place / "quarantine" / "2013-11-23.jsonl"
    assert [json.loads(line)["seq"] for line in path.read_text().splitlines()] == [1, 2, 3]
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_outcome_that_is_none_does_not_hold_up_what_comes_after_it(writer, reader):
    """It looks like a record that is not committed yet: the writer must not write it."""
    writer.emit(START, 1, 1, 5.0, 1, 1, 1, 2, 4, 0)
    emit(writer, 2)
    assert 2 in units(reader)
