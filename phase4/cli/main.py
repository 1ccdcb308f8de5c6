"""Entry of `phase4` and `phase4-cli`, which are the same program."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

from phase4 import __version__
from phase4.cli.console import Console
from phase4.cli.parsers import Parser
from phase4.errors import Phase4Error, UsageError

INTERRUPTED = 130
GROUPS = {
    "init": "system",
    "status": "system",
    "shutdown": "system",
    "config": "system",
    "completion": "system",
    "flags": "flags",
    "rollout": "rollout",
    "monitor": "monitor",
    "alerts": "monitor",
    "emergency": "emergency",
    "simulate": "simulate",
    "store": "care",
}
"""First words and the module of `phase4.cli` that has their parsers."""


def build_parser(first: str | None = None, second: str | None = None) -> Parser:
    """Return the parser of every command, or only as much of it as two words ask for.

    Args:
        first: First word of a command; None or an unknown one = all.
        second: Second word; None = all of the first. An unknown one leaves a parser that knows none.

    docs/commands.md is held against the whole by a test.
    """
    parser = Parser(
        prog="phase4",
        description="Rehearse a feature rollout before it runs, run it under guardrails, and look at what happened.",
        epilog="Start with: phase4 simulate sweep sims/first_run.toml, or phase4 init",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"phase4 {__version__}")
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=Parser, prog=parser.prog
    )
    commands.wanted = second  # type: ignore[attr-defined]  # read by parsers.Group
    modules = dict.fromkeys(GROUPS.values()) if first not in GROUPS else (GROUPS[first],)
    for module in modules:
        importlib.import_module(f"phase4.cli.{module}").add_parsers(commands)
    return parser


def main(argv: Sequence[str]) -> int:
    """Run one command line; return its exit status."""
    console = Console(is_json="--json" in argv, is_ascii="--ascii" in argv)
    name = " ".join(word for word in argv[:2] if not word.startswith("-"))
    try:
        args = _parse(argv)
        handler: Callable[[Any, Console], int] = args.handler
        return handler(args, console)
    except KeyboardInterrupt:
        console.warn("interrupted; nothing was written")
        return INTERRUPTED
    except BrokenPipeError:
        return INTERRUPTED
    except Phase4Error as error:
        return _failed(console, name, error)
    except Exception as error:  # noqa: BLE001  the edge: our bug is one line too, and exit status 70
        text = f"internal error: {type(error).__name__}: {error}"
        return _failed(console, name, Phase4Error(text, hint="PHASE4_DEBUG=1 shows where"))


def _parse(argv: Sequence[str]) -> Any:
    """Parse with as little as the words ask for; what is wrong is said by the whole parser, which knows all names."""
    words = [*argv[:2], "", ""]
    if words[0] in GROUPS:
        try:
            return build_parser(words[0], words[1] if words[1].isidentifier() else None).parse_args(argv)
        except UsageError as error:
            if error.message.startswith("unknown: -"):
                raise  # the nearest option of this command, and not of another
    return build_parser().parse_args(argv)


def _failed(console: Console, name: str, error: Phase4Error) -> int:
    from phase4 import config

    if config.is_verbose():
        import traceback

        traceback.print_exc(file=sys.stderr)
    console.fail(name, error)
    return error.exit_status


def entry() -> None:
    """Run the process's command line and exit with its status."""
    sys.exit(main(sys.argv[1:]))
