"""The pieces that command parsers are made of. Imports argparse alone: a toggle is a whole process."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Sequence
from typing import Any

from phase4.errors import UsageError, nearest

_DIGITS = 15
"""Of a whole number on the command line: every JSON reader keeps it exact."""
_HELP = frozenset({"-h", "--help"})
Handler = Callable[[argparse.Namespace, Any], int]


class Parser(argparse.ArgumentParser):
    """Raises instead of printing and exiting, so that `--json` answers as JSON too.

    argparse formats something for every argument that is added, to check it. Left alone it asks for the terminal's size
    each time, which loads shutil: a twentieth of a toggle. The size is asked for when help is printed.
    """

    _width = 100
    commands: Any = None
    """What holds the parsers below it, where it has some."""
    is_to_come = False
    """Whether it takes whatever follows: a documented line must not die of an option that is not there yet."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does; of what follows a command that is to come, a wish for help is all that is heard."""
        if not self.is_to_come:
            return super().parse_known_args(args, namespace)
        return super().parse_known_args([word for word in before_dashes(args) if word in _HELP], namespace)

    def format_help(self) -> str:
        """Return the help, as wide as the terminal."""
        import shutil

        self._width = min(shutil.get_terminal_size((100, 24)).columns - 2, 120)
        return super().format_help()

    def _get_formatter(self) -> argparse.HelpFormatter:
        return argparse.HelpFormatter(prog=self.prog, width=self._width)

    def error(self, message: str) -> None:  # type: ignore[override]
        """Raise what argparse would print."""
        raise UsageError(_clearer(message, options_of(self)), hint=f"{self.prog} --help")


class _Unwanted:
    """Stands for the parser of a command that was not asked for: building it would cost more than it is worth."""

    def add_argument(self, *_args: Any, **_options: Any) -> None:
        """Do nothing."""


class Group:
    """The commands of one word, for example `flags`.

    Where the second word is known (`commands.wanted`), its parser alone is built.
    """

    def __init__(self, commands: Any, name: str, text: str, *, module: str) -> None:
        """Add the word; `module` does the work and is imported when a command runs."""
        parser = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        # with `prog` given argparse does not format a usage line for it, which would load shutil
        self.actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, prog=parser.prog)
        parser.commands = self.actions
        self._wanted = getattr(commands, "wanted", None)
        self._module = module

    def add(
        self,
        action: str,
        text: str,
        example: str,
        *,
        changes: bool = False,
        does: str | None = None,
        module: str | None = None,
    ) -> Any:
        """Add a command.

        Args:
            action: Its second word.
            text: What it does, in one line.
            example: A command line without the program's name.
            changes: Whether it changes something, and so takes a reason and a request id.
            does: Name of the function in the module; the action's name by default.
            module: Where the work is; the group's module by default.
        """
        if self._wanted not in {None, action}:
            return _Unwanted()
        parser = self.actions.add_parser(
            action,
            help=text.replace("%", "%%"),  # argparse formats it
            description=text,
            epilog=f"Example: phase4 {example}",
            allow_abbrev=False,
        )
        finish(parser, module or self._module, does or action.replace("-", "_"), changes=changes)
        return parser


def finish(parser: argparse.ArgumentParser, module: str, does: str, *, changes: bool) -> None:
    """Add the options of every command, and who does the work."""
    add_global_options(parser)
    if changes:
        parser.add_argument("--reason", metavar="TEXT", help="why, for the journal and the audit log")
        parser.add_argument("--request-id", metavar="ID", help="name of this order: the same one twice is done once")
        parser.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
    parser.set_defaults(handler=later(module, does))


def add_global_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that may stand before a command and after it. They have no default: the later one wins."""
    unset = argparse.SUPPRESS  # a default of the command's would undo what stands before the command
    parser.add_argument("--home", metavar="PATH", default=unset, help="where results go (over PHASE4_HOME)")
    parser.add_argument("--json", action="store_true", default=unset, help="print one JSON object, also on failure")
    parser.add_argument("--ascii", action="store_true", default=unset, help="plain characters only")


def before_dashes(words: Sequence[str]) -> Sequence[str]:
    """Return the words before a `--`: what stands behind belongs to another program."""
    return words[: words.index("--")] if "--" in words else words


def later(module: str, function: str) -> Handler:
    """Return a handler that imports its module when it runs."""

    def handler(args: argparse.Namespace, console: Any) -> int:
        work: Handler = getattr(importlib.import_module(module), function)
        return work(args, console)

    return handler


def natural(text: str) -> int:
    """Return a whole number, at least 0."""
    if not (text.isascii() and text.isdecimal()) or len(text) > _DIGITS:
        raise argparse.ArgumentTypeError(f"a whole number, 0 to {10**_DIGITS - 1}: {text!r}")
    return int(text)


def positive(text: str) -> int:
    """Return a whole number, at least 1."""
    value = natural(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"a whole number, at least 1: {text!r}")
    return value


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """Return the options of a parser and of every command below it."""
    found: set[str] = set()
    for action in parser._actions:  # noqa: SLF001  argparse shows its actions in no other way
        found.update(action.option_strings)
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001  likewise
            for below in action.choices.values():
                found |= options_of(below)
    return found


def _clearer(message: str, options: set[str]) -> str:
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
