"""docs/commands.md and the program name the same commands and options."""

import argparse
import re
from pathlib import Path

import pytest

from phase4.cli.main import build_parser

PAGE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")
COMMON = PAGE.split("## Every command")[1].split("\n## ")[0]


def leaves(parser, path=()):
    """Return {command words: parser} of every command that has no commands below it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found = {}
            for name, below in action.choices.items():
                found |= leaves(below, (*path, name))
            return found
    return {path: parser}


COMMANDS = leaves(build_parser())


def section(path):
    titles = [title for title in re.findall(r"^## (.*)$", PAGE, re.MULTILINE) if title.startswith("phase4 ")]
    (title,) = [title for title in titles if title.split()[1 : 1 + len(path)] == list(path)]
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


def options(parser):
    return {name for action in parser._actions for name in action.option_strings if name.startswith("--")}


def named(text):
    return set(re.findall(r"^\| `(--[a-z-]+)", text, re.MULTILINE))


def test_every_command_has_its_section_and_every_section_a_command():
    titles = [tuple(t.split()[1:3]) for t in re.findall(r"^## (phase4 .*)$", PAGE, re.MULTILINE)]
    assert sorted(titles) == sorted(COMMANDS)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_command_has_the_options_that_the_page_names(path):
    assert options(COMMANDS[path]) == named(section(path)) | named(COMMON)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_commands_help_has_a_description_and_an_example(path):
    assert COMMANDS[path].description
    assert f"phase4 {' '.join(path)}" in COMMANDS[path].epilog
