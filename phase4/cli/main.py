"""Entry of `phase4` and `phase4-cli`, which are the same program."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Collection, Sequence

from phase4 import __version__, config
from phase4.cli import simulate
from phase4.cli.console import Console
from phase4.errors import Phase4Error, UsageError, nearest

INTERRUPTED = 130


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing and exiting, so that `--json` answers as JSON too."""

    def error(self, message: str) -> None:  # type: ignore[override]
        raise UsageError(_clearer(message, _options(self)), hint=f"{self.prog} --help")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of every command; docs/commands.md is held against it by a test."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--home", metavar="PATH", help="where results go (over PHASE4_HOME)")
    common.add_argument("--json", action="store_true", help="print one JSON object, also on failure")
    common.add_argument("--ascii", action="store_true", help="plain characters only")
    parser = _Parser(
        prog="phase4",
        description="Rehearse a feature rollout before it runs.",
        epilog="Start with: phase4 simulate sweep sims/first_run.toml",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"phase4 {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    simulate.add_parsers(commands, common)
    return parser


def main(argv: Sequence[str]) -> int:
    """Run one command line; return its exit status."""
    wants_json = "--json" in argv
    console = Console(is_json=wants_json, is_ascii="--ascii" in argv)
    name = " ".join(word for word in argv[:2] if not word.startswith("-"))
    try:
        args = build_parser().parse_args(argv)
        handler: Callable[[argparse.Namespace, Console], int] = args.handler
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


def _failed(console: Console, name: str, error: Phase4Error) -> int:
    if config.is_verbose():
        traceback.print_exc(file=sys.stderr)
    console.fail(name, error)
    return error.exit_status


def entry() -> None:
    """Run the process's command line and exit with its status."""
    sys.exit(main(sys.argv[1:]))


def _options(parser: argparse.ArgumentParser) -> set[str]:
    """Return the options of a parser and of every command below it."""
    found: set[str] = set()
    for action in parser._actions:  # noqa: SLF001  argparse shows its actions in no other way
        found.update(action.option_strings)
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001  likewise
            for below in action.choices.values():
                found |= _options(below)
    return found


def _clearer(message: str, options: Collection[str]) -> str:
    """Return argparse's message with the nearest known choice or option, where it names a wrong one."""
    if message.startswith("unrecognized arguments: "):
        given = message.removeprefix("unrecognized arguments: ").split()[0]
        close = nearest(given, options) if given.startswith("-") else None
        return f"unknown: {given}" + (f"; did you mean {close}?" if close else "")
    if "invalid choice:" not in message:
        return message
    given = message.split("invalid choice:")[1].split("(", maxsplit=1)[0].strip().strip("'\"")
    known = message.split("choose from")[1].strip(" )").replace("'", "").split(", ")
    close = nearest(given, known)
    return f'"{given}" is none of {", ".join(known)}' + (f'; did you mean "{close}"?' if close else "")
