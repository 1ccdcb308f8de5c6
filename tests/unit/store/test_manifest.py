"""The manifest: versions, ranges that never overlap, pins, and files that may go."""

from pathlib import Path

import pytest

from phase4.clock import ManualClock
from phase4.errors import InvariantViolation
from phase4.store import manifest
from phase4.store.manifest import DAY, SEGMENT, NewFile, Range
from tests.data.homes.make import START, change, create
from tests.unit.store.event_home import unfenced


@pytest.fixture
def store(tmp_path):
    made = create(tmp_path / "home", ManualClock(START))
    yield made
    made.close()


def file(path, *ranges, tier=SEGMENT, min_ms=START, max_ms=START + 10):
    return NewFile(
        path=path,
        tier=tier,
        day=START // 86_400_000,
        rows=5,
        min_ms=min_ms,
        max_ms=max_ms,
        size=1,
        sha256=b"",
        has_events=True,
        ranges=tuple(Range(*each) for each in ranges),
    )


def commit(store, added, retired=()):
    change(store, lambda making: manifest.replace(making, added, list(retired)))


def lay(store, path):
    place = Path(store.home) / path
    place.parent.mkdir(exist_ok=True)
    place.write_text("x")
    return place


def test_an_empty_manifest_has_version_0_and_no_files(store):
    assert manifest.snapshot(store) == (0, (), {})


def test_a_committed_file_is_live_and_moves_the_version(store):
    commit(store, [file("segments/a", (1, 0, 5))])
    assert [each.path for each in manifest.live(store)] == ["segments/a"]
    assert manifest.version(store) == 1
    assert manifest.segmented(store) == {1: 5}


def test_it_makes_no_audit_leaf_and_no_version_of_the_flags(store):
    before = (store.version, len(store.audit()))
    commit_quietly = {"actor": "collector", "request_id": "r"}
    store.execute("m", {}, lambda making: {"v": manifest.replace(making, [file("a", (1, 0, 5))], [])}, **commit_quietly)
    assert (store.version, len(store.audit())) == before


def test_a_range_that_is_live_already_is_refused_and_nothing_changes(store):
    commit(store, [file("segments/a", (1, 0, 5))])
    for first, end in [(0, 5), (4, 6), (0, 1), (2, 3)]:
        with pytest.raises(InvariantViolation, match="in live files already"):
            commit(store, [file("segments/b", (1, first, end))])
    assert manifest.version(store) == 1
    assert manifest.named(store, "segments/b") is None


def test_the_same_numbers_of_another_source_are_other_events(store):
    commit(store, [file("segments/a", (1, 0, 5)), file("segments/b", (2, 0, 7))])
    assert manifest.segmented(store) == {1: 5, 2: 7}


def test_two_files_of_one_commit_may_not_name_the_same_numbers(store):
    with pytest.raises(InvariantViolation):
        commit(store, [file("segments/a", (1, 0, 5)), file("segments/b", (1, 4, 6))])


def test_a_replacement_has_the_ranges_of_what_it_replaces(store):
    commit(store, [file("segments/a", (1, 0, 5)), file("segments/b", (1, 5, 9))])
    with pytest.raises(InvariantViolation, match="other ranges"):
        commit(store, [file("days/a", (1, 0, 8), tier=DAY)], ["segments/a", "segments/b"])
    commit(store, [file("days/a", (1, 0, 9), tier=DAY)], ["segments/a", "segments/b"])
    assert [each.path for each in manifest.live(store)] == ["days/a"]


def test_a_file_is_retired_once(store):
    commit(store, [file("segments/a", (1, 0, 5))])
    commit(store, [file("days/a", (1, 0, 5))], ["segments/a"])
    with pytest.raises(InvariantViolation, match="no live file"):
        commit(store, [], ["segments/a"])


def test_versions_name_the_files_of_any_moment(store):
    commit(store, [file("segments/a", (1, 0, 5))])
    commit(store, [file("days/a", (1, 0, 5))], ["segments/a"])
    old, new = manifest.named(store, "segments/a"), manifest.named(store, "days/a")
    assert (old.added_version, old.retired_version, old.retired_ms) == (1, 2, START)
    assert (new.added_version, new.retired_version) == (2, None)


def test_a_window_has_the_files_that_may_have_events_of_it(store):
    commit(store, [file("segments/a", (1, 0, 5), min_ms=10, max_ms=20), file("segments/b", min_ms=30, max_ms=40)])
    windows = {(0, 10): [], (0, 11): ["a"], (20, 30): ["a"], (20, 31): ["a", "b"], (21, 30): [], (41, 99): []}
    for window, names in windows.items():
        assert [each.path[-1] for each in manifest.live(store, *window)] == names, window


def test_gaps_between_ranges_stay_gaps(store):
    commit(store, [file("segments/a", (1, 0, 5)), file("segments/b", (1, 7, 9))])
    assert manifest.covered(store) == {1: ((1, 0, 5), (1, 7, 9))}
    assert manifest.covered(store, {2}) == {}


def test_a_retired_file_goes_after_ten_minutes_and_then_its_row(store):
    place = lay(store, "segments/a")
    commit(store, [file("segments/a", (1, 0, 5))])
    commit(store, [file("days/a", (1, 0, 5))], ["segments/a"])
    assert unlinked(store, START + manifest.GRACE_MS) == 0
    assert place.exists()
    assert unlinked(store, START + manifest.GRACE_MS + 1) == 1
    assert not place.exists()
    assert manifest.named(store, "segments/a") is None


def test_while_something_is_pinned_nothing_goes(store):
    place = lay(store, "segments/a")
    commit(store, [file("segments/a", (1, 0, 5))])
    commit(store, [], ["segments/a"])
    with manifest.pinned(store.home), manifest.pinned(store.home):
        assert unlinked(store, START + 10**9) == 0
        assert place.exists()
    assert unlinked(store, START + 10**9) == 1


def test_a_sweep_removes_what_no_row_names_and_half_written_files(store):
    kept, retired = lay(store, "segments/d/a"), lay(store, "hours/b")
    lost = [lay(store, path) for path in ("segments/d/x", "days/y", f"tmp/{manifest.TEMPORARY}z")]
    other = lay(store, "tmp/somebody-elses")
    commit(store, [file("segments/d/a", (1, 0, 5)), file("hours/b")])
    commit(store, [], ["hours/b"])
    found = manifest.sweep(store, unfenced, actor="c", request_id="r")
    assert sorted(found) == sorted(str(path.relative_to(store.home)) for path in lost)
    assert [path.exists() for path in (kept, retired, other, *lost)] == [True] * 3 + [False] * 3


def test_who_has_lost_the_lease_sweeps_nothing(store):
    place = lay(store, "segments/x")

    def lost():
        raise InvariantViolation("another one")

    with pytest.raises(InvariantViolation):
        manifest.sweep(store, lost, actor="c", request_id="r")
    assert place.exists()


def unlinked(store, now_ms):
    return manifest.unlink_retired(store, now_ms, actor="c", request_id=f"u{now_ms}")
