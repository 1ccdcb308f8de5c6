"""The key under which targeting keys are hashed: one for each home, made once, told to nobody."""

import resource
import subprocess
import sys
import threading

import pytest

from phase4.errors import StoreUnavailable
from phase4.store.record import UNIT_KEY_SIZE
from phase4.store.unit_key import NAME, key_id, load_or_make
from tests.data.homes.make import ROOT


@pytest.fixture
def place(tmp_path):
    """A home of which there is only the folder of keys."""
    (tmp_path / "keys").mkdir()
    return tmp_path


def test_the_key_is_made_on_first_use_and_stays(place):
    key = load_or_make(str(place))
    assert len(key) == UNIT_KEY_SIZE
    assert load_or_make(str(place)) == key == (place / NAME).read_bytes()


def test_two_homes_have_two_keys(tmp_path):
    for name in "ab":
        (tmp_path / name / "keys").mkdir(parents=True)
    assert load_or_make(str(tmp_path / "a")) != load_or_make(str(tmp_path / "b"))


def test_the_file_is_for_the_owner_alone_and_nothing_else_is_left(place):
    load_or_make(str(place))
    assert [path.name for path in (place / "keys").iterdir()] == ["unit.key"]
    assert (place / NAME).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("size", [0, 1, 31, 33])
def test_a_file_of_another_size_is_no_key(place, size):
    (place / NAME).write_bytes(bytes(size))
    with pytest.raises(StoreUnavailable, match=f"is no key: it has {size} bytes, not 32"):
        load_or_make(str(place))


def test_without_a_place_for_it_there_is_none(tmp_path):
    with pytest.raises(StoreUnavailable, match="No such file or directory"):
        load_or_make(str(tmp_path))


def test_the_name_of_a_key_is_stable_and_does_not_tell_it():
    assert key_id(bytes(range(32))) == key_id(bytes(range(32)))
    assert len(key_id(bytes(32))) == 12
    assert key_id(bytes(32)) != key_id(bytes(range(32)))
    assert key_id(b"a" * 32) not in (b"a" * 32).hex()


MAKE = """
import sys
from phase4.store.unit_key import load_or_make

sys.stdin.readline()
print(load_or_make(sys.argv[1]).hex())
"""


def test_processes_that_make_it_at_once_agree(place):
    words = [sys.executable, "-c", MAKE, str(place)]
    makers = [
        subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    for maker in makers:
        maker.stdin.write("\n")
        maker.stdin.flush()
    keys = {maker.communicate(timeout=60)[0].strip() for maker in makers}
    assert keys == {(place / NAME).read_bytes().hex()}


def test_threads_that_make_it_at_once_agree(tmp_path):
    for number in range(60):
        place = tmp_path / str(number)
        (place / "keys").mkdir(parents=True)
        start, keys = threading.Barrier(8), []

        def work(home=str(place), start=start, keys=keys):
            start.wait()
            try:
                keys.append(load_or_make(home))
            except StoreUnavailable as error:
                keys.append(str(error))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(keys) == {(place / NAME).read_bytes()}
        assert [path.name for path in (place / "keys").iterdir()] == ["unit.key"]


def test_a_key_for_which_there_is_no_room_is_made_the_next_time(place):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (UNIT_KEY_SIZE // 2, hard))
    try:
        with pytest.raises(StoreUnavailable):
            load_or_make(str(place))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((place / "keys").iterdir()) == []
    assert len(load_or_make(str(place))) == UNIT_KEY_SIZE
