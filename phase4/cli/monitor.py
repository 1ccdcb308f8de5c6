"""Parsers of `phase4 monitor` and `phase4 alerts`; the work is in `phase4.cli.monitorwork`."""

from __future__ import annotations

from typing import Any

from phase4.cli.parsers import Group, positive

MODULE = "phase4.cli.monitorwork"
REPORTS = "phase4.cli.reportwork"


def add_parsers(commands: Any) -> None:
    """Add the `monitor` and `alerts` commands."""
    group = Group(commands, "monitor", "dashboard, alerts, metrics, report", module=MODULE)
    _add_list(
        group.add("alerts", "open alerts, with their ids", "monitor alerts --severity critical", does="list_alerts")
    )
    dashboard = group.add("dashboard", "serve the dashboard", "monitor dashboard --port 3001", does="not_built")
    dashboard.add_argument("--port", type=positive, metavar="PORT", help="port to listen on (3001)")
    dashboard.add_argument("--host", metavar="HOST", help="address to listen on (127.0.0.1)")
    dashboard.add_argument("--no-collector", action="store_true", help="show only, and do not collect")
    metrics = group.add("metrics", "rates and verdicts of each flag and arm", "monitor metrics", module=REPORTS)
    metrics.add_argument("--flag", metavar="FLAG", help="one flag only")
    report = group.add("report", "the deployment report", "monitor report -o report.html", module=REPORTS)
    report.add_argument("-o", "--output", metavar="FILE", help="write it: .json, .md or .html")
    report.add_argument("--format", choices=("json", "md", "html"), help="default: by the file's name, else md")
    report.add_argument("--check", action="store_true", help="exit 1 if a success criterion fails, 3 if one is unknown")
    run = group.add(
        "run", "collect observations and drive the rollouts", "monitor run", module="phase4.cli.collectwork"
    )
    run.add_argument("--once", action="store_true", help="one tick, for cron")
    alerts = Group(commands, "alerts", "list, acknowledge and resolve alerts", module=MODULE)
    _add_list(alerts.add("list", "open alerts, with their ids", "alerts list", does="list_alerts"))
    for action, text in {"resolve": "close alerts", "ack": "say that somebody looks after alerts"}.items():
        parser = alerts.add(action, text, f'alerts {action} 3 --reason "fixed"', changes=True)
        parser.add_argument("ids", metavar="ID", nargs="+", type=positive, help="number of an alert")


def _add_list(parser: Any) -> None:
    parser.add_argument("--severity", metavar="LEVEL", choices=("low", "medium", "high", "critical"), help="that level")
    parser.add_argument("--all", action="store_true", help="resolved ones too")
