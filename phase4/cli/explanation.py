"""What a scenario rehearses, in words: its worlds, its policies, and what each rule promises."""

from __future__ import annotations

from typing import Any

from phase4 import clock, durations
from phase4.analysis.specs import least_units
from phase4.cli import budgeting
from phase4.cli.console import percent, rate_text, words
from phase4.rollout.plan import RolloutPlan
from phase4.sim import sweep as sweeps
from phase4.sim.faults import FaultKind
from phase4.sim.scenario import Counts, Policy, Replay, Scenario, World


def alpha_table(plan: RolloutPlan, tick_ms: int) -> list[dict[str, Any]]:
    """Return one row for each stage and guardrail: its budget, with limit and fewest units."""
    shares = iter(budgeting.rows(plan))
    rows = []
    for index, specs in enumerate(plan.guardrails):
        terms = plan.terms(index, interval_ms=tick_ms)
        for spec in specs:
            row = next(shares)
            needed = row["e_needed"]
            rows.append(
                {
                    **row,
                    "kind": words(type(spec).__name__.removesuffix("Guardrail")),
                    "unit": str(spec.unit),
                    "limit": getattr(spec, "limit", None),
                    "e_needed": None if needed is None else round(needed, 1),
                    "min_units": least_units(spec, terms[spec.name]),
                }
            )
    return rows


def explanation(scenario: Scenario) -> list[str]:
    """Return the lines that say what would be rehearsed."""
    lines = [
        f"{scenario.name}: {scenario.covers}",
        "",
        (
            f"Each run lasts {durations.show(scenario.duration_ms)} in ticks of {durations.show(scenario.tick_ms)}"
            f" ({scenario.ticks:,} ticks)."
        ),
    ]
    for world in scenario.worlds:
        lines += ["", *_world(scenario, world)]
    for policy in scenario.policies:
        lines += ["", *_policy(scenario, policy)]
    return lines


def _world(scenario: Scenario, world: World) -> list[str]:
    lines = [f'World "{world.name}", from {clock.iso(world.start_ms)}: {world.about}'.rstrip(": ")]
    if isinstance(world.traffic, Replay):
        window = sweeps.window_of(scenario, world)
        bad = int((window.outcome != 2).sum()) / max(window.rows, 1)
        lines.append(
            f"    {window.rows:,} recorded outcomes of {window.units:,} users, in {window.copies} copies:"
            f" {window.rows * window.copies:,} outcomes, {percent(bad)} of them bad."
        )
    elif isinstance(world.traffic, Counts):
        lines.append(f"    Synthetic counts, {_errors(world.traffic)}{_latency(world.traffic)}.")
    for fault in world.faults:
        lasting = f" for {durations.show(fault.for_ms)}" if fault.for_ms is not None else ""
        begin = durations.show(fault.at_ms) if fault.at_ms else "the start"
        if fault.kind is FaultKind.LATENCY:
            what = f"{fault.arm} takes {fault.factor:g} times as long"
        else:
            whose = f"{fault.user_class} of {fault.arm}" if fault.user_class else str(fault.arm)
            what = f"{rate_text(fault.add)} of the fine outcomes of {whose} fail"
        lines.append(f'    Fault "{fault.id}": from {begin} on{lasting}, {what} ({fault.shape}).')
    return lines


def _latency(traffic: Counts) -> str:
    if traffic.latency is None:
        return ""
    p95 = traffic.latency.quantile_ms(0.95)
    return f"; half of the answers within {traffic.latency.median_ms:g} ms, 95 % within {p95:.4g} ms"


def _errors(traffic: Counts) -> str:
    population = traffic.population
    if population is None:
        return f"{rate_text(traffic.error_rate)} errors"
    classes = [
        f"{size:,} {one.name}, {rate_text(one.rate(traffic.error_rate))} errors"
        for one, size in zip(population.classes, population.class_sizes.tolist(), strict=True)
    ]
    return f"{population.users:,} users: {'; '.join(classes)}"


def _policy(scenario: Scenario, policy: Policy) -> list[str]:
    plan = policy.plan
    stages = " → ".join(f"{stage.percentage:g} %" for stage in plan.stages)
    gates = [stage.name for index, stage in enumerate(plan.stages) if plan.needs_approval(index)]
    approval = f"; approval before {', '.join(gates)}" if gates else ""
    rows = alpha_table(plan, scenario.tick_ms)
    lines = [f'Policy "{policy.name}" ({stages}{approval}): {policy.about}'.rstrip(": "), *map(_row, rows)]
    spent = sum(row["alpha"] for row in rows if row["alpha"] is not None and row["role"] == "guard")
    if not spent:
        return [*lines, "    This rule has no error control: how often it is wrong is what the sweep finds out."]
    return [
        *lines,
        (
            f"    A feature that keeps every limit all along is rolled back with probability at most {percent(spent)}"
            " over the plan."
        ),
    ]


def _row(row: dict[str, Any]) -> str:
    limit = f" limit {percent(row['limit'])}," if row["limit"] is not None else ""
    name = f"    {row['stage']:<8} {row['guardrail']}"
    if row["alpha"] is None:
        return f"{name}: raw threshold,{limit} from {row['min_units']} {row['unit']}s on"
    fewest = f", at least {row['min_units']:,} {row['unit']}s" if row["min_units"] else ""
    return (
        f"{name}: {row['kind']},{limit} {row['role']}, alpha {row['alpha']:.3g} (E needed {row['e_needed']:g}){fewest}"
    )
