"""Speed of a rehearsal on synthetic counts, against per-request SimPy and against its own traffic."""

from __future__ import annotations

import tempfile
from pathlib import Path

from phase4.sim.scenario import Scenario
from phase4.sim.sweep import run_one
from tests.benchmarks import per_request, scenarios
from tests.benchmarks.timing import Figure, cpu

DAYS = 21
MEASURED_REQUESTS = 500_000


def figures() -> list[Figure]:
    """Return the figures of this page."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        at = {rate: scenarios.three_weeks(folder, rate) for rate in (10.0, 1_000.0, 20_000.0)}
        hybrid = cpu(lambda: _run(at[1_000.0]))
        slow, quick = cpu(lambda: _run(at[20_000.0])), cpu(lambda: _run(at[10.0]))
    single, bare = _per_request(is_bare=False), _per_request(is_bare=True)
    requests = DAYS * 86_400 * 1_000
    ratio, least = (each * requests / hybrid.median for each in (single, bare))
    cost = slow.median / quick.median
    return [
        Figure(
            name="3 weeks at 1,000 req/s, one flag, real controller",
            seen=hybrid.scaled(1, "s CPU"),
            bound="<= 1 s",
            is_met=hybrid.median <= 1.0,
        ),
        Figure(
            name=f"per-request SimPy: {single * 1e6:.2f} us a request, {single * requests:,.0f} s by count; slower by",
            seen=f"{ratio:,.0f} x",
            bound=">= 10,000 x",
            is_met=ratio >= 10_000,
        ),
        Figure(
            name=f"bare arrivals, no users, no bucketing: {bare * 1e6:.2f} us a request; slower by",
            seen=f"{least:,.0f} x",
            bound="",
            is_met=None,
        ),
        Figure(
            name="cost at 20,000 req/s against 10 req/s",
            seen=f"{cost:.2f} x",
            bound="<= 1.5 x",
            is_met=cost <= 1.5,
        ),
    ]


def _per_request(*, is_bare: bool) -> float:
    """Return CPU seconds of one request, the median of three rounds of `MEASURED_REQUESTS`."""
    spread = cpu(
        lambda: per_request.run(
            requests=MEASURED_REQUESTS, rate=1_000.0, percentage=10.0, error_rate=0.003, tick_s=30.0, is_bare=is_bare
        ),
        rounds=3,
    )
    return spread.median / MEASURED_REQUESTS


def _run(scenario: Scenario) -> None:
    record = run_one(scenario, scenario.worlds[0], scenario.policies[0], seed=1, replicate=0)
    assert record.outcome.end_ms == DAYS * 86_400_000, "the run must last the three weeks that are claimed"
