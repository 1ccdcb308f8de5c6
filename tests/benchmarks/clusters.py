"""Failures that cluster in users: what counting requests costs, and what counting users keeps.

Both arms are alike. A day of 2,880 ticks, 100 requests a tick in each arm, made by the simulator's users; judged by the
production guardrails in blocks, alpha and beta 5 %. Last line of each population: the limit is exactly the mean rate of
the users, so that every PASS is a wrong one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from phase4.analysis import block, guardrails
from phase4.analysis.columns import ArmColumns
from phase4.analysis.paths import paths_ratio
from phase4.analysis.specs import GuardrailSpec, RateGuardrail, RatioGuardrail, Terms
from phase4.analysis.verdict import Role, Unit, Verdict
from phase4.rollout.plan import RolloutPlan
from phase4.sim.population import Population, UserClass
from phase4.sim.scenario import Approver, Counts, Policy, Scenario, World
from phase4.sim.shapes import Constant
from phase4.sim.users import UsersSource
from tests.benchmarks.timing import Figure
from tests.unit.analysis import stages
from tests.unit.sim.worlds import plan

RUNS = 300
TICKS, TICK_MS = 2880, 30_000
REQUESTS = 100
"""Of each arm in a tick."""
TERMS = Terms(alpha=0.05, beta=0.05, horizon_ticks=TICKS)
PASS = block.VERDICTS.index(Verdict.PASS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Who fails how often."""

    users: int
    """In each arm."""
    share: float
    """Of the users that fail at all; 1 = all alike."""
    rate: float
    """At which these fail."""

    @property
    def name(self) -> str:
        """What it is called."""
        who = "all alike" if self.share == 1.0 else f"{self.share:.0%} of them fail"
        return f"{self.users:,} users an arm, {who} {self.rate:.1%}"

    @property
    def classes(self) -> tuple[UserClass, ...]:
        """The classes of the population."""
        if self.share == 1.0:
            return (UserClass(name="all", share=1.0, error_rate=self.rate),)
        return (
            UserClass(name="most", share=1.0 - self.share, error_rate=0.0),
            UserClass(name="few", share=self.share, error_rate=self.rate),
        )


CLUSTERS = (
    Cluster(users=10_000, share=1.0, rate=0.005),
    Cluster(users=10_000, share=0.01, rate=0.3),
    Cluster(users=1_000, share=0.01, rate=0.3),
    Cluster(users=1_000, share=0.05, rate=0.05),
)


def source(cluster: Cluster, replicate: int) -> UsersSource:
    """Return the traffic of one replicate: half of the users in each arm."""
    population = Population(users=2 * cluster.users, classes=cluster.classes)
    shape = Constant(rate=2 * REQUESTS * 1000 / TICK_MS)
    traffic = Counts(shape=shape, error_rate=cluster.share * cluster.rate, population=population)
    world = World(name=cluster.name, about="", start_ms=0, traffic=traffic, faults=())
    users: RolloutPlan = plan(RatioGuardrail(name="error_ratio"))  # type: ignore[no-untyped-call]
    scenario = Scenario(
        name="clusters", covers="", source="", seed=4, duration_ms=TICKS * TICK_MS, tick_ms=TICK_MS, flag_key="f",
        worlds=(world,), policies=(Policy(name="p", about="", plan=users),),
        approver=Approver(median_ms=0, sigma=0.0, reject_p=0.0), replicates=1, expect_run=None, expect_cells=(),
    )  # fmt: skip
    return UsersSource(scenario, world, seed=4, replicate=replicate)


def specs(cluster: Cluster) -> dict[str, GuardrailSpec]:
    """Return what is judged, by what it is called."""
    mean = cluster.share * cluster.rate
    return {
        "ratio, users: false alarms": RatioGuardrail(name="error_ratio"),
        "ratio, requests, overdispersion treated: false alarms": RatioGuardrail(
            name="error_ratio_requests", unit=Unit.REQUEST, role=Role.OBSERVE
        ),
        "limit at the mean rate, users: wrong PASS": RateGuardrail(name="error_rate", limit=mean, ambient=False),
        "limit at the mean rate, requests, overdispersion treated: wrong PASS": RateGuardrail(
            name="error_rate_requests", limit=mean, ambient=False, unit=Unit.REQUEST, role=Role.OBSERVE
        ),
    }


def figures() -> Iterator[Figure]:
    """Return the figures of this page."""
    for cluster in CLUSTERS:
        seen = dict.fromkeys((*specs(cluster), "ratio, requests as they are: false alarms"), 0)
        for replicate in range(RUNS):
            for name, is_wrong in judged(cluster, replicate).items():
                seen[name] += is_wrong
        for name, wrong in seen.items():
            share = wrong / RUNS
            limit = stages.upper(0.05, RUNS)
            is_held = "users" in name
            error = math.sqrt(share * (1.0 - share) / RUNS)
            yield Figure(
                name=f"{cluster.name}; {name}",
                seen=f"{share:.1%} (s.e. {error:.1%})",
                bound=f"<= {limit:.1%}" if is_held else "",
                is_met=share <= limit if is_held else None,
            )


def judged(cluster: Cluster, replicate: int) -> dict[str, bool]:
    """Return whether each guardrail was wrong in one replicate: an alarm, or a PASS at any tick."""
    treatment, control = source(cluster, replicate).entry(50.0, 0).columns(0, TICKS)
    found = {}
    for name, spec in specs(cluster).items():
        made = block.run(spec, TERMS, guardrails.start(spec), 0, treatment, control)
        is_limit = isinstance(spec, RateGuardrail)
        found[name] = bool((made.verdicts == PASS).any()) if is_limit else made.state.crossed_tick is not None
    found["ratio, requests as they are: false alarms"] = _plain(treatment, control)
    return found


def _plain(treatment: ArmColumns, control: ArmColumns) -> bool:
    """Return whether the ratio alarms that takes requests for independent: what the product does not do."""
    arms = [(arm.error[:, None], arm.requests[:, None]) for arm in (treatment, control)]
    log_e = paths_ratio(*arms[0], *arms[1], max_ratio=1.0, horizon_ticks=TICKS)
    return bool(np.max(log_e) >= TERMS.fail_bound)
