"""What guardrails say, as people read it: value, interval, units, evidence, since when; and what holds a stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from phase4 import clock
from phase4.cli.console import percent, rate_text

RATIOS = ("error_ratio", "latency_p95", "latency_mean", "cpu_mean", "repeated_errors")
"""Beginnings of the names whose value is a ratio to control, not a rate."""


def answer_lines(said: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return one line for each guardrail's answer, and one below it for what its verdict rests on."""
    lines = []
    width = max((len(answer["guardrail"]) for answer in said), default=0)
    for answer in said:
        since = f", since {clock.iso(answer['since_ms'])}" if answer.get("since_ms") else ""
        lines.append(
            f"{answer['guardrail']:<{width}} {answer['role']:<7} {answer['verdict']:<13} {answer['reason']}{since}"
        )
        lines.append(f"    {_value(answer)}  n {_units(answer)}{_evidence(answer)}")
        if answer.get("approximation"):
            lines.append(f"    {answer['approximation']}")
    return lines


def hold_lines(said: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the cause of each hold and the command that ends it."""
    lines = []
    for answer in said:
        if answer.get("cause"):
            lines.append(f"  held by {answer['guardrail']}: {answer['cause']}")
            lines.append(f"    {answer['ends_with']}")
    return lines


def _value(answer: Mapping[str, Any]) -> str:
    if answer["estimate"] is None:
        return "-"
    write = _ratio if answer["guardrail"].startswith(RATIOS) else _rate
    limit = "" if answer.get("limit") is None else f" of {write(answer['limit'])}"
    low, high = answer.get("lower"), answer.get("upper")
    if low is None:
        return f"{write(answer['estimate'])}{limit}"
    requests = ", requests, approximate" if answer.get("is_approximate") else ""
    return (
        f"{write(answer['estimate'])}{limit} (95 %: {write(low)} to {'any' if high is None else write(high)}{requests})"
    )


def _rate(value: float) -> str:
    return rate_text(value) if value < 0.01 else percent(value)


def _ratio(value: float) -> str:
    return f"{value:.3g} x"


def _units(answer: Mapping[str, Any]) -> str:
    control = answer.get("units_control")
    return f"{answer['units']:,}" if control is None else f"{answer['units']:,} and {control:,}"


def _evidence(answer: Mapping[str, Any]) -> str:
    parts = []
    if answer["e_value"] is not None and answer["alpha"] is not None:
        parts.append(f"E {answer['e_value']:.3g} of {1 / answer['alpha']:.0f}, p {answer['p_value']:.2g}")
        parts.append(f"alpha {answer['alpha']:.3g}")
    if answer.get("e_pass") is not None and answer.get("e_pass_needed") is not None:
        parts.append(f"proof {answer['e_pass']:.3g} of {answer['e_pass_needed']:.0f}")
    if not parts:
        parts.append("no error control")
    return "  " + ", ".join(parts)
