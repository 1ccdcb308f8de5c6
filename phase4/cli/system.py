"""Parsers of the commands that concern the whole system; the work is in `phase4.cli.systemwork`."""

from __future__ import annotations

from typing import Any

from phase4.cli.parsers import Group, finish, positive

MODULE = "phase4.cli.systemwork"


def add_parsers(commands: Any) -> None:
    """Add `init`, `status`, `shutdown`, `config` and `completion`."""
    init = _add(
        commands, "init", "make PHASE4_HOME, its stores and the three flags", "init --environment test", changes=True
    )
    init.add_argument("--environment", metavar="ENV", help="development, staging, production or test; saved")
    init.add_argument("--preset", metavar="PRESET", help="conservative, aggressive or testing; saved")
    init.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="save a setting; empty = take it back"
    )
    _add(commands, "status", "health, flags, rollouts and alerts on one screen", "status --json")
    shutdown = _add(commands, "shutdown", "let every long-running process of this home end", "shutdown", changes=True)
    shutdown.add_argument("--timeout", type=positive, default=10, metavar="SECONDS", help="how long to wait (10)")
    config = Group(commands, "config", "settings: what they are and where they come from", module=MODULE)
    show = config.add("show", "all settings and their values", "config show --origin", does="config_show")
    show.add_argument("--origin", action="store_true", help="show which layer gave each value")
    config.add("check", "hold the settings against the rules", "config check", does="config_check")
    shell = _add(commands, "completion", "print a completion script for a shell", "completion bash")
    shell.add_argument("shell", metavar="SHELL", choices=("bash", "zsh", "fish"), help="bash, zsh or fish")


def _add(commands: Any, name: str, text: str, example: str, *, changes: bool = False) -> Any:
    parser = commands.add_parser(
        name, help=text, description=text, epilog=f"Example: phase4 {example}", allow_abbrev=False
    )
    finish(parser, MODULE, name, changes=changes)
    return parser
