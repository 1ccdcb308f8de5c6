"""The guardrails of a plan file, and the default set.

A plan file that names guardrails has exactly those. What compares treatment with control is left out of a stage that
exposes everybody: nobody is left to compare with.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from phase4.analysis.observation import OutcomeSet
from phase4.analysis.specs import (
    GuardrailSpec,
    MeanGuardrail,
    QuantileGuardrail,
    RateGuardrail,
    RatioGuardrail,
    RepeatGuardrail,
    SampleRatioGuardrail,
    ThresholdGuardrail,
    is_relative,
)
from phase4.analysis.verdict import Role, Unit
from phase4.documents import Table
from phase4.errors import nearest

_RATES = {
    "error_rate": OutcomeSet.ERROR,
    "emergency": OutcomeSet.ERROR,
    "validation_failures": OutcomeSet.INVALID,
    "success_rate": OutcomeSet.BAD,
    "hook_failures": OutcomeSet.BAD,
}
_RATIOS = {"error_ratio": OutcomeSet.ERROR}
_QUANTILES = ("latency_p95",)
_MEANS = {"latency_mean": "latency", "cpu_mean": "cpu_ms"}
MEASURES = ("latency", "validation", "cpu_ms")
"""What an application may report beside success and error, as `measures` in a plan file names it."""
SAMPLE_RATIO = "sample_ratio"
REPEATED_ERRORS = "repeated_errors"
"""Users with three errors and more, whom first outcomes hardly show."""
_SHARES: dict[str, type[SampleRatioGuardrail | RepeatGuardrail]] = {
    SAMPLE_RATIO: SampleRatioGuardrail,
    REPEATED_ERRORS: RepeatGuardrail,
}
"""Guardrails that rest on the shares that were assigned; without control there are none."""
_EVERYBODY = 100.0
TWIN = "_requests"
"""After a user-level guardrail's name: its twin, which counts requests and sees users that fail for ever."""
TWINS = tuple(f"{name}{TWIN}" for name in ("error_rate", "error_ratio", "latency_p95", "validation_failures"))
GUARDRAILS = (*_RATES, *_RATIOS, *_QUANTILES, *_MEANS, SAMPLE_RATIO, REPEATED_ERRORS, *TWINS)
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
    latency_margin: float | None = 0.05
    """How much slower treatment may be than control, as a share; None = not guarded."""
    measures: frozenset[str] = frozenset()
    """What the application is known to report: `latency`, `validation` and names of its metrics. The default set has
    guardrails for those only, since a plan would wait for ever for what nobody reports."""
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


def read_guardrails(top: Table, percentages: Sequence[float], limits: Limits) -> tuple[tuple[GuardrailSpec, ...], ...]:
    """Return the guardrails of each stage that a plan file's tables describe, the default set without tables.

    Args:
        top: The plan's document; it collects the problems.
        percentages: Of the stages.
        limits: What the file does not say.
    """
    if not top.has("guardrails"):
        return default_guardrails(percentages, limits)
    table = top.table("guardrails")
    columns: list[tuple[GuardrailSpec | None, ...]] = []
    for name in table.keys():  # noqa: SIM118  a Table is no mapping
        if name not in GUARDRAILS:
            close = nearest(name, GUARDRAILS)
            table.has(name)
            hint = f'; did you mean "{close}"?' if close else f"; known: {', '.join(GUARDRAILS)}"
            table.problem(name, f"unknown guardrail{hint}")
            continue
        columns.append(_read(table.table(name), name, percentages, limits))
    if not columns and not top.problems:
        top.problem("guardrails", "a plan has at least one guardrail; leave the table out for the default set")
    made = _by_stage(columns, len(percentages))
    for place, (percentage, specs) in enumerate(zip(percentages, made, strict=True), 1):
        if columns and percentage >= _EVERYBODY and not specs:
            nobody = f"stage {place} exposes everybody, so nothing compares with control"
            top.problem("guardrails", f"{nobody}; it needs a guardrail with a limit")
    return made


def default_guardrails(
    percentages: Sequence[float], limits: Limits | None = None
) -> tuple[tuple[GuardrailSpec, ...], ...]:
    """Return the default guardrails for each stage; at the guide's limits they are the guide's, 0.5 and 98 % first.

    Args:
        percentages: Of the stages.
        limits: Limits, and what the application reports; by default the guide's, and outcomes alone.
    """
    limits = GUIDE if limits is None else limits
    problems: list[str] = []
    tables = {name: Table({}, "", problems) for name in _default_names(limits)}
    return _by_stage([_read(table, name, percentages, limits) for name, table in tables.items()], len(percentages))


def _default_names(limits: Limits) -> list[str]:
    names = ["error_rate", "error_ratio", "emergency"]
    if "validation" in limits.measures:
        names.append("validation_failures")
    has_latency = "latency" in limits.measures and limits.latency_margin is not None
    if has_latency:
        names.append("latency_p95")
    names.append("success_rate")
    if has_latency:
        names.append("latency_mean")
    if "cpu_ms" in limits.measures and limits.latency_margin is not None:
        names.append("cpu_mean")
    return [*names, REPEATED_ERRORS, SAMPLE_RATIO, *(f"{name}{TWIN}" for name in names if f"{name}{TWIN}" in TWINS)]


def left_out(names: Iterable[str], limits: Limits) -> dict[str, str]:
    """Return which guardrails the default set would have, were more reported; and why it has not.

    Args:
        names: Of the guardrails that a plan has.
        limits: Limits, and what the application reports.
    """
    why = {"latency": "no outcome carried a latency", "validation": "no outcome failed validation"}
    complete = _default_names(replace(limits, measures=frozenset(why)))
    needs = {"validation_failures": "validation"}
    known = set(names)
    return {name: why[needs.get(name, "latency")] for name in complete if name not in known and name not in TWINS}


def _by_stage(columns: Sequence[Sequence[GuardrailSpec | None]], stages: int) -> tuple[tuple[GuardrailSpec, ...], ...]:
    return tuple(tuple(spec for column in columns if (spec := column[index]) is not None) for index in range(stages))


def _read(table: Table, name: str, percentages: Sequence[float], limits: Limits) -> tuple[GuardrailSpec | None, ...]:
    """Return one specification for each stage, None for a stage that cannot have it."""
    base = name.removesuffix(TWIN) if name in TWINS else name
    common = _common(table, name, is_twin=base != name)
    made: Sequence[GuardrailSpec]
    if base in _RATIOS:
        made = _ratio(table, common, base) * len(percentages)
    elif base in _QUANTILES:
        made = _quantile(table, common, limits) * len(percentages)
    elif base in _MEANS:
        made = _mean(table, common, base, limits) * len(percentages)
    elif base in _SHARES:
        made = tuple(_SHARES[base](**common, percentage=_open(percentage)) for percentage in percentages)
        table.finish()
        return tuple(spec if p < _EVERYBODY else None for spec, p in zip(made, percentages, strict=True))
    else:
        made = _rates(table, common, base, _limits(table, base, len(percentages), limits))
    table.finish()
    return tuple(
        None if is_relative(spec) and percentage >= _EVERYBODY else spec
        for spec, percentage in zip(made, percentages, strict=True)
    )


def _common(table: Table, name: str, *, is_twin: bool) -> dict[str, Any]:
    """Return the values that every kind has."""
    is_mean, is_shares = name in _MEANS, name in _SHARES
    roles = ["signal", "observe"] if is_mean or name == SAMPLE_RATIO else [role.value for role in Role]
    default_role = "observe" if is_twin else "signal" if is_mean or is_shares or name == "success_rate" else "guard"
    by_request = is_twin or is_mean or name == "hook_failures"
    units = ["request"] if is_twin or is_mean else ["user"] if is_shares else [unit.value for unit in Unit]
    methods = ["e_process", "threshold"] if name in _RATES or name in _RATIOS else ["e_process"]
    method = table.choice("method", methods, "e_process")
    default_unit = "request" if by_request or method == "threshold" else "user"
    return {
        "name": name,
        "role": Role(table.choice("role", roles, default_role)),
        "min_units": table.integer("min_units", None, low=0),
        "weight": float(table.number("weight", 1.0, low=1e-6, high=1e6, what="a weight above 0")),
        "unit": Unit(table.choice("unit", units, default_unit)),
    }


def _ratio(table: Table, common: dict[str, Any], base: str) -> tuple[GuardrailSpec, ...]:
    if table.has("method") and table.choice("method", ["e_process"], "e_process") != "e_process":
        table.problem("method", "a ratio is judged by e_process only")
    max_ratio = float(table.number("max_ratio", 1.0, low=1e-3, high=100.0, what="a ratio, 0.001 to 100"))
    pass_ratio = float(table.number("pass_ratio", 1.5, low=1e-3, high=1000.0, what="a ratio, 0.001 to 1000"))
    if pass_ratio <= max_ratio:
        table.problem("pass_ratio", f"is above max_ratio {max_ratio}: {pass_ratio}")
        pass_ratio = max_ratio * 2
    prove = table.boolean("prove", default=False)
    return (
        RatioGuardrail(**common, outcome_set=_RATIOS[base], max_ratio=max_ratio, pass_ratio=pass_ratio, prove=prove),
    )


def _quantile(table: Table, common: dict[str, Any], limits: Limits) -> tuple[GuardrailSpec, ...]:
    return (
        QuantileGuardrail(
            **common,
            quantile=float(table.number("quantile", 0.95, low=0.5, high=0.999, what="a quantile, 0.5 to 0.999")),
            margin=_margin(table, limits),
            prove=table.boolean("prove", default=False),
        ),
    )


def _mean(table: Table, common: dict[str, Any], base: str, limits: Limits) -> tuple[GuardrailSpec, ...]:
    prove = table.boolean("prove", default=False)
    return (MeanGuardrail(**common, measure=_MEANS[base], margin=_margin(table, limits), prove=prove),)


def _margin(table: Table, limits: Limits) -> float:
    default = limits.latency_margin if limits.latency_margin is not None else 0.05
    return float(table.number("margin", default, low=0.0, high=10.0, what="a share, 0 to 10"))


def _open(percentage: float) -> float:
    """Return a percentage that a specification takes; whatever is changed here is another problem of the plan."""
    return percentage if 0.0 < percentage < _EVERYBODY else 50.0


def _rates(table: Table, common: dict[str, Any], base: str, limits: Sequence[float]) -> tuple[GuardrailSpec, ...]:
    outcome_set = _RATES[base]
    is_emergency = base == "emergency"
    method = table.choice("method", ["e_process", "threshold"], "e_process")
    if method == "threshold":
        window = _window(table)
        return tuple(
            ThresholdGuardrail(**common, outcome_set=outcome_set, limit=limit, window=window, emergency=is_emergency)
            for limit in limits
        )
    prove = table.boolean("prove", default=not is_emergency and not common["name"].endswith(TWIN))
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
