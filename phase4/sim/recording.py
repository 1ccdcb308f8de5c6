"""Recordings with users: read, checked at the door, and laid out for replay."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from phase4.errors import RecordingInvalid, nearest

OUTCOMES = {"ok": 2, "error": 3, "timeout": 4, "invalid": 5}
"""Codes of the product's event record."""
NO_LATENCY = -1.0
"""Marks an outcome that has no latency."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Names of the columns in the file; a recording without users cannot be replayed row by row."""

    time: str
    unit: str
    outcome: str
    latency: str | None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Recording:
    """One row for each outcome, sorted by unit and then time."""

    t_ms: npt.NDArray[np.int64]
    """(rows,) when the outcome was known, ms since the Unix epoch, UTC."""
    unit: npt.NDArray[np.int32]
    """(rows,) index into `names`."""
    outcome: npt.NDArray[np.uint8]
    """(rows,) 2 ok, 3 error, 4 timeout, 5 invalid."""
    names: tuple[str, ...]
    """Targeting keys of the units."""

    @property
    def span(self) -> tuple[int, int]:
        """First and last moment, in ms."""
        return int(self.t_ms.min()), int(self.t_ms.max())


def sha256(path: Path) -> str:
    """Return the SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load(path: Path, columns: Columns) -> Recording:
    """Return a recording (Parquet, CSV or JSON Lines, by suffix); the same file is read once.

    Raises:
        RecordingInvalid: the file cannot be read, has no rows, lacks a column, or holds values that no outcome has.
    """
    try:
        found = path.stat()
    except OSError:
        raise RecordingInvalid("no such file", source=str(path)) from None
    return _load(path, columns, (found.st_mtime_ns, found.st_size, found.st_ino))


@lru_cache(maxsize=4)
def _load(path: Path, columns: Columns, version: tuple[int, int, int]) -> Recording:
    del version  # part of the key: a changed file is read again
    frame = _read(path)
    _check_columns(frame, columns, path)
    if frame.is_empty():
        raise RecordingInvalid("the recording has no rows; it needs at least one outcome", source=path.name)
    frame = frame.select(
        t_ms=pl.col(columns.time),
        unit=pl.col(columns.unit).cast(pl.String),
        outcome=_codes(frame, columns.outcome, path),
        latency=pl.lit(NO_LATENCY)
        if columns.latency is None
        else pl.col(columns.latency).cast(pl.Float64, strict=False),
    ).with_row_index("row")
    _check_values(frame, columns, path)
    frame = frame.sort("unit", "t_ms", "row")
    names = frame["unit"].unique(maintain_order=True)
    index = frame["unit"].rle_id().to_numpy()
    return Recording(
        t_ms=frame["t_ms"].cast(pl.Int64).to_numpy(),
        unit=index.astype(np.int32),
        outcome=frame["outcome"].to_numpy().astype(np.uint8),
        names=tuple(names.to_list()),
    )


def _read(path: Path) -> pl.DataFrame:
    readers: dict[str, Callable[..., pl.DataFrame]] = {
        ".parquet": pl.read_parquet,
        ".csv": pl.read_csv,
        ".jsonl": pl.read_ndjson,
        ".ndjson": pl.read_ndjson,
    }
    reader = readers.get(path.suffix)
    if reader is None:
        raise RecordingInvalid(
            f"a recording is one of {', '.join(readers)}: {path.suffix or 'no suffix'}", source=path.name
        )
    if not path.is_file():
        raise RecordingInvalid("no such file", source=str(path))
    try:
        return reader(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, pl.exceptions.NoDataError):
            first = "the recording has no rows; it needs at least one outcome"
        raise RecordingInvalid(first, source=path.name) from error


def _check_columns(frame: pl.DataFrame, columns: Columns, path: Path) -> None:
    wanted = {"time": columns.time, "unit": columns.unit, "outcome": columns.outcome, "latency": columns.latency}
    problems = []
    for role, name in wanted.items():
        if name is not None and name not in frame.columns:
            close = nearest(name, frame.columns)
            hint = f'did you mean "{close}"?' if close else f"the file has {', '.join(frame.columns)}"
            problems.append(f'{role}: no column "{name}"; {hint}')
    if not problems and not frame.is_empty():
        problems += _type_problems(frame, columns)
    if problems:
        raise RecordingInvalid(problems, source=path.name)


def _type_problems(frame: pl.DataFrame, columns: Columns) -> list[str]:
    types = {name: frame[name].dtype for name in (columns.time, columns.unit, columns.latency) if name is not None}
    time, unit = types[columns.time], types[columns.unit]
    problems = []
    if not time.is_integer() or time == pl.UInt64:
        problems.append(f'time: column "{columns.time}" holds whole ms since the Unix epoch, not {time}')
    if not (unit in {pl.String, pl.Categorical, pl.Enum} or unit.is_integer()):
        problems.append(f'unit: column "{columns.unit}" holds texts or whole numbers, not {unit}')
    latency = types[columns.latency] if columns.latency is not None else None
    if latency is not None and not (latency.is_numeric() or latency in {pl.String, pl.Null}):
        problems.append(f'latency: column "{columns.latency}" holds numbers of ms, not {latency}')
    return problems


def _codes(frame: pl.DataFrame, name: str, path: Path) -> pl.Expr:
    dtype = frame[name].dtype
    if dtype.is_integer():
        return pl.col(name).cast(pl.Int64)
    if dtype in {pl.String, pl.Categorical, pl.Enum}:
        return pl.col(name).cast(pl.String).replace_strict(OUTCOMES, default=0, return_dtype=pl.Int64)
    raise RecordingInvalid(
        f'outcome: column "{name}" holds {", ".join(OUTCOMES)} or their codes, not {dtype}', source=path.name
    )


def _check_values(frame: pl.DataFrame, columns: Columns, path: Path) -> None:
    """Refuse rows that no outcome looks like, naming the first of each kind by its row (from 0)."""
    latency = pl.col("latency")
    rules = {
        f'time: column "{columns.time}" is empty': pl.col("t_ms").is_null(),
        f'time: column "{columns.time}" is ms since the Unix epoch, above 0': pl.col("t_ms") <= 0,
        f'unit: column "{columns.unit}" is empty': pl.col("unit").is_null() | (pl.col("unit") == ""),
        f'outcome: column "{columns.outcome}" is one of {", ".join(OUTCOMES)} or 2 to 5': ~pl.col("outcome")
        .is_in(list(OUTCOMES.values()))
        .fill_null(value=False),
        f'latency: column "{columns.latency}" is a number of ms, at least 0, or exactly -1 for none': latency.is_null()
        | latency.is_nan()
        | latency.is_infinite()
        | ((latency < 0) & (latency != NO_LATENCY)),
    }
    problems = []
    for message, rule in rules.items():
        bad = frame.filter(rule)
        if bad.height:
            value = _first_value(bad, message)
            problems.append(f"{message}; row {bad['row'][0]} has {value} ({bad.height} such rows)")
    if problems:
        raise RecordingInvalid(problems, source=path.name)


def _first_value(bad: pl.DataFrame, message: str) -> object:
    column = {"time": "t_ms", "unit": "unit", "outcome": "outcome", "latency": "latency"}[message.split(":", 1)[0]]
    return bad[column][0]
