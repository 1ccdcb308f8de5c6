"""The deployment report for people: Markdown, and one self-contained HTML file."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from phase4 import clock

MARKS = {"pass": "✓ pass", "fail": "✗ fail", "unknown": "? unknown"}
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
h1{font-size:1.7rem;margin-bottom:.2rem}h2{font-size:1.2rem;margin-top:2.2rem;border-bottom:1px solid #d6dae0}
h3{font-size:1rem;margin:1.2rem 0 .3rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.92rem}
th,td{text-align:left;padding:.25rem .7rem .25rem 0;border-bottom:1px solid #eceff3;vertical-align:top}
th{font-weight:600;color:#4d5661}p.sub{color:#4d5661;margin-top:0}
svg{display:block;width:100%;height:auto;margin:.5rem 0}
@media(prefers-color-scheme:dark){body{background:#14171b;color:#e6e9ed}th,p.sub{color:#a6afba}
th,td{border-color:#2a3038}h2{border-color:#3a424d}}
"""
_COLOURS = {"COMPLETED": "#1a7f4b", "ROLLED_BACK": "#c2342d"}
Table = tuple[Sequence[str], Sequence[Sequence[str]]]
"""(heads, rows)."""


def markdown(report: Mapping[str, Any]) -> str:
    """Return the report as Markdown."""
    lines = [f"# {_title(report)}", "", _subtitle(report), ""]
    for head, parts in _sections(report):
        lines += [f"## {head}", ""]
        for part in parts:
            lines += [*(_markdown_table(part) if isinstance(part, tuple) else [_escaped(part)]), ""]
    return "\n".join(lines).rstrip() + "\n"


def page(report: Mapping[str, Any]) -> str:
    """Return the report as one HTML file; nothing in it comes from elsewhere."""
    body = [f"<h1>{html.escape(_title(report))}</h1><p class=sub>{html.escape(_subtitle(report))}</p>"]
    for head, parts in _sections(report):
        body.append(f"<h2>{html.escape(head)}</h2>")
        if head == "Rollout progression":
            body += [_picture(rollout) for rollout in report["rollouts"] if rollout["stages"]]
        for part in parts:
            body.append(_html_table(part) if isinstance(part, tuple) else f"<p>{html.escape(part)}</p>")
    return (
        "<!doctype html>\n<html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{html.escape(_title(report))}</title><style>{_STYLE}</style>\n" + "\n".join(body) + "\n</html>\n"
    )


def _title(report: Mapping[str, Any]) -> str:
    return f"Deployment report, {report['identity']['environment'] or 'no environment'}"


def _subtitle(report: Mapping[str, Any]) -> str:
    identity = report["identity"]
    span = f"{_time(identity['from_ms'])} to {_time(identity['until_ms'])}"
    return f"{span} · phase4 {identity['version']} · store version {identity['store_version']}"


def _sections(report: Mapping[str, Any]) -> list[tuple[str, list[str | Table]]]:
    return [
        ("Success criteria", [_criteria(report)]),
        ("Feature flags", [_flags(report)]),
        ("Rollout progression", _rollouts(report)),
        ("Validation", [f"Not measured: {report['validation']['why']}."]),
        ("Hooks", [f"Not measured: {report['hooks']['why']}."]),
        ("System performance", [_performance(report)]),
        ("Alerts", [_alerts(report)]),
        ("Rollbacks", [_rollbacks(report)]),
        ("Settings", [_settings(report)]),
    ]


def _criteria(report: Mapping[str, Any]) -> Table:
    rows = [(each["name"], MARKS[each["status"]], each["why"]) for each in report["criteria"]]
    return ("criterion", "status", "why"), rows


def _flags(report: Mapping[str, Any]) -> str | Table:
    rows = []
    for flag in report["flags"]:
        state = f"held ({flag['held']})" if flag["held"] else "on" if flag["enabled"] else "off"
        known = {name: arm for name, arm in flag["arms"].items() if arm["requests"]}
        if not known:
            rows.append((flag["flag_key"], f"{state}, {flag['percentage']:g} %", "not measured", *"-----"))
        for name, arm in known.items():
            counts = (f"{arm['users']:,}", f"{arm['requests']:,}")
            latency = "-" if arm["latency_p95_ms"] is None else f"{arm['latency_p95_ms']:.1f} ms"
            rates = (_rate(arm["error_rate"]), _rate(arm["success_rate"]))
            rows.append((flag["flag_key"], f"{state}, {flag['percentage']:g} %", name, *counts, *rates, latency))
    heads = ("flag", "state", "arm", "users", "requests", "errors", "success", "p95")
    return (heads, rows) if rows else "No flags."


def _rollouts(report: Mapping[str, Any]) -> list[str | Table]:
    parts: list[str | Table] = []
    for rollout in report["rollouts"]:
        approvals = [e["approver"] for e in rollout["approvals"] if e["kind"] == "approval_given"]
        by = f"; approved by {', '.join(approvals)}" if approvals else ""
        ends = [event["reason"] for event in rollout["events"] if event["kind"] in {"rolled_back", "cancelled"}]
        why = f" ({ends[-1]})" if ends else ""
        parts.append(f"{rollout['plan']}: {rollout['phase']}{why}; made by {rollout['created_by']}{by}.")
        rows = [
            (
                f"{stage['stage']} ({stage['percentage']:g} %)",
                f"{_time(stage['entered_ms'])} – {_time(stage['left_ms'])}",
                answer["guardrail"],
                answer["verdict"],
                answer["reason"],
                _estimate(answer),
                f"{answer['units']:,}",
                _evidence(answer),
                "-" if answer["p_value"] is None else f"{answer['p_value']:.2g}",
                "-" if answer["alpha"] is None else f"{answer['alpha']:.3g}",
            )
            for stage in rollout["stages"]
            for answer in stage["guardrails"]
        ]
        if rows:
            parts.append((_ANSWER, rows))
            parts += [f"{name}: {text}." for name, text in _approximations(rollout).items()]
        parts += [f"Stage {stage['stage']}: {stage['late']['says']}." for stage in rollout["stages"] if stage["late"]]
    return parts or ["No rollout plans."]


_ANSWER = ("stage", "time", "guardrail", "verdict", "reason", "estimate (95 %)", "n", "E (needed)", "p", "alpha")


def _estimate(answer: Mapping[str, Any]) -> str:
    """Return what was seen, with the interval that holds at every look."""
    if answer["estimate"] is None:
        return "-"
    if answer["lower"] is None:
        return f"{answer['estimate']:.4g}"
    upper = "any" if answer["upper"] is None else f"{answer['upper']:.4g}"
    return f"{answer['estimate']:.4g} ({answer['lower']:.4g} to {upper})"


def _evidence(answer: Mapping[str, Any]) -> str:
    """Return the evidence of the side that the verdict rests on, and what that side asks for."""
    if answer["verdict"] != "FAIL" and answer["e_pass"] is not None:
        return f"PASS {_amount(answer['e_pass'])} ({_amount(answer['e_pass_needed'])})"
    if answer["e_value"] is None or answer["e_needed"] is None:
        return "-"
    return f"FAIL {_amount(answer['e_value'])} ({_amount(answer['e_needed'])})"


def _amount(value: float) -> str:
    return f"{value:,.0f}" if 100.0 <= value < 1e6 else f"{value:.3g}"


def _approximations(rollout: Mapping[str, Any]) -> dict[str, str]:
    """Return what the newest answer of each guardrail assumes, by name."""
    every = [answer for stage in rollout["stages"] for answer in stage["guardrails"]]
    return {answer["guardrail"]: answer["approximation"] for answer in every if answer.get("approximation")}


def _performance(report: Mapping[str, Any]) -> str | Table:
    found = report["performance"]
    if found["why"]:
        return f"Not measured: {found['why']}."
    units = {"cpu_percent": "% of a core", "memory_mb": "MB", "response_ms": "ms a round"}
    rows = [(name, unit, _number(found[name]["mean"]), _number(found[name]["max"])) for name, unit in units.items()]
    return ("measure", "unit", "mean", "largest"), rows


def _alerts(report: Mapping[str, Any]) -> str | Table:
    rows = [
        (str(a["id"]), a["severity"], a["message"], str(a["count"]), _time(a["first_seen_ms"]), _time(a["resolved_ms"]))
        for a in report["alerts"]
    ]
    return (("id", "severity", "message", "times", "first seen", "resolved"), rows) if rows else "No alerts."


def _rollbacks(report: Mapping[str, Any]) -> str | Table:
    rows = [(_time(r["at_ms"]), r["plan"], r["guardrail"] or "a person", r["reason"]) for r in report["rollbacks"]]
    return (("time", "plan", "by", "reason"), rows) if rows else "No rollbacks."


def _settings(report: Mapping[str, Any]) -> str | Table:
    rows = [(name, _plain(s["value"]), s["origin"]) for name, s in report["identity"]["settings"].items()]
    return (("setting", "value", "from"), rows) if rows else "Not known."


def _picture(rollout: Mapping[str, Any]) -> str:
    """Return the exposure over time as a step line."""
    stages = rollout["stages"]
    begin = stages[0]["entered_ms"]
    end = stages[-1]["left_ms"] or max(event["at_ms"] for event in rollout["events"])
    span = max(end - begin, 1)
    top = max(stage["percentage"] for stage in stages) or 1.0
    points = []
    for stage in stages:
        left = stage["left_ms"] or end
        level = 90.0 - 70.0 * stage["percentage"] / top
        points += [(40 + 880 * (at - begin) / span, level) for at in (stage["entered_ms"], left)]
    colour = _COLOURS.get(rollout["phase"], "#2f6fb5")
    if rollout["phase"] == "ROLLED_BACK":
        points.append((points[-1][0], 90.0))
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in [(40.0, 90.0), *points])
    labels = "".join(
        f"<text x='{40 + 880 * (stage['entered_ms'] - begin) / span + 6:.1f}'"
        f" y='{84 - 70.0 * stage['percentage'] / top:.1f}' font-size='13' fill='currentColor'>"
        f"{stage['percentage']:g} %</text>"
        for stage in stages
    )
    title = html.escape(f"{rollout['plan']}: {rollout['phase']}")
    return (
        f"<h3>{title}</h3><svg viewBox='0 0 960 100' role=img aria-label='exposure of {title}'>"
        f"<polyline points='{path}' fill=none stroke='{colour}' stroke-width=3 />"
        f"<line x1=40 y1=90 x2=920 y2=90 stroke=currentColor stroke-opacity=.3 />{labels}</svg>"
    )


def _markdown_table(table: Table) -> list[str]:
    heads, rows = table
    cells = [[_escaped(cell) for cell in row] for row in rows]
    return [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *(f"| {' | '.join(row)} |" for row in cells)]


def _escaped(text: str) -> str:
    """Return a text as Markdown shows it, in one line: reasons are whatever somebody typed."""
    for sign in ("\\", "|", "`", "*", "_", "[", "]", "#"):
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split())


def _html_table(table: Table) -> str:
    heads, rows = table
    head = "".join(f"<th>{html.escape(cell)}" for cell in heads)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}' for cell in row)}" for row in rows)
    return f"<table><tr>{head}{body}</table>"


def _rate(rate: Mapping[str, Any]) -> str:
    if rate["value"] is None:
        return "-"
    return f"{rate['value']:.2%} ({rate['low']:.2%} to {rate['high']:.2%})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _time(at_ms: int | None) -> str:
    return "-" if at_ms is None else clock.iso(at_ms).replace("T", " ")


def _plain(value: Any) -> str:
    return "-" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
