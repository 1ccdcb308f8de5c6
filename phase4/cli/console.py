"""What people and programs see: text on stdout, diagnostics on stderr, one JSON object where it was asked for."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from phase4 import clock
from phase4.errors import Phase4Error

SCHEMA = "phase4/cli/1"
WITHOUT_TERMINAL = 1_000
MOMENTS = frozenset(
    {
        *("acknowledged_ms", "approval_expires_ms", "at_ms", "created_ms", "ended_ms", "entered_ms", "evaluated_ms"),
        *("expires_ms", "first_seen_ms", "held_ms", "last_seen_ms", "paused_at_ms", "resolved_ms", "since_ms"),
        *("start_ms", "started_ms", "updated_ms", "from_ms", "until_ms", "left_ms"),
    }
)
"""Names of times. Each has a twin `..._iso` for people; every other `..._ms` is a duration."""
_ASCII = str.maketrans(
    {"–": "-", "·": "-", "×": "x", "…": "...", "█": "#", "░": ".", "—": "-", "≤": "<=", "→": "->", "│": "|"}
)


class Console:
    """Prints for one command."""

    def __init__(self, *, is_json: bool, is_ascii: bool) -> None:
        """Choose JSON or text; plain characters also where stdout's encoding cannot carry others."""
        self.is_json = is_json
        self.is_dry_run = False
        """Whether what is told was undone, so that it is told as what would be."""
        encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower()
        self._is_ascii = is_ascii or not encoding.startswith("utf")

    @property
    def width(self) -> int:
        """Columns of the terminal; where there is none nothing is cut, and nothing wraps."""
        import shutil

        return shutil.get_terminal_size((WITHOUT_TERMINAL, 40)).columns

    def line(self, text: str = "") -> None:
        """Print a line for people; nothing under `--json`."""
        if not self.is_json:
            print(self._plain(text))

    def paragraph(self, text: str) -> None:
        """Print prose, wrapped to the terminal."""
        import textwrap

        for line in textwrap.wrap(text, max(self.width - 1, 40)):
            self.line(line)

    def warn(self, text: str) -> None:
        """Print a diagnostic."""
        print(f"phase4: {self._plain(text)}", file=sys.stderr)

    def result(self, command: str, data: Mapping[str, Any], warnings: Sequence[str] = ()) -> None:
        """Print the JSON object of a command that did its work; nothing without `--json`."""
        if self.is_dry_run:
            self.line("dry run: nothing was changed")
            data = {**data, "dry_run": True}
        if self.is_json:
            self._object({"command": command, "ok": True, "data": with_twins(data), "warnings": list(warnings)})

    def fail(self, command: str, error: Phase4Error) -> None:
        """Print an error: one line for each thing that is wrong."""
        if self.is_json:
            body = {"code": error.code, "message": error.message, "hint": error.hint}
            self._object({"command": command, "ok": False, "error": body})
            return
        for text in error.message.splitlines():
            self.warn(text)
        if error.hint:
            self.warn(f"try: {error.hint}")

    def _object(self, body: Mapping[str, Any]) -> None:
        document = {"schema": SCHEMA, **body}
        print(json.dumps(document, ensure_ascii=self._is_ascii, default=str, allow_nan=False))

    def _plain(self, text: str) -> str:
        """Return the text as stdout can carry it."""
        if not self._is_ascii:
            return text
        return text.translate(_ASCII).encode("ascii", "backslashreplace").decode("ascii")


def with_twins(value: Any) -> Any:
    """Return plain values in which every moment has its twin beside it."""
    if isinstance(value, Mapping):
        found: dict[str, Any] = {}
        for name, each in value.items():
            found[name] = with_twins(each)
            if name in MOMENTS:
                found[f"{name.removesuffix('_ms')}_iso"] = None if each is None else clock.iso(each)
        return found
    return [with_twins(each) for each in value] if isinstance(value, list | tuple) else value


def percent(rate: float) -> str:
    """Return a rate as people read it.

    >>> percent(0.0), percent(0.0049), percent(0.123), percent(1.0), percent(float("nan"))
    ('0 %', '0.5 %', '12 %', '100 %', '-')
    """
    if math.isnan(rate):
        return "-"
    value = rate * 100.0
    digits = 1 if 0.0 < value < 9.95 or 99.0 < value < 99.95 else 0
    text = f"{value:.{digits}f}"
    return f"{text.removesuffix('.0')} %"


def rate_text(rate: float) -> str:
    """Return a rate to three figures.

    >>> rate_text(0.005), rate_text(0.98), rate_text(0.0)
    ('0.5 %', '98 %', '0 %')
    """
    return f"{100.0 * rate:.3g} %"


def words(name: str) -> str:
    """Return the words of a class's name, as in `SampleRatio`.

    >>> words("SampleRatio")
    'sample ratio'
    """
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()


def number(value: float) -> str:
    """Return a count or mean to three figures.

    >>> number(1234.5), number(3.14159), number(0.0), number(float("inf"))
    ('1,230', '3.1', '0', 'never')
    """
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "never" if value > 0 else "-"
    if abs(value) >= 100:
        digits = 2 - math.floor(math.log10(abs(value)))
        return f"{round(value, min(digits, 0)):,.0f}"
    return f"{value:.1f}".removesuffix(".0")
