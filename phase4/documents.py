"""Strict reading of TOML tables: every problem at once, each with the path of its key and what would be right.

A key is known because something asks for it. `finish` names the keys that nothing asked for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any

from phase4 import durations
from phase4.errors import nearest, unknown_key


class _Required(Enum):
    """Marks a key without a default."""

    TOKEN = 0


REQUIRED = _Required.TOKEN


class Table:
    """One table of a document, read key by key; `problems` is shared by all tables of the document."""

    def __init__(self, data: Mapping[str, Any], path: str, problems: list[str]) -> None:
        self._data = data
        self._path = path
        self._asked: set[str] = set()
        self.problems = problems

    def at(self, key: str) -> str:
        """Return the path of a key in the whole document."""
        return f"{self._path}.{key}" if self._path else key

    def problem(self, key: str, message: str) -> None:
        """Note what is wrong with a key."""
        self.problems.append(f"{self.at(key)}: {message}")

    def has(self, key: str) -> bool:
        """Return whether the key is there; asking makes it known."""
        self._asked.add(key)
        return key in self._data

    def keys(self) -> Sequence[str]:
        """Return the keys of the table, in the document's order."""
        return tuple(self._data)

    def text(self, key: str, default: Any = REQUIRED) -> Any:
        """Return a string that is not empty."""
        value = self._get(key, default, str, "a string")
        if value == "" and key in self._data:
            self.problem(key, "must not be empty")
        return value

    def words(self, key: str, default: Any = REQUIRED) -> Any:
        """Return a tuple of strings."""
        values = self._get(key, default, list, "a list of strings", ())
        if not all(isinstance(value, str) for value in values):
            self.problem(key, "is a list of strings")
            return ()
        return tuple(values)

    def choice(self, key: str, options: Sequence[str], default: Any = REQUIRED) -> Any:
        """Return one of the named options."""
        value = self._get(key, default, str, "a string")
        if not self.has(key):
            return options[0] if default is REQUIRED else value
        if value in options:
            return value
        if isinstance(self._data[key], str):
            close = nearest(value, options)
            hint = f'; did you mean "{close}"?' if close else ""
            self.problem(key, f'"{value}" is none of {", ".join(options)}{hint}')
        return options[0]

    def boolean(self, key: str, default: Any = REQUIRED) -> Any:
        """Return true or false."""
        return self._get(key, default, bool, "true or false")

    def integer(self, key: str, default: Any = REQUIRED, *, low: int, high: int = 2**53) -> Any:
        """Return a whole number in low..high."""
        known = len(self.problems)
        value = self._get(key, default, int, "a whole number")
        if len(self.problems) > known:
            return low
        if isinstance(value, int) and not isinstance(value, bool) and not low <= value <= high:
            self.problem(
                key,
                f"lies in {low}..{high}: {value}" if high < 2**53 or value > high else f"is at least {low}: {value}",
            )
            return low
        return value

    def number(self, key: str, default: Any = REQUIRED, *, low: float, high: float, what: str) -> Any:
        """Return a finite number in [low, high]; `what` says what it is, for the message."""
        known = len(self.problems)
        value = self._get(key, default, (int, float), "a number")
        if len(self.problems) > known:
            return low
        return value if value is None else self._bounded(key, value, low, high, what)

    def rate(self, key: str, default: Any = REQUIRED) -> Any:
        """Return a proportion 0-1."""
        return self.number(key, default, low=0.0, high=1.0, what="a rate, 0 to 1")

    def numbers(self, key: str, default: Any = REQUIRED, *, low: float, high: float, what: str) -> Any:
        """Return one number, or a tuple if the document gives a list."""
        if isinstance(self._data.get(key), list):
            self._asked.add(key)
            values = self._data[key]
            if not values or not all(_is_number(v) for v in values):
                self.problem(key, f"is {what}, or a list of them")
                return low
            return tuple(self._bounded(f"{key}[{i}]", v, low, high, what) for i, v in enumerate(values))
        return self.number(key, default, low=low, high=high, what=what)

    def duration(self, key: str, default: Any = REQUIRED, *, low: int = 0) -> Any:
        """Return a duration in ms, at least `low`; the document has a string with a unit."""
        if self.has(key) and isinstance(self._data[key], str):
            try:
                value = durations.parse(self._data[key])
            except ValueError as error:
                self.problem(key, str(error))
                return low
            if value < low:
                self.problem(key, f"is at least {durations.show(low)}: {self._data[key]!r}")
            return value
        return self._get(key, default, str, 'a duration with a unit, for example "12h"', stand_in=low)

    def moment(self, key: str, default: Any = REQUIRED) -> Any:
        """Return a moment in ms since the Unix epoch; the document has RFC 3339 with an offset."""
        if self.has(key):
            value = self._data[key]
            try:
                moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
            except (TypeError, ValueError):
                moment = None
            if moment is not None and moment.tzinfo is not None:
                return round(moment.timestamp() * 1000)
            self.problem(key, f'is a moment with an offset, for example "2013-10-01T00:00:00Z": {value!r}')
            return 0
        return self._get(key, default, str, "a moment", stand_in=0)

    def table(self, key: str) -> Table:
        """Return a table below this one; empty if it is not there."""
        value = self._get(key, {}, dict, "a table")
        return Table(value if isinstance(value, dict) else {}, self.at(key), self.problems)

    def tables(self, key: str) -> tuple[Table, ...]:
        """Return a list of tables below this one; empty if it is not there."""
        values = self._get(key, [], list, "a list of tables")
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            self.problem(key, f"is a list of tables, written [[{self.at(key)}]]")
            return ()
        return tuple(Table(value, f"{self.at(key)}[{i}]", self.problems) for i, value in enumerate(values))

    def finish(self) -> None:
        """Note every key that nothing asked for, with the nearest known one; a misspelt key is not missing too."""
        for key in self._data:
            if key in self._asked:
                continue
            close = nearest(key, self._asked)
            missing = f"{self.at(close)}: is missing" if close else None
            if missing:
                self.problems[:] = [text for text in self.problems if not text.startswith(missing)]
            self.problems.append(unknown_key(self._path, key, self._asked))

    def _get(self, key: str, default: Any, kind: type | tuple[type, ...], what: str, stand_in: Any = None) -> Any:
        if not self.has(key):
            if default is REQUIRED:
                self.problem(key, f"is missing; it is {what}")
                return _stand_in(kind) if stand_in is None else stand_in
            return default
        value = self._data[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self.problem(key, f"is {what}: {value!r}")
            return _stand_in(kind) if stand_in is None else stand_in
        return value

    def _bounded(self, key: str, value: float, low: float, high: float, what: str) -> float:
        # NaN is in no range; `math.isfinite` would not take an integer that is too long for a float
        if not low <= value <= high or value in {math.inf, -math.inf}:
            self.problem(key, f"is {what}: {value}")
            return low
        return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _stand_in(kind: type | tuple[type, ...]) -> Any:
    """Return a harmless value of the right kind, so that reading goes on and finds the other problems too."""
    first = kind[0] if isinstance(kind, tuple) else kind
    return {str: "?", bool: False, int: 1, dict: {}, list: []}[first]
