"""Numbers as people read them: "never" is said, and nothing to estimate is a dash."""

from __future__ import annotations

import math
from collections.abc import Callable

from phase4.durations import HOUR_MS, show

NOTHING = "–"
"""Shown where there is nothing to estimate."""
Write = Callable[[float], str]


def percent(rate: float) -> str:
    """Return a proportion as a percentage.

    >>> percent(0.0), percent(0.0049), percent(0.123), percent(1.0)
    ('0 %', '0.5 %', '12 %', '100 %')
    """
    if math.isnan(rate):
        return NOTHING
    value = rate * 100.0
    digits = 1 if 0.0 < value < 9.95 or 99.0 < value < 99.95 else 0
    return f"{f'{value:.{digits}f}'.removesuffix('.0')} %"


def number(value: float) -> str:
    """Return a count or mean to three figures.

    >>> number(1234.5), number(3.14159), number(0.0), number(float("inf"))
    ('1,230', '3.1', '0', 'never')
    """
    if math.isnan(value) or value == -math.inf:
        return NOTHING
    if math.isinf(value):
        return "never"
    if abs(value) >= 100:
        digits = 2 - math.floor(math.log10(abs(value)))
        return f"{round(value, min(digits, 0)):,.0f}"
    return f"{value:.1f}".removesuffix(".0")


def hours(value: float) -> str:
    """Return a time given in hours.

    >>> hours(1.5), hours(60.0), hours(float("inf")), hours(float("nan"))
    ('1.5 h', '2.5 d', 'never', '–')
    """
    return NOTHING if math.isnan(value) else show(value * HOUR_MS)


def interval(lower: float, upper: float, write: Write) -> str:
    """Return an interval; empty where there is none, and in words where too few runs bound it.

    >>> interval(0.01, 0.06, percent), interval(12.0, float("inf"), hours)
    ('1–6 %', '12 h – never')
    >>> interval(float("-inf"), float("inf"), number), interval(float("nan"), 1.0, number)
    ('too few runs', '')
    """
    if math.isnan(lower) or math.isnan(upper) or lower == upper == math.inf:
        return ""
    if lower == -math.inf and upper == math.inf:
        return "too few runs"
    if lower == -math.inf:
        return f"up to {write(upper)}"
    low, high = write(lower), write(upper)
    unit = high.rpartition(" ")[2]
    if " " in high and low.endswith(f" {unit}"):  # "1–6 %", not "1 %–6 %"
        low = low.removesuffix(f" {unit}")
    return f"{low} – {high}" if " " in low or low.startswith("-") or math.isinf(upper) else f"{low}–{high}"


def plain(value: object) -> str:
    """Return a text that plotly shows as it is: it would read tags and entities.

    >>> plain("a <b> & c")
    'a &lt;b&gt; &amp; c'
    """
    return str(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
