"""The user counts of the collector equal a plain loop over the rows, whatever comes in whichever tick."""

import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from phase4.store.intake import ROWS
from phase4.store.units import COUNTS, Units

EVENTS = st.tuples(
    st.sampled_from([(1, 1), (1, 2), (2, 0)]),  # flag and entry
    st.sampled_from([1, 2]),  # arm
    st.integers(0, 4),  # unit
    st.integers(1, 5),  # outcome
    st.integers(0, 3),  # t_ms: several at the same time
    st.integers(1, 2),  # source
)
TICKS = st.lists(st.lists(EVENTS, max_size=14), min_size=1, max_size=4)
ERROR, BAD, INVALID, VALIDATED = {3, 4}, {3, 4, 5}, {5}, {2, 5}

FEWER = settings(max_examples=settings().max_examples // 3)
"""Each example makes a database."""


class Loop:
    """The same counts, one row after the other: what the columns mean, and nothing about how they are had."""

    def __init__(self):
        self.seen = set()
        self.arms = defaultdict(set)
        self.outcomes = defaultdict(list)
        """(flag, entry, arm, unit) -> its outcomes of the ticks before, in order."""

    def count(self, rows):
        by_user = defaultdict(list)
        for row in sorted(rows, key=lambda row: (row["t_ms"], row["source"], row["seq"])):
            flag, entry, arm, unit, outcome = (int(row[name]) for name in ("flag", "entry", "arm", "unit", "outcome"))
            by_user[flag, entry, arm, unit].append(outcome)
        for flag, entry, arm, unit in by_user:
            self.arms[flag, entry, unit].add(arm)
        counts = defaultdict(lambda: dict.fromkeys(COUNTS, 0))
        for user, new in by_user.items():
            flag, entry, arm, unit = user
            found = counts[flag, entry, arm]
            found["units"] += user not in self.seen
            if len(self.arms[flag, entry, unit]) > 1:
                found["crossed"] += 1
            else:
                self.risk_and_first(found, self.outcomes[user], [outcome for outcome in new if outcome != 1])
                before, now = (sum(outcome in ERROR for outcome in part) for part in (self.outcomes[user], new))
                found["error_third_x"] += before < 3 <= before + now
        for user, new in by_user.items():
            self.seen.add(user)
            self.outcomes[user] += [outcome for outcome in new if outcome != 1]
        return dict(counts)

    @staticmethod
    def risk_and_first(found, old, new):
        for name, events, trials in (
            ("error", ERROR, BAD | {2}),
            ("bad", BAD, BAD | {2}),
            ("invalid", INVALID, VALIDATED),
        ):
            before, now = ([outcome for outcome in part if outcome in trials] for part in (old, new))
            if now and not before:
                found[f"{name}_first_n"] += 1
                found[f"{name}_first_x"] += now[0] in events
            if any(outcome in events for outcome in before):
                continue
            for outcome in now:
                found[f"{name}_risk_n"] += 1
                if outcome in events:
                    found[f"{name}_risk_x"] += 1
                    break


def rows_of(ticks):
    """Return the rows of each tick as they arrive; the number in the source is that of the arrival."""
    found, numbers = [], defaultdict(int)
    for tick, events in enumerate(ticks):
        rows = np.zeros(len(events), ROWS)
        for place, ((flag, entry), arm, unit, outcome, t_ms, source) in enumerate(events):
            row = rows[place]
            row["flag"], row["entry"], row["arm"], row["unit"], row["outcome"] = flag, entry, arm, unit, outcome
            row["t_ms"], row["source"], row["seq"] = 1_000 * tick + t_ms, source, numbers[source]
            numbers[source] += 1
        found.append(rows)
    return found


class Place:
    """A home of which there is only what the counts need."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory()
        for name in ("collector", "tmp"):
            (Path(self._folder.name) / name).mkdir()

    def __enter__(self):
        return self._folder.name

    def __exit__(self, *_):
        self._folder.cleanup()


@FEWER
@given(ticks=TICKS, data=st.data())
def test_the_counts_of_every_tick_equal_a_plain_loop_over_its_rows_in_any_order_of_arrival(ticks, data):
    loop = Loop()
    with Place() as home:
        units = Units(home, last_tick=-1)
        for tick, rows in enumerate(rows_of(ticks)):
            shuffled = rows[data.draw(st.permutations(range(len(rows))))] if len(rows) else rows
            assert units.count(tick, shuffled) == loop.count(rows)
        units.close()


@FEWER
@given(ticks=TICKS, data=st.data())
def test_a_start_after_ticks_that_were_counted_and_not_recorded_counts_them_once(ticks, data):
    recorded = data.draw(st.integers(0, len(ticks)), "recorded ticks")
    loop, rows = Loop(), rows_of(ticks)
    expected = [loop.count(each) for each in rows]
    with Place() as home:
        units = Units(home, last_tick=-1)
        for tick, each in enumerate(rows):
            assert units.count(tick, each) == expected[tick]
        units.close()
        again = Units(home, last_tick=recorded - 1)
        for tick in range(recorded, len(rows)):
            assert again.count(tick, rows[tick]) == expected[tick]
        again.close()
