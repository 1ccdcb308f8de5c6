import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from importlib import resources

import duckdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phase4.errors import NotFound, StoreUnavailable, WriteFailed
from phase4.store import runs

SQL = resources.files("phase4.store").joinpath("schema/runs.sql").read_text(encoding="utf-8")
COLUMN = re.compile(r"(\w+) (INTEGER|BIGINT|DOUBLE|VARCHAR|BOOLEAN|BLOB)( NOT NULL)?")
TABLES = {name: COLUMN.findall(body) for name, body in re.findall(r"CREATE TABLE (\w+) \((.*?)\);", SQL, re.DOTALL)}
INFO = {
    "schema": 1, "kind": "run", "id": "abc", "source": "sim", "scenario": "small", "covers": "", "scenario_hash": "00",
    "mode": "counts", "flag_key": "flag", "seed": 7, "replicates": 1, "planned": 1, "done": 1, "complete": True,
    "digest": "11", "duration_ms": 1, "tick_ms": 1, "versions": "phase4 x", "started_wall_ms": 5,
}  # fmt: skip
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
VALUES = {
    "INTEGER": st.integers(-(2**31), 2**31 - 1),
    "BIGINT": st.integers(-(2**53), 2**53),
    "DOUBLE": st.floats(allow_nan=False),
    "VARCHAR": TEXTS,
    "BOOLEAN": st.booleans(),
    "BLOB": st.binary(max_size=8),
}


def info(**changes):
    return {name: [value] for name, value in {**INFO, **changes}.items()}


def write(folder, name="abc", **tables):
    return runs.write(folder, name, {"info": info(id=name), **tables})


@st.composite
def rows(draw, name):
    """Return rows of a table: every column it has, missing values where they may be."""
    size = draw(st.integers(1, 5))
    columns = {}
    for column, kind, required in TABLES[name]:
        one = VALUES[kind] if required else st.none() | VALUES[kind]
        columns[column] = draw(st.lists(one, min_size=size, max_size=size))
    return columns


# --------------------------------------------------------------------------------------------- what is written is read


def test_the_tables_are_those_of_the_schema():
    assert set(runs.TABLES) == set(TABLES)
    assert all(TABLES.values())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(data=st.data())
def test_every_table_is_read_as_it_was_written(tmp_path, data):
    written = {name: data.draw(rows(name)) for name in runs.TABLES if name != "info"}
    file = runs.read(write(tmp_path, **written))
    for name, table in written.items():
        assert file.table(name).to_dict(as_series=False) == table, name


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(data=st.data())
def test_the_info_of_a_file_is_read_as_it_was_written(tmp_path, data):
    written = {**data.draw(rows("info").map(lambda r: {k: v[:1] for k, v in r.items()})), "schema": [1]}
    file = runs.read(runs.write(tmp_path, "abc", {"info": written}))
    assert {name: [value] for name, value in file.info.items()} == written


def figure(*values):
    return {
        "world": ["w"] * len(values), "policy": ["p"] * len(values), "figure": ["f"] * len(values),
        "estimate": list(values), "lower": list(values), "upper": list(values), "runs": [1] * len(values),
    }  # fmt: skip


def test_never_is_kept_and_nothing_becomes_null(tmp_path):
    table = figure(math.inf, -math.inf, math.nan, None, 0.5)
    found = runs.read(write(tmp_path, figure=table)).table("figure")["estimate"].to_list()
    assert found == [math.inf, -math.inf, None, None, 0.5]


def test_arrays_are_written_like_lists(tmp_path):
    lists = figure(1.0, math.nan, math.inf)
    arrays = {name: np.array(values) for name, values in lists.items()}
    one, other = (
        runs.read(write(tmp_path, name, figure=table)).table("figure") for name, table in (("a", lists), ("b", arrays))
    )
    assert one.equals(other)


def test_a_column_that_is_left_out_is_null(tmp_path):
    table = {name: values for name, values in figure(0.5).items() if name != "lower"}
    assert runs.read(write(tmp_path, figure=table)).table("figure")["lower"].to_list() == [None]


def test_rows_keep_their_order(tmp_path):
    values = [float(value) for value in np.random.default_rng(1).permutation(5_000)]
    found = runs.read(write(tmp_path, figure=figure(*values))).table("figure")
    assert found["estimate"].to_list() == values


def test_a_table_without_rows_is_empty_and_has_its_columns(tmp_path):
    frame = runs.read(write(tmp_path)).table("outcome")
    assert frame.height == 0
    assert frame.columns == [column for column, _, _ in TABLES["outcome"]]


def test_a_table_that_is_none_of_a_run_file_s_is_refused_by_name(tmp_path):
    with pytest.raises(KeyError, match="outcomes"):
        runs.read(write(tmp_path)).table("outcomes")


def test_a_table_that_is_none_of_a_run_file_s_is_not_written(tmp_path):
    with pytest.raises(KeyError, match="figures"):
        write(tmp_path, figures=figure(0.5))


def test_whole_numbers_among_others_are_kept(tmp_path):
    found = runs.read(write(tmp_path, figure=figure(1, 2.5))).table("figure")
    assert found["estimate"].to_list() == [1.0, 2.5]


def test_columns_of_missing_values_alone_are_read_as_such(tmp_path):
    some = {"VARCHAR": ["a", "b"], "BIGINT": [1, 2], "INTEGER": [1, 2], "BOOLEAN": [True, False], "DOUBLE": [1.5, 2.5]}
    table = {column: some[kind] if required else [None, None] for column, kind, required in TABLES["outcome"]}
    assert runs.read(write(tmp_path, outcome=table)).table("outcome").to_dict(as_series=False) == table


def test_columns_of_different_lengths_are_refused(tmp_path):
    with pytest.raises(ValueError, match="figure: columns differ in length"):
        write(tmp_path, figure={**figure(0.5), "runs": [1, 2]})


# ------------------------------------------------------------------------------------------------------------- sealed


def test_a_file_is_named_by_its_run_in_a_folder_that_is_made_for_it(tmp_path):
    path = write(tmp_path / "new" / "runs")
    assert path == tmp_path / "new" / "runs" / "abc.duckdb"


def test_nothing_but_the_sealed_file_is_left_in_the_folder(tmp_path):
    write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["abc.duckdb"]


def test_only_its_owner_may_read_a_file_or_list_its_folder(tmp_path):
    path = write(tmp_path / "runs")
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_file_of_the_same_run_is_replaced_as_a_whole(tmp_path):
    write(tmp_path, figure=figure(0.5))
    assert runs.read(write(tmp_path)).table("figure").height == 0


def test_a_reader_keeps_what_it_reads_while_the_file_is_replaced(tmp_path):
    path = write(tmp_path, figure=figure(0.5))
    reader = duckdb.connect(str(path), read_only=True)
    write(tmp_path)
    assert reader.execute("SELECT estimate FROM figure").fetchall() == [(0.5,)]
    reader.close()


def test_many_may_read_a_file_at_once(tmp_path):
    path = write(tmp_path, figure=figure(0.5))
    reader = duckdb.connect(str(path), read_only=True)
    command = [sys.executable, "-c", READ, str(path)]
    other = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    reader.close()
    assert json.loads(other.stdout) == [0.5]


READ = """
import json, pathlib, sys
from phase4.store import runs
print(json.dumps(runs.read(pathlib.Path(sys.argv[1])).table("figure")["estimate"].to_list()))
"""

WRITE_SLOWLY = """
import pathlib, sys, time
from phase4.store import runs
fill = runs._fill
def slow(path, tables):
    fill(path, tables)
    print("written, not sealed", flush=True)
    time.sleep(60)
runs._fill = slow
runs.write(pathlib.Path(sys.argv[1]), "abc", {})
"""


def kill_while_writing(folder):
    """Start a writer and kill it when its file is full but not sealed."""
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITE_SLOWLY, str(folder)], stdout=subprocess.PIPE, text=True, bufsize=1
    )
    with writer:
        assert writer.stdout.readline() == "written, not sealed\n"
        writer.send_signal(signal.SIGKILL)
        assert writer.wait(timeout=60) == -signal.SIGKILL


def test_a_writer_that_was_killed_leaves_no_run_behind(tmp_path):
    kill_while_writing(tmp_path)
    assert list(tmp_path.iterdir()) != []
    assert runs.saved(tmp_path) == []


def test_a_writer_that_was_killed_leaves_the_file_before_as_it_was(tmp_path):
    before = write(tmp_path, figure=figure(0.5)).read_bytes()
    kill_while_writing(tmp_path)
    (path,) = runs.saved(tmp_path)
    assert path.read_bytes() == before
    assert runs.find(tmp_path).table("figure")["estimate"].to_list() == [0.5]


def test_a_file_that_cannot_take_its_place_leaves_nothing_behind(tmp_path):
    (tmp_path / "abc.duckdb").mkdir()
    (tmp_path / "abc.duckdb" / "full").touch()
    with pytest.raises(WriteFailed, match="cannot write"):
        write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["abc.duckdb"]


@pytest.mark.parametrize(
    "changes", [{"runs": [1, 2]}, {"runs": [None]}, {"extra": [1]}], ids=["length", "null", "column"]
)
def test_rows_that_do_not_fit_leave_nothing_behind(tmp_path, changes):
    with pytest.raises((ValueError, duckdb.Error)):
        write(tmp_path, figure={**figure(0.5), **changes})
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_while_a_file_is_written_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(_path):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "_sync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "home").touch()
    with pytest.raises(WriteFailed, match=r"cannot write .*abc\.duckdb"):
        write(tmp_path / "home")


# ------------------------------------------------------------------------------------------------- what is no run file


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(NotFound, match=r"no such run file: .*absent\.duckdb"):
        runs.read(tmp_path / "absent.duckdb")


@pytest.mark.parametrize("content", [b"", b"not a database" * 1_000], ids=["empty", "text"])
def test_a_file_that_is_no_database_is_refused(tmp_path, content):
    (tmp_path / "x.duckdb").write_bytes(content)
    with pytest.raises(StoreUnavailable, match=r"x\.duckdb"):
        runs.read(tmp_path / "x.duckdb")


def test_a_file_that_was_cut_off_is_refused(tmp_path):
    path = write(tmp_path)
    path.write_bytes(path.read_bytes()[:5_000])
    with pytest.raises(StoreUnavailable, match=r"abc\.duckdb"):
        runs.read(path)


def test_a_database_of_something_else_is_refused(tmp_path):
    with duckdb.connect(str(tmp_path / "x.duckdb")) as connection:
        connection.execute("CREATE TABLE something (a INTEGER)")
    with pytest.raises(StoreUnavailable, match=r"x\.duckdb cannot be read"):
        runs.read(tmp_path / "x.duckdb")


@pytest.mark.parametrize("schema", [0, 2])
def test_a_file_of_another_schema_is_refused_with_both_numbers(tmp_path, schema):
    path = runs.write(tmp_path, "abc", {"info": info(schema=schema)})
    with pytest.raises(StoreUnavailable, match=rf"abc\.duckdb has schema {schema}, this version reads 1"):
        runs.read(path)


def test_a_file_without_info_is_refused(tmp_path):
    path = runs.write(tmp_path, "abc", {})
    with pytest.raises(StoreUnavailable, match="has schema none"):
        runs.read(path)


def test_an_error_is_one_line(tmp_path):
    (tmp_path / "x.duckdb").write_bytes(b"not a database")
    with pytest.raises(StoreUnavailable) as refusal:
        runs.read(tmp_path / "x.duckdb")
    assert "\n" not in refusal.value.message


# -------------------------------------------------------------------------------------------------------------- finding


def at(path, seconds):
    os.utime(path, (seconds, seconds))


def test_the_newest_file_is_found_first(tmp_path):
    for name, seconds in (("b", 100), ("a", 300), ("c", 200)):
        at(write(tmp_path, name), seconds)
    assert [path.stem for path in runs.saved(tmp_path)] == ["a", "c", "b"]
    assert runs.find(tmp_path).info["id"] == "a"


def test_files_of_one_moment_are_in_the_order_of_their_names(tmp_path):
    for name in ("b", "a", "c"):
        at(write(tmp_path, name), 100)
    assert [path.stem for path in runs.saved(tmp_path)] == ["a", "b", "c"]


def test_a_run_is_found_by_its_id(tmp_path):
    at(write(tmp_path, "aaa"), 100)
    at(write(tmp_path, "bbb"), 200)
    assert runs.find(tmp_path, "aaa").info["id"] == "aaa"


def test_a_run_that_is_not_there_is_told_the_nearest(tmp_path):
    write(tmp_path, "abcdef0123456789")
    with pytest.raises(NotFound, match="no run abcdef0123456780") as refusal:
        runs.find(tmp_path, "abcdef0123456780")
    assert refusal.value.hint == "did you mean abcdef0123456789?"


def test_an_empty_folder_says_how_a_run_is_made(tmp_path):
    with pytest.raises(NotFound, match="no saved run") as refusal:
        runs.find(tmp_path)
    assert "phase4 simulate" in refusal.value.hint


def test_a_folder_that_is_not_there_has_no_runs(tmp_path):
    assert runs.saved(tmp_path / "absent") == []


def test_other_files_are_no_runs(tmp_path):
    for name in ("notes.txt", ".hidden.duckdb", "abc.duckdb.wal", ".abc.1.tmp"):
        (tmp_path / name).touch()
    assert runs.saved(tmp_path) == []


def test_reading_leaves_the_file_as_it_was(tmp_path):
    path = write(tmp_path, figure=figure(0.5))
    before = (path.read_bytes(), path.stat().st_mtime_ns)
    time.sleep(0.01)
    runs.read(path).table("figure")
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert [other.name for other in tmp_path.iterdir()] == [path.name]
