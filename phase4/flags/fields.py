"""The fields of a JSON object, checked one by one; every problem is noted with its path."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

from phase4.documents import Table
from phase4.errors import nearest
from phase4.flags.schema import Grammar

LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")


class Fields(Table):
    """A JSON object being checked. A key whose value is null counts as absent where it may be absent."""

    def raw(self, key: str) -> Any:
        """Return the value of a key as it is, None if there is none."""
        return self._data[key] if self.has(key) else None

    def given(self, key: str) -> bool:
        """Return whether a key that may be absent has a value."""
        return self.raw(key) is not None

    def name(self, key: str, grammar: Grammar | None = None) -> str | None:
        """Check a string that is not empty and can be written to a file; return it if it is right."""
        count = len(self.problems)
        value: str = self.text(key)
        if len(self.problems) > count:
            return None
        if grammar is not None and not grammar.pattern.fullmatch(value):
            self.problem(key, f"{grammar.words}: {value!r}")
            return None
        if LONE_SURROGATE.search(value):
            self.problem(key, f"holds a lone surrogate, which no file can keep: {value!r}")
            return None
        return value

    def option(self, key: str, options: Collection[str], *, what: str = "known here") -> str | None:
        """Check a string that is one of the options; return it if it is."""
        value = self.name(key)
        if value is None or value in options:
            return value
        self.problem(key, unknown(value, options, what=what))
        return None

    def object(self, key: str, *, like: str) -> Fields | None:
        """Return an object below this one; None if it is none, which `like` says what it should be like."""
        value = self.raw(key)
        if isinstance(value, dict):
            return Fields(value, self.at(key), self.problems)
        kind = f"an object {like}"
        self.problem(key, f"is {kind}: {type(value).__name__}" if key in self._data else f"is missing; it is {kind}")
        return None

    def objects(self, key: str, *, like: str) -> Iterator[Fields]:
        """Yield the objects of a list that may be absent."""
        for index, value in self._items(key, f"objects {like}"):
            place = f"{key}[{index}]"
            if isinstance(value, dict):
                yield Fields(value, self.at(place), self.problems)
            else:
                self.problem(place, f"is an object {like}: {type(value).__name__}")

    def texts(self, key: str, *, like: str) -> Iterator[tuple[str, str]]:
        """Yield (place, text) for the strings of a list that may be absent; each has a character and fits a file."""
        for index, value in self._items(key, f"strings {like}"):
            place = f"{key}[{index}]"
            if not isinstance(value, str):
                self.problem(place, f"is a string: {type(value).__name__}")
            elif not value:
                self.problem(place, "must not be empty")
            elif LONE_SURROGATE.search(value):
                self.problem(place, f"holds a lone surrogate, which no file can keep: {value!r}")
            else:
                yield place, value

    def _items(self, key: str, what: str) -> Iterator[tuple[int, Any]]:
        values = self.raw(key)
        if isinstance(values, list):
            yield from enumerate(values)
        elif values is not None:
            self.problem(key, f"is a list of {what}: {type(values).__name__}")


def unknown(name: str, options: Collection[str], *, what: str = "known here") -> str:
    """Return what to say of a name that is none of the options: the nearest of them, or all.

    >>> unknown("blue", ["on", "off"], what="variants")
    "unknown: 'blue'; variants: on, off"
    """
    close = nearest(name, options)
    return f"unknown: {name!r}; " + (f'did you mean "{close}"?' if close else f"{what}: {', '.join(options)}")
