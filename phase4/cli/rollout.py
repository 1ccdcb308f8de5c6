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
    rollback = group.add(
        "rollback", "switch the feature off: 0 %, held", 'rollout rollback checkout-v2.1 "orders fail"', changes=True
    )
    rollback.add_argument("plan", metavar="PLAN", help="id of the plan")
    rollback.add_argument("text", metavar="REASON", nargs="?", help="why (default: manual rollback)")
