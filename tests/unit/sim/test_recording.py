import hashlib
import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase4.errors import RecordingInvalid
from phase4.sim.recording import Columns, load, sha256
from tests.unit.sim.worlds import START

COLUMNS = Columns(time="t_ms", unit="unit", outcome="outcome", latency="latency_ms")
ROWS = [
    {"t_ms": START + 30, "unit": "b", "outcome": "error", "latency_ms": -1.0},
    {"t_ms": START + 10, "unit": "a", "outcome": "ok", "latency_ms": 12.5},
    {"t_ms": START + 20, "unit": "b", "outcome": "timeout", "latency_ms": 0.0},
    {"t_ms": START + 10, "unit": "b", "outcome": "invalid", "latency_ms": 7.0},
]


def frame(*changes, rows=ROWS):
    """Return the rows, the first of them with changes."""
    first, *others = rows
    return pl.DataFrame([{**first, **(changes[0] if changes else {})}, *others], strict=False)


def written(folder, table, suffix=".parquet"):
    path = folder / f"recording{suffix}"
    {".parquet": table.write_parquet, ".csv": table.write_csv, ".jsonl": table.write_ndjson}[suffix](path)
    return path


def read(folder, table, columns=COLUMNS, suffix=".parquet"):
    return load(written(folder, table, suffix), columns)


def problems(folder, table, columns=COLUMNS, suffix=".parquet"):
    with pytest.raises(RecordingInvalid) as refusal:
        read(folder, table, columns, suffix)
    assert refusal.value.source == f"recording{suffix}"
    return list(refusal.value.problems)


def rows_of(recording):
    units = [recording.names[index] for index in recording.unit]
    return list(zip(units, (recording.t_ms - START).tolist(), recording.outcome.tolist(), strict=True))


# ------------------------------------------------------------------------------------------------------ what is right


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_rows_are_read_by_unit_and_then_time_from_every_kind_of_file(tmp_path, suffix):
    recording = read(tmp_path, frame(), suffix=suffix)
    assert rows_of(recording) == [("a", 10, 2), ("b", 10, 5), ("b", 20, 4), ("b", 30, 3)]


def test_outcomes_may_be_codes(tmp_path):
    table = frame().with_columns(outcome=pl.Series([3, 2, 4, 5]))
    assert [outcome for _, _, outcome in rows_of(read(tmp_path, table))] == [2, 5, 4, 3]


def test_units_may_be_numbers(tmp_path):
    recording = read(tmp_path, frame().with_columns(unit=pl.Series([20, 3, 20, 20])))
    assert recording.names == ("20", "3")


def test_rows_of_one_unit_at_one_moment_keep_the_order_of_the_file(tmp_path):
    same = [{**row, "unit": "a", "t_ms": START} for row in ROWS]
    assert [outcome for _, _, outcome in rows_of(read(tmp_path, frame(rows=same)))] == [3, 2, 4, 5]


def test_columns_may_have_other_names_and_further_ones_are_left_alone(tmp_path):
    table = frame().rename({"t_ms": "at", "unit": "aircraft"}).with_columns(carrier=pl.lit("UA"))
    recording = read(tmp_path, table, Columns(time="at", unit="aircraft", outcome="outcome", latency=None))
    assert recording.names == ("a", "b")


def test_a_recording_without_latency_is_a_recording(tmp_path):
    columns = Columns(time="t_ms", unit="unit", outcome="outcome", latency=None)
    assert len(rows_of(read(tmp_path, frame().drop("latency_ms"), columns))) == 4


def test_a_latency_column_that_is_not_named_is_not_looked_at(tmp_path):
    columns = Columns(time="t_ms", unit="unit", outcome="outcome", latency=None)
    assert len(rows_of(read(tmp_path, frame({"latency_ms": math.nan}), columns))) == 4


def test_the_span_is_the_first_and_the_last_moment(tmp_path):
    assert read(tmp_path, frame()).span == (START + 10, START + 30)


def test_a_recording_that_was_changed_is_read_again(tmp_path):
    read(tmp_path, frame(), suffix=".csv")
    recording = read(tmp_path, frame({"outcome": "ok"}), suffix=".csv")
    assert [outcome for _, _, outcome in rows_of(recording)] == [2, 5, 4, 2]


def test_of_two_columns_of_one_name_the_first_counts(tmp_path):
    path = tmp_path / "recording.csv"
    path.write_text(f"t_ms,unit,unit,outcome,latency_ms\n{START},a,b,ok,5.0\n")
    assert load(path, COLUMNS).names == ("a",)


def test_the_digest_of_a_recording_is_that_of_its_bytes(tmp_path):
    path = written(tmp_path, frame(), ".csv")
    assert sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


@given(
    st.lists(
        st.tuples(st.sampled_from("abcde"), st.integers(1, 50), st.sampled_from(["ok", "error", "timeout", "invalid"])),
        min_size=1,
        max_size=40,
    )
)
def test_no_row_is_lost_added_or_changed(tmp_path_factory, rows):
    table = pl.DataFrame([{"t_ms": START + t, "unit": u, "outcome": o} for u, t, o in rows])
    columns = Columns(time="t_ms", unit="unit", outcome="outcome", latency=None)
    codes = {"ok": 2, "error": 3, "timeout": 4, "invalid": 5}
    recording = read(tmp_path_factory.mktemp("r"), table, columns)
    expected = sorted(((u, t, codes[o]) for u, t, o in rows), key=lambda row: row[:2])
    assert rows_of(recording) == expected
    assert recording.names == tuple(sorted({unit for unit, _, _ in rows}))


# ------------------------------------------------------------------------------------------------------ what is wrong


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RecordingInvalid, match="no such file") as refusal:
        load(tmp_path / "absent.csv", COLUMNS)
    assert refusal.value.source == str(tmp_path / "absent.csv")


def test_a_folder_is_no_recording(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(RecordingInvalid, match="no such file"):
        load(tmp_path / "folder.csv", COLUMNS)


@pytest.mark.parametrize("name", ["recording.txt", "recording"])
def test_another_kind_of_file_is_refused_with_the_kinds_there_are(tmp_path, name):
    (tmp_path / name).write_text("x")
    with pytest.raises(RecordingInvalid, match=r"one of \.parquet, \.csv, \.jsonl, \.ndjson"):
        load(tmp_path / name, COLUMNS)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
@pytest.mark.parametrize("content", [b"\x00\xff\x00garbage", b"{"], ids=["bytes", "brace"])
def test_a_file_that_is_none_of_its_kind_is_refused_in_one_line(tmp_path, suffix, content):
    path = tmp_path / f"recording{suffix}"
    path.write_bytes(content)
    with pytest.raises(RecordingInvalid) as refusal:
        load(path, COLUMNS)
    assert all(problem and "\n" not in problem for problem in refusal.value.problems)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_file_without_rows_is_refused(tmp_path, suffix):
    path = written(tmp_path, frame().head(0), suffix)
    with pytest.raises(RecordingInvalid, match="no rows; it needs at least one outcome"):
        load(path, COLUMNS)


def test_an_empty_file_is_refused(tmp_path):
    path = tmp_path / "recording.csv"
    path.write_bytes(b"")
    with pytest.raises(RecordingInvalid, match="no rows; it needs at least one outcome"):
        load(path, COLUMNS)


@pytest.mark.parametrize("role", ["time", "unit", "outcome", "latency"])
def test_a_missing_column_is_named_with_the_nearest_there_is(tmp_path, role):
    name = getattr(COLUMNS, role)
    table = frame().rename({name: f"{name}x"})
    assert problems(tmp_path, table) == [f'{role}: no column "{name}"; did you mean "{name}x"?']


def test_a_missing_column_like_no_other_is_told_what_the_file_has(tmp_path):
    assert problems(tmp_path, frame().rename({"unit": "zzzzzzz"})) == [
        'unit: no column "unit"; the file has t_ms, zzzzzzz, outcome, latency_ms'
    ]


def test_all_missing_columns_are_named_at_once(tmp_path):
    assert [problem.split(":")[0] for problem in problems(tmp_path, frame().drop("unit", "outcome"))] == [
        "unit",
        "outcome",
    ]


@pytest.mark.parametrize(
    ("dtype", "named"), [(pl.Float64, "Float64"), (pl.String, "String"), (pl.Datetime("ms"), "Datetime")], ids=str
)
def test_a_time_that_is_no_whole_number_is_refused_with_what_it_is(tmp_path, dtype, named):
    (problem,) = problems(tmp_path, frame().with_columns(pl.col("t_ms").cast(dtype)))
    assert problem.startswith(f'time: column "t_ms" holds whole ms since the Unix epoch, not {named}')


def test_a_time_too_large_for_a_signed_number_is_refused(tmp_path):
    table = frame().with_columns(t_ms=pl.Series([2**64 - 1, 1, 1, 1], dtype=pl.UInt64))
    assert problems(tmp_path, table) == ['time: column "t_ms" holds whole ms since the Unix epoch, not UInt64']


@pytest.mark.parametrize(
    ("value", "named"), [(["x"], "List(String)"), (b"\xff", "Binary"), ({"a": 1}, "Struct({'a': Int64})")], ids=str
)
def test_units_that_are_neither_texts_nor_whole_numbers_are_refused(tmp_path, value, named):
    table = frame().with_columns(unit=pl.Series([value] * 4))
    assert problems(tmp_path, table) == [f'unit: column "unit" holds texts or whole numbers, not {named}']


def test_latencies_that_are_no_numbers_are_refused(tmp_path):
    table = frame().with_columns(latency_ms=pl.Series([["x"]] * 4))
    assert problems(tmp_path, table) == ['latency: column "latency_ms" holds numbers of ms, not List(String)']


@pytest.mark.parametrize(("value", "shown"), [(None, "None"), (0, "0"), (-5, "-5")], ids=str)
def test_a_moment_that_cannot_be_is_named_with_its_row_and_value(tmp_path, value, shown):
    (problem,) = problems(tmp_path, frame({"t_ms": value}))
    assert problem.startswith('time: column "t_ms" is ')
    assert problem.endswith(f"row 0 has {shown} (1 such rows)")


@pytest.mark.parametrize(("value", "shown"), [(None, "None"), ("", "")], ids=["null", "empty"])
def test_a_row_without_a_unit_is_refused(tmp_path, value, shown):
    assert problems(tmp_path, frame({"unit": value})) == [
        f'unit: column "unit" is empty; row 0 has {shown} (1 such rows)'
    ]


@pytest.mark.parametrize("value", [None, "fine", "OK", ""], ids=str)
def test_a_wrong_outcome_is_refused_with_those_that_are_right(tmp_path, value):
    (problem,) = problems(tmp_path, frame({"outcome": value}))
    assert problem.startswith('outcome: column "outcome" is one of ok, error, timeout, invalid or 2 to 5; row 0 has ')


@pytest.mark.parametrize("value", [0, 1, 6, 255, -2])
def test_a_wrong_code_is_refused_and_shown(tmp_path, value):
    table = frame().with_columns(outcome=pl.Series([value, 2, 2, 2]))
    (problem,) = problems(tmp_path, table)
    assert problem.endswith(f"row 0 has {value} (1 such rows)")


@pytest.mark.parametrize("dtype", [pl.Float64, pl.Boolean], ids=str)
def test_outcomes_that_are_neither_names_nor_codes_are_refused(tmp_path, dtype):
    table = frame().with_columns(outcome=pl.Series([1, 0, 1, 1]).cast(dtype))
    (problem,) = problems(tmp_path, table)
    assert problem == f'outcome: column "outcome" holds ok, error, timeout, invalid or their codes, not {dtype}'


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.5, -2.0, None], ids=str)
def test_a_latency_that_cannot_be_is_named_with_its_row_and_value(tmp_path, value):
    (problem,) = problems(tmp_path, frame({"latency_ms": value}))
    assert problem.startswith('latency: column "latency_ms" is a number of ms, at least 0, or exactly -1 for none; ')
    assert problem.endswith(f"row 0 has {value} (1 such rows)")


def test_a_nan_latency_in_a_text_file_is_refused_too(tmp_path):
    path = tmp_path / "recording.csv"
    path.write_text(f"t_ms,unit,outcome,latency_ms\n{START},a,ok,NaN\n{START},a,ok,5.0\n")
    with pytest.raises(RecordingInvalid, match="row 0 has nan"):
        load(path, COLUMNS)


def test_a_latency_that_is_a_word_is_refused(tmp_path):
    table = frame().with_columns(latency_ms=pl.Series(["12", "fast", "3", "4"]))
    (problem,) = problems(tmp_path, table)
    assert "; row 1 has " in problem


def test_the_first_of_many_wrong_rows_is_named_and_the_others_are_counted(tmp_path):
    table = frame().with_columns(latency_ms=pl.Series([1.0, -3.0, math.nan, -3.0]))
    (problem,) = problems(tmp_path, table)
    assert problem.endswith("row 1 has -3.0 (3 such rows)")


def test_wrong_values_of_all_columns_are_named_at_once(tmp_path):
    table = frame({"t_ms": 0, "unit": "", "outcome": "fine", "latency_ms": math.nan})
    assert [problem.split(":")[0] for problem in problems(tmp_path, table)] == ["time", "unit", "outcome", "latency"]
