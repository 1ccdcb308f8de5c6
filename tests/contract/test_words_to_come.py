"""Words of the contract whose part is not there yet: known, listed, and answered with what is missing."""

import pytest

from phase4.cli import tocome
from tests.contract.program import phase4

WORDS = {
    "hooks": "run claude install uninstall list history reset",
    "validate": "task hook verify attest",
    "audit": "log verify prove checkpoint witness",
    "keys": "new rotate list revoke",
    "validator": "serve keygen",
    "consensus": "sim verify",
    "calibrate": "fit report import",
    "dashboard": "passwd",
    "flags": "import export",
    "store": "repair replay",
    "simulate": "tune backtest new",
}
ALONE = ("serve", "review")
LINES = (*ALONE, *(f"{first} {second}" for first, seconds in WORDS.items() for second in seconds.split()))
DOCUMENTED = (
    'hooks run -- npx claude-flow@alpha hooks pre-task --description "Phase 4 deployment"',
    "hooks run --type pre-task --timeout 5 -- npm test --json",
    "validate task - --require-signatures --nodes 4",
    "validate hook pre-task -- make check",
    "keys new --api NAME --scope S --flag KEY",
    "flags import --format phase4 flags.json --dry-run --partial",
    "review checkout.1 --notebook stage -o out --open",
    "review --verify review.html",
    "dashboard passwd ada --password-fd 3",
    "serve --host 127.0.0.1 --port 8080 --no-collector",
    "simulate new --from live",
)


def test_these_are_all():
    assert sorted(tocome.WORDS) == sorted(LINES)


@pytest.mark.parametrize("line", [*LINES, *DOCUMENTED])
def test_a_word_to_come_says_which_part_is_missing(homes, line):
    answer = phase4(homes.shared("init"), line)
    assert (answer.status, answer.out) == (6, "")
    assert "which this version does not have yet" in answer.err
    assert " ".join(line.split()[:2]).startswith(answer.err.removeprefix("phase4: ").split(" needs ")[0])


@pytest.mark.parametrize("line", [*LINES, *(line.replace(" -- ", " ") for line in DOCUMENTED)])
def test_a_word_to_come_says_so_in_json_too(homes, line):
    answer = phase4(homes.shared("init"), f"{line} --json")
    assert (answer.status, answer.err, answer.error["code"]) == (6, "", "NOT_BUILT")
    assert answer.body["command"] in LINES
    assert line.startswith(answer.body["command"])


def test_an_option_of_the_command_that_a_hook_runs_is_not_ours(homes):
    answer = phase4(homes.shared("init"), "hooks run -- npm test --json")
    assert (answer.status, answer.out) == (6, "")


def test_a_word_to_come_needs_no_home(homes):
    assert phase4(homes.after(), "audit verify").status == 6


@pytest.mark.parametrize(("first", "seconds"), WORDS.items())
def test_the_help_lists_them(homes, first, seconds):
    home = homes.shared("init")
    assert f"\n    {first} " in phase4(home, "--help").out
    listed = phase4(home, f"{first} --help").out
    assert all(f"\n    {second}" in listed for second in seconds.split())


@pytest.mark.parametrize("line", ["serve", "hooks run", "flags import", "store repair"])
def test_each_has_a_help_of_its_own(homes, line):
    answer = phase4(homes.shared("init"), f"{line} --help")
    assert answer.status == 0
    assert f"usage: phase4 {line}" in answer.out
    assert "not there yet" in answer.out


@pytest.mark.parametrize(
    ("line", "nearest"), [("hoks run", "hooks"), ("flags imprt x", "import"), ("audit vrify", "verify")]
)
def test_a_wrong_word_is_answered_with_the_nearest_of_them_too(homes, line, nearest):
    answer = phase4(homes.shared("init"), line)
    assert answer.status == 2
    assert f'did you mean "{nearest}"?' in answer.err
