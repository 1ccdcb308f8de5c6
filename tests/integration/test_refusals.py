"""Every bad input: one line for each problem, naming the file, the key and what would be right; nothing is written."""

import pytest

from tests.integration.program import edit, run, scenarios


def missing(name):
    return lambda folder: (folder / name).unlink()


def empty(name, header=""):
    return lambda folder: (folder / name).write_text(header)


def replaced(name, old, new):
    return lambda folder: edit(folder / name, old, new)


HEADER = "t_ms,unit,outcome,latency_ms\n"
PLAN = "recorded.toml: policy[0].plan: users.toml"
ROWS = "recorded.toml: traffic.shape.file: recorded.csv"
NO_ROWS = "the recording has no rows; it needs at least one outcome"
LATENCY = 'column "latency_ms" is a number of ms, at least 0, or exactly -1 for none'
OUTCOME = 'column "outcome" is one of ok, error, timeout, invalid or 2 to 5'
BEYOND = "the recording has 2026-11-23T00:00:00Z to 2026-11-23T23:54:00Z; a run from 2026-12-23T00:00:00Z of 24 h goes"
SEED = 'small.toml: run.sed: unknown key; did you mean "seed"?'
ADD = "small.toml: world[1].fault[0].add: is a rate, 0 to 1: 5"


def two_mistakes(folder):
    edit(folder / "small.toml", "seed =", "sed =")
    edit(folder / "small.toml", "add = 0.05", "add = 5")


CASES = {
    "misspelt key": ("small", replaced("small.toml", "seed =", "sed ="), [SEED]),
    "rate above 1": ("small", replaced("small.toml", "add = 0.05", "add = 5"), [ADD]),
    "two mistakes": ("small", two_mistakes, [SEED, ADD]),
    "misspelt key of a fault": (
        "small",
        replaced("small.toml", 'at = "4h"', 'att = "4h"'),
        ['small.toml: world[1].fault[0].att: unknown key; did you mean "at"?'],
    ),
    "wrong type": (
        "small",
        replaced("small.toml", "seed = 7", 'seed = "7"'),
        ["small.toml: run.seed: is a whole number: '7'"],
    ),
    "duration without a unit": (
        "small",
        replaced("small.toml", 'tick = "10m"', 'tick = "10"'),
        ["small.toml: run.tick: a duration is a number with a unit (ms, s, m, min, h, d, w), for example "],
    ),
    "no such scenario": (
        "small",
        missing("small.toml"),
        ["small.toml: no such file; a scenario is a TOML file, for example sims/first_run.toml"],
    ),
    "no TOML": ("small", replaced("small.toml", "[run]", "[run"), ["small.toml: is not valid TOML: "]),
    "no such plan": (
        "recorded",
        missing("users.toml"),
        ['recorded.toml: policy[0].plan: no such file: "users.toml"'],
    ),
    "percentages that do not grow": (
        "recorded",
        replaced("users.toml", "percentage = 50", "percentage = 5"),
        [f"{PLAN}: stages: percentages must strictly grow from 0 to at most 100: [5.0, 5.0]"],
    ),
    "misspelt guardrail": (
        "recorded",
        replaced("users.toml", "[guardrails.error_ratio]", "[guardrails.eror_ratio]"),
        [f'{PLAN}: guardrails.eror_ratio: unknown guardrail; did you mean "error_ratio"?'],
    ),
    "no such recording": (
        "recorded",
        missing("recorded.csv"),
        ['recorded.toml: traffic.shape.file: no such file: "recorded.csv"'],
    ),
    "recording without rows": ("recorded", empty("recorded.csv", HEADER), [f"{ROWS}: {NO_ROWS}"]),
    "recording without bytes": ("recorded", empty("recorded.csv"), [f"{ROWS}: {NO_ROWS}"]),
    "misspelt column": (
        "recorded",
        replaced("recorded.csv", "unit,", "units,"),
        [f'{ROWS}: unit: no column "unit"; did you mean "units"?'],
    ),
    "NaN latency": (
        "recorded",
        replaced("recorded.csv", "ok,57\n", "ok,NaN\n"),
        [f"{ROWS}: latency: {LATENCY}; row 0 has nan (3 such rows)"],
    ),
    "wrong outcome": (
        "recorded",
        replaced("recorded.csv", ",error,", ",eror,"),
        [f"{ROWS}: outcome: {OUTCOME}; row 60 has "],
    ),
    "beyond the recording": (
        "recorded",
        replaced("recorded.toml", "2026-11-23T00", "2026-12-23T00"),
        [f"recorded.toml: world[{place}].start: {BEYOND} beyond it" for place in (0, 1)],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_input_is_a_line_for_each_problem_and_nothing_is_written(tmp_path, case):
    name, spoil, problems = CASES[case]
    folder, home = scenarios(tmp_path), tmp_path / "home"
    spoil(folder)
    answer = run(home, "simulate", "sweep", folder / f"{name}.toml")
    lines = answer.stderr.splitlines()
    assert (answer.returncode, answer.stdout) == (2, "")
    assert len(lines) == len(problems), answer.stderr
    for line, problem in zip(lines, problems, strict=True):
        assert line.startswith("phase4: ")
        assert problem in line
    assert not home.exists()


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("simulate", "swep", "small.toml"), 'did you mean "sweep"?'),
        (("simulate", "sweep", "small.toml", "--worker", "2"), "did you mean --workers?"),
        (("simulate", "run", "small.toml", "--out", "x.csv"), "--out writes .json or .html"),
        (("simulate", "run", "small.toml", "--world", "helthy"), 'no world "helthy"; did you mean "healthy"?'),
    ],
    ids=["action", "option", "suffix", "world"],
)
def test_a_command_line_that_is_wrong_is_status_2_and_nothing_is_written(tmp_path, words, hint):
    folder, home = scenarios(tmp_path), tmp_path / "home"
    answer = run(home, *words, cwd=folder)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert hint in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not home.exists()


def test_a_result_that_was_not_expected_is_status_1_and_saved_all_the_same(tmp_path):
    folder, home = scenarios(tmp_path), tmp_path / "home"
    edit(folder / "small.toml", 'phase = "COMPLETED"', 'phase = "ROLLED_BACK"')
    answer = run(home, "simulate", "run", folder / "small.toml")
    assert answer.returncode == 1
    assert "phase ROLLED_BACK expected, COMPLETED seen" in answer.stderr
    assert len(list((home / "runs").iterdir())) == 1
