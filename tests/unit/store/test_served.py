"""When each evaluator first served a version: marks that wait for nobody, and what the database keeps of them."""

import resource
import subprocess
import sys
import threading

import pytest

from phase4.clock import ManualClock
from phase4.store import served, ticks
from phase4.store.served import VERSIONS, ServedMarks
from tests.data.homes.make import ROOT, START, change, create

SOURCE, OTHER = bytes(range(16)), bytes(range(16, 32))


@pytest.fixture
def place(tmp_path):
    """A home of which there is only the spool."""
    (tmp_path / "spool").mkdir()
    return tmp_path


@pytest.fixture
def marks(place):
    made = ServedMarks(str(place))
    yield made
    made.close()


def read(place):
    return {found.source: found for found in served.read(str(place))}


def test_no_file_is_made_before_the_first_mark(place, marks):
    assert list((place / "spool").iterdir()) == []
    assert read(place) == {}


def test_marks_are_read_as_they_were_noted(place, marks):
    marks.mark(SOURCE, 7, START)
    marks.mark(SOURCE, 8, START + 1)
    found = read(place)[SOURCE]
    assert (found.marks, found.is_over) == (((7, START), (8, START + 1)), False)


def test_the_same_version_is_noted_once(place, marks):
    for after in range(3):
        marks.mark(SOURCE, 7, START + after)
    assert read(place)[SOURCE].marks == ((7, START),)


def test_a_nudge_of_the_bell_is_no_new_version(place, marks):
    marks.mark(SOURCE, 7, START)
    marks.mark(SOURCE, 7 + 5 * VERSIONS, START + 1)
    assert read(place)[SOURCE].marks == ((7, START),)


def test_a_version_that_comes_back_is_noted_again(place, marks):
    for after, version in enumerate((7, 8, 7)):
        marks.mark(SOURCE, version, START + after)
    assert [version for version, _ in read(place)[SOURCE].marks] == [7, 8, 7]


def test_a_file_is_for_the_owner_alone(place, marks):
    marks.mark(SOURCE, 7, START)
    [path] = (place / "spool").iterdir()
    assert (path.name, path.stat().st_mode & 0o777) == (f"{SOURCE.hex()}.served", 0o600)


def test_an_evaluator_that_closes_is_over(place, marks):
    marks.mark(SOURCE, 7, START)
    marks.close()
    assert read(place)[SOURCE].is_over


EVALUATOR = """
import sys
from phase4.store.served import ServedMarks

marks = ServedMarks(sys.argv[1])
marks.mark(bytes(range(16)), 7, 1)
print("there", flush=True)
sys.stdin.read()
"""


def test_an_evaluator_that_is_killed_is_over(place):
    words = [sys.executable, "-c", EVALUATOR, str(place)]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"there\n"
        assert not read(place)[SOURCE].is_over
        process.kill()
    assert read(place)[SOURCE].is_over
    assert read(place)[SOURCE].marks == ((7, 1),)


def test_every_evaluator_has_its_own(place, marks):
    other = ServedMarks(str(place))
    marks.mark(SOURCE, 7, START)
    other.mark(OTHER, 9, START)
    other.close()
    assert {source: (found.marks, found.is_over) for source, found in read(place).items()} == {
        SOURCE: (((7, START),), False),
        OTHER: (((9, START),), True),
    }


def test_without_a_folder_nothing_is_raised_and_it_is_noted_once_there_is_one(tmp_path):
    marks = ServedMarks(str(tmp_path))
    marks.mark(SOURCE, 7, START)
    (tmp_path / "spool").mkdir()
    marks.mark(SOURCE, 7, START + 1)
    assert read(tmp_path)[SOURCE].marks == ((7, START + 1),)
    marks.close()


def test_half_a_mark_at_the_end_is_left_alone(place, marks):
    marks.mark(SOURCE, 7, START)
    [path] = (place / "spool").iterdir()
    with path.open("ab") as file:
        file.write(b"\x01" * 15)
    assert read(place)[SOURCE].marks == ((7, START),)


def test_a_mark_for_which_there_is_no_room_spoils_none_of_the_next(place, marks):
    marks.mark(SOURCE, 7, START)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (24, hard))
    try:
        marks.mark(SOURCE, 8, START + 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    marks.mark(SOURCE, 9, START + 2)
    assert read(place)[SOURCE].marks == ((7, START), (9, START + 2))


@pytest.mark.parametrize("name", ["notes.served", ".served", "0.served"])
def test_a_file_that_is_none_of_ours_is_passed_over(place, marks, name):
    (place / "spool" / name).write_bytes(b"")
    marks.mark(SOURCE, 7, START)
    assert list(read(place)) == [SOURCE]


def test_an_evaluator_that_is_just_beginning_is_not_over(place):
    """The database keeps the end of an evaluator for good: it must not be told of one that lives."""
    wrong = []
    is_done = threading.Event()

    def look():
        while not is_done.is_set():
            wrong.extend(found.source for found in served.read(str(place)) if found.is_over)

    reader = threading.Thread(target=look)
    reader.start()
    living = [ServedMarks(str(place)) for _ in range(800)]
    for number, marks in enumerate(living):
        marks.mark(number.to_bytes(16, "big"), 7, START)
        (place / "spool" / f"{number:032x}.served").unlink()
    is_done.set()
    reader.join()
    for marks in living:
        marks.close()
    assert wrong == []


# --------------------------------------------------------------------------------------------- what the database keeps
@pytest.fixture
def store(home):
    made = create(home, ManualClock(START))
    yield made
    made.close()


def source_of(store, uuid):
    found = []
    process = {"kind": "process", "pid": 1, "boot_id": "", "host": "here", "started_ms": START}
    change(store, lambda making: found.append(ticks.source_id(making, uuid, **process)))
    return found[0]


def keep(store, source_id, found, now_ms=START):
    change(store, lambda making: served.keep(making, source_id, found, now_ms))


def marks_of(*pairs, is_over=False):
    return served.Marks("x", SOURCE, pairs, is_over)


def test_the_first_time_of_a_version_stands(store):
    number = source_of(store, SOURCE)
    keep(store, number, marks_of((7, 100), (8, 200), (7, 300)))
    keep(store, number, marks_of((7, 50), (8, 200), (9, 400)))
    [evaluator] = served.evaluators(store)
    assert evaluator.served == ((7, 100), (8, 200), (9, 400))
    assert (evaluator.source_id, evaluator.started_ms, evaluator.closed_ms) == (number, START, None)


def test_the_end_of_an_evaluator_is_kept_once(store):
    number = source_of(store, SOURCE)
    keep(store, number, marks_of((7, 100), is_over=True), START + 1)
    keep(store, number, marks_of((7, 100), is_over=True), START + 9)
    [evaluator] = served.evaluators(store)
    assert evaluator.closed_ms == START + 1


def test_a_source_that_noted_nothing_is_no_evaluator(store):
    source_of(store, SOURCE)
    assert served.evaluators(store) == []


def test_marks_after_closing_are_added_to_those_before(place, marks):
    marks.mark(SOURCE, 7, START)
    marks.close()
    marks.mark(SOURCE, 8, START + 1)
    found = read(place)[SOURCE]
    assert (found.marks, found.is_over) == (((7, START), (8, START + 1)), False)
