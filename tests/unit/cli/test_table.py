"""The table of a sweep and what it means: facts, whatever the words."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase4.cli import meaning, table
from phase4.sim.outcome import characteristics
from tests.unit.sim.worlds import caught, counts_world, missed, outcome, policy, scenario

WHOLE = scenario(
    counts_world(name="healthy"),
    counts_world(name="broken"),
    policies=(policy(name="honest"), policy(name="raw, with patience")),
)
WIDE = 500


def false_alarm(replicate, **more):
    return outcome(replicate, phase="ROLLED_BACK", rolled_back=True, false_rollback=True, full_ms=math.inf, **more)


def cell(world, policy_, runs):
    return characteristics([run(place, world=world, policy=policy_) for place, run in enumerate(runs)])


def cells():
    """Return two policies in two worlds: one is never wrong, one always."""
    good, bad = "honest", "raw, with patience"
    return [
        cell("healthy", good, [outcome] * 8),
        cell("healthy", bad, [false_alarm] * 8),
        cell("broken", good, [lambda r, **k: caught(r, hours=2, **k)] * 8),
        cell("broken", bad, [missed] * 8),
    ]


def rendered(width=WIDE, of=None):
    return table.render(WHOLE, cells() if of is None else of, width)


def lines_with(word, lines):
    return [line for line in lines if word in line]


@given(st.integers(50, 300))
def test_no_line_is_wider_than_the_terminal(width):
    assert max(map(len, rendered(width))) <= width


@pytest.mark.parametrize("width", [50, 80, 120, WIDE])
def test_every_world_and_policy_is_there_at_every_width(width):
    text = "\n".join(rendered(width))
    for word in ("healthy", "broken", "honest", "raw,"):
        assert word in text


@pytest.mark.parametrize("width", [50, 80, 120, WIDE])
def test_the_figures_are_there_at_every_width(width):
    text = "\n".join(rendered(width))
    for figure in ("100 %", "2 h", "10 h", "never"):
        assert figure in text


def test_on_a_wide_terminal_a_policy_has_a_row_in_each_world():
    assert len(lines_with("honest", rendered())) == 2


def test_many_policies_on_a_narrow_terminal_are_told_one_after_the_other():
    names = [f"policy number {place}" for place in range(8)]
    whole = scenario(counts_world(name="healthy"), policies=tuple(policy(name=name) for name in names))
    lines = table.render(whole, [cell("healthy", name, [outcome] * 8) for name in names], 60)
    assert max(map(len, lines)) <= 60
    assert [len(lines_with(name, lines)) for name in names] == [1] * 8
    assert len(lines_with("0–32 %", lines)) >= 8


def test_a_figure_has_its_interval():
    assert any("0–32 %" in line for line in rendered())


def test_lines_do_not_end_in_spaces():
    for width in (50, 80, 120, WIDE):
        assert [line for line in rendered(width) if line != line.rstrip()] == []


def test_a_world_without_runs_is_left_out():
    assert lines_with("broken", rendered(of=cells()[:2])) == []


def test_a_defect_that_nobody_caught_is_never_and_no_number():
    rows = rendered(of=cells()[3:])
    assert lines_with("inf", rows) == []
    assert lines_with("never", rows) != []


def test_nothing_to_estimate_is_no_nan():
    assert lines_with("nan", rendered()) == []


# ------------------------------------------------------------------------------------------------------------ meaning


def test_the_policy_that_is_wrong_least_often_is_named_first():
    healthy = meaning.sentences(cells())[0]
    assert healthy.index('"honest"') < healthy.index('"raw, with patience"')
    assert "0 %" in healthy
    assert "100 %" in healthy


def test_the_policy_that_catches_most_is_named_first():
    broken = meaning.sentences(cells())[1]
    assert broken.index('"honest"') < broken.index('"raw, with patience"')


def test_worlds_without_a_defect_say_nothing_about_catching_one():
    assert len(meaning.sentences(cells()[:2])) == 1


def test_only_worlds_with_a_defect_say_nothing_about_health():
    assert len(meaning.sentences(cells()[2:])) == 1


def test_no_runs_mean_nothing():
    assert meaning.sentences([]) == []


def test_a_run_rolled_back_before_the_defect_is_not_one_that_caught_it():
    half = cell("broken", "honest", [lambda r, **k: caught(r, hours=2, **k)] * 4 + [false_alarm] * 4)
    (text,) = meaning.sentences([half])
    assert "50 %" in text


def test_a_policy_that_hurts_fewer_users_elsewhere_is_named_with_the_world():
    def hurts(count):
        return lambda r, **k: caught(r, hours=2, users_harmed=count + r % 2, **k)

    slow, quick = (
        cell("broken", name, [hurts(count)] * 20) for name, count in (("honest", 900), ("raw, with patience", 9))
    )
    texts = meaning.sentences([*cells()[:2], slow, quick])
    assert any("broken" in text and '"raw, with patience"' in text for text in texts[2:])
