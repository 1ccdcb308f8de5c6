"""One setting: its name, what it may be, its default, and who reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeAlias, TypeVar, overload

Value: TypeAlias = bool | int | float | str | Path | None
"""None = not set."""
T = TypeVar("T")
UNBOUNDED = 2**53
"""Whole numbers beyond it are not exact in JSON; who means "any number" gets this one as the highest."""


class Kind(StrEnum):
    """What the text of a setting stands for; `parsing` reads each."""

    BOOLEAN = "boolean"
    INTEGER = "int"
    PERCENTAGE = "percentage"
    RATE = "rate"
    CHOICE = "choice"
    TEXT = "text"
    PATH = "path"
    URL = "URL"
    SECRET_FILE = "secret file"  # noqa: S105  names a kind; there is no secret in it


class _Holder(Protocol):
    def value(self, name: str) -> Any: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting(Generic[T]):
    """One row of the table. On `Settings` it is the row; on an instance of it the resolved value, with its type."""

    name: str
    kind: Kind
    default: T | None
    """None = not set, or given by every profile, or (PHASE4_HOME) made from the environment."""
    reader: str
    """The one part that acts on it."""
    low: int = 0
    high: float = UNBOUNDED
    """Bounds of a number, both allowed; of a rate 0-1, of a percentage 0-100."""
    options: tuple[str, ...] = ()
    """Names that a choice has."""

    @overload
    def __get__(self, holder: None, owner: type) -> Self: ...
    @overload
    def __get__(self, holder: _Holder, owner: type) -> T: ...
    def __get__(self, holder: _Holder | None, owner: type) -> Self | T:
        if holder is None:
            return self
        value: T = holder.value(self.name)
        return value

    @property
    def range(self) -> str:
        """What a value may be, in words; docs/settings.md and error messages say it so."""
        match self.kind:
            case Kind.BOOLEAN:
                return "true or false"
            case Kind.INTEGER:
                above = self.high == UNBOUNDED
                return f"whole number, at least {self.low}" if above else f"whole number, {self.low} to {self.high}"
            case Kind.PERCENTAGE:
                return "percentage, 0 to 100, at most 2 decimals"
            case Kind.RATE:
                return f"rate, 0 to {self.high:g}"
            case Kind.CHOICE:
                return " or ".join([", ".join(self.options[:-1]), self.options[-1]])
            case Kind.URL:
                return "https URL (http on loopback only)"
            case Kind.SECRET_FILE:
                return "absolute path of a file of mode 0600"
            case Kind.TEXT | Kind.PATH:
                return self.kind.value


def boolean(name: str, reader: str, *, default: bool) -> Setting[bool]:
    """Return a setting that is true or false."""
    return Setting(name=name, kind=Kind.BOOLEAN, default=default, reader=reader)


def integer(name: str, reader: str, *, default: int | None, low: int, high: int = UNBOUNDED) -> Setting[int]:
    """Return a setting that is a whole number in low..high."""
    return Setting(name=name, kind=Kind.INTEGER, default=default, reader=reader, low=low, high=high)


def percentage(name: str, reader: str, *, default: float | None) -> Setting[float]:
    """Return a setting that is a percentage, 0-100."""
    return Setting(name=name, kind=Kind.PERCENTAGE, default=default, reader=reader, high=100)


def rate(name: str, reader: str, *, default: float, high: float = 1.0) -> Setting[float]:
    """Return a setting that is a proportion, 0-1."""
    return Setting(name=name, kind=Kind.RATE, default=default, reader=reader, high=high)


def choice(name: str, reader: str, *, default: str, options: Sequence[str]) -> Setting[str]:
    """Return a setting that is one of the named options, at least two of them."""
    return Setting(name=name, kind=Kind.CHOICE, default=default, reader=reader, options=tuple(options))


def text(name: str, reader: str) -> Setting[str | None]:
    """Return a setting that is a text, not set by default."""
    return Setting(name=name, kind=Kind.TEXT, default=None, reader=reader)


def path(name: str, reader: str) -> Setting[Path]:
    """Return a setting that is a path; its default is made from the environment."""
    return Setting(name=name, kind=Kind.PATH, default=None, reader=reader)


def url(name: str, reader: str) -> Setting[str | None]:
    """Return a setting that is a URL, not set by default."""
    return Setting(name=name, kind=Kind.URL, default=None, reader=reader)


def secret_file(name: str, reader: str) -> Setting[Path | None]:
    """Return a setting that is the path of a file with a secret in it, not set by default."""
    return Setting(name=name, kind=Kind.SECRET_FILE, default=None, reader=reader)
