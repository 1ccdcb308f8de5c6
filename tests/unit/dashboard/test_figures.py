import json
import math

import plotly.graph_objects as go
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase4.cli import console
from phase4.dashboard import axes, figures, standing, texts, tokens
from phase4.dashboard.replay import ending, read_replays
from phase4.dashboard.series import bucketed_evidence, bucketed_rates, stretches
from tests.unit.dashboard import samples
from tests.unit.dashboard.samples import HOUR, POLICIES, WORLDS

# Panel serves plotly.js 3.1: what newer versions know is silently absent there.
TRACES = {"scatter", "bar"}
TRACE_KEYS = {
    "type", "mode", "name", "x", "y", "text", "textposition", "textfont", "hovertext", "hoverinfo", "hovertemplate",
    "customdata", "line", "marker", "error_x", "xaxis", "yaxis", "showlegend", "legendgroup", "connectgaps", "opacity",
    "fill", "fillcolor", "cliponaxis", "orientation", "base", "width",
}  # fmt: skip
LAYOUT_KEYS = {
    "height", "autosize", "margin", "font", "paper_bgcolor", "plot_bgcolor", "hoverlabel", "dragmode", "showlegend",
    "legend", "annotations", "shapes", "barmode",
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return samples.write(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def replays(run):
    return read_replays(run)


def all_figures(run, replays):
    table, outcomes = run.table("figure"), run.table("outcome")
    return [
        figures.error_overview(table, WORLDS, POLICIES),
        figures.harm(table, WORLDS, POLICIES),
        figures.delay_curves(outcomes, "broken", POLICIES),
        *(figures.timeline(replay, POLICIES) for replay in replays.values()),
    ]


def trace(figure, name):
    return next(t for t in figure["data"] if t.get("name", "").startswith(name))


def one_row(estimate, lower=None, upper=None, runs=3, figure="caught"):
    row = {"world": "w", "policy": "p", "figure": figure, "estimate": estimate, "lower": lower, "upper": upper}
    return pl.DataFrame(
        [{**row, "runs": runs}], schema_overrides=dict.fromkeys(("estimate", "lower", "upper"), pl.Float64)
    )


def dots_and_labels(table, column=figures.CAUGHT):
    *dots, labels = figures.forest(table, ["w"], ["p"], [column])["data"]
    return [x for dot in dots for x in dot["x"]], labels["text"]


def test_figures_keep_to_what_plotly_js_3_1_knows(run, replays):
    for figure in all_figures(run, replays):
        for item in figure["data"]:
            assert item["type"] in TRACES
            assert set(item) <= TRACE_KEYS
        keys = {key for key in figure["layout"] if not key.startswith(("xaxis", "yaxis"))}
        assert keys <= LAYOUT_KEYS


def test_plotly_accepts_every_figure_and_every_figure_is_json_without_nan(run, replays):
    for figure in all_figures(run, replays):
        go.Figure(figure)
        json.dumps(figure, allow_nan=False)


def test_never_is_a_word_and_not_a_dot():
    assert dots_and_labels(one_row(math.inf, math.inf, math.inf)) == ([], ["never"])


def test_nothing_to_estimate_is_a_gap_and_says_why():
    assert dots_and_labels(one_row(None, runs=0)) == ([], ["no run reached it"])
    assert dots_and_labels(one_row(None, runs=3)) == ([], ["nothing to estimate"])


def test_a_measured_zero_is_a_dot():
    assert dots_and_labels(one_row(0.0, 0.0, 0.3)) == ([0.0], ["0 %"])


def test_whiskers_reach_the_limits_of_the_interval():
    bars = figures.forest(one_row(0.5, 0.2, 0.9), ["w"], ["p"], [figures.CAUGHT])["data"][0]["error_x"]
    assert bars["array"] == [pytest.approx(0.4)]
    assert bars["arrayminus"] == [pytest.approx(0.3)]


def test_an_interval_without_end_has_no_whisker():
    bars = figures.forest(one_row(3.0, -math.inf, math.inf, figure="harmed_users"), ["w"], ["p"], [figures.HARMED])[
        "data"
    ][0]["error_x"]
    assert bars["array"] == bars["arrayminus"] == [0.0]


@given(st.floats(allow_nan=False))
def test_only_finite_estimates_have_a_place_on_the_axis(estimate):
    xs, _ = dots_and_labels(one_row(estimate, estimate, estimate))
    assert len(xs) == math.isfinite(estimate)


def test_a_policy_looks_the_same_in_every_figure(run, replays):
    table, outcomes = run.table("figure"), run.table("outcome")
    look = axes.style(POLICIES, "ratio")
    assert trace(figures.harm(table, WORLDS, POLICIES), "ratio")["marker"]["color"] == look.colour
    assert trace(figures.delay_curves(outcomes, "broken", POLICIES), "ratio")["line"]["color"] == look.colour
    assert trace(figures.timeline(replays["fine", "ratio"], POLICIES), "treatment")["line"]["color"] == look.colour


def test_no_two_of_many_policies_look_alike():
    names = [str(number) for number in range(30)]
    assert len({axes.style(names, name) for name in names}) == 30


def test_a_defect_that_is_never_caught_never_lets_its_curve_rise(run):
    curve = trace(figures.delay_curves(run.table("outcome"), "broken", POLICIES), "raw")
    assert curve["y"]
    assert set(curve["y"]) == {0.0}


def test_a_curve_is_the_share_of_runs_caught_by_then(run):
    curve = trace(figures.delay_curves(run.table("outcome"), "broken", POLICIES), "ratio")
    shares = dict(zip(curve["x"], curve["y"], strict=True))
    assert [shares[hours] for hours in (2.0, 3.0, 4.0)] == [pytest.approx(n / 3) for n in (1, 2, 3)]
    assert curve["y"] == sorted(curve["y"])


@given(st.lists(st.one_of(st.just(math.inf), st.integers(0, 500)), min_size=1, max_size=30))
def test_a_curve_ends_at_the_share_that_was_caught_at_all(hours):
    rows = [{"world": "w", "policy": "p", "caught": math.isfinite(h), "delay_ms": float(h * HOUR)} for h in hours]
    (curve,) = figures.delay_curves(pl.DataFrame(rows), "w", ["p"])["data"]
    assert curve["y"][-1] == sum(map(math.isfinite, hours)) / len(hours)


def test_a_policy_of_which_no_run_got_to_the_defect_has_no_curve_and_says_so(run):
    outcomes = run.table("outcome").with_columns(
        caught=pl.when(pl.col("policy") == "raw").then(None).otherwise(pl.col("caught"))
    )
    curve = trace(figures.delay_curves(outcomes, "broken", POLICIES), "raw")
    assert curve["name"] == "raw · no run"
    assert curve["y"] == [None]


def test_a_tick_without_traffic_is_a_gap_in_both_rates(replays):
    figure = figures.timeline(replays["fine", "ratio"], POLICIES)
    for arm in ("treatment", "control"):
        assert trace(figure, arm)["y"][2] is None
        assert trace(figure, arm)["connectgaps"] is False


def test_rates_are_bad_over_requests(replays):
    frame = bucketed_rates(replays["fine", "ratio"])
    assert frame["treatment_rate"].to_list()[0] == pytest.approx(0.02)
    assert frame["control_rate"].to_list()[0] == pytest.approx(0.01)


def test_evidence_is_drawn_as_a_power_of_ten_against_its_bound(replays):
    frame = bucketed_evidence(replays["broken", "ratio"], "error_rate")
    assert frame["log10_e"].to_list()[:2] == [None, None]
    assert frame["log10_e"].to_list()[7] == pytest.approx(math.log10(200) * 1.01)
    assert frame["bound"].to_list()[7] == pytest.approx(math.log10(200))


def test_a_raw_rule_draws_no_evidence_and_says_why(replays):
    figure = figures.timeline(replays["fine", "raw"], POLICIES)
    assert not [t for t in figure["data"] if t.get("legendgroup") == "Evidence"]
    assert any("no error control" in note["text"] for note in figure["layout"]["annotations"])


def test_a_single_failed_tick_survives_in_the_strip(replays):
    frame = bucketed_evidence(replays["broken", "ratio"], "error_rate", limit=2)
    assert frame["verdict"].to_list() == ["NO_DATA", "FAIL"]


def test_equal_verdicts_in_a_row_are_one_stretch(replays):
    frame = bucketed_evidence(replays["broken", "ratio"], "error_rate")
    assert stretches(frame, 1) == [("NO_DATA", 1, 3), ("PASS", 3, 8), ("FAIL", 8, 9)]


def test_the_journal_and_the_onset_are_drawn_at_their_exact_time(replays):
    figure = figures.timeline(replays["broken", "ratio"], POLICIES)
    lines = [shape["x0"] for shape in figure["layout"]["shapes"]]
    assert sorted(lines) == [0.0, 4.0, 8.0]
    assert any(note["text"] == "defect begins" and note["x"] == 4.0 for note in figure["layout"]["annotations"])


def test_a_world_without_a_defect_has_no_onset(replays):
    figure = figures.timeline(replays["fine", "ratio"], POLICIES)
    assert "defect begins" not in {note["text"] for note in figure["layout"]["annotations"]}


def test_a_rollback_takes_the_exposure_to_0(replays):
    exposure = trace(figures.timeline(replays["broken", "ratio"], POLICIES), "exposure")
    assert exposure["y"][-1] == 0.0
    kept = trace(figures.timeline(replays["fine", "ratio"], POLICIES), "exposure")
    assert kept["y"][-1] == 5.0


def test_verdicts_differ_by_pattern_and_glyph_too(replays):
    bars = [t for t in figures.timeline(replays["broken", "ratio"], POLICIES)["data"] if t["type"] == "bar"]
    assert [bar["name"] for bar in bars] == ["✓ PASS", "∅ NO_DATA", "✕ FAIL"]
    assert len({bar["marker"]["pattern"]["shape"] for bar in bars}) == 3


def test_a_name_with_tags_is_shown_as_it_is():
    table = one_row(0.5, 0.2, 0.9).with_columns(world=pl.lit("<b>&"), policy=pl.lit("<i>"))
    text = json.dumps(figures.forest(table, ["<b>&"], ["<i>"], [figures.CAUGHT]))
    assert "&lt;b&gt;&amp;" in text
    assert "<i>" not in text


def test_every_colour_of_a_figure_has_a_dark_partner(run, replays):
    colours = set()

    def walk(value, key=""):
        for name, item in value.items() if isinstance(value, dict) else ((key, item) for item in value):
            if isinstance(item, (dict, list)):
                walk(item, name)
            elif isinstance(item, str) and item.startswith("#") and name.endswith("color"):
                colours.add(item)

    for figure in all_figures(run, replays):
        walk(figure)
    assert colours
    assert colours <= set(tokens.palette())


def test_the_light_colours_are_one_for_each_role():
    assert len(set(tokens.LIGHT.values())) == len(tokens.LIGHT)
    assert set(tokens.LIGHT) == set(tokens.DARK)


@pytest.mark.parametrize("table", [tokens.LIGHT, tokens.DARK])
@pytest.mark.parametrize("name", ["fg", "dim", "ok", "warn", "crit", "info", *(f"series-{n}" for n in range(1, 7))])
def test_inks_are_readable_on_a_card(table, name):
    light, dark = sorted((luminance(table[name]), luminance(table["card"])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5  # WCAG 2.2, 1.4.3


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@given(st.floats(0, 1))
def test_percentages_read_as_on_the_command_line(rate):
    assert texts.percent(rate) == console.percent(rate)


@given(st.one_of(st.floats(-1e9, 1e9), st.just(math.inf)))
def test_numbers_read_as_on_the_command_line(value):
    assert texts.number(value) == console.number(value)


def test_a_standing_is_that_of_the_worst_world(run):
    raw, ratio = standing.standings(run.table("figure"), POLICIES)
    assert (raw.caught, ratio.caught) == (0.0, 1.0)
    assert ratio.harmed == 4.0


def test_a_run_that_never_reached_the_defect_did_not_catch_it():
    rows = [one_row(1.0, runs=1), one_row(0.75, runs=4, figure="false_rollback")]
    (found,) = standing.standings(pl.concat(rows), ["p"])
    assert found.caught == 0.25


def test_how_a_run_ended_is_said_in_words():
    caught = samples.outcome("w", "ratio", 0, broken=True)
    missed = samples.outcome("w", "raw", 0, broken=True)
    assert ending(caught) == "ROLLED_BACK after 8 h: caught 2 h after the defect began. 100 users exposed, 4 harmed."
    assert "the defect was never caught" in ending(missed)
    assert "false rollback" in ending({**caught, "false_rollback": True})
