"""docs/settings.md and the table of settings say the same, both ways."""

import re
from pathlib import Path

from phase4.config.parsing import show
from phase4.config.profiles import PRESETS, PROFILES
from phase4.config.resolution import NOT_SETTINGS
from phase4.config.settings import PENDING_READERS, SETTINGS

PAGE = (Path(__file__).parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")
DEFAULTS_IN_WORDS = {
    "PHASE4_HOME": "`${XDG_STATE_HOME:-~/.local/state}/phase4`",
    "ROLLOUT_MAX_PERCENTAGE": "profile",
    "ROLLOUT_APPROVALS_REQUIRED": "profile",
}


def rows(title):
    """Return the cells of the one table in a section, without its head."""
    section = PAGE.split(f"## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in [lines[0], *lines[2:]]]


def bare(cell):
    return cell.strip("`")


def default_in_words(name):
    default = SETTINGS[name].default
    return DEFAULTS_IN_WORDS.get(name, "none" if default is None else show(default))


def columns(title):
    """Return {column: {variable: text}} of a table with a column for each profile or preset; blanks are left out."""
    (_, *names), *body = rows(title)
    return {name: {bare(row[0]): row[i + 1] for row in body if row[i + 1]} for i, name in enumerate(names)}


def test_the_table_has_every_setting_with_default_range_and_reader_in_the_programs_order():
    page = [(bare(name), default, allowed, reader) for name, default, allowed, reader, _ in rows("The table")[1:]]
    assert page == [(name, default_in_words(name), row.range, row.reader) for name, row in SETTINGS.items()]


def test_every_setting_has_a_meaning():
    assert all(row[4] for row in rows("The table"))


def test_the_settings_that_nothing_reads_yet_are_those_of_the_program():
    page = {bare(name): part for part, names in rows("Not read yet")[1:] for name in names.split(", ")}
    assert page == PENDING_READERS


def test_the_profiles_are_those_of_the_program():
    code = {name: {key: show(value) for key, value in given.items()} for name, given in PROFILES.items()}
    assert columns("Profiles") == code


def test_the_presets_are_those_of_the_program():
    code = {name: {key: show(value) for key, value in given.items()} for name, given in PRESETS.items()}
    assert columns("Presets") == code


def test_the_other_variables_are_those_that_the_program_knows():
    assert {bare(name) for name, _ in rows("Other variables")[1:]} == NOT_SETTINGS


def test_every_variable_that_the_page_names_is_one():
    named = set(re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", PAGE))
    known = {*SETTINGS, *NOT_SETTINGS, "NODE_ENV", "XDG_STATE_HOME", "SETTING_INVALID"}
    assert named <= known
