"""docs/commands.md and the program name the same commands, arguments, options, errors and JSON keys."""

import argparse
import re
from pathlib import Path

import pytest

from phase4.cli.main import build_parser
from phase4.errors import Phase4Error
from tests.contract.driving import Lab

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
TITLES = re.findall(r"^## (phase4 .*)$", PAGE, re.MULTILINE)
SCENARIO = ROOT / "tests" / "data" / "scenarios" / "small.toml"
EVENTS = ROOT / "tests" / "data" / "events" / "small.csv"


def part(title):
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


COMMON, CHANGING, ERRORS = part("Every command"), part("Commands that change something"), part("Errors")


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
CHANGES = [path for path, parser in COMMANDS.items() if "--dry-run" in parser._option_string_actions]


def words(title):
    """Return the words of a command in its section's title: those that are no argument's name."""
    return tuple(word for word in title.split()[1:] if word.islower())


def section(path):
    (title,) = [title for title in TITLES if words(title) == path]
    return part(title)


def options(parser):
    return {name for action in parser._actions for name in action.option_strings if name.startswith("--")}


def named(text):
    return set(re.findall(r"^\| `(--[a-z-]+)", text, re.MULTILINE))


def argument(action):
    """Return how a page names an argument: in brackets where it may be left out, with dots where there may be more."""
    return {"?": f"[{action.metavar}]", "+": f"{action.metavar}..."}.get(action.nargs, action.metavar)


def keys(text):
    """Return the JSON keys that a section names."""
    return set(re.findall(r"`([a-z_]+)`", text.partition("\n`--json`: ")[2].split("\n\n")[0]))


def errors(cls=Phase4Error):
    """Return {code: exit status} of the tree of errors."""
    return {cls.code: cls.exit_status} | {
        code: status for below in cls.__subclasses__() for code, status in errors(below).items()
    }


# ------------------------------------------------------------------------------------------ commands and what they take


def test_every_command_has_its_section_and_every_section_a_command():
    assert sorted(map(words, TITLES)) == sorted(COMMANDS)


@pytest.mark.parametrize("title", TITLES)
def test_a_command_takes_the_arguments_that_its_title_names(title):
    path = words(title)
    positional = [argument(action) for action in COMMANDS[path]._actions if not action.option_strings]
    assert title == " ".join(["phase4", *path, *positional])


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_command_has_the_options_that_the_page_names(path):
    shared = named(COMMON) | (named(CHANGING) if path in CHANGES else set())
    assert options(COMMANDS[path]) == named(section(path)) | shared


def test_the_page_lists_the_commands_that_change_something():
    assert re.findall(r"`([a-z ]+)`", CHANGING.split("They are:")[1].split("\n\n")[0]) == [" ".join(p) for p in CHANGES]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_commands_help_has_a_description_and_an_example(path):
    assert COMMANDS[path].description
    assert f"phase4 {' '.join(path)}" in COMMANDS[path].epilog


def test_the_example_of_every_command_is_a_command_line():
    for parser in COMMANDS.values():
        example = re.sub(r'"[^"]*"', "TEXT", parser.epilog.removeprefix("Example: phase4 "))
        assert build_parser().parse_args(example.split())


# -------------------------------------------------------------------------------------------------------- what they say


def test_the_errors_are_those_of_the_program():
    page = re.findall(r"^\| `([A-Z_]+)` \| (\d+) \|", ERRORS, re.MULTILINE)
    assert {code: int(status) for code, status in page} == errors()


def test_the_exit_statuses_are_those_of_the_errors_and_of_the_checks():
    page = {int(status) for status in re.findall(r"^\| (\d+) \|", COMMON, re.MULTILINE)}
    assert page == {*errors().values(), 0, 1, 3, 130, 143}


ANSWERS = {
    "flags reshuffle hook-interception --reason unfair": ("rollout cancel hook-interception.1",),
    "monitor run --once": (),
    "monitor metrics": (),
    "monitor report": (),
    "init": (),
    "status": (),
    "shutdown": (),
    "config show": (),
    "config check": (),
    "completion bash": (),
    "flags list": (),
    "flags enable hook-interception": (),
    "flags disable hook-interception": (),
    "flags rollout hook-interception 5": (),
    "flags check hook-interception": (),
    "rollout create hook-interception": (),
    "rollout plan-check hook-interception.1": (),
    "rollout status": (),
    "rollout history": (),
    "rollout start hook-interception.1": (),
    "rollout pause hook-interception.1": ("rollout start hook-interception.1",),
    "rollout resume hook-interception.1": ("rollout start hook-interception.1", "rollout pause hook-interception.1"),
    "rollout cancel hook-interception.1": (),
    "rollout rollback hook-interception.1": (),
    "monitor alerts": (),
    "alerts list": (),
    "alerts resolve 1 --reason fixed": ('emergency disable "x"',),
    "alerts ack 1": ('emergency disable "x"',),
    'emergency disable "x"': (),
    'emergency rollback hook-interception "x"': (),
    f"events import {EVENTS}": (),
    "events list": (f"events import {EVENTS}",),
    "events export -o events.parquet": (f"events import {EVENTS}",),
    "store check": (),
    "store backup backup": (),
    f"simulate run {SCENARIO}": (),
    f"simulate sweep {SCENARIO} --replicates 1 --workers 1": (),
    f"simulate validate {SCENARIO}": (),
    f"simulate explain {SCENARIO}": (),
}
"""Command lines, and what is done before each on a home that has one plan."""
ELSEWHERE = {"rollout approve", "rollout reject", "store restore"}
"""Commands whose answers need a home of another kind: the tests below."""


def path_of(line):
    return next(path for path in COMMANDS if line.split()[: len(path)] == list(path))


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lab = Lab(tmp_path / "home")
    lab.done("init")
    return lab


def test_every_command_that_is_built_is_asked_for_its_keys():
    unbuilt = {" ".join(path) for path in COMMANDS if "Not there yet" in section(path)}
    asked = {" ".join(path_of(line)) for line in ANSWERS}
    assert asked | ELSEWHERE | unbuilt == {" ".join(path) for path in COMMANDS}


@pytest.mark.parametrize("line", ANSWERS, ids=lambda line: " ".join(path_of(line)))
def test_the_json_of_a_command_has_the_keys_that_the_page_names(lab, line):
    lab.done("rollout create hook-interception", *ANSWERS[line])
    answer = lab(f"{line} --json")
    assert (answer.status, answer.body["command"]) == (0, " ".join(path_of(line)))
    assert set(answer.data) == keys(section(path_of(line)))


@pytest.mark.parametrize("action", ["approve", "reject"])
def test_the_json_of_an_answer_to_a_request_has_the_keys_that_the_page_names(lab, action):
    plan_id = lab.asks_approval("hook-interception")
    assert set(lab.done(f"rollout {action} {plan_id} --json").data) == keys(section(("rollout", action)))


def test_the_json_of_a_restore_has_the_keys_that_the_page_names(lab):
    lab.done("store backup backup")
    answer = lab("store restore backup --home other --json")
    assert set(answer.data) == keys(section(("store", "restore")))


@pytest.mark.parametrize("path", [path for path in COMMANDS if "Not there yet" in section(path)], ids=" ".join)
def test_a_command_that_is_not_there_yet_says_so(lab, path):
    answer = lab(f"{' '.join(path)} --json")
    assert (answer.status, answer.error["code"]) == (6, "NOT_BUILT")
