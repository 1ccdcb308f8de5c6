"""Durations: strings with a unit where a person writes them, int milliseconds inside."""

from __future__ import annotations

import re

_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_PATTERN = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)\s*")
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
LONGEST_MS = 36_525 * DAY_MS
"""A hundred years: longer ones are slips of the keyboard."""


def parse(text: str) -> int:
    """Return the duration in ms.

    Raises:
        ValueError: no number with a unit, or not a whole number of ms.

    >>> parse("2.5d"), parse("40m"), parse("250ms")
    (216000000, 2400000, 250)
    """
    match = _PATTERN.fullmatch(text)
    if match is None or match[2] not in _UNITS:
        raise ValueError(f'a duration is a number with a unit ({", ".join(_UNITS)}), for example "12h": {text!r}')
    value = float(match[1]) * _UNITS[match[2]]
    if value > LONGEST_MS:
        raise ValueError(f"a duration is at most {LONGEST_MS // DAY_MS:,} days: {text[:40]!r}")
    if value != round(value):
        raise ValueError(f"a duration is a whole number of ms: {text!r}")
    return round(value)


def show(duration_ms: float) -> str:
    """Return the duration as people say it, to two figures of its largest unit.

    >>> show(5_400_000), show(216_000_000), show(450), show(float("inf"))
    ('1.5 h', '2.5 d', '450 ms', 'never')
    """
    if duration_ms == float("inf"):
        return "never"
    for unit, size, above in (
        ("d", DAY_MS, 2 * DAY_MS),
        ("h", HOUR_MS, HOUR_MS),
        ("min", 60_000, 60_000),
        ("s", 1_000, 1_000),
    ):
        if abs(duration_ms) >= above:
            return f"{_trim(duration_ms / size)} {unit}"
    return f"{_trim(duration_ms)} ms"


def _trim(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")
