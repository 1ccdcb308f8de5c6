"""Entry of `phase4` and `phase4-cli`, which are the same program."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

from phase4 import __version__
from phase4.cli.console import Console
from phase4.cli.parsers import Parser, add_global_options, before_dashes
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
    "events": "events",
}
"""First words and the module of `phase4.cli` that has their parsers."""
_SWITCHES = frozenset({"--json", "--ascii"})


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
    add_global_options(parser)
    parser.set_defaults(home=None)
    commands = parser.commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=Parser, prog=parser.prog
    )
    commands.wanted = second  # type: ignore[attr-defined]  # read by parsers.Group
    modules = dict.fromkeys(GROUPS.values()) if first not in GROUPS else (GROUPS[first],)
    for module in modules:
        importlib.import_module(f"phase4.cli.{module}").add_parsers(commands)
    if first not in GROUPS or (second is None and commands.choices[first].commands is not None):
        from phase4.cli import tocome  # a command that is built never loads it

        tocome.add_parsers(commands)
    return parser


def main(argv: Sequence[str]) -> int:
    """Run one command line; return its exit status."""
    own = before_dashes(argv)
    console = Console(is_json="--json" in own, is_ascii="--ascii" in own)
    args = None
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
        return _failed(console, _named(args, argv), error)
    except Exception as error:  # noqa: BLE001  the edge: our bug is one line too, and exit status 70
        text = f"internal error: {type(error).__name__}: {error}"
        return _failed(console, _named(args, argv), Phase4Error(text, hint="PHASE4_DEBUG=1 shows where"))


def _parse(argv: Sequence[str]) -> Any:
    """Parse with as little as the words ask for; what is wrong is said by the whole parser, which knows all names."""
    words = [*_command_line(argv)[:2], "", ""]
    if words[0] in GROUPS:
        try:
            second = words[1] if words[1].replace("-", "").isidentifier() and words[1][0] != "-" else None
            return build_parser(words[0], second).parse_args(argv)
        except UsageError as error:
            if error.message.startswith("unknown: -"):
                raise  # the nearest option of this command, and not of another
    return build_parser().parse_args(argv)


def _command_line(argv: Sequence[str]) -> Sequence[str]:
    """Return what is left behind the options that may stand before a command."""
    if not argv or not (argv[0] in _SWITCHES or argv[0].partition("=")[0] == "--home"):
        return argv
    return _command_line(argv[2:] if argv[0] == "--home" else argv[1:])


def _named(args: Any, argv: Sequence[str]) -> str:
    """Return the words of the command; of a line that could not be parsed, those that are known and the next one."""
    if args is not None:
        return f"{args.command} {getattr(args, 'action', None) or ''}".rstrip()
    found: list[str] = []
    commands = build_parser().commands
    for word in _command_line(argv):
        if commands is None or word.startswith("-"):
            break
        found.append(word)
        below = commands.choices.get(word)
        commands = None if below is None else below.commands
    return " ".join(found)


def _with_program(hint: str | None) -> str | None:
    """Return a hint as it can be pasted: a command line begins with the program's name."""
    if hint is None or hint.split(" ", 1)[0] not in GROUPS:
        return hint
    return f"phase4 {hint}"


def _failed(console: Console, name: str, error: Phase4Error) -> int:
    from phase4 import config

    if config.is_verbose():
        import traceback

        traceback.print_exc(file=sys.stderr)
    error.hint = _with_program(error.hint)
    console.fail(name, error)
    return error.exit_status


def entry() -> None:
    """Run the process's command line and exit with its status."""
    sys.exit(main(sys.argv[1:]))
