"""From the texts of a file to events: every value checked at the door, every bad row with its code and reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from phase4.errors import InvalidInput, nearest
from phase4.store.intake import FUTURE_MS, ROWS, Rows
from phase4.store.mapping import Layout, missing
from phase4.store.record import BUCKETS, NO_LATENCY, REASONS, Outcome
from phase4.store.tables import Table

CODES = {
    "bad_row": None,
    "bad_time": "time",
    "bad_unit": "unit",
    "unknown_flag": "flag",
    "unknown_arm": "arm",
    "bad_outcome": "outcome",
    "bad_latency": "latency",
    "unknown_entry": "entry",
    "bad_version": "version",
    "bad_bucket": "bucket",
    "bad_reason": "reason",
}
"""Why a row is set aside -> the field it is about; the first that holds. The spool's codes, and some more."""
ARMS = {"control": 1, "treatment": 2}
OUTCOMES = {each.name.lower(): int(each) for each in Outcome}
_NAMES = tuple(CODES)
_AT_ONCE = 500_000
_SHOWN = 60
"""Characters of a value that a message shows."""
_BOUNDS = {"s": (1e8, 1e11), "ms": (1e11, 1e14), "us": (1e14, 1e17)}
"""What a moment of 1973 to 5138 looks like in each unit: they do not overlap."""
_SINCE = {"s": "seconds since 1970", "ms": "whole ms since 1970", "us": "whole us since 1970", "iso": "ISO 8601"}
_Values = npt.NDArray[Any]


class Known(NamedTuple):
    """What a file may name, and what its targeting keys are hashed with."""

    flags: Mapping[str, int]
    entries: Mapping[int, int]
    """Flag -> the newest entry that it had."""
    now_ms: int
    key: bytes | None
    """None = do not hash: every unit is 0."""


class Read(NamedTuple):
    """The values of one field."""

    values: _Values
    is_bad: npt.NDArray[np.bool_]


class Problem(NamedTuple):
    """A row that is none."""

    row: int
    line: int
    code: str
    column: str | None
    """None = the row as a whole."""
    value: str
    reason: str

    def text(self, name: str) -> str:
        """Return the line about it."""
        if self.column is None:
            return f"{name}:{self.line}: the row {self.reason}"
        return f'{name}:{self.line}: column "{self.column}": "{_short(self.value)}": {self.reason}'


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Understood:
    """What the rows of a file are."""

    rows: Rows
    """The good ones; `seq` is their row in the file, source and arrival are open."""
    height: int
    """Rows in the file, blank ones included: their numbers are below it."""
    bad: npt.NDArray[np.int64]
    """Rows that are none."""
    codes: npt.NDArray[np.uint8]
    """Of the bad rows: 1 + place in `CODES`."""
    time_unit: str
    texts: pl.DataFrame
    """A column for each field: what the file says."""

    @property
    def counts(self) -> dict[str, int]:
        """Bad rows by their code."""
        found = np.bincount(self.codes, minlength=len(CODES) + 1)
        return {code: int(found[place]) for place, code in enumerate(_NAMES, 1) if found[place]}


def understand(
    table: Table, layout: Layout, known: Known, *, progress: Callable[[int, int], None] = lambda _done, _all: None
) -> Understood:
    """Return what the rows of a file are.

    Args:
        table: The file.
        layout: What its fields are read from.
        known: What it may name.
        progress: Called with the rows done, and all.

    Raises:
        InvalidInput: a value that holds for all rows is wrong, or outcomes have no latency.
    """
    texts = pl.DataFrame([table.column(column).alias(name) for name, column in layout.columns.items()])
    unit, is_guess = _unit(layout, texts)
    reader = _Reader(layout, known, unit, is_guess=is_guess)
    reader.check_constants(table.name)
    parts, codes = [np.empty(0, ROWS)], [np.zeros(0, np.uint8)]
    for begin in range(0, table.height, _AT_ONCE):
        rows, bad = reader.rows(texts.slice(begin, _AT_ONCE), min(_AT_ONCE, table.height - begin))
        rows["seq"] += begin
        own = np.array([row - begin for row in table.broken if begin <= row < begin + len(rows)], np.int64)
        bad[own] = 1
        good = (bad == 0) & ~table.blank[begin : begin + len(rows)]
        parts.append(rows[good])
        codes.append(bad)
        progress(begin + len(rows), table.height)
    all_codes = np.concatenate(codes)
    all_codes[table.blank] = 0
    bad_rows = np.flatnonzero(all_codes)
    found = Understood(
        rows=np.concatenate(parts),
        height=table.height,
        bad=bad_rows,
        codes=all_codes[bad_rows],
        time_unit=unit,
        texts=texts,
    )
    if "bad_latency" in found.counts and not layout.has("latency"):
        raise InvalidInput(f"{missing(table, layout, 'latency')}; -1 = has none", source=table.name)
    return found


def problems(table: Table, layout: Layout, known: Known, found: Understood, limit: int | None = None) -> list[Problem]:
    """Return the bad rows of a file, or the first of them, each with its line and reason."""
    rows, codes = found.bad[:limit].tolist(), found.codes[:limit].tolist()
    if not rows:
        return []
    made = []
    for row, line, place in zip(rows, table.lines(rows), codes, strict=True):
        code = _NAMES[place - 1]
        field = "targeting_key" if code == "bad_unit" and "targeting_key" in layout.columns else CODES[code]
        column = None if field is None else layout.columns.get(field, f"--const {field}")
        value = found.texts[field][row] if field in found.texts.columns else layout.constants.get(field or "", "")
        reason = table.broken[row] if code == "bad_row" else _reason(field or "", value, known, found.time_unit)
        made.append(Problem(row, line, code, column, value or "", reason))
    return made


# ---------------------------------------------------------------------------------------------------------- all fields
class _Reader:
    """Reads the rows of one file, a part at a time."""

    def __init__(self, layout: Layout, known: Known, unit: str, *, is_guess: bool) -> None:
        self._layout, self._known, self._unit, self._is_guess = layout, known, unit, is_guess
        self._read: dict[str, Callable[[pl.Series], Read]] = {
            "time": self._time,
            "targeting_key": self._targeting_key,
            "unit": _units,
            "flag": lambda texts: self._named("flag", texts, known.flags, known.entries),
            "arm": lambda texts: self._named("arm", texts, ARMS, ARMS.values()),
            "outcome": lambda texts: self._named("outcome", texts, OUTCOMES, OUTCOMES.values()),
            "latency": _latencies,
            "entry": lambda texts: _bounded(texts, (1 << 16) - 1),
            "version": lambda texts: _bounded(texts, (1 << 32) - 1),
            "bucket": lambda texts: _bounded(texts, BUCKETS - 1),
            "reason": lambda texts: self._named("reason", texts, _REASON_CODES, range(len(REASONS) + 1)),
        }

    def check_constants(self, name: str) -> None:
        """Refuse a value of all rows that is wrong, and a name of ours in a value map that is none."""
        wrong = []
        for field, text in self._layout.constants.items():
            if self._read[field](pl.Series([text])).is_bad[0]:
                wrong.append(f'--const {field}: "{_short(text)}": {_reason(field, text, self._known, self._unit)}')
        for field, values in self._layout.values.items():
            names: Mapping[str, int] = {"flag": self._known.flags, "arm": ARMS, "outcome": OUTCOMES}[field]
            unknown = sorted(set(values.values()) - set(names))
            wrong += [f"--map {field}.{ours}: {_near(f'{field} must be', ours, names)}" for ours in unknown]
        if wrong:
            raise InvalidInput(wrong, source=name)

    def rows(self, texts: pl.DataFrame, count: int) -> tuple[Rows, npt.NDArray[np.uint8]]:
        """Return the rows of a part, and the code of each, 0 = good."""
        read = {name: self._read[name](texts[name]) for name in texts.columns}
        for name, text in self._layout.constants.items():
            one = self._read[name](pl.Series([text]))
            read[name] = Read(np.repeat(one.values, count), np.zeros(count, np.bool_))
        rows = np.zeros(count, ROWS)
        for column, name in _COLUMNS.items():
            if name in read:
                rows[column] = read[name].values
        if "targeting_key" in read:
            rows["unit"] = read["targeting_key"].values
        rows["seq"] = np.arange(count)
        codes = np.zeros(count, np.uint8)
        for place, code in reversed(list(enumerate(_NAMES, 1))):
            codes[self._is_bad(code, read, rows)] = place
        return rows, codes

    def _is_bad(self, code: str, read: Mapping[str, Read], rows: Rows) -> npt.NDArray[np.bool_]:
        field = "targeting_key" if code == "bad_unit" and "targeting_key" in read else CODES[code]
        own = read.get(field or "")
        is_bad = np.zeros(len(rows), np.bool_) if own is None else own.is_bad
        if code == "bad_latency":
            has_none = np.isnan(rows["latency_ms"]) if own is not None else np.ones(len(rows), np.bool_)
            rows["latency_ms"][has_none] = NO_LATENCY
            is_bad = np.logical_or(is_bad, has_none & (rows["outcome"] != Outcome.EXPOSURE))
        if code == "unknown_entry":
            newest = np.full(1 << 16, 1 << 16, np.int64)
            newest[list(self._known.entries)] = list(self._known.entries.values())
            is_bad = np.logical_or(is_bad, rows["entry"] > newest[rows["flag"]])
        return is_bad

    def _time(self, texts: pl.Series) -> Read:
        texts = texts.str.strip_chars()
        if self._unit == "iso":
            found = _iso(texts)
        else:
            number = _numbers(texts)
            if self._is_guess:
                low, high = _BOUNDS[self._unit]
                number = number.set(~number.is_between(low, high, closed="left").fill_null(value=False), None)
            whole = {"s": (number * 1e3).round(), "ms": number.round(), "us": (number / 1e3).floor()}[self._unit]
            found = whole.clip(-1e17, 1e17).fill_nan(None).cast(pl.Int64, strict=False)
        is_bad = ~found.is_between(1, self._known.now_ms + FUTURE_MS).fill_null(value=False)
        return Read(found.fill_null(0).to_numpy(), is_bad.to_numpy())

    def _targeting_key(self, texts: pl.Series) -> Read:
        is_bad = (texts.is_null() | (texts == "")).fill_null(value=True)
        if self._known.key is None:
            return Read(np.zeros(len(texts), np.uint64), is_bad.to_numpy())
        keys = texts.fill_null("").unique()
        key = self._known.key
        digests = b"".join([blake2b(each.encode(), digest_size=8, key=key).digest() for each in keys.to_list()])
        known = pl.DataFrame({"key": keys, "unit": np.frombuffer(digests, "<u8")})
        joined = pl.DataFrame({"key": texts.fill_null("")}).join(known, on="key", how="left", maintain_order="left")
        return Read(joined["unit"].to_numpy(), is_bad.to_numpy())

    def _named(self, field: str, texts: pl.Series, names: Mapping[str, int], codes: Any) -> Read:
        """Read names of ours, their numbers, or what the value map says; each value is looked at once."""
        mapped, numbers = self._layout.values.get(field, {}), set(codes)
        kinds = texts.unique().drop_nulls()
        # two flags may differ in case alone; nothing else does
        is_exact = field == "flag"
        found = [_code(each, mapped, names, numbers, is_exact=is_exact) for each in kinds.to_list()]
        if not found:
            return Read(np.zeros(len(texts), np.int64), np.ones(len(texts), np.bool_))
        values = texts.replace_strict(kinds, pl.Series(found, dtype=pl.Int64), default=None, return_dtype=pl.Int64)
        return Read(values.fill_null(0).to_numpy(), values.is_null().to_numpy())


_REASON_CODES = {name: place for place, name in enumerate(REASONS, 1)}
_COLUMNS = {
    "t_ms": "time",
    "unit": "unit",
    "flag_version": "version",
    "latency_ms": "latency",
    "flag": "flag",
    "entry": "entry",
    "bucket": "bucket",
    "arm": "arm",
    "reason": "reason",
    "outcome": "outcome",
}
"""Column of the event -> field of the file."""


# ------------------------------------------------------------------------------------------------------ single values
def _code(
    text: str, mapped: Mapping[str, str], names: Mapping[str, int], numbers: set[int], *, is_exact: bool
) -> int | None:
    text = text.strip()
    plain = text.removesuffix(".0")
    name = mapped.get(text, mapped.get(plain, text))
    for each in (name,) if is_exact else (name, name.lower(), name.upper()):
        if each in names:
            return names[each]
    number = int(plain) if plain.isascii() and plain.isdecimal() and len(plain) < 10 else -1
    return number if number in numbers else None


def _numbers(texts: pl.Series) -> pl.Series:
    """Return Float64, null where a text is no number. Moments in us, which have 16 digits, are exact."""
    return texts.cast(pl.Float64, strict=False)


def _bounded(texts: pl.Series, high: int) -> Read:
    """Read whole numbers 0..high; an empty one is 0."""
    texts = texts.str.strip_chars().fill_null("0")
    number = _numbers(texts.set(texts == "", "0"))
    is_good = (number.is_between(0, high) & (number == number.floor())).fill_null(value=False)
    return Read(number.set(~is_good, 0.0).cast(pl.UInt32).to_numpy(), ~is_good.to_numpy())


def _units(texts: pl.Series) -> Read:
    """Read whole numbers of 64 bits, or 0x and hex digits: bare hex digits may be a number, and are refused."""
    texts = texts.str.strip_chars()
    is_hex = texts.str.starts_with("0x").fill_null(value=False)
    number = texts.cast(pl.UInt64, strict=False)
    if is_hex.any():
        kinds = texts.filter(is_hex)
        values = np.array([_hex(each) for each in kinds.to_list()], object)
        number = number.scatter(is_hex.arg_true(), pl.Series(values.tolist(), dtype=pl.UInt64))
    return Read(number.fill_null(0).to_numpy(), number.is_null().to_numpy())


def _hex(text: str) -> int | None:
    try:
        return int(text, 16) if len(text) <= 18 and text[2:].isalnum() else None
    except ValueError:
        return None


def _latencies(texts: pl.Series) -> Read:
    """Read finite numbers, at least 0, or exactly -1 for none; NaN where there is nothing, which may be right."""
    texts = texts.str.strip_chars()
    is_empty = (texts.is_null() | (texts == "")).fill_null(value=True)
    with np.errstate(over="ignore"):
        values = _numbers(texts).to_numpy().astype(np.float32)
    is_good = (values == NO_LATENCY) | (np.isfinite(values) & (values >= 0))
    values = np.where(is_good, values + np.float32(0), np.float32(0))  # -0.0 + 0 is 0
    empty = is_empty.to_numpy()
    values[empty] = np.nan
    return Read(values, ~is_good & ~empty)


_DAY = r"^\d{4}-\d\d-\d\d$"
_OFFSET = r"T.*(?:[Zz]|[+-]\d\d(?::?\d\d)?)$"
_NO_SECONDS = r"^(\S{10}T\d\d:\d\d)((?:[Zz]|[+-]).*)$"


def _iso(texts: pl.Series) -> pl.Series:
    """Return moments in ms, null where a text is none; without an offset it is UTC."""
    frame = pl.DataFrame({"text": texts.str.replace(r"^(\S{10})[ t]", "${1}T")})
    text = pl.col("text")
    whole = (
        pl.when(text.str.contains(_DAY))
        .then(text + "T00:00:00Z")
        .when(text.str.contains(_OFFSET))
        .then(text)
        .otherwise(text + "Z")
        .str.replace(_NO_SECONDS, "${1}:00${2}")
    )
    moment = whole.str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)
    return frame.select(moment.dt.epoch("ms")).to_series()


def _unit(layout: Layout, texts: pl.DataFrame) -> tuple[str, bool]:
    """Return the unit of the moments, and whether the first value says it."""
    if layout.time_unit is not None:
        return layout.time_unit, False
    given = texts["time"].drop_nulls() if "time" in texts.columns else pl.Series([layout.constants["time"]])
    for text in given.head(1_000).to_list():
        try:
            value = float(text)
        except ValueError:
            if _iso(pl.Series([text.strip()]))[0] is not None:
                return "iso", False
            continue
        for unit, (low, high) in _BOUNDS.items():
            if low <= value < high:
                return unit, True
    return "iso", False


# --------------------------------------------------------------------------------------------------------------- words
def _reason(field: str, value: str | None, known: Known, unit: str) -> str:
    if field == "flag":
        return _near("flag must be one of this home", value or "", known.flags)
    if field == "latency" and not (value or "").strip():
        return "latency is needed unless outcome is exposure; -1 = has none"
    return {
        "time": f"time must be {_SINCE[unit]}, above 0 and not in the future",
        "targeting_key": "targeting_key must not be empty",
        "unit": "unit must be a whole number of 64 bits, or 0x and hex digits",
        "arm": "arm must be control or treatment; say --map arm.treatment=VALUE for other words",
        "outcome": f"outcome must be {', '.join(OUTCOMES)}; say --map outcome.ok=VALUE,VALUE for other words",
        "latency": "latency must be a finite number >= 0",
        "entry": "entry must be a whole number, at most the newest stage entry of the flag",
        "version": f"version must be a whole number, 0 to {2**32 - 1}",
        "bucket": f"bucket must be a whole number, 0 to {BUCKETS - 1}",
        "reason": f"reason must be {', '.join(REASONS)}, or 0 for unknown",
    }[field]


def _near(must: str, name: str, known: Mapping[str, int] | Sequence[str]) -> str:
    close = nearest(name[:200], known)
    if close:
        return f'{must}; did you mean "{close}"?'
    shown = sorted(known)[:10]
    return f"{must}: {', '.join(shown) or 'there is none'}{' ...' if len(known) > len(shown) else ''}"


def _short(text: str) -> str:
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text):,} characters)"
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in shown)
