"""Rollups: the same counts as the events, one grid of bins everywhere, percentiles within the bound."""

import duckdb
import numpy as np
import pytest

from phase4.store import observe, rollups
from phase4.store.record import Outcome
from tests.unit.store.event_home import START, counts, rows, spread

BOUND = 0.010831
"""Relative: half a bin of base 2^(1/32)."""
NAMES = ("t_ms", "flag", "entry", "arm", "outcome", "latency_ms")


@pytest.fixture
def connection():
    made = duckdb.connect()
    yield made
    made.close()


def register(connection, events, name="events"):
    connection.register(name, {column: events[column].copy() for column in NAMES})
    return name


def timed(events):
    return events[(events["outcome"] >= Outcome.OK) & (events["latency_ms"] >= 0)]["latency_ms"].astype(np.float64)


def by_rank(values, q):
    ordered = np.sort(values)
    return ordered[max(1, int(np.ceil(q * len(ordered) - 1e-9))) - 1]


def quantiles(connection, events, qs, by=()):
    name = register(connection, events)
    return rollups.quantiles(connection, rollups.h1_of(name), by, qs)


def test_counters_are_the_counts_of_the_events(connection):
    events = rows(spread(2000))
    found = connection.execute(rollups.r10_of(register(connection, events))).fetchall()
    expected = counts(events)
    for place, code in enumerate(range(1, 6), 4):
        total = sum(row[place] for row in found)
        assert total == sum(times for key, times in expected.items() if key[3] == code)
    assert all(row[0] % rollups.R10_MS == 0 for row in found)


def test_sums_leave_out_outcomes_without_a_latency(connection):
    events = rows(spread(2000))
    name = register(connection, events)
    count, s1, s2, low, high = connection.execute(
        f"SELECT sum(timed), sum(s1), sum(s2), min(mn), max(mx) FROM ({rollups.r10_of(name)})"
    ).fetchall()[0]
    values = timed(events)
    assert count == len(values) < len(events)
    assert (s1, s2) == pytest.approx((values.sum(), (values * values).sum()))
    assert (low, high) == (values.min(), values.max())


def test_a_moment_at_the_edge_belongs_to_the_later_bucket(connection):
    events = rows(np.array([START + 9_999, START + 10_000]))
    found = connection.execute(rollups.r10_of(register(connection, events))).fetchall()
    assert sorted(row[0] for row in found) == [START, START + 10_000]


def test_the_bins_are_those_of_a_tick(connection):
    random = np.random.default_rng(1)
    edges = 1000 * np.exp2(np.arange(-300, 300) / 32)
    values = np.concatenate([random.lognormal(3, 3, 20_000), edges, [0.0, 1e-9, 0.001, 1.0, 1000.0]]).astype(np.float32)
    connection.register("v", {"latency_ms": values})
    found = connection.execute(f"SELECT {rollups.BIN} FROM v").fetchnumpy()
    (column,) = found.values()
    assert np.array_equal(column, observe.bins(values.astype(np.float64)))


def test_a_percentile_lies_within_the_bound_of_the_exact_one(connection):
    qs = [0.0, 0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0]
    for seed, count in [(1, 1), (2, 2), (3, 7), (4, 100), (5, 20_000)]:
        events = rows(spread(count, seed=seed), seed=seed)
        events["outcome"], events["latency_ms"] = 2, np.abs(events["latency_ms"])
        ((_, total, found),) = quantiles(connection, events, qs)
        assert total == count
        for q, value in zip(qs, found, strict=True):
            assert value == pytest.approx(by_rank(timed(events), q), rel=BOUND), (seed, q)


def test_percentiles_are_taken_for_each_key(connection):
    events = rows(spread(3000))
    found = quantiles(connection, events, [0.5], ("flag", "arm"))
    assert [key for key, _, _ in found] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    for (flag, arm), count, (middle,) in found:
        own = timed(events[(events["flag"] == flag) & (events["arm"] == arm)])
        assert count == len(own)
        assert middle == pytest.approx(by_rank(own, 0.5), rel=BOUND)


def test_without_latencies_there_is_no_percentile(connection):
    events = rows(spread(5))
    events["outcome"] = Outcome.EXPOSURE
    assert quantiles(connection, events, [0.5]) == []


def test_parts_add_up_to_the_whole(connection):
    events = rows(spread(1000))
    whole, first, rest = (
        register(connection, part, name) for part, name in ((events, "w"), (events[:300], "a"), (events[300:], "b"))
    )
    for of, merged in ((rollups.r10_of, rollups.merged_r10), (rollups.h1_of, rollups.merged_h1)):
        joined = connection.execute(merged([f"({of(first)})", f"({of(rest)})"])).fetchall()
        expected = connection.execute(of(whole)).fetchall()
        assert len(joined) == len(expected)
        for left, right in zip(joined, expected, strict=True):
            assert left == pytest.approx(right)
