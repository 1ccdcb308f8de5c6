"""Searches for where a condition begins to hold."""

from __future__ import annotations

from collections.abc import Callable


def first(start: int, is_enough: Callable[[int], bool]) -> int:
    """Return the first whole number from `start` on that is enough; every one above it is too."""
    step, low, high = 1, start - 1, start
    while not is_enough(high):
        low, high, step = high, high + step, step * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high
