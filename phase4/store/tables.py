"""Files of rows as people have them: CSV, Parquet and JSON Lines, every value as text and every row with its line.

Nothing is guessed from the values here. A row that is none (too many fields, no JSON, no UTF-8) is named, and never
shifts the rows behind it.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from phase4.errors import InvalidInput, UsageError, nearest

CSV, PARQUET, JSONL = "csv", "parquet", "jsonl"
FORMATS = (CSV, PARQUET, JSONL)
SUFFIXES = {
    ".csv": CSV,
    ".tsv": CSV,
    ".txt": CSV,
    ".parquet": PARQUET,
    ".pq": PARQUET,
    ".jsonl": JSONL,
    ".ndjson": JSONL,
}
PACKED = (".gz", ".zst")
STDIN = "-"
SEPARATORS = ",;\t|"
MORE = "more"
"""Name of the column behind the last: what lies in it is too much."""
_REPLACED = "\ufffd"
_BOM = b"\xef\xbb\xbf"
_BOMS_16 = (b"\xff\xfe", b"\xfe\xff")
_ZSTD = b"\x28\xb5\x2f\xfd"
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What a file holds."""

    name: str
    """Of the file, as messages give it."""
    digest: bytes
    """SHA-256 of the file's bytes."""
    columns: tuple[str, ...]
    height: int
    """Rows, the blank ones included."""
    column: Callable[[str], pl.Series]
    """Column -> (height,) String, null where there is no value."""
    units: Mapping[str, str]
    """Columns that hold moments, whatever their name -> the unit they are given in here."""
    blank: npt.NDArray[np.bool_]
    """(height,) rows that hold nothing, which are no rows."""
    broken: Mapping[int, str]
    """Row -> why it is none."""
    lines: Callable[[Sequence[int]], list[int]]
    """Rows -> the lines where they begin, from 1; in a Parquet file the rows' numbers, from 1."""


def format_of(path: str, wanted: str | None) -> str:
    """Return the format that was asked for, or that a file's name says.

    Raises:
        UsageError: the name says none.
    """
    if wanted is not None:
        return wanted
    if path == STDIN:
        raise UsageError("what comes from stdin has no name: say what it is", hint="--format csv|parquet|jsonl")
    stem, ending = os.path.splitext(path.lower())
    suffix = os.path.splitext(stem)[1] if ending in PACKED else ending
    found = SUFFIXES.get(suffix)
    if found is None or (found == PARQUET and ending in PACKED):
        close = nearest(suffix, SUFFIXES)
        known = f'did you mean "{close}"?' if close else f"known: {', '.join(SUFFIXES)}, text also with .gz or .zst"
        raise UsageError(f"{path}: no format has the suffix {ending or '(none)'}; {known}", hint="--format FORMAT")
    return found


def files_of(path: str, wanted: str | None) -> list[str]:
    """Return the file itself, or the files of a folder in the order of their names; folders in it are left alone.

    Raises:
        InvalidInput: there is no such file, or no file in the folder has a suffix of ours.
    """
    if path == STDIN or os.path.isfile(path):
        return [path]
    if not os.path.isdir(path):
        if os.path.exists(path):  # a pipe or a device: read like stdin
            return [path]
        raise InvalidInput("no such file or folder", source=path, hint=_neighbour(path))
    names = sorted(name for name in os.listdir(path) if os.path.isfile(os.path.join(path, name)))
    found = [os.path.join(path, name) for name in names if not name.startswith(".") and _is_ours(name, wanted)]
    if not found:
        raise InvalidInput(f"the folder has no file with a suffix of {', '.join(SUFFIXES)}", source=path)
    return found


def read(path: str, wanted: str | None = None) -> Table:
    """Return what a file holds.

    Args:
        path: The file, or `-` for stdin.
        wanted: Its format, where its name does not say it.

    Raises:
        UsageError: its format is not known.
        InvalidInput: it cannot be read as that.
    """
    format_ = format_of(path, wanted)
    name = "stdin" if path == STDIN else path
    raw = _bytes(path, name)
    digest = hashlib.sha256(raw).digest()
    if format_ == PARQUET:
        return _parquet(name, digest, raw)
    text = _unpacked(raw, name)
    return _csv(name, digest, text) if format_ == CSV else _jsonl(name, digest, text)


# ---------------------------------------------------------------------------------------------------------------- bytes
def _bytes(path: str, name: str) -> bytes:
    try:
        if path == STDIN:
            return sys.stdin.buffer.read()
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror}", source=name) from error


def _unpacked(raw: bytes, name: str) -> bytes:
    """Return text as UTF-8 without its mark; packed or not is seen in the first bytes, and not in the name."""
    if raw.startswith(_GZIP):
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise InvalidInput(f"is no whole gzip file: {error}", source=name) from error
    elif raw.startswith(_ZSTD):
        with _readable(name):
            raw = "\n".join(pl.read_lines(raw).to_series().to_list()).encode()
    if raw.startswith(_BOMS_16):
        try:
            return raw.decode("utf-16").encode()
        except UnicodeDecodeError as error:
            raise InvalidInput(f"is no whole UTF-16 text: {error.reason}", source=name) from error
    return raw.removeprefix(_BOM)


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


@contextlib.contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        # a Parquet file that is cut or changed in its middle makes polars panic, which is no exception of Python's
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidInput(f"cannot be read: {first}", source=name) from error


def _is_ours(name: str, wanted: str | None) -> bool:
    try:
        found = format_of(name, None)
    except UsageError:
        return False
    return wanted in {None, found}


def _neighbour(path: str) -> str | None:
    """Return the nearest file that is there."""
    folder = os.path.dirname(path)
    try:
        close = nearest(os.path.basename(path), os.listdir(folder or "."))
    except OSError:
        return None
    return None if close is None else f"did you mean {os.path.join(folder, close)}?"


# ------------------------------------------------------------------------------------------------------------------ CSV
def _csv(name: str, digest: bytes, raw: bytes) -> Table:
    if not raw.strip():
        raise InvalidInput("is empty: the first line has the names of the columns", source=name)
    raw = raw.rstrip(b"\r\n") + b"\n"
    lead = len(raw) - len(raw.lstrip(b"\r\n"))
    above, raw = raw[:lead].count(b"\n"), raw[lead:]
    separator = _separator(raw)
    is_whole = _is_utf8(raw)
    encoding: Any = "utf8" if is_whole else "utf8-lossy"
    options: dict[str, Any] = {
        "has_header": False,
        "separator": separator,
        "encoding": encoding,
        "truncate_ragged_lines": True,
    }
    with _quoted_well(name, raw, above), _readable(name):
        head = pl.read_csv(raw, **options, n_rows=1, infer_schema=False)
        if head.is_empty():
            raise InvalidInput("the first line cannot be read: it has the names of the columns", source=name)
    columns = _distinct(head.row(0))
    keys = [f"c{place}" for place in range(len(columns))]
    with _quoted_well(name, raw, above), _readable(name):
        frame = pl.read_csv(
            raw,
            **options,
            skip_rows=1,
            schema=dict.fromkeys([*keys, MORE], pl.String),
            missing_columns="insert",
        )
    return Table(
        name=name,
        digest=digest,
        columns=columns,
        height=frame.height,
        column=lambda wanted: frame[keys[columns.index(wanted)]].alias(wanted),
        units={},
        blank=frame.select(pl.all_horizontal(pl.all().is_null())).to_series().to_numpy(),
        broken=_broken(frame, is_whole=is_whole),
        lines=lambda rows: [line + above for line in _csv_lines(raw, frame.height, rows)],
    )


def _separator(raw: bytes) -> str:
    """Return the separator that stands most often in the first line, outside of quotes."""
    outside = raw[:65_536].split(b"\n", 1)[0].split(b'"')[::2]
    counts = {each: sum(part.count(each.encode()) for part in outside) for each in SEPARATORS}
    return max(SEPARATORS, key=lambda each: counts[each])


def _distinct(row: Sequence[str | None]) -> tuple[str, ...]:
    """Return the names of columns; one without a name and one of two with the same get one."""
    found: list[str] = []
    for place, given in enumerate(row, 1):
        name = (given or "").strip() or f"column {place}"
        count = 1
        while (name if count == 1 else f"{name} ({count})") in found:
            count += 1
        found.append(name if count == 1 else f"{name} ({count})")
    return tuple(found)


def _broken(frame: pl.DataFrame, *, is_whole: bool) -> dict[int, str]:
    found: dict[int, str] = {}
    if not is_whole:
        has = pl.any_horizontal(pl.all().str.contains(_REPLACED, literal=True).fill_null(value=False))
        found |= dict.fromkeys(_places(frame.select(has).to_series()), "is not UTF-8")
    found |= dict.fromkeys(_places(frame[MORE].is_not_null()), "has more fields than the first line has names")
    return found


def _places(is_so: pl.Series) -> list[int]:
    return [int(place) for place in np.flatnonzero(is_so.to_numpy())]


@contextlib.contextmanager
def _quoted_well(name: str, raw: bytes, above: int) -> Iterator[None]:
    """Say where a quote was opened that is never closed, which makes one row of all that follows."""
    try:
        yield
    except InvalidInput as error:
        begins, is_open = _records(raw)
        if is_open:
            line = begins[-1] + above
            raise InvalidInput("a quote is opened and never closed", source=f"{name}:{line}") from error
        raise


def _records(raw: bytes) -> tuple[npt.NDArray[np.int64], bool]:
    """Return the lines where records begin, and whether a quote is open at the end.

    A line break ends a record where the number of quotes before it is even: RFC 4180, section 2.
    """
    data = np.frombuffer(raw, np.uint8)
    parity = np.cumsum(data == ord('"'), dtype=np.uint8) & 1  # it may wrap: 256 is even
    breaks = np.flatnonzero(data == ord("\n"))
    ends = np.flatnonzero(parity[breaks] == 0)
    begins = np.concatenate([[1], ends + 2])
    if len(breaks) and breaks[-1] == len(data) - 1 and not parity[-1]:
        begins = begins[:-1]
    return begins.astype(np.int64), bool(len(parity)) and bool(parity[-1])


def _csv_lines(raw: bytes, height: int, rows: Sequence[int]) -> list[int]:
    begins, _ = _records(raw)
    if len(begins) != height + 1:  # quotes inside of fields that are not quoted: then no field has a line break
        return [row + 2 for row in rows]
    return [int(begins[row + 1]) for row in rows]


# -------------------------------------------------------------------------------------------------------------- Parquet
def _parquet(name: str, digest: bytes, raw: bytes) -> Table:
    if not raw:
        raise InvalidInput("is empty: a Parquet file is not", source=name)
    with _readable(name):
        frame = pl.read_parquet(raw)
    times = {each for each, kind in frame.schema.items() if kind == pl.Date or isinstance(kind, pl.Datetime)}
    return Table(
        name=name,
        digest=digest,
        columns=tuple(frame.columns),
        height=frame.height,
        column=lambda wanted: _text(frame[wanted]),
        units=dict.fromkeys(times, "ms"),
        blank=np.zeros(frame.height, np.bool_),
        broken={},
        lines=lambda rows: [row + 1 for row in rows],
    )


def _text(values: pl.Series) -> pl.Series:
    """Return values as text: moments as ms since 1970, whole floats as whole numbers, texts as they are."""
    kind = values.dtype
    if kind == pl.Date or isinstance(kind, pl.Datetime):
        return values.cast(pl.Datetime("us")).dt.epoch("ms").cast(pl.String)
    if kind.is_float():
        # by way of Float64, whose text is read back as the same Float32; "7.0" is 7, which names a user or a code
        return values.cast(pl.Float64).cast(pl.String).str.strip_suffix(".0")
    if kind == pl.Binary:
        return values.bin.encode("hex")
    if kind.is_nested():
        return pl.Series(values.name, [None if each is None else str(each) for each in values.to_list()], pl.String)
    return values.cast(pl.String)


# ----------------------------------------------------------------------------------------------------------- JSON Lines
def _jsonl(name: str, digest: bytes, raw: bytes) -> Table:
    lines = raw.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    broken: dict[int, str] = {}
    blank = np.zeros(len(lines), np.bool_)
    parts: dict[str, list[pl.Series]] = {}
    for begin in range(0, len(lines), _LINES):
        own = lines[begin : begin + _LINES]
        objects = _at_once(own)
        if objects is None:
            objects = [_one(line, begin + place, broken, blank) for place, line in enumerate(own)]
        for key in dict.fromkeys(chain.from_iterable(objects)):
            column = parts.setdefault(key, [])
            column += [_nulls(begin - sum(map(len, column))), _json_texts([each.get(key) for each in objects])]
    return Table(
        name=name,
        digest=digest,
        columns=tuple(parts),
        height=len(lines),
        column=lambda wanted: pl.concat([*parts[wanted], _nulls(len(lines) - sum(map(len, parts[wanted])))]),
        units={},
        blank=blank,
        broken=broken,
        lines=lambda rows: [row + 1 for row in rows],
    )


_LINES = 20_000
"""JSON lines that are read at once: parsed as one document they take half the time."""


def _at_once(lines: Sequence[bytes]) -> list[dict[str, Any]] | None:
    """Return the objects of lines, None where one of them is to be looked at by itself."""
    if not all(line.startswith(b"{") and line.rstrip().endswith(b"}") for line in lines):
        return None
    try:
        found = json.loads(b"[" + b",".join(lines) + b"]")
    except (ValueError, RecursionError):
        return None
    is_whole = len(found) == len(lines) and all(type(each) is dict for each in found)
    return found if is_whole else None


def _one(line: bytes, row: int, broken: dict[int, str], blank: npt.NDArray[np.bool_]) -> dict[str, Any]:
    value = _object(line)
    if isinstance(value, dict):
        return value
    blank[row] = not line.strip()
    if not blank[row]:
        broken[row] = value
    return {}


def _nulls(count: int) -> pl.Series:
    return pl.Series(dtype=pl.String).extend_constant(None, count)


def _json_texts(found: list[Any]) -> pl.Series:
    """Return JSON values as texts; what is of one kind goes by columns, which takes a fifth of the time."""
    kinds = set(map(type, found)) - {type(None)}
    with contextlib.suppress(OverflowError, TypeError, UnicodeEncodeError):
        if kinds == {int}:
            return pl.Series(found, dtype=pl.Int64).cast(pl.String)
        if kinds == {float}:
            return _text(pl.Series(found, dtype=pl.Float64))
        if kinds <= {str}:
            return pl.Series(found, dtype=pl.String)
    return pl.Series([_json_text(each) for each in found], dtype=pl.String)


def _object(line: bytes) -> dict[str, Any] | str:
    """Return the object of a line, or why there is none."""
    try:
        value = json.loads(line)
    except UnicodeDecodeError:
        return "is not UTF-8"
    except RecursionError:
        return "is nested too deep"
    except ValueError as error:
        return f"is no JSON: {getattr(error, 'msg', error)}"
    return value if isinstance(value, dict) else "is no JSON object"


def _json_text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        # a lone surrogate is a text for JSON and for nobody else
        return value if value is None or value.isascii() else value.encode("utf-8", "replace").decode()
    if type(value) is int:
        return str(value)
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return json.dumps(value)
