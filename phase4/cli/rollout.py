"""Parsers of `phase4 rollout`; the work is in `phase4.cli.rolloutwork`."""

from __future__ import annotations

from typing import Any

from phase4.cli.parsers import Group


def add_parsers(commands: Any) -> None:
    """Add the `rollout` commands."""
    group = Group(commands, "rollout", "plans: make, start, watch, approve, roll back", module="phase4.cli.rolloutwork")
    create = group.add(
        "create", "make a plan for a flag; does not start it", "rollout create checkout-v2", changes=True
    )
    create.add_argument("flag", metavar="FLAG", help="key of the flag")
    create.add_argument("--file", metavar="PLAN", help="a plan file (TOML); default: the guide's plan")
    create.add_argument("--accelerate", action="store_true", help="drop the planned times, keep the watched ones")
    create.add_argument("--replace", action="store_true", help="cancel the flag's live plan first")
    create.add_argument("--rehearsal", metavar="RUN", help="the rehearsal that the live run is compared with")
    create.add_argument("--strict", action="store_true", help="refuse a plan that cannot reach a verdict in its time")
    check = group.add(
        "plan-check",
        "whether a plan reaches its verdicts at this traffic, and the ways out",
        "rollout plan-check default --users 2000 --traffic 20000/day",
        module="phase4.cli.plancheck",
    )
    check.add_argument("plan", metavar="PLAN", help='a plan file (TOML), the id of a plan, or "default"')
    check.add_argument("--users", metavar="N", help="how many users there are, exposed or not, for example 2000")
    check.add_argument("--traffic", metavar="N/s", help="their requests in a time, for example 20/s, 500/min, 1.2M/day")
    check.add_argument("--from-events", action="store_true", help="traffic and failures as seen in the last week")
    check.add_argument("--flag", metavar="FLAG", help="whose events; default: the plan's, or the busiest flag's")
    check.add_argument("--base-rate", metavar="RATE", help="failures without the feature, for example 0.1%% or 0.001")
    check.add_argument("--suggest", action="store_true", help="print a plan file that works for these users")
    check.add_argument("--strict", action="store_true", help="refuse a plan that would hold: exit status 4")
    status = group.add("status", "where plans are, and what they wait for", "rollout status")
    status.add_argument("plan", metavar="PLAN", nargs="?", help="id of one plan; default: all")
    status.add_argument("--watch", action="store_true", help="show it again after every change, until Ctrl-C")
    history = group.add("history", "what happened to plans, oldest first", "rollout history checkout-v2")
    history.add_argument("flag", metavar="FLAG", nargs="?", help="key of the flag; default: all")
    texts = {
        "start": "enter the first stage: the flag goes on at its percentage",
        "approve": "approve the next stage",
        "reject": "refuse the next stage: the plan pauses",
        "pause": "hold a plan where it is",
        "resume": "let a paused plan go on",
        "cancel": "end a plan; the flag keeps its percentage",
    }
    for action, text in texts.items():
        parser = group.add(action, text, f"rollout {action} checkout-v2.1", changes=True)
        parser.add_argument("plan", metavar="PLAN", help="id of the plan")
        if action == "approve":
            parser.add_argument("--override", action="store_true", help="enter the next stage although it is not green")
            parser.add_argument("--evidence", metavar="FILE", help="filed review that it rests on (not there yet)")
            parser.add_argument("--key", metavar="KEY", help="key that signs it (not there yet)")
    rollback = group.add(
        "rollback", "switch the feature off: 0 %, held", 'rollout rollback checkout-v2.1 "orders fail"', changes=True
    )
    rollback.add_argument("plan", metavar="PLAN", help="id of the plan")
    rollback.add_argument("text", metavar="REASON", nargs="?", help="why (default: manual rollback)")
