"""Stop files: the switch that works when nothing else does."""

import json
import stat
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phase4.errors import UsageError, WriteFailed
from phase4.store import home as homes
from phase4.store import stops
from phase4.store.stops import EVERYTHING, Stop
from tests.data.homes.make import ROOT

ORDER = Stop("r-1", "checkout", "fire", "ana", 1_000, rolls_back=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@pytest.fixture
def folder(home):
    """The folder of the stop files of a home."""
    homes.create(str(home))
    return home / homes.STOPS


def pending(folder):
    return stops.pending(str(folder.parent))


def test_a_stop_is_read_back_as_it_was_written(home, folder):
    stops.write(str(home), ORDER)
    assert pending(folder) == [ORDER]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.builds(Stop, st.just("r-1"), TEXTS, TEXTS, TEXTS, st.integers(0, 2**53), st.booleans()))
def test_whatever_a_stop_says_is_read_back(home, folder, order):
    stops.write(str(home), order)
    assert pending(folder) == [order]


def test_a_stop_file_is_named_by_its_order_and_for_the_owner_alone(home, folder):
    path = folder / "r-1.json"
    assert stops.write(str(home), ORDER) == str(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_else_is_left_beside_a_stop_file(home, folder):
    stops.write(str(home), ORDER)
    assert [path.name for path in folder.iterdir()] == ["r-1.json"]


def test_a_stop_file_carries_its_schema_number(home, folder):
    stops.write(str(home), ORDER)
    assert json.loads((folder / "r-1.json").read_text())["schema"] == 1


def test_an_order_that_is_written_again_is_one_stop(home, folder):
    stops.write(str(home), ORDER)
    stops.write(str(home), ORDER._replace(reason="worse"))
    assert [stop.reason for stop in pending(folder)] == ["worse"]


def test_stops_are_told_the_oldest_first(home, folder):
    for name, at_ms in [("a", 3), ("c", 1), ("b", 1)]:
        stops.write(str(home), ORDER._replace(request_id=name, at_ms=at_ms))
    assert [stop.request_id for stop in pending(folder)] == ["b", "c", "a"]


def test_without_stop_files_nothing_is_pending(folder):
    assert pending(folder) == []


def test_without_a_folder_nothing_is_pending(home):
    assert stops.pending(str(home)) == []


def test_a_file_that_is_still_being_written_is_no_stop(folder):
    (folder / "r-1.json.tmp").write_text("{")
    assert pending(folder) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"off"',
        b"5",
        b"{}",
        b"\xff\xfe\x00",
        b"\x00" * 200,
        json.dumps({"schema": 1, **ORDER._asdict()}).encode()[:-9],
        json.dumps({"flag_key": "checkout", "reason": "fire"}).encode(),
    ],
)
def test_a_file_that_cannot_be_read_stops_everything(folder, content):
    (folder / "r-1.json").write_bytes(content)
    assert pending(folder) == [Stop("r-1", EVERYTHING, "unreadable stop file r-1", "unknown", 0, rolls_back=False)]


def test_a_folder_in_the_place_of_a_file_stops_everything(folder):
    (folder / "r-1.json").mkdir()
    assert [stop.flag_key for stop in pending(folder)] == [EVERYTHING]


def test_a_file_that_cannot_be_read_leaves_the_others(home, folder):
    stops.write(str(home), ORDER)
    (folder / "bad.json").write_text("{")
    assert [stop.request_id for stop in pending(folder)] == ["bad", "r-1"]


def test_a_stop_that_is_lifted_is_gone(home, folder):
    stops.write(str(home), ORDER)
    stops.lift(str(home), "r-1")
    assert pending(folder) == []


def test_lifting_one_stop_leaves_the_others(home, folder):
    stops.write(str(home), ORDER)
    stops.write(str(home), ORDER._replace(request_id="r-2"))
    stops.lift(str(home), "r-1")
    assert [stop.request_id for stop in pending(folder)] == ["r-2"]


def test_lifting_twice_is_no_error(home, folder):
    stops.write(str(home), ORDER)
    stops.lift(str(home), "r-1")
    stops.lift(str(home), "r-1")
    assert pending(folder) == []


@pytest.mark.parametrize("name", ["", ".", "..", ".a", "a/b", "../x", "/x", "a b", "a\n", "a\0", "\xe4", "x" * 65])
def test_a_name_that_is_a_path_or_no_name_is_refused_and_nothing_is_written(tmp_path, home, folder, name):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match="a request id has 1 to 64 letters, digits and"):
        stops.write(str(home), ORDER._replace(request_id=name))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["a", "Stop.2026-09_21", "-", "_", "x" * 64])
def test_a_name_may_have_letters_digits_and_three_signs(home, folder, name):
    stops.write(str(home), ORDER._replace(request_id=name))
    assert [stop.request_id for stop in pending(folder)] == [name]


def test_where_no_file_can_be_written_it_is_said(home):
    with pytest.raises(WriteFailed, match=f"no stop file could be written in {home}"):
        stops.write(str(home), ORDER)


STOP_WITHOUT_ROOM = """
import resource, sys
from phase4.errors import WriteFailed
from phase4.store import stops

resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
try:
    stops.write(sys.argv[1], stops.Stop("r-1", "*", "fire", "ana", 1, rolls_back=False))
except WriteFailed as error:
    print(error)
"""


@pytest.fixture
def without_room(home, folder):
    """What a process is told whose files may not grow at all."""
    words = [sys.executable, "-c", STOP_WITHOUT_ROOM, home]
    return subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_where_there_is_no_room_the_reserve_is_given_up(home, without_room):
    assert not (home / homes.RESERVE).exists()


def test_where_giving_up_the_reserve_does_not_help_it_is_said(without_room):
    assert "no stop file could be written" in without_room
    assert "File too large" in without_room


def test_where_there_is_no_room_no_half_stop_file_is_left(folder, without_room):
    assert pending(folder) == []
