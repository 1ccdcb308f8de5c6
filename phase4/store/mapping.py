"""Which column of a file is which field of an event: what was ordered, what the names say, and what is missing."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from phase4.documents import Table as Document
from phase4.errors import InvalidInput, nearest
from phase4.store.tables import Table

UNITS = ("s", "ms", "us", "iso")
ALIASES = {
    "time": (
        *("t_ms", "timestamp", "ts", "datetime", "date", "at", "time_ms", "timestamp_ms", "ts_ms", "at_ms"),
        *("event_time", "occurred_at", "created_at"),
    ),
    "targeting_key": ("user_id", "user", "uid", "userid", "customer_id", "account_id", "visitor_id", "client_id"),
    "unit": (),
    "flag": ("flag_key", "feature", "feature_flag", "feature_key", "experiment"),
    "arm": ("group", "variant", "variation", "cohort"),
    "outcome": ("result", "status", "outcome_code"),
    "latency": ("latency_ms", "duration_ms", "elapsed_ms", "response_ms", "response_time_ms", "lat", "duration"),
    "entry": ("stage_entry",),
    "version": ("flag_version",),
    "bucket": (),
    "reason": (),
}
"""Field -> names of columns that are taken for it, besides its own."""
OWN = {"t_ms": "time", "latency_ms": "latency", "flag_version": "version"}
"""Names of our own columns: they are no guess."""
FIELDS = tuple(ALIASES)
NEEDED = ("time", "flag", "arm", "outcome")
"""And a targeting key or a unit."""
NAMED = ("flag", "arm", "outcome")
"""Fields whose values may be mapped."""
_UNIT_OF_NAME = {"_ms": "ms", "_us": "us"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What was ordered about a file's columns, checked but for the columns' names."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Field -> column."""
    constants: Mapping[str, str] = field(default_factory=dict)
    """Field -> value of all rows."""
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Field -> value in the file -> name of ours."""
    time_unit: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What each field of a file's events is read from."""

    columns: Mapping[str, str]
    constants: Mapping[str, str]
    values: Mapping[str, Mapping[str, str]]
    time_unit: str | None
    """None = as the first value looks."""
    guesses: tuple[str, ...]
    """Fields whose column has another name than ours, and was not ordered."""
    unused: tuple[str, ...]
    """Columns that are read for nothing."""

    def has(self, name: str) -> bool:
        """Return whether a field is given."""
        return name in self.columns or name in self.constants

    def to_json(self) -> dict[str, Any]:
        """Return plain values: with the bytes of the file they are what an import is known by."""
        return {
            "columns": dict(sorted(self.columns.items())),
            "constants": dict(sorted(self.constants.items())),
            "values": {name: dict(sorted(each.items())) for name, each in sorted(self.values.items())},
            "time_unit": self.time_unit,
        }


# -------------------------------------------------------------------------------------------------------- what is asked
def wishes(
    maps: Iterable[str] = (), consts: Iterable[str] = (), *, map_file: str | None = None, time_unit: str | None = None
) -> Wishes:
    """Return what a command line orders; it wins over its map file.

    Args:
        maps: Each FIELD=COLUMN, or FIELD.NAME=VALUE,VALUE for the values that stand for a name of ours.
        consts: Each FIELD=VALUE.
        map_file: TOML with tables map, const and values, and time_unit.
        time_unit: One of `UNITS`.

    Raises:
        InvalidInput: every part that is wrong, with the nearest known names.
    """
    problems: list[str] = []
    asked = _Asked(problems)
    if map_file is not None:
        _read_file(map_file, asked)
    given = _Asked(problems)
    for text in maps:
        given.map(*_pair("--map", text, problems))
    for text in consts:
        given.const(*_pair("--const", text, problems))
    problems.extend(f"{name} has both a --map and a --const" for name in given.columns.keys() & given.constants.keys())
    if problems:
        raise InvalidInput(problems)
    return Wishes(
        columns={name: each for name, each in asked.columns.items() if name not in given.constants} | given.columns,
        constants={name: each for name, each in asked.constants.items() if name not in given.columns} | given.constants,
        values={name: asked.values.get(name, {}) | given.values.get(name, {}) for name in asked.values | given.values},
        time_unit=time_unit or asked.time_unit,
    )


class _Asked:
    """What one place orders, as it is gathered."""

    def __init__(self, problems: list[str]) -> None:
        self.columns: dict[str, str] = {}
        self.constants: dict[str, str] = {}
        self.values: dict[str, dict[str, str]] = {}
        self.time_unit: str | None = None
        self._problems = problems

    def map(self, name: str, value: str) -> None:
        first, dot, ours = name.partition(".")
        if not dot and self._is_field("--map", name):
            self._once("--map", name, self.columns)
            self.columns[name] = value
        elif dot and first not in NAMED:
            self._problems.append(f"--map {name}: values are mapped of {', '.join(NAMED)}")
        elif dot:
            self.value(first, ours, value.split(","))

    def const(self, name: str, value: str) -> None:
        if self._is_field("--const", name):
            self._once("--const", name, self.constants)
            self.constants[name] = value

    def value(self, name: str, ours: str, given: Iterable[str]) -> None:
        known = self.values.setdefault(name, {})
        for each in given:
            if known.setdefault(each.strip(), ours) != ours:
                self._problems.append(f'{name}: "{each}" stands for both {known[each.strip()]} and {ours}')

    def _is_field(self, option: str, name: str) -> bool:
        if name in FIELDS:
            return True
        if name:
            close = nearest(name, FIELDS)
            hint = f'did you mean "{close}"?' if close else f"fields: {', '.join(FIELDS)}"
            self._problems.append(f'{option}: no field "{name}"; {hint}')
        return False

    def _once(self, option: str, name: str, known: Mapping[str, str]) -> None:
        if name in known:
            self._problems.append(f"{option} {name} is there twice")


def _pair(option: str, text: str, problems: list[str]) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name.strip() or (option == "--map" and not value.strip()):
        wanted = "FIELD=COLUMN" if option == "--map" else "FIELD=VALUE"
        problems.append(f"{option} takes {wanted}: {text!r}")
        return "", ""
    return name.strip(), value.strip()


def _read_file(path: str, asked: _Asked) -> None:
    data = _toml(path)
    problems: list[str] = []
    document = Document(data, "", problems)
    asked.time_unit = document.choice("time_unit", UNITS, None)
    columns, constants, values = (document.table(name) for name in ("map", "const", "values"))
    for name in FIELDS:
        if columns.has(name):
            asked.columns[name] = columns.text(name)
        if constants.has(name):
            asked.constants[name] = _plain(data["const"][name])
    for name in NAMED:
        below = values.table(name)
        for ours in below.keys():  # noqa: SIM118  of a document's table, which is no dict
            below.has(ours)
            given = data["values"][name][ours]
            asked.value(name, ours, [_plain(each) for each in (given if isinstance(given, list) else [given])])
    problems.extend(f"{name} is both in map and in const" for name in asked.columns.keys() & asked.constants.keys())
    for each in (columns, constants, values, document):
        each.finish()
    if problems:
        raise InvalidInput(problems, source=path)


def _toml(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror}", source=path) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"is no TOML: {error}", source=path) from error


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


# -------------------------------------------------------------------------------------------------------- what is there
def layout_of(table: Table, wanted: Wishes) -> Layout:
    """Return what a file's fields are read from.

    Raises:
        InvalidInput: a column that was named is not there, two could be a field, or one is missing.
    """
    problems = [
        f'--map {name}={column}: no column "{column}"; {_near(column, table.columns)}'
        for name, column in wanted.columns.items()
        if column not in table.columns
    ]
    columns = dict(wanted.columns)
    found = _recognised(table.columns, taken=set(columns.values()))
    for name, candidates in found.items():
        if name in columns or name in wanted.constants or (name in _WHO and _is_given(wanted, _WHO)):
            continue
        columns[name] = candidates[0]
        if len(candidates) > 1:
            names = " and ".join(f'"{each}"' for each in candidates)
            problems.append(f"{name}: {names} could both be it; say --map {name}=COLUMN")
    layout = Layout(
        columns=columns,
        constants=wanted.constants,
        values=wanted.values,
        time_unit=_time_unit(table, columns.get("time"), wanted),
        guesses=tuple(
            name
            for name, column in columns.items()
            if name not in wanted.columns and column != name and OWN.get(column) != name
        ),
        unused=tuple(column for column in table.columns if column not in columns.values()),
    )
    problems += _missing(table, layout)
    if all(layout.has(name) for name in _WHO):
        problems.append("targeting_key and unit are both given; say --map for the one that counts")
    if problems:
        raise InvalidInput(problems, source=table.name)
    return layout


_WHO = ("targeting_key", "unit")


def missing(table: Table, layout: Layout, name: str) -> str:
    """Return the line about a field that no column is: the nearest of those that are nothing else."""
    near = [f'"{each}"' for each in _nearest_columns(name, layout.unused)]
    where = f"nearest: {', '.join(near)}" if near else f"the file has {_some(table.columns)}"
    return f"{name}: no column has this name; {where}; say --map {name}=COLUMN or --const {name}=VALUE"


def _missing(table: Table, layout: Layout) -> list[str]:
    found = [missing(table, layout, name) for name in NEEDED if not layout.has(name)]
    if not any(layout.has(name) for name in _WHO):
        found.append(missing(table, layout, "targeting_key"))
    return found


def _is_given(wanted: Wishes, names: Iterable[str]) -> bool:
    return any(name in wanted.columns or name in wanted.constants for name in names)


def _recognised(columns: Sequence[str], taken: set[str]) -> dict[str, list[str]]:
    """Return for each field the columns that may be it: those with a name of ours, else those with an alias."""
    found: dict[str, list[str]] = {}
    free = [each for each in columns if each not in taken]
    for name, aliases in ALIASES.items():
        own = [each for each in free if each == name or OWN.get(each) == name]
        alike = [each for each in free if _snake(each) == name or _snake(each) in aliases]
        if own or alike:
            found[name] = own or alike
    return found


def _snake(name: str) -> str:
    """Return a name as we write names.

    >>> _snake("userId"), _snake("Response Time-ms"), _snake("targetingKey")
    ('user_id', 'response_time_ms', 'targeting_key')
    """
    return re.sub(r"[\s.-]+", "_", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name.strip())).lower()


def _nearest_columns(name: str, columns: Sequence[str]) -> list[str]:
    def likeness(column: str) -> float:
        return max(difflib.SequenceMatcher(None, _snake(column), each).ratio() for each in (name, *ALIASES[name]))

    return [each for each in sorted(columns, key=likeness, reverse=True) if likeness(each) >= 0.6][:3]


def _near(name: str, columns: Sequence[str]) -> str:
    close = nearest(name, columns)
    return f'did you mean "{close}"?' if close else f"the file has {_some(columns)}"


def _some(columns: Sequence[str]) -> str:
    shown = ", ".join(f'"{each[:40]}"' for each in columns[:12])
    return f"{shown} and {len(columns) - 12} more" if len(columns) > 12 else shown or "no columns"


def _time_unit(table: Table, column: str | None, wanted: Wishes) -> str | None:
    if column is None:
        return wanted.time_unit
    if column in table.units:
        return table.units[column]
    if wanted.time_unit is not None:
        return wanted.time_unit
    return next((unit for ending, unit in _UNIT_OF_NAME.items() if _snake(column).endswith(ending)), None)
