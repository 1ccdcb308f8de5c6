"""The doorbell: two words of shared memory."""

import stat
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase4.store.epoch import SIZE, Epoch

LAST = 2**64 - 1
RING = """
import sys
from phase4.store.epoch import Epoch

epoch = Epoch(sys.argv[1])
epoch.ring(41)
epoch.stop()
epoch.close()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "epoch"


@pytest.fixture
def epoch(path):
    made = Epoch(str(path))
    yield made
    made.close()


@pytest.fixture
def other(epoch, path):
    """A second mapping of the same file."""
    made = Epoch(str(path))
    yield made
    made.close()


def test_a_new_epoch_says_version_0(epoch):
    assert epoch.version == 0


def test_a_new_epoch_stops_nothing(epoch):
    assert not epoch.is_stopped


def test_the_file_has_64_bytes(epoch, path):
    assert path.stat().st_size == SIZE == 64


def test_the_file_is_for_the_owner_alone(epoch, path):
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_ring_is_heard_through_every_mapping(epoch, other):
    epoch.ring(7)
    assert other.version == 7


def test_a_ring_of_another_process_is_heard(epoch, path):
    subprocess.run([sys.executable, "-c", RING, path], check=True)
    assert (epoch.version, epoch.is_stopped) == (41, True)


def test_a_late_writer_may_put_the_version_back(epoch):
    epoch.ring(8)
    epoch.ring(7)
    assert epoch.version == 7


def test_stop_is_heard_through_every_mapping(epoch, other):
    epoch.stop()
    assert other.is_stopped


def test_clear_ends_a_stop(epoch, other):
    epoch.stop()
    other.clear()
    assert not epoch.is_stopped


def test_a_stop_says_nothing_about_the_version(epoch):
    epoch.ring(5)
    epoch.stop()
    assert epoch.version == 5


@given(st.integers(0, LAST))
def test_a_nudge_is_always_a_difference(tmp_path_factory, version):
    epoch = Epoch(str(tmp_path_factory.getbasetemp() / "nudged"))
    epoch.ring(version)
    epoch.nudge()
    heard = epoch.version
    epoch.close()
    assert heard != version
    assert heard % 2**32 == version % 2**32


def test_a_ring_after_a_nudge_says_the_version(epoch):
    epoch.ring(4)
    epoch.nudge()
    epoch.ring(5)
    assert epoch.version == 5


def test_what_it_says_outlives_its_processes(path):
    first = Epoch(str(path))
    first.ring(9)
    first.stop()
    first.close()
    second = Epoch(str(path))
    said = second.version, second.is_stopped
    second.close()
    assert said == (9, True)


@pytest.mark.parametrize("size", [0, 1, 8, 63])
def test_a_short_file_is_made_longer_and_keeps_what_it_has(path, size):
    path.write_bytes(b"\x01" * size)
    epoch = Epoch(str(path))
    epoch.close()
    assert path.read_bytes() == (b"\x01" * size).ljust(64, b"\x00")


def test_a_longer_file_is_never_shortened(path):
    path.write_bytes(bytes(4096))
    Epoch(str(path)).close()
    assert path.stat().st_size == 4096


def test_a_place_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        Epoch(str(tmp_path / "none" / "epoch"))
