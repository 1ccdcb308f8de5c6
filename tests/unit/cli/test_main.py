"""The program as a whole: its names, its help, and command lines that cannot be understood."""

import importlib.metadata
import json

import pytest

import phase4
from phase4.cli.main import build_parser, entry, main
from phase4.errors import Phase4Error
from phase4.sim import scenario
from tests.unit.sim.documents import SCENARIOS

SMALL = str(SCENARIOS / "small.toml")
pytestmark = pytest.mark.usefixtures("home")


def call(capsys, *words):
    status = main(words)
    printed = capsys.readouterr()
    return status, printed.out, printed.err


# ------------------------------------------------------------------------------------------------------ what it is


def test_phase4_and_phase4_cli_are_the_same_program():
    scripts = importlib.metadata.entry_points(group="console_scripts")
    targets = {script.name: script.value for script in scripts if script.name in {"phase4", "phase4-cli"}}
    assert targets == dict.fromkeys(("phase4", "phase4-cli"), "phase4.cli.main:entry")


def test_the_entry_exits_with_the_status_of_the_command(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["phase4", "simulate", "validate", "absent.toml"])
    with pytest.raises(SystemExit) as leaving:
        entry()
    assert leaving.value.code == 2
    assert "absent.toml" in capsys.readouterr().err


def test_the_version_is_the_package_s(capsys):
    with pytest.raises(SystemExit) as leaving:
        main(["--version"])
    assert leaving.value.code == 0
    assert capsys.readouterr().out == f"phase4 {phase4.__version__}\n"


@pytest.mark.parametrize("command", [(), ("run",), ("sweep",), ("validate",), ("explain",)], ids=str)
def test_help_is_printed_for_every_command(capsys, command):
    with pytest.raises(SystemExit) as leaving:
        main(["simulate", *command, "--help"])
    assert leaving.value.code == 0
    assert "usage: phase4" in capsys.readouterr().out


# ------------------------------------------------------------------------------------- command lines that are wrong


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("simulat",), 'did you mean "simulate"?'),
        (("simulate", "swep", SMALL), 'did you mean "sweep"?'),
        (("simulate", "zzzzz", SMALL), "none of run, sweep, validate, explain"),
        (("simulate", "run", SMALL, "--wrold", "a"), "did you mean --world?"),
        (("simulate", "sweep", SMALL, "--worker", "3"), "did you mean --workers?"),
        (("simulate", "sweep", SMALL, "--replicate", "3"), "did you mean --replicates?"),
        (("simulate", "run", SMALL, "--zzzzzzzz"), "--zzzzzzzz"),
        (("simulate", "run", SMALL, "more"), "more"),
        (("simulate", "run"), "SCENARIO"),
        (("simulate",), "ACTION"),
        ((), "COMMAND"),
        (("simulate", "run", SMALL, "--seed", "-1"), "a whole number, 0 to 999999999999999: '-1'"),
        (("simulate", "run", SMALL, "--seed", "x"), "a whole number, 0 to 999999999999999: 'x'"),
        (("simulate", "run", SMALL, "--seed", "1.5"), "a whole number, 0 to 999999999999999: '1.5'"),
        (("simulate", "run", SMALL, "--seed", f"{10**20}"), "a whole number, 0 to 999999999999999: '1000000000"),
        (("simulate", "run", SMALL, "--replicate", f"{10**20}"), "a whole number, 0 to 999999999999999: '1000000000"),
        (("simulate", "run", SMALL, "--seed"), "--seed"),
        (("simulate", "sweep", SMALL, "--replicates", "0"), "a whole number, at least 1: '0'"),
        (("simulate", "sweep", SMALL, "--workers", "0"), "a whole number, at least 1: '0'"),
    ],
    ids=lambda value: " ".join(value).replace(SMALL, "FILE") if isinstance(value, tuple) else value[:12],
)
def test_a_command_line_that_is_wrong_is_told_what_would_be_right(capsys, home, words, hint):
    status, out, err = call(capsys, *words)
    assert (status, out) == (2, "")
    assert hint in err
    assert all(line.startswith("phase4: ") for line in err.splitlines())
    assert not home.exists()


def test_a_command_line_that_is_wrong_points_to_the_help(capsys):
    _, _, err = call(capsys, "simulate", "run", SMALL, "--seed", "x")
    assert "phase4 simulate run --help" in err


def test_a_command_line_that_is_wrong_is_json_where_json_was_asked_for(capsys):
    status, out, err = call(capsys, "simulate", "swep", SMALL, "--json")
    assert (status, err) == (2, "")
    assert json.loads(out)["error"]["code"] == "USAGE"


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (("completion", "tcsh"), "completion"),
        (("status", "now"), "status"),
        (("flags", "list", "all"), "flags list"),
        (("flags", "enable", "--relase"), "flags enable"),
        (("--home", "/nowhere", "flags", "enable"), "flags enable"),
        (("--home=/nowhere", "--ascii", "status"), "status"),
        (("rollout", "starts", "x"), "rollout starts"),
        (("flag", "list"), "flag"),
        (("flags",), "flags"),
        ((), ""),
    ],
    ids=str,
)
def test_the_command_of_a_failure_has_the_words_of_the_command_alone(capsys, words, command):
    _, out, _ = call(capsys, *words, "--json")
    assert json.loads(out)["command"] == command


def test_an_abbreviated_option_is_no_option(capsys):
    status, _, err = call(capsys, "simulate", "run", SMALL, "--worl", "broken")
    assert status == 2
    assert "did you mean --world?" in err


# ---------------------------------------------------------------------------------- options of every command, before it


def test_a_home_may_be_named_before_the_command_and_the_later_one_wins(capsys, tmp_path):
    here, there = (str(tmp_path / name) for name in ("here", "there"))
    for words in (
        ("--home", here, "status"),
        (f"--home={here}", "status"),
        ("--home", there, "status", "--home", here),
    ):
        assert call(capsys, *words)[2].startswith(f"phase4: {here} is not initialised")


def test_json_and_ascii_may_stand_before_the_command(capsys):
    status, out, _ = call(capsys, "--ascii", "--json", "config", "check")
    assert (status, json.loads(out)["ok"]) == (0, True)


def test_a_home_without_a_path_is_refused(capsys):
    assert call(capsys, "--home")[0] == 2


@pytest.mark.parametrize(
    "group", [first for first, parser in build_parser().commands.choices.items() if parser.commands]
)
def test_the_help_of_every_group_is_printed(capsys, group):
    with pytest.raises(SystemExit) as leaving:
        main([group, "--help"])
    assert leaving.value.code == 0
    assert f"usage: phase4 {group}" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------------- what breaks


@pytest.fixture
def broken(monkeypatch):
    """Make every load of a scenario raise."""

    def breaks(error):
        def load(_path):
            raise error

        monkeypatch.setattr(scenario, "load", load)

    return breaks


def test_an_error_of_ours_has_its_status_and_its_way_out(capsys, broken):
    broken(Phase4Error("something is wrong", hint="look there"))
    status, out, err = call(capsys, "simulate", "validate", SMALL)
    assert (status, out) == (70, "")
    assert err == "phase4: something is wrong\nphase4: try: look there\n"


@pytest.mark.parametrize(
    ("hint", "told"),
    [
        ("flags enable x --release", "phase4 flags enable x --release"),
        ("phase4 init", "phase4 init"),
        ("possible now: pause", "possible now: pause"),
        ("MONITORING_ENABLED=true", "MONITORING_ENABLED=true"),
    ],
)
def test_a_hint_that_is_a_command_can_be_pasted(capsys, broken, hint, told):
    broken(Phase4Error("something is wrong", hint=hint))
    assert call(capsys, "simulate", "validate", SMALL)[2].endswith(f"phase4: try: {told}\n")
    assert json.loads(call(capsys, "simulate", "validate", SMALL, "--json")[1])["error"]["hint"] == told


def test_a_bug_of_ours_is_one_line_and_never_the_status_of_an_unmet_expectation(capsys, broken):
    broken(ZeroDivisionError("by zero"))
    status, _, err = call(capsys, "simulate", "validate", SMALL)
    assert status == 70
    assert "ZeroDivisionError: by zero" in err
    assert "Traceback" not in err


def test_with_phase4_debug_a_bug_shows_where(capsys, broken, monkeypatch):
    monkeypatch.setenv("PHASE4_DEBUG", "1")
    broken(ZeroDivisionError("by zero"))
    _, _, err = call(capsys, "simulate", "validate", SMALL)
    assert "Traceback (most recent call last)" in err


def test_an_interrupt_is_status_130_and_says_that_nothing_was_written(capsys, broken):
    broken(KeyboardInterrupt())
    status, _, err = call(capsys, "simulate", "validate", SMALL)
    assert status == 130
    assert "interrupted" in err
    assert "nothing was written" in err
