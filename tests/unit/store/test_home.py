"""The folder of a home: what is made, for whom, and which folder is refused."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from phase4.errors import NotInitialised, StoreUnavailable
from phase4.store import home as homes
from phase4.store.control import ControlStore
from tests.data.homes.make import create

IS_ROOT = os.geteuid() == 0


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def opened_version(home):
    """Return the version of a home that is made here, or was made by another a moment ago."""
    store = ControlStore.create(str(home), lambda: 0)
    try:
        return store.version
    finally:
        store.close()


@pytest.fixture
def made(home):
    homes.create(str(home))
    return home


@pytest.fixture
def open_umask():
    """A process that hides nothing by itself."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_home_has_all_its_folders(made):
    assert {path.name for path in made.iterdir() if path.is_dir()} == set(homes.FOLDERS)


def test_folders_are_for_the_owner_alone(home, open_umask):
    homes.create(str(home))
    assert {mode(home), *(mode(home / name) for name in homes.FOLDERS)} == {0o700}


def test_files_are_for_the_owner_alone(home, open_umask):
    store = create(home)
    files = {path.name: mode(path) for path in home.iterdir() if path.is_file()}
    store.close()
    assert files == dict.fromkeys(["control.db", "control.db-shm", "control.db-wal", "epoch", "reserve.bin"], 0o600)


def test_the_reserve_takes_its_place_on_the_disk(made):
    found = (made / homes.RESERVE).stat()
    assert found.st_size == 8 * 2**20
    assert found.st_blocks * 512 >= 8 * 2**20


def test_making_a_home_again_keeps_what_is_there(made):
    (made / "keys" / "unit.key").write_bytes(b"k" * 32)
    homes.create(str(made))
    assert (made / "keys" / "unit.key").read_bytes() == b"k" * 32


def test_a_reserve_that_was_used_up_is_made_again(made):
    (made / homes.RESERVE).unlink()
    homes.create(str(made))
    assert (made / homes.RESERVE).stat().st_size == homes.RESERVE_SIZE


def test_a_home_is_made_below_folders_that_are_not_there(tmp_path):
    homes.create(str(tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "b" / homes.STOPS).is_dir()


def test_a_file_in_the_place_of_a_home_is_refused(home):
    home.write_text("")
    with pytest.raises(StoreUnavailable, match=r"cannot make .*home"):
        homes.create(str(home))


@pytest.mark.parametrize("bits", [0o710, 0o705, 0o750, 0o770, 0o777])
def test_a_folder_that_others_can_enter_is_refused_with_its_mode(home, bits):
    home.mkdir()
    home.chmod(bits)
    with pytest.raises(StoreUnavailable, match=f"open to others: its mode is {bits:o}, not 700"):
        homes.create(str(home))


def test_a_home_that_is_no_longer_private_is_refused(home):
    create(home).close()
    home.chmod(0o755)
    with pytest.raises(StoreUnavailable, match="open to others"):
        homes.require(str(home))


@pytest.mark.skipif(not IS_ROOT, reason="only root gives a folder away")
def test_a_home_of_somebody_else_is_refused(home):
    create(home).close()
    os.chown(home, 12_345, 12_345)
    with pytest.raises(StoreUnavailable, match="belongs to uid 12345, not to you"):
        homes.require(str(home))


def test_a_home_that_init_has_not_made_says_how(home):
    with pytest.raises(NotInitialised) as refused:
        homes.require(str(home))
    assert refused.value.hint == "phase4 init"


def test_a_folder_without_a_database_is_no_home(made):
    with pytest.raises(NotInitialised):
        homes.require(str(made))


def test_a_home_that_is_right_has_no_findings(home):
    create(home).close()
    assert homes.findings(str(home)) == []


def test_a_file_that_vanishes_while_a_home_is_looked_at_is_no_finding(home, monkeypatch):
    create(home).close()
    (home / "control.db-journal").touch(mode=0o644)
    listed = os.scandir

    def vanishing(path):
        entries = list(listed(path))
        (home / "control.db-journal").unlink()
        return iter(entries)

    monkeypatch.setattr(os, "scandir", vanishing)
    assert homes.findings(str(home)) == []


def test_homes_that_are_made_at_the_same_time_are_one_home(tmp_path):
    for index in range(10):
        home = tmp_path / str(index)
        with ThreadPoolExecutor(4) as pool:
            versions = list(pool.map(opened_version, [home] * 4))
        assert (versions, homes.findings(str(home))) == ([0] * 4, [])


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o660])
def test_a_file_that_others_can_read_is_found_with_its_mode(home, bits):
    create(home).close()
    (home / homes.CONTROL).chmod(bits)
    assert homes.findings(str(home)) == [f"{home}/control.db may be read by others: its mode is {bits:o}"]
