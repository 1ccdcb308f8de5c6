"""The rollout plan: what is wanted. Immutable; a plan that exists is valid.

A plan file is TOML. Only `stages` is required. A file that names guardrails has exactly those; one that names none has
the default set, with the guide's limits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import rfc8785

from phase4.analysis import budget
from phase4.analysis.guardrails import (
    GuardrailSpec,
    RateGuardrail,
    RatioGuardrail,
    Terms,
    ThresholdGuardrail,
)
from phase4.analysis.observation import OutcomeSet
from phase4.analysis.verdict import Role, Unit
from phase4.documents import Table
from phase4.errors import PlanInvalid, nearest

SCHEMA = 1

_RATES = {
    "error_rate": OutcomeSet.ERROR,
    "emergency": OutcomeSet.ERROR,
    "validation_failures": OutcomeSet.INVALID,
    "success_rate": OutcomeSet.BAD,
    "hook_failures": OutcomeSet.BAD,
}
_RATIOS = {"error_ratio": OutcomeSet.ERROR}
GUARDRAILS = (*_RATES, *_RATIOS)
"""Names that a plan file may use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a plan takes where its file says nothing; the guide's values by default."""

    error: float = 0.01
    """Highest acceptable error rate; the first stage has half of it."""
    success: float = 0.95
    """Lowest acceptable success rate; the first stage allows 0.4 times as much to fail."""
    emergency: float = 0.02
    """Error rate above which the flag is switched off and held."""
    validation: float = 0.05
    """Highest acceptable rate of failed validations."""
    auto: bool = True
    approvals_required: int = 1

    def of(self, guardrail: str, stage: int) -> float:
        """Return the limit of a guardrail in a stage: the highest rate, for `success_rate` the lowest success."""
        first = stage == 0
        match guardrail:
            case "error_rate":
                return self.error / 2 if first else self.error
            case "emergency":
                return self.emergency
            case "success_rate":
                return round(1.0 - (0.4 if first else 1.0) * (1.0 - self.success), 12)
            case "validation_failures":
                return self.validation
            case _:
                return self.error


GUIDE = Limits()


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
        return frozenset(s.outcome_set for specs in self.guardrails for s in specs if s.unit is Unit.USER)

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
    guardrails = _read_guardrails(top, len(stages), limits)
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


def _read_guardrails(top: Table, stages: int, limits: Limits) -> tuple[tuple[GuardrailSpec, ...], ...]:
    if not top.has("guardrails"):
        return default_guardrails(stages, limits)
    table = top.table("guardrails")
    columns: list[tuple[GuardrailSpec, ...]] = []
    for name in table.keys():  # noqa: SIM118  a Table is no mapping
        if name not in GUARDRAILS:
            close = nearest(name, GUARDRAILS)
            table.has(name)
            hint = f'; did you mean "{close}"?' if close else f"; known: {', '.join(GUARDRAILS)}"
            table.problem(name, f"unknown guardrail{hint}")
            continue
        columns.append(_read_guardrail(table.table(name), name, stages, limits))
    if not columns and not top.problems:
        top.problem("guardrails", "a plan has at least one guardrail; leave the table out for the default set")
    return tuple(zip(*columns, strict=True)) if columns else ((),) * stages


def _read_guardrail(table: Table, name: str, stages: int, limits: Limits) -> tuple[GuardrailSpec, ...]:
    """Return one specification for each stage."""
    default_role = "signal" if name == "success_rate" else "guard"
    common: dict[str, Any] = {
        "name": name,
        "role": Role(table.choice("role", [r.value for r in Role], default_role)),
        "min_units": table.integer("min_units", None, low=0),
        "weight": float(table.number("weight", 1.0, low=1e-6, high=1e6, what="a weight above 0")),
    }
    method = table.choice("method", ["e_process", "threshold"], "e_process")
    default_unit = "request" if method == "threshold" or name == "hook_failures" else "user"
    common["unit"] = Unit(table.choice("unit", [u.value for u in Unit], default_unit))
    is_ratio = name in _RATIOS
    if is_ratio:
        columns = _ratio_columns(table, common, stages)
    else:
        columns = _rate_columns(table, common, method, _limits(table, name, stages, limits))
    table.finish()
    return columns


def _ratio_columns(table: Table, common: dict[str, Any], stages: int) -> tuple[GuardrailSpec, ...]:
    if table.has("method") and table.choice("method", ["e_process"], "e_process") != "e_process":
        table.problem("method", "a ratio is judged by e_process only")
    max_ratio = float(table.number("max_ratio", 1.0, low=1e-3, high=100.0, what="a ratio, 0.001 to 100"))
    pass_ratio = float(table.number("pass_ratio", 1.5, low=1e-3, high=1000.0, what="a ratio, 0.001 to 1000"))
    if pass_ratio <= max_ratio:
        table.problem("pass_ratio", f"is above max_ratio {max_ratio}: {pass_ratio}")
        pass_ratio = max_ratio * 2
    prove = table.boolean("prove", default=False)
    spec = RatioGuardrail(
        **common, outcome_set=_RATIOS[common["name"]], max_ratio=max_ratio, pass_ratio=pass_ratio, prove=prove
    )
    return (spec,) * stages


def _rate_columns(
    table: Table, common: dict[str, Any], method: str, limits: Sequence[float]
) -> tuple[GuardrailSpec, ...]:
    name = common["name"]
    outcome_set = _RATES[name]
    is_emergency = name == "emergency"
    if method == "threshold":
        window = _window(table)
        return tuple(
            ThresholdGuardrail(**common, outcome_set=outcome_set, limit=limit, window=window, emergency=is_emergency)
            for limit in limits
        )
    prove = table.boolean("prove", default=not is_emergency)
    ambient = table.boolean("ambient", default=not is_emergency)
    return tuple(
        RateGuardrail(
            **common, outcome_set=outcome_set, limit=limit, prove=prove, ambient=ambient, emergency=is_emergency
        )
        for limit in limits
    )


def _limits(table: Table, name: str, stages: int, limits: Limits) -> tuple[float, ...]:
    """Return the highest acceptable rate of events for each stage: the file's, else that of the settings."""
    if name == "success_rate":
        what, low, high = "a success rate, 0.5 to 0.999999", 0.5, 0.999999
    else:
        what, low, high = "a rate above 0, at most 0.5", 1e-6, 0.5
    default = tuple(limits.of(name, stage) for stage in range(stages))
    given = table.numbers("limit", low=low, high=high, what=what) if table.has("limit") else default
    values = given if isinstance(given, tuple) else (given,) * stages
    if len(values) != stages:
        table.problem("limit", f"is one number, or one for each of {stages} stages: {list(values)}")
        values = (values[0],) * stages
    return tuple(round(1.0 - v, 12) if name == "success_rate" else float(v) for v in values)


def _window(table: Table) -> int | None:
    """Return how many ticks the raw rule pools; None = all since the entry."""
    if table.has("window") and table.choice("window", ["tick", "cumulative"], "tick") == "cumulative":
        return None
    return table.integer("window_ticks", 1, low=1) if table.has("window_ticks") else 1


def default_guardrails(stages: int, limits: Limits = GUIDE) -> tuple[tuple[GuardrailSpec, ...], ...]:
    """Return the default guardrails for each stage; at the guide's limits they are the guide's, 0.5 and 98 % first."""

    def at(stage: int) -> tuple[GuardrailSpec, ...]:
        return (
            RateGuardrail(name="error_rate", limit=limits.of("error_rate", stage)),
            RatioGuardrail(name="error_ratio"),
            RateGuardrail(
                name="emergency", limit=limits.of("emergency", stage), prove=False, ambient=False, emergency=True
            ),
            RateGuardrail(
                name="success_rate",
                limit=round(1.0 - limits.of("success_rate", stage), 12),
                outcome_set=OutcomeSet.BAD,
                role=Role.SIGNAL,
            ),
        )

    return tuple(at(stage) for stage in range(stages))


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
