"""The rollout plan: what is wanted. Immutable; a plan that exists is valid.

A plan file is TOML. Only `stages` is required. A file that names guardrails has exactly those; one that names none has
the default set, with the guide's limits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import rfc8785

from phase4.analysis import budget
from phase4.analysis.observation import OutcomeSet
from phase4.analysis.specs import GuardrailSpec, MeanGuardrail, QuantileGuardrail, Terms
from phase4.analysis.verdict import Role, Unit
from phase4.documents import Table
from phase4.errors import PlanInvalid, nearest
from phase4.rollout.guardrail_table import GUIDE, MEASURES, Limits, read_guardrails

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One step of a plan."""

    name: str
    percentage: float
    """Share of the users, 0-100, for whom the flag is on."""
    active_min: int
    """Least watched time in this stage, in ms."""
    bake: int
    """Least planned time in this stage, in ms."""
    max_duration: int
    """Time in ms after which a stage without PASS pauses and asks."""
    approval: bool = False
    """Whether a person must approve before this stage is entered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPlan:
    """Stages, and for each stage the guardrails that judge it."""

    plan_id: str
    flag_key: str
    stages: tuple[Stage, ...]
    guardrails: tuple[tuple[GuardrailSpec, ...], ...]
    """For each stage its guardrails, with that stage's limits."""
    auto: bool = True
    """Whether stages that need no approval are entered by themselves."""
    approvals_required: int = 1
    alpha: float = 0.05
    """Probability, in (0, 1), that the guards roll back a healthy feature over the whole plan."""
    beta: float = 0.05
    """Probability, in (0, 1), that one guardrail passes a stage that does not keep its limit."""
    first_entry: int = 1
    """Serial number of this plan's first stage entry; entries count on over all plans of a flag."""
    schema: int = field(default=SCHEMA)

    def __post_init__(self) -> None:
        """Refuse a plan that could not run; every problem at once."""
        problems = list(_stage_problems(self.stages)) if self.stages else ["stages: a plan has at least one stage"]
        for index, specs in enumerate(self.guardrails):
            names = [spec.name for spec in specs]
            problems += [f"guardrails[{index}]: two are called {name}" for name in set(names) if names.count(name) > 1]
        if len(self.guardrails) != len(self.stages):
            problems.append(f"guardrails: one tuple for each of {len(self.stages)} stages: {len(self.guardrails)}")
        problems += [
            f"{name}: lies in (0, 1): {getattr(self, name)}"
            for name in ("alpha", "beta")
            if not 0.0 < getattr(self, name) < 1.0
        ]
        if self.approvals_required < 1:
            problems.append(f"approvals_required: is at least 1: {self.approvals_required}")
        if problems:
            raise PlanInvalid(problems)

    def needs_approval(self, stage: int) -> bool:
        """Return whether entering the stage with this index needs a person."""
        return stage > 0 and (self.stages[stage].approval or not self.auto)

    def terms(self, stage: int, *, interval_ms: int) -> dict[str, Terms]:
        """Return the terms of each guardrail of a stage, by name.

        Args:
            stage: Index of the stage.
            interval_ms: Length of a tick in ms: with `max_duration` it gives the planned length in ticks.
        """
        specs = self.guardrails[stage]
        claims = [budget.Claim(s.name, s.role is Role.GUARD, getattr(s, "emergency", False), s.weight) for s in specs]
        alphas = budget.split(self.alpha, len(self.stages), claims)
        horizon = max(self.stages[stage].max_duration // interval_ms, 1)
        return {s.name: Terms(alpha=alphas[s.name], beta=self.beta, horizon_ticks=horizon) for s in specs}

    @property
    def outcome_sets(self) -> frozenset[OutcomeSet]:
        """The outcome sets whose users some guardrail counts."""
        every = [spec for specs in self.guardrails for spec in specs if not isinstance(spec, MeanGuardrail)]
        return frozenset(spec.outcome_set for spec in every if spec.unit is Unit.USER)

    @property
    def measures(self) -> frozenset[str]:
        """What some guardrail asks of outcomes beside how they went: `latency`, or a metric's name."""
        every = [spec for specs in self.guardrails for spec in specs]
        named = {spec.measure for spec in every if isinstance(spec, MeanGuardrail)}
        return frozenset(named | {"latency" for spec in every if isinstance(spec, QuantileGuardrail)})

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the plan's canonical JSON (RFC 8785); what approvals sign.

        The id and the first entry, which the store gives, are not part of it.
        """
        body = asdict(self)
        del body["plan_id"], body["first_entry"]
        for specs, raw in zip(self.guardrails, body["guardrails"], strict=True):
            for spec, values in zip(specs, raw, strict=True):
                values["kind"] = type(spec).__name__
        return hashlib.sha256(rfc8785.dumps(_plain(body))).hexdigest()


def parse_plan(
    document: Mapping[str, Any], *, flag_key: str, plan_id: str, source: str, limits: Limits = GUIDE
) -> RolloutPlan:
    """Return the plan that a TOML document describes.

    Args:
        document: The parsed TOML.
        flag_key: The flag that the plan rolls out.
        plan_id: Identity of the plan, `<flag>.<n>`.
        source: Name of the file, for messages.
        limits: What the file does not say.

    Raises:
        PlanInvalid: every unknown key, wrong value and impossible stage, each with its path.
    """
    problems: list[str] = []
    top = Table(document, "", problems)
    top.integer("schema", SCHEMA, low=SCHEMA, high=SCHEMA)
    stages = tuple(_read_stage(t) for t in top.tables("stages"))
    if not stages and not any(problem.startswith("stages") for problem in problems):
        problems.append("stages: is missing; a plan has at least one stage")
    auto = top.boolean("auto", default=limits.auto)
    approvals = top.integer("approvals_required", limits.approvals_required, low=1, high=5)
    alpha = top.number("alpha", 0.05, low=1e-6, high=0.5, what="a probability, 0.000001 to 0.5")
    beta = top.number("beta", 0.05, low=1e-6, high=0.5, what="a probability, 0.000001 to 0.5")
    measures = top.words("measures", ())
    limits = replace(limits, measures=limits.measures | _known_measures(top, measures))
    guardrails = read_guardrails(top, [stage.percentage for stage in stages], limits)
    top.finish()
    if not any(problem.startswith("stages") for problem in problems):
        problems.extend(_stage_problems(stages))  # of stages that could be read: one mistake is one problem
    if problems:
        raise PlanInvalid(problems, source=source)
    return RolloutPlan(
        plan_id=plan_id,
        flag_key=flag_key,
        stages=stages,
        guardrails=guardrails,
        auto=auto,
        approvals_required=approvals,
        alpha=alpha,
        beta=beta,
    )


def _known_measures(top: Table, names: Sequence[str]) -> frozenset[str]:
    """Return what a file says the application reports."""
    for place, name in enumerate(names):
        if name not in MEASURES:
            close = nearest(name, MEASURES)
            hint = f'; did you mean "{close}"?' if close else f"; known: {', '.join(MEASURES)}"
            top.problem(f"measures[{place}]", f'"{name}" is nothing that an application reports{hint}')
    return frozenset(names) & frozenset(MEASURES)


def _read_stage(table: Table) -> Stage:
    stage = Stage(
        name=table.text("name", table.at("")[:-1]),
        percentage=float(table.number("percentage", low=0.0, high=100.0, what="a percentage, 0 to 100")),
        active_min=table.duration("active_min", 0),
        bake=table.duration("bake", 0),
        max_duration=table.duration("max_duration", low=1),
        approval=table.boolean("approval", default=False),
    )
    table.finish()
    return stage


def _stage_problems(stages: Sequence[Stage]) -> list[str]:
    percentages = [stage.percentage for stage in stages]
    problems = []
    if any(not b > a for a, b in zip([0.0, *percentages], percentages, strict=False)) or any(
        p > 100 for p in percentages
    ):
        problems.append(f"stages: percentages must strictly grow from 0 to at most 100: {percentages}")
    problems += [
        f"stages[{index}].{name}: is longer than max_duration, so the stage could never be left"
        for index, stage in enumerate(stages)
        for name in ("active_min", "bake")
        if getattr(stage, name) > stage.max_duration
    ]
    return problems


def _plain(value: Any) -> Any:
    """Return the value with tuples as lists and enums as strings, as JSON has them."""
    match value:
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case str():
            return str(value)
        case _:
            return value
