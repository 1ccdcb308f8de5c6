"""Run files: one sealed DuckDB file for each rehearsal or sweep.

While it is written a file is private to its process; sealed by rename it is immutable, and any number of readers may
share it, since nobody ever holds it for writing again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl

from phase4.errors import NotFound, StoreUnavailable, WriteFailed, nearest
from phase4.ids import new_id

SCHEMA = 1
SUFFIX = ".duckdb"
TABLES = ("info", "world", "policy", "outcome", "figure", "journal", "exposure", "observation", "evidence")
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}

Column = Sequence[Any] | np.ndarray[Any, Any]
Rows = Mapping[str, Column]
"""One table by column: every column has the same length; None and NaN become NULL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFile:
    """A sealed run file, read whole table by whole table."""

    path: Path
    info: Mapping[str, Any]
    """The one row of table `info`."""

    def table(self, name: str) -> pl.DataFrame:
        """Return one of `TABLES`; the columns are those of schema/runs.sql.

        Raises:
            StoreUnavailable: the file cannot be read.
        """
        if name not in TABLES:
            raise KeyError(f"a run file has the tables {', '.join(TABLES)}: {name}")
        with _reading(self.path) as connection:
            return _frame(connection, name)


def write(folder: Path, run_id: str, tables: Mapping[str, Rows]) -> Path:
    """Write a run file and seal it; a file of the same id is replaced as a whole.

    Args:
        folder: Where run files lie; made if it is not there.
        run_id: Identity of the run or sweep, the file's name.
        tables: Rows for some or all of `TABLES`.

    Raises:
        WriteFailed: the folder or file cannot be written; nothing is left behind.
    """
    unknown = set(tables) - set(TABLES)
    if unknown:
        raise KeyError(f"a run file has the tables {', '.join(TABLES)}: {', '.join(sorted(unknown))}")
    target = folder / f"{run_id}{SUFFIX}"
    temporary = folder / f".{run_id}.{new_id()}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _fill(temporary, tables)
        _sync(temporary)
        temporary.replace(target)
        _sync(folder)
    except BaseException as error:
        for leftover in (temporary, temporary.with_name(temporary.name + ".wal")):
            with contextlib.suppress(OSError):
                leftover.unlink()
        if isinstance(error, OSError | duckdb.IOException):
            raise WriteFailed(f"cannot write {target}: {_first_line(error)}") from error
        raise
    return target


def read(path: Path) -> RunFile:
    """Return a sealed run file.

    Raises:
        NotFound: there is no such file.
        StoreUnavailable: it is not a run file, or of another schema.
    """
    if not path.is_file():
        raise NotFound(f"no such run file: {path}")
    with _reading(path) as connection:
        rows = _frame(connection, "info").to_dicts()
    if len(rows) != 1 or rows[0]["schema"] != SCHEMA:
        found = rows[0]["schema"] if rows else "none"
        raise StoreUnavailable(f"{path.name} has schema {found}, this version reads {SCHEMA}")
    return RunFile(path=path, info=rows[0])


def find(folder: Path, run_id: str | None = None) -> RunFile:
    """Return the run file with that id, or the newest one.

    Raises:
        NotFound: there is none.
    """
    files = saved(folder)
    if run_id is not None:
        for path in files:
            if path.stem == run_id:
                return read(path)
        close = nearest(run_id, [path.stem for path in files])
        raise NotFound(f"no run {run_id} in {folder}", hint=f"did you mean {close}?" if close else None)
    if not files:
        raise NotFound(f"no saved run in {folder}", hint="phase4 simulate sweep sims/first_run.toml makes one")
    return read(files[0])


def saved(folder: Path) -> list[Path]:
    """Return the sealed files of a folder, the newest first."""
    files = [path for path in folder.glob(f"*{SUFFIX}") if not path.name.startswith(".")]
    return sorted(files, key=lambda path: (-path.stat().st_mtime_ns, path.name))


def _fill(path: Path, tables: Mapping[str, Rows]) -> None:
    schema = resources.files("phase4.store").joinpath("schema/runs.sql").read_text(encoding="utf-8")
    connection = duckdb.connect(str(path), config=_CONFIG)
    try:
        connection.execute(schema)
        for name in TABLES:
            if tables.get(name):
                _insert(connection, name, tables[name])
        connection.execute("CHECKPOINT")
    finally:
        connection.close()
    path.chmod(0o600)


def _insert(connection: duckdb.DuckDBPyConnection, name: str, rows: Rows) -> None:
    arrays = {column: _array(values) for column, values in rows.items()}
    sizes = {len(array) for array in arrays.values()}
    if len(sizes) != 1:
        raise ValueError(f"{name}: columns differ in length: { {k: len(v) for k, v in arrays.items()} }")
    if not sizes.pop():
        return
    columns = ", ".join(f'"{column}"' for column in arrays)
    connection.register("incoming", arrays)
    connection.execute(f"INSERT INTO {name} ({columns}) SELECT {columns} FROM incoming")
    connection.unregister("incoming")


def _array(values: Column) -> np.ndarray[Any, Any]:
    """Return a numpy array that DuckDB reads: numbers as they are, texts and mixtures with None as objects."""
    if isinstance(values, np.ndarray):
        return values
    items = [str(item) if isinstance(item, str) else item for item in values]
    kinds = {type(item) for item in items}
    if kinds <= {int}:
        return np.array(items, np.int64)
    if kinds <= {bool}:
        return np.array(items, np.bool_)
    if kinds <= {float, int, type(None)} and kinds & {float, int}:
        # integers that may be missing go through float64: exact below 2**53, NaN becomes NULL
        return np.array([np.nan if item is None else item for item in items], np.float64)
    return np.array(items, dtype=object)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    try:
        connection = duckdb.connect(str(path), read_only=True, config=_CONFIG)
    except duckdb.Error as error:
        raise StoreUnavailable(f"{path.name} is not a run file: {_first_line(error)}") from error
    try:
        yield connection
    except duckdb.Error as error:
        raise StoreUnavailable(f"{path.name} cannot be read: {_first_line(error)}") from error
    finally:
        connection.close()


def _frame(connection: duckdb.DuckDBPyConnection, name: str) -> pl.DataFrame:
    columns = connection.execute(f"SELECT * FROM {name} ORDER BY rowid").fetchnumpy()
    return pl.DataFrame({column: _series(column, values) for column, values in columns.items()})


def _series(name: str, values: Any) -> pl.Series:
    mask = np.ma.getmaskarray(values)
    data = np.ma.getdata(values)
    if data.dtype == object:
        return pl.Series(name, [None if hidden else item for item, hidden in zip(data, mask, strict=True)])
    series = pl.Series(name, data)
    return (
        series
        if not mask.any()
        else series.zip_with(pl.Series(~mask), pl.Series(name, [None] * len(data), dtype=series.dtype))
    )


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
