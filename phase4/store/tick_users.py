"""What each user had in one tick: from rows in any order to one line for each user, arm and stage entry."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from phase4.store.intake import Rows
from phase4.store.record import Outcome

Columns = dict[str, npt.NDArray[Any]]


_WHO = ("flag", "entry", "unit", "arm")


def of(rows: Rows) -> Columns:
    """Return the users of a tick, each column (users,), by flag, entry, unit and arm.

    Ordinals count a user's outcomes of the tick in the order of time, from 1; 0 = there is none.

    Args:
        rows: (n,) the tick's events, in any order.

    Returns:
        `flag, entry, arm, unit`; `n` outcomes, `nv` validated ones (valid or invalid), `ne` errors; `e, b` ordinals of
        the first error and the first bad outcome, `i` ordinal of the first invalid one among the validated; `first_ms`
        latency of the first outcome; `both` whether the user is in two arms of this entry in this tick.
    """
    order = _order(rows)
    ordered = {name: rows[name][order] for name in (*_WHO, "outcome", "latency_ms")}
    outcome = ordered["outcome"]
    begins = _begins(ordered, _WHO)
    starts = np.flatnonzero(begins)
    which = np.cumsum(begins) - 1
    is_outcome = outcome >= Outcome.OK
    is_error = (outcome == Outcome.ERROR) | (outcome == Outcome.TIMEOUT)
    is_invalid = outcome == Outcome.INVALID
    is_validated = (outcome == Outcome.OK) | is_invalid
    place, place_validated = (_ordinals(mask, starts, which) for mask in (is_outcome, is_validated))
    is_first = is_outcome & (place == 1)
    first_ms = np.zeros(len(starts), np.float32)
    first_ms[which[is_first]] = ordered["latency_ms"][is_first]
    users = {name: ordered[name][starts] for name in _WHO}
    return {
        **users,
        **{name: _sums(mask, starts) for name, mask in (("n", is_outcome), ("nv", is_validated), ("ne", is_error))},
        "e": _first(place, is_error, starts),
        "b": _first(place, is_error | is_invalid, starts),
        "i": _first(place_validated, is_invalid, starts),
        "first_ms": first_ms,
        "both": _in_both(users),
    }


def _order(rows: Rows) -> npt.NDArray[np.intp]:
    """Return the order by flag, entry, unit, arm, time, source and sequence number."""
    key = rows["flag"].astype(np.uint32) << 16 | rows["entry"]
    return np.lexsort((rows["seq"], rows["source"], rows["t_ms"], rows["arm"], rows["unit"], key))


def _begins(ordered: Columns, names: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    """Return whether a row differs from the one before in any of these, (n,)."""
    begins = np.zeros(len(ordered[names[0]]), np.bool_)
    begins[:1] = True
    for name in names:
        begins[1:] |= ordered[name][1:] != ordered[name][:-1]
    return begins


def _ordinals(
    mask: npt.NDArray[np.bool_], starts: npt.NDArray[np.int64], which: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return how many rows of the mask a user has up to each row, (n,)."""
    total = np.cumsum(mask)
    before: npt.NDArray[np.int64] = total[starts] - mask[starts]
    return np.asarray(total - before[which], np.int64)


def _sums(mask: npt.NDArray[np.bool_], starts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.add.reduceat(mask, starts, dtype=np.int64) if len(starts) else np.zeros(0, np.int64)


def _first(
    ordinals: npt.NDArray[np.int64], mask: npt.NDArray[np.bool_], starts: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return each user's smallest ordinal among the rows of the mask, 0 for none."""
    if not len(starts):
        return np.zeros(0, np.int64)
    never = np.iinfo(np.int64).max
    found = np.minimum.reduceat(np.where(mask, ordinals, never), starts)
    return np.where(found == never, 0, found)


def _in_both(users: Columns) -> npt.NDArray[np.bool_]:
    """Return which users stand beside themselves in another arm."""
    is_same = ~_begins(users, ("flag", "entry", "unit"))
    is_same[:-1] |= is_same[1:]
    return is_same
