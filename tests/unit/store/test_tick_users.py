"""What each user had in one tick, against a plain loop over the rows in the order of time."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from phase4.store import tick_users
from phase4.store.intake import ROWS

ROW = st.tuples(
    st.integers(1, 2), st.integers(0, 1), st.integers(0, 2), st.integers(1, 4), st.integers(1, 5), st.integers(0, 3),
    st.integers(0, 2),
)  # fmt: skip
"""(flag, entry, arm, unit, outcome, t_ms, source)"""
NAMES = ("flag", "entry", "arm", "unit", "outcome", "t_ms", "source")


def rows_of(found):
    rows = np.zeros(len(found), ROWS)
    for name, column in zip(NAMES, zip(*found, strict=True), strict=False):
        rows[name] = column
    rows["seq"] = np.arange(len(found))
    rows["latency_ms"] = np.arange(len(found)) + 0.5
    return rows


def by_loop(rows):
    """Return (flag, entry, unit, arm) -> what it had."""
    found = {}
    for row in np.sort(rows, order=["t_ms", "source", "seq"]):
        key = tuple(int(row[name]) for name in ("flag", "entry", "unit", "arm"))
        had = found.setdefault(key, dict.fromkeys(("n", "nv", "ne", "e", "b", "i", "first_ms"), 0))
        outcome = int(row["outcome"])
        if outcome < 2:
            continue
        had["n"] += 1
        had["nv"] += outcome in {2, 5}
        had["ne"] += outcome in {3, 4}
        had["first_ms"] = had["first_ms"] or float(row["latency_ms"])
        if outcome in {3, 4}:
            had["e"] = had["e"] or had["n"]
        if outcome >= 3:
            had["b"] = had["b"] or had["n"]
        if outcome == 5:
            had["i"] = had["i"] or had["nv"]
    for (flag, entry, unit, arm), had in found.items():
        had["both"] = any((flag, entry, unit, other) in found for other in range(3) if other != arm)
    return found


@given(st.lists(ROW, max_size=40))
def test_every_user_has_what_a_loop_finds_in_any_order_of_arrival(found):
    rows = rows_of(found)
    made = tick_users.of(rows)
    expected = by_loop(rows)
    keys = list(zip(*(made[name].tolist() for name in ("flag", "entry", "unit", "arm")), strict=True))
    assert keys == sorted(expected)
    for place, key in enumerate(keys):
        assert {name: made[name][place].item() for name in expected[key]} == expected[key]


def test_a_tick_without_events_has_no_users():
    assert {len(column) for column in tick_users.of(np.zeros(0, ROWS)).values()} == {0}
