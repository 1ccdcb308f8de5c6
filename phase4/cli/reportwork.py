"""The work of `phase4 monitor metrics` and `phase4 monitor report`."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from phase4 import __version__
from phase4.cli import answering
from phase4.cli.console import Console, percent
from phase4.cli.order import with_store
from phase4.cli.settings import settings_of
from phase4.config.settings import SETTINGS, Settings
from phase4.errors import UsageError, WriteFailed
from phase4.monitor import page, statistics
from phase4.monitor import report as reports
from phase4.monitor.judging import PlanJudge
from phase4.monitor.settings import MonitorSettings
from phase4.store import answers
from phase4.store.control import ControlStore, FlagRow

FORMATS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "json": lambda report: json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
    "md": page.markdown,
    "html": page.page,
}
FAILED, UNKNOWN = 1, 3


@with_store
def report(args: Any, console: Console, store: ControlStore) -> int:
    """Make the deployment report."""
    settings = settings_of(store)
    made = reports.make(store, _plain(settings), MonitorSettings.of(settings), version=__version__)
    wanted = _format(args)
    if args.output:
        _write(Path(args.output), FORMATS[wanted](made))
        console.line(f"{args.output}: {len(made['rollouts'])} rollouts, {len(made['alerts'])} alerts")
        for each in made["criteria"]:
            console.line(f"  {page.MARKS[each['status']]:<10} {each['name']}: {each['why']}")
    else:
        console.line(FORMATS[wanted](made).rstrip("\n"))
    console.result("monitor report", {**made, "file": args.output})
    return _status(made) if args.check else 0


@with_store
def metrics(args: Any, console: Console, store: ControlStore) -> int:
    """Print what was counted of each flag and arm since its stage began, and what its guardrails say."""
    interval_ms = MonitorSettings.of(settings_of(store)).interval_ms
    flags = [store.flag(args.flag)] if args.flag else store.flags()
    data = [_flag(store, flag, interval_ms) for flag in flags]
    for flag in data:
        _print(console, flag)
    measured = {name: {"measured": None, "why": why} for name, why in reports.NOT_MEASURED.items()}
    console.result("monitor metrics", {"flags": data, **measured})
    return 0


def _flag(store: ControlStore, flag: FlagRow, interval_ms: int) -> dict[str, Any]:
    arms = statistics.of_flag(store, flag, entry=flag.entry)
    row = store.live_plan(flag.id)
    judge = None if row is None else PlanJudge.replayed(store, row, interval_ms=interval_ms)
    return {
        "flag_key": flag.flag_key,
        "enabled": flag.enabled,
        "percentage": flag.percentage,
        "entry": flag.entry,
        "plan": None if row is None else row.plan_id,
        "arms": {name: arm.to_json() for name, arm in arms.items()},
        "guardrails": [] if judge is None else [answers.to_json(each) for each in judge.explained()],
    }


def _print(console: Console, flag: Mapping[str, Any]) -> None:
    state = "on" if flag["enabled"] else "off"
    since = f"stage entry {flag['entry']} of {flag['plan']}" if flag["plan"] else "no plan"
    console.line(f"{flag['flag_key']}  {state}, {flag['percentage']:g} %, {since}")
    for name, arm in flag["arms"].items():
        latency = "-" if arm["latency_p95_ms"] is None else f"{arm['latency_p95_ms']:.1f} ms"
        console.line(
            f"  {name:<10} users {_count(arm['users']):>8}  requests {_count(arm['requests']):>8}"
            f"  errors {_rate(arm['error_rate'])}  success {_rate(arm['success_rate'])}"
            f"  invalid {_rate(arm['invalid_rate'])}  p95 {latency}"
        )
    for line in answering.answer_lines(flag["guardrails"]):
        console.line(f"  {line}")


def _count(value: int) -> str:
    return f"{value:,}" if value else "-"


def _rate(rate: Mapping[str, Any]) -> str:
    if rate["value"] is None:
        return "-"
    return f"{percent(rate['value'])} ({percent(rate['low'])} to {percent(rate['high'])} of {rate['of']:,})"


def _format(args: Any) -> str:
    """Return the format that was asked for, or that the file's name says."""
    if args.format:
        return str(args.format)
    if not args.output:
        return "md"
    suffix = Path(args.output).suffix.removeprefix(".").lower()
    if suffix not in FORMATS:
        raise UsageError(f"{args.output}: a report is .json, .md or .html", hint="--format json|md|html")
    return suffix


def _write(path: Path, text: str) -> None:
    """Write a file as a whole: it is the old one or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise WriteFailed(f"{path} cannot be written: {error.strerror}") from error


def _status(made: Mapping[str, Any]) -> int:
    found = {each["status"] for each in made["criteria"]}
    return FAILED if "fail" in found else UNKNOWN if "unknown" in found else 0


def _plain(settings: Settings) -> dict[str, Any]:
    values = {}
    for name in SETTINGS:
        value = settings.value(name)
        shown = value if isinstance(value, bool | int | float | str | None) else str(value)
        values[name] = {"value": shown, "origin": str(settings.origin(name))}
    return values
