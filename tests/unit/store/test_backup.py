"""A backup has the events too: what was kept, what still lies in the spool, and keys only where they are asked for."""

import json
import threading

import numpy as np
import pytest

from phase4.errors import UsageError
from phase4.store import backup as backups
from phase4.store import manifest
from phase4.store.control import ControlStore
from phase4.store.events import EventReader
from tests.unit.store.event_home import ALWAYS, EventHome, counted, rows


@pytest.fixture
def lab(tmp_path):
    made = EventHome(tmp_path / "home")
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "backup"


def restored(folder, tmp_path):
    home = tmp_path / "again"
    home.mkdir(mode=0o700)
    backups.restore(str(home), str(folder))
    store = ControlStore(str(home), lambda: ALWAYS[1])
    reader = EventReader(str(home), store)
    try:
        return counted(reader.rates(*ALWAYS))
    finally:
        reader.close()
        store.close()


def test_a_restored_home_has_the_same_events_in_files_and_in_the_spool(lab, folder, tmp_path):
    lab.source(b"\x01" * 16)
    lab.keep(rows(lab.clock.now() + 10 * np.arange(500)))
    writer = lab.writer()
    for number in range(200):
        writer.emit(lab.clock.now(), number, 1, 5.0, 1, 0, 1, 2, 4, 2)
    before = lab.counted()
    names = backups.make(lab.store, str(folder))
    writer.close()
    assert {name.split("/")[0] for name in names} >= {"control.db", "segments", "spool", "backup.json"}
    assert restored(folder, tmp_path) == before
    assert sum(before.values()) == 700


def test_keys_are_left_out_but_where_they_are_asked_for(lab, folder, tmp_path):
    (lab.folder / "keys" / "unit.key").write_bytes(bytes(32))
    assert not any(name.startswith("keys/") for name in backups.make(lab.store, str(folder)))
    names = backups.make(lab.store, str(tmp_path / "with"), with_keys=True)
    assert "keys/unit.key" in names


def test_nothing_is_removed_while_a_backup_is_made(lab):
    with manifest.pinned(lab.home), manifest.unpinned(lab.home) as is_free:
        assert not is_free
    with manifest.unpinned(lab.home) as is_free:
        assert is_free


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "segments/../../outside"])
def test_an_index_that_names_a_file_outside_the_backup_is_refused(lab, folder, tmp_path, name):
    backups.make(lab.store, str(folder))
    index = json.loads((folder / backups.INDEX).read_text())
    index["files"][name] = "0" * 64
    (folder / backups.INDEX).write_text(json.dumps(index))
    with pytest.raises(UsageError, match="is no backup"):
        restored(folder, tmp_path)


@pytest.mark.parametrize("text", ["[]", '{"files": 7}', '{"files": {}}', "not json"])
def test_an_index_that_is_none_is_refused(lab, folder, tmp_path, text):
    backups.make(lab.store, str(folder))
    (folder / backups.INDEX).write_text(text)
    with pytest.raises(UsageError, match="is no backup"):
        restored(folder, tmp_path)


def test_a_backup_beside_a_busy_collector_is_whole(lab, folder, tmp_path):
    """The collector compacts and removes all the while; each backup restores, and never has an event twice."""
    lab.source(b"\x01" * 16)
    stop = threading.Event()

    def works():
        other = EventHome.__new__(EventHome)
        other.__dict__.update(lab.__dict__)
        other.store = ControlStore(lab.home, lab.clock.now)
        other.begin()
        seq = 0
        while not stop.is_set():
            other.keep(rows(lab.clock.now() + np.arange(50), first_seq=seq))
            seq += 50
            other.segments.compact(lab.clock.now(), 1.0)
        other.store.close()

    thread = threading.Thread(target=works)
    thread.start()
    try:
        for number in range(3):
            backups.make(lab.store, str(tmp_path / f"b{number}"))
    finally:
        stop.set()
        thread.join()
    for number in range(3):
        (tmp_path / f"r{number}").mkdir()
        found = restored(tmp_path / f"b{number}", tmp_path / f"r{number}")
        assert sum(found.values()) % 50 == 0
