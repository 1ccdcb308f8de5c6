"""Event files against the manifest: what is missing, cut or changed is found, and nothing else."""

import pytest

from phase4.store import care
from tests.unit.store.event_home import EventHome, rows, spread


@pytest.fixture
def event_home(tmp_path):
    made = EventHome(tmp_path / "home")
    made.keep(rows(spread(50)))
    yield made
    made.close()


@pytest.fixture
def file(event_home):
    (path,) = event_home.files()
    return event_home.folder / path


def found(event_home, *, deep=True):
    return [line for line in care.check(event_home.home, deep=deep) if "segments" in line]


@pytest.mark.parametrize("deep", [False, True])
def test_files_as_they_were_written_are_no_finding(event_home, deep):
    assert care.check(event_home.home, deep=deep) == []


@pytest.mark.parametrize("deep", [False, True])
def test_a_missing_file_is_named(event_home, file, deep):
    file.unlink()
    (line,) = found(event_home, deep=deep)
    assert line.startswith(f"{file.relative_to(event_home.folder)}: is missing")


@pytest.mark.parametrize("deep", [False, True])
def test_a_file_that_was_cut_is_named_with_its_sizes(event_home, file, deep):
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    (line,) = found(event_home, deep=deep)
    assert f"has {len(whole) - 1:,} bytes, and {len(whole):,} when it was written" in line


def test_one_changed_byte_is_found_by_reading_all_of_it_alone(event_home, file):
    whole = bytearray(file.read_bytes())
    whole[len(whole) // 2] ^= 1
    file.write_bytes(bytes(whole))
    assert found(event_home, deep=False) == []
    (line,) = found(event_home)
    assert line.endswith("is not what it was when it was written")


def test_a_file_that_the_manifest_no_longer_names_is_not_looked_at(event_home, file):
    event_home.store.connection.execute("UPDATE segment SET retired_version = 99, retired_ms = 1")
    file.unlink()
    assert found(event_home) == []
