import shutil
from dataclasses import replace
from datetime import UTC, datetime

import polars as pl
import pytest

from phase4.analysis.observation import OutcomeSet
from phase4.durations import DAY_MS, HOUR_MS
from phase4.errors import ScenarioInvalid
from phase4.sim.faults import FaultArm, FaultKind, FaultShape
from phase4.sim.population import Pareto, Population
from phase4.sim.scenario import FIGURES, Counts, Replay, load, recording_of
from phase4.sim.service import LognormalLatency
from phase4.sim.shapes import Constant, Diurnal
from tests.unit.sim.documents import COUNTS, REPLAY, SCENARIOS, changed, paths_of, renamed, without, write, written

START = 1_795_392_000_000
SIMS = SCENARIOS.parents[2] / "sims"
WITHOUT_EXPECT = without(COUNTS, ("expect",))
DOCUMENTS = {"counts": COUNTS, "replay": REPLAY}
KEYS = [(kind, path, value) for kind, document in DOCUMENTS.items() for path, value in paths_of(document)]

MISSPELT = KEYS


def ids(keys):
    return [f"{kind}-{written(path)}" for kind, path, _ in keys]


def problems(folder, document):
    with pytest.raises(ScenarioInvalid) as refusal:
        load(write(folder, document))
    assert refusal.value.source == "full.toml"
    assert all(problem and "\n" not in problem for problem in refusal.value.problems)
    return list(refusal.value.problems)


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    return load(write(tmp_path_factory.mktemp("counts"), COUNTS))


@pytest.fixture(scope="module")
def replay(tmp_path_factory):
    return load(write(tmp_path_factory.mktemp("replay"), REPLAY))


# ------------------------------------------------------------------------------------------------- what a file says


def test_the_run_is_read_in_ms(counts):
    assert (counts.duration_ms, counts.tick_ms, counts.ticks, counts.seed) == (DAY_MS, HOUR_MS // 2, 48, 7)


def test_names_and_texts_are_kept(counts):
    assert (counts.name, counts.covers, counts.flag_key) == ("full", "every key there is", "new-checkout")
    assert (counts.worlds[0].name, counts.worlds[0].about) == ("two", "a world")
    assert (counts.policies[0].name, counts.policies[0].about) == ("one", "a rule")


def test_synthetic_traffic_is_a_shape_and_an_error_rate(counts):
    shape = Diurnal(rate=40.0, swing=0.5, peak_ms=14 * HOUR_MS)
    latency = LognormalLatency(median_ms=120.0, sigma=0.6)
    assert counts.worlds[0].traffic == Counts(shape=shape, error_rate=0.002, latency=latency)
    assert counts.mode == "counts"


def test_a_constant_shape_is_its_rate(tmp_path):
    document = changed(COUNTS, ("traffic", "shape"), {"kind": "constant", "rate": 5})
    assert load(write(tmp_path, document)).worlds[1].traffic.shape == Constant(rate=10.0)


def test_a_world_is_the_scenario_s_with_its_changes(counts):
    changed_world, plain = counts.worlds
    assert (plain.start_ms, changed_world.start_ms) == (START, START + DAY_MS)
    assert (plain.traffic.error_rate, changed_world.traffic.error_rate) == (0.003, 0.002)


def test_the_faults_of_a_world_are_added_to_the_scenario_s(counts):
    assert [[fault.id for fault in world.faults] for world in counts.worlds] == [
        ["slow-poison", "slow-poison", "flicker", "molasses"],
        ["slow-poison", "few-only"],
    ]


def test_faults_are_read_in_ms_from_the_start_of_the_run(counts):
    _, ramp, flicker, slow = counts.worlds[0].faults
    assert (ramp.arm, ramp.at_ms, ramp.for_ms, ramp.add) == (FaultArm.TREATMENT, 6 * HOUR_MS, 2 * HOUR_MS, 0.05)
    assert (ramp.shape, ramp.over_ms) == (FaultShape.RAMP, HOUR_MS)
    assert (flicker.shape, flicker.period_ms, flicker.duty) == (FaultShape.INTERMITTENT, HOUR_MS // 2, 0.25)
    assert (flicker.arm, flicker.for_ms) == (FaultArm.BOTH, None)
    assert (slow.kind, slow.factor, slow.add, slow.at_ms) == (FaultKind.LATENCY, 1.25, 0.0, 2 * HOUR_MS)
    assert (ramp.kind, ramp.factor) == (FaultKind.ERROR, 1.0)


def test_a_fault_without_a_shape_is_a_step(tmp_path):
    document = changed(COUNTS, ("fault",), [{"arm": "control", "add": 0.5}])
    fault = load(write(tmp_path, document)).worlds[1].faults[0]
    assert (fault.id, fault.shape, fault.at_ms, fault.for_ms) == ("fault-1", FaultShape.STEP, 0, None)


def test_the_approver_is_read_in_ms(counts):
    assert (counts.approver.median_ms, counts.approver.sigma, counts.approver.reject_p) == (25 * 60_000, 0.5, 0.1)


def test_expectations_are_kept(counts):
    assert (counts.expect_run.phase, counts.expect_run.guardrail) == ("ROLLED_BACK", "error_rate")
    assert counts.expect_run.within_ms == 2 * HOUR_MS
    (cell,) = counts.expect_cells
    assert (cell.world, cell.policy, cell.figure, cell.at_least, cell.at_most) == ("two", "one", "caught", 0.1, 0.9)


def test_a_recording_is_named_with_its_digest_and_columns(replay):
    traffic = replay.worlds[1].traffic
    assert isinstance(traffic, Replay)
    assert (traffic.file, traffic.scale, len(traffic.sha256)) == ("recorded.csv", 2, 64)
    assert replay.mode == "replay"


def test_a_world_may_have_a_scale_of_its_own(replay):
    assert [world.traffic.scale for world in replay.worlds] == [3, 2]


def test_the_recording_of_a_world_can_be_read(replay):
    assert len(recording_of(replay.worlds[0]).t_ms) == 240


def test_a_file_without_worlds_has_one(tmp_path):
    document = without(without(COUNTS, ("world",)), ("expect",))
    assert [world.name for world in load(write(tmp_path, document)).worlds] == ["world"]


def test_what_may_be_left_out_has_its_default(tmp_path):
    document = COUNTS
    for key in ("covers", "fault", "world", "approver", "sweep", "expect"):
        document = without(document, (key,))
    document = without(without(document, ("run", "start")), ("run", "tick"))
    scenario = load(write(tmp_path, document))
    assert (scenario.tick_ms, scenario.replicates, scenario.approver.median_ms) == (30_000, 200, 4 * HOUR_MS)
    assert (scenario.covers, scenario.expect_run, scenario.expect_cells) == ("", None, ())


def test_the_guide_s_plan_has_a_name_of_its_own(tmp_path):
    document = changed(REPLAY, ("policy", 0, "plan"), "default")
    plan = load(write(tmp_path, document)).policies[0].plan
    assert [stage.percentage for stage in plan.stages] == [5.0, 10.0, 25.0]


def test_the_outcome_sets_are_those_of_all_policies(tmp_path):
    (tmp_path / "bad.toml").write_text(
        (SCENARIOS / "users.toml").read_text().replace("[guardrails.error_rate]", "[guardrails.success_rate]")
        .replace("limit = 0.2", "limit = 0.8")
    )  # fmt: skip
    document = changed(REPLAY, ("policy",), [*REPLAY["policy"], {"name": "other", "plan": "bad.toml"}])
    assert load(write(tmp_path, document)).outcome_sets == {OutcomeSet.ERROR, OutcomeSet.BAD}


@pytest.mark.parametrize("name", ["small", "recorded"])
def test_the_scenarios_of_the_tests_are_valid(name):
    assert load(SCENARIOS / f"{name}.toml").name == name


@pytest.mark.parametrize("path", sorted(SIMS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_scenario_that_ships_is_valid(path):
    assert load(path).covers


def test_worlds_and_policies_are_found_by_name_and_the_first_stands_for_none(counts):
    assert (counts.world("three"), counts.world(None)) == (counts.worlds[1], counts.worlds[0])
    assert counts.policy("one") is counts.policy(None)


@pytest.mark.parametrize(("ask", "what"), [("world", "thre"), ("policy", "onee")])
def test_a_world_or_policy_that_is_not_there_is_told_the_nearest(counts, ask, what):
    with pytest.raises(ScenarioInvalid, match=f'no {ask} "{what}"; did you mean "(three|one)"'):
        getattr(counts, ask)(what)


def test_a_world_like_no_other_is_told_which_there_are(counts):
    with pytest.raises(ScenarioInvalid, match="known: two, three"):
        counts.world("zzz")


# --------------------------------------------------------------------------------------------------- misspelt keys


@pytest.mark.parametrize(("kind", "path", "value"), MISSPELT, ids=ids(MISSPELT))
def test_every_key_misspelt_is_named_with_its_path_and_the_nearest_known_one(tmp_path, kind, path, value):
    *way, key = path
    document = renamed(DOCUMENTS[kind], path, f"{key}x")
    expected = f'{written((*way, f"{key}x"))}: unknown key; did you mean "{key}"?'
    assert expected in problems(tmp_path, document)


def test_a_key_like_no_other_is_told_which_are_known(tmp_path):
    document = changed(COUNTS, ("run", "zzzzzz"), 1)
    assert problems(tmp_path, document) == ["run.zzzzzz: unknown key; known here: duration, seed, start, tick"]


# ------------------------------------------------------------------------------------------------------ wrong types


def wrong(value):
    """Return a value of another type."""
    return 1 if isinstance(value, str | dict | list) else "x"


@pytest.mark.parametrize(("kind", "path", "value"), KEYS, ids=ids(KEYS))
def test_every_value_of_a_wrong_type_is_named_with_its_path(tmp_path, kind, path, value):
    document = changed(DOCUMENTS[kind], path, wrong(value))
    assert any(problem.startswith(f"{written(path)}: ") for problem in problems(tmp_path, document))


# ----------------------------------------------------------------------------------------------------- wrong values


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("schema",), 2, "schema: lies in 1..1: 2"),
        (("name",), "", "name: must not be empty"),
        (("run", "duration"), "0s", "run.duration: is at least 1 ms: '0s'"),
        (("run", "tick"), "499ms", "run.tick: is at least 500 ms: '499ms'"),
        (("run", "tick"), "7h", "run.tick: does not divide the duration 24 h"),
        (("run", "seed"), -1, "run.seed: is at least 0: -1"),
        (("run", "start"), "2026-11-23", "run.start: is a moment with an offset"),
        (("traffic", "scale"), 0, "traffic.scale: lies in 1..10000: 0"),
        (("traffic", "shape", "kind"), "weekly", 'traffic.shape.kind: "weekly" is none of replay, constant, diurnal'),
        (("traffic", "shape", "rate"), 0, "traffic.shape.rate: is requests per second, above 0: 0"),
        (("traffic", "shape", "swing"), 1.1, "traffic.shape.swing: is a share of the mean, 0 to 1: 1.1"),
        (("baseline", "error_rate"), 1.5, "baseline.error_rate: is a rate, 0 to 1: 1.5"),
        (("baseline", "error_rate"), float("nan"), "baseline.error_rate: is a rate, 0 to 1: nan"),
        (("world", 0, "error_rate"), 2, "world[0].error_rate: is a rate, 0 to 1: 2"),
        (("world", 1, "name"), "two", 'world: two are called "two"'),
        (("fault", 0, "add"), 1.01, "fault[0].add: is a rate, 0 to 1: 1.01"),
        (("fault", 0, "arm"), "treatmnt", 'fault[0].arm: "treatmnt" is none of treatment, control, both; did you mean'),
        (("fault", 0, "kind"), "heat", 'fault[0].kind: "heat" is none of error, latency'),
        (("world", 0, "fault", 2, "factor"), 0, "world[0].fault[2].factor: "),
        (("baseline", "latency", "dist"), "pareto", 'baseline.latency.dist: "pareto" is none of lognormal'),
        (("baseline", "latency", "median_ms"), 0, "baseline.latency.median_ms: "),
        (("baseline", "latency", "sigma"), 0, "baseline.latency.sigma: "),
        (("fault", 0, "at"), "24h", "fault[0].at: lies outside the run of 24 h"),
        (("fault", 0, "for"), "0h", "fault[0].for: is at least 1 ms: '0h'"),
        (("fault", 0, "shape", "kind"), "burst", 'fault[0].shape.kind: "burst" is none of step, ramp, intermittent'),
        (("world", 0, "fault", 1, "shape", "duty"), 1.5, "world[0].fault[1].shape.duty: is a rate, 0 to 1: 1.5"),
        (("world", 0, "fault", 1, "at"), "2d", "world[0].fault[1].at: lies outside the run of 24 h"),
        (("approver", "sigma"), 5.1, "approver.sigma: is a spread, 0 to 5: 5.1"),
        (("approver", "reject_p"), -0.1, "approver.reject_p: is a rate, 0 to 1: -0.1"),
        (("approver", "median"), "soon", "approver.median: a duration is a number with a unit"),
        (("sweep", "replicates"), 0, "sweep.replicates: lies in 1..1000000: 0"),
        (("expect", "phase"), "COMPLETE", 'expect.phase: "COMPLETE" is none of COMPLETED, ROLLED_BACK, '),
        (
            ("expect", "cell", 0, "world"),
            "tow",
            'expect.cell[0].world: "tow" is none of two, three; did you mean "two"',
        ),
        (("expect", "cell", 0, "policy"), "zzz", 'expect.cell[0].policy: "zzz" is none of one'),
        (("expect", "cell", 0, "figure"), "catch", 'expect.cell[0].figure: "catch" is none of false_rollback, '),
        (("expect", "cell", 0, "at_least"), -1, "expect.cell[0].at_least: is a number, at least 0: -1"),
        (("policy", 0, "plan"), "absent.toml", 'policy[0].plan: no such file: "absent.toml"'),
        (("policy",), [], "policy: is missing; a scenario has at least one [[policy]] with a name and a plan"),
    ],
    ids=lambda value: written(value) if isinstance(value, tuple) else str(value)[:20],
)
def test_a_wrong_value_is_refused_with_its_path_and_what_would_be_right(tmp_path, path, value, problem):
    document = changed(COUNTS, path, value)
    assert any(found.startswith(problem) for found in problems(tmp_path, document))


@pytest.mark.parametrize(
    "path",
    [
        ("run", "duration"),
        ("run", "seed"),
        ("flag", "key"),
        ("traffic", "shape", "rate"),
        ("baseline", "error_rate"),
        ("fault", 0, "arm"),
    ],
    ids=written,
)
def test_a_required_key_that_is_missing_is_named(tmp_path, path):
    (problem,) = problems(tmp_path, without(COUNTS, path))
    assert problem.startswith(f"{written(path)}: is missing")


@pytest.mark.parametrize("table", ["run", "flag", "traffic", "baseline", "policy"])
def test_a_required_table_that_is_missing_is_named_by_what_it_holds(tmp_path, table):
    assert any(problem.startswith(table) for problem in problems(tmp_path, without(COUNTS, (table,))))


def test_a_bound_without_a_limit_is_refused(tmp_path):
    cell = {"world": "two", "policy": "one", "figure": "caught"}
    assert problems(tmp_path, changed(COUNTS, ("expect", "cell"), [cell])) == [
        "expect.cell[0].at_most: an expectation has at_least, at_most or both"
    ]


def test_two_policies_of_one_name_are_refused(tmp_path):
    document = changed(COUNTS, ("policy",), COUNTS["policy"] * 2)
    assert problems(tmp_path, document) == ['policy: two are called "one"']


def test_more_ticks_than_a_run_may_have_are_refused(tmp_path):
    document = changed(COUNTS, ("run", "duration"), "600h")
    assert any("is more than" in problem for problem in problems(tmp_path, changed(document, ("run", "tick"), "1s")))


def test_all_problems_of_a_file_are_reported_at_once(tmp_path):
    document = changed(changed(COUNTS, ("run", "seeds"), 1), ("fault", 0, "add"), 2)
    document = changed(changed(document, ("approver", "sigma"), "x"), ("policy", 0, "plan"), "absent.toml")
    found = {problem.split(":")[0] for problem in problems(tmp_path, document)}
    assert found >= {"run.seeds", "fault[0].add", "approver.sigma", "policy[0].plan"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("run", "duration"), "soon"),
        (("run", "seed"), "x"),
        (("traffic", "shape", "rate"), "x"),
        (("fault", 0, "at"), "soon"),
        (("fault", 0, "arm"), 3),
        (("policy", 0, "plan"), "absent.toml"),
        (("expect", "cell", 0, "figure"), 3),
    ],
    ids=lambda value: written(value) if isinstance(value, tuple) else str(value),
)
def test_one_mistake_is_one_problem(tmp_path, path, value):
    (problem,) = problems(tmp_path, changed(COUNTS, path, value))
    assert problem.startswith(f"{written(path)}: ")


@pytest.mark.parametrize("value", ["999999999999d", f"{'9' * 400}d"], ids=["long", "longer than a float"])
@pytest.mark.parametrize("path", [("run", "duration"), ("fault", 0, "for"), ("approver", "median")], ids=written)
def test_a_duration_that_nobody_can_mean_is_refused(tmp_path, path, value):
    (problem,) = problems(tmp_path, changed(COUNTS, path, value))
    assert problem.startswith(f"{written(path)}: a duration is at most 36,525 days: ")


def test_a_problem_is_reported_once(tmp_path):
    found = problems(tmp_path, changed(COUNTS, ("policy", 0, "plan"), "absent.toml"))
    assert len(found) == len(set(found))


@pytest.mark.parametrize("figure", FIGURES)
def test_every_figure_that_may_be_bounded_is_accepted(tmp_path, figure):
    assert load(write(tmp_path, changed(COUNTS, ("expect", "cell", 0, "figure"), figure)))


# -------------------------------------------------------------------------------------------- files that it names


def test_a_missing_scenario_is_named(tmp_path):
    with pytest.raises(ScenarioInvalid, match="no such file; a scenario is a TOML file") as refusal:
        load(tmp_path / "absent.toml")
    assert refusal.value.source == str(tmp_path / "absent.toml")


def test_a_folder_is_no_scenario(tmp_path):
    with pytest.raises(ScenarioInvalid, match="cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize("content", [b"[run\n", b"a = \n", b"a = 1\na = 2\n"], ids=["table", "value", "twice"])
def test_a_file_that_is_no_toml_is_refused_with_the_place(tmp_path, content):
    (tmp_path / "x.toml").write_bytes(content)
    with pytest.raises(ScenarioInvalid, match=r"x\.toml: is not valid TOML: .*(line \d|end of)"):
        load(tmp_path / "x.toml")


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScenarioInvalid, match="cannot be read"):
        load(tmp_path / "x.toml")


def test_percentages_of_a_plan_that_do_not_grow_are_named_with_the_policy_and_the_file(tmp_path):
    text = (SCENARIOS / "plan.toml").read_text().replace("percentage = 50", "percentage = 4")
    (tmp_path / "plan.toml").write_text(text)
    assert problems(tmp_path, WITHOUT_EXPECT) == [
        "policy[0].plan: plan.toml: stages: percentages must strictly grow from 0 to at most 100: [5.0, 4.0]"
    ]


def test_a_misspelt_key_of_a_plan_is_named_with_the_policy_and_the_file(tmp_path):
    (tmp_path / "plan.toml").write_text((SCENARIOS / "plan.toml").read_text().replace("limit =", "limits ="))
    assert 'policy[0].plan: plan.toml: guardrails.error_rate.limits: unknown key; did you mean "limit"?' in problems(
        tmp_path, COUNTS
    )


def test_a_plan_that_is_no_toml_is_refused(tmp_path):
    (tmp_path / "plan.toml").write_text("[stages\n")
    (problem,) = problems(tmp_path, WITHOUT_EXPECT)
    assert problem.startswith("policy[0].plan: plan.toml: is not valid TOML")


def test_a_plan_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "plan.toml").write_bytes(b"\xff\xfe\x00")
    assert problems(tmp_path, WITHOUT_EXPECT) == ["policy[0].plan: plan.toml: is no UTF-8 text"]


def test_synthetic_counts_without_a_population_have_no_users(tmp_path):
    document = changed(COUNTS, ("policy", 0, "plan"), "users.toml")
    assert problems(tmp_path, document) == [
        (
            "policy: one: synthetic counts without [population] have no users; add that table,"
            ' or give each guardrail unit = "request"'
        )
    ]
    assert load(write(tmp_path, {**document, "population": {"users": 1000}})).outcome_sets


def test_a_population_is_that_of_the_scenario_or_of_a_world(counts):
    two, three = (world.traffic.population for world in counts.worlds)
    assert two is None
    assert (three.users, three.activity, three.class_sizes.tolist()) == (2000, Pareto(alpha=2.5), [1500, 500])
    assert [one.rate(0.003) for one in three.classes] == [0.0015, 0.1]


def test_a_world_s_population_changes_what_it_names(tmp_path):
    document = without({**COUNTS, "population": {"users": 900}}, ("world", 1, "population", "users"))
    two, three = (world.traffic.population for world in load(write(tmp_path, document)).worlds)
    assert (two, three.users, len(three.classes)) == (Population(users=900), 900, 2)


@pytest.mark.parametrize(
    ("population", "problem"),
    [
        ({"users": 0}, "population.users: "),
        ({"activity": {"dist": "equal"}}, "population.users: is missing"),
        ({"users": 9, "activity": {"dist": "pareto", "alpha": 1.0}}, "population.activity.alpha: "),
        ({"users": 9, "activity": {"dist": "lognormal", "sigma": 0}}, "population.activity.sigma: "),
        ({"users": 9, "classes": [{"name": "a", "share": 0.5}]}, "population.classes: their shares add up to 1: 0.5"),
        (
            {"users": 9, "classes": [{"name": "a", "share": 0.5}, {"name": "a", "share": 0.5}]},
            'population.classes: two are called "a"',
        ),
        (
            {"users": 9, "classes": [{"name": "a", "share": 1, "error_rate": 0.1, "error_rate_factor": 2}]},
            "population.classes[0].error_rate_factor: a class has this or error_rate, not both",
        ),
        (
            {"users": 9, "classes": [{"name": "a", "share": 1, "error_rate_factor": 900}]},
            'baseline.error_rate: class "a" fails 900 times as often as 0.003: that is above 1',
        ),
        (
            {"users": 9, "classes": [{"name": "a", "share": 0.01}, {"name": "b", "share": 0.99}]},
            "population.classes[0].share: is nobody of 9 users: 0.01",
        ),
    ],
)
def test_a_population_that_cannot_be_is_refused_with_its_path(tmp_path, population, problem):
    assert any(found.startswith(problem) for found in problems(tmp_path, {**COUNTS, "population": population}))


def test_a_recording_brings_its_own_users(tmp_path):
    document = {**REPLAY, "population": {"users": 10}}
    assert problems(tmp_path, document) == [
        "population: a replayed recording brings its own users; leave this table out"
    ]


def test_scenarios_without_a_population_and_latencies_keep_the_hash_they_had(tmp_path):
    fast = without(without(COUNTS, ("world", 0, "fault", 2)), ("baseline", "latency"))
    fast = without(fast, ("world", 1, "fault"))
    plain = without(fast, ("world", 1, "population"))
    nobody, users = (load(write(tmp_path, d)).hash for d in (plain, {**plain, "population": {"users": 5}}))
    assert nobody == "2f53c97b4945c829e53467e8d93ceb779da1049cb6b4d7c92568d79d31b217d1"
    assert users != nobody


def test_plans_without_guardrails_of_their_own_guard_what_the_world_measures(tmp_path):
    document = {**changed(COUNTS, ("policy", 0, "plan"), "default"), "population": {"users": 500}}
    measured = load(write(tmp_path, document)).policies[0].plan
    bare = without(without(document, ("world", 0, "fault", 2)), ("baseline", "latency"))
    assert {"latency_p95", "latency_mean"} <= {spec.name for spec in measured.guardrails[0]}
    assert not load(write(tmp_path, bare)).policies[0].plan.measures


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        (("world", 1, "fault", 0, "class"), "fwe", 'world "three": no class "fwe"; its classes are most, few'),
        (("fault", 0, "class"), "few", 'world "two": no class "few"; it has no [population] with classes'),
    ],
)
def test_a_fault_of_a_class_that_a_world_has_not_is_refused(tmp_path, path, value, why):
    assert any(found.endswith(why) for found in problems(tmp_path, changed(COUNTS, path, value)))


def test_nothing_gets_slower_where_nobody_measures(tmp_path):
    document = without(COUNTS, ("baseline", "latency"))
    assert problems(tmp_path, document) == ["fault: molasses: [baseline] has no latency, so nothing can get slower"]


@pytest.mark.parametrize(
    ("document", "why"), [(COUNTS, "[baseline] has no latency"), (REPLAY, "a recording's latencies are not replayed")]
)
def test_a_plan_that_judges_latency_is_refused_where_there_is_none(tmp_path, document, why):
    plan = (SCENARIOS / document["policy"][0]["plan"]).read_text(encoding="utf-8")
    (tmp_path / "slow.toml").write_text(plan + "\n[guardrails.latency_mean]\n", encoding="utf-8")
    bare = changed(document, ("policy", 0, "plan"), "slow.toml")
    if document is COUNTS:
        bare = without(without(bare, ("world", 0, "fault", 2)), ("baseline", "latency"))
    assert problems(tmp_path, bare) == [f"policy: one: its plan judges latency; {why}"]


def test_a_recording_brings_its_own_outcomes(tmp_path):
    document = {**REPLAY, "baseline": {"error_rate": 0.1}}
    assert problems(tmp_path, document) == [
        "baseline: a replayed recording brings its own outcomes; leave this table out"
    ]


def test_a_missing_recording_is_named(tmp_path):
    document = changed(REPLAY, ("traffic", "shape", "file"), "absent.csv")
    assert problems(tmp_path, document)[0] == (
        'traffic.shape.file: no such file: "absent.csv" (looked for beside the scenario)'
    )


def recorded():
    return pl.read_csv(SCENARIOS / "recorded.csv")


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (recorded().head(0), "the recording has no rows; it needs at least one outcome"),
        (recorded().rename({"unit": "units"}), 'unit: no column "unit"; did you mean "units"?'),
        (recorded().with_columns(latency_ms=pl.lit("NaN")), 'latency: column "latency_ms" is a number of ms, at least'),
        (
            recorded().with_columns(latency_ms=pl.lit(-7)),
            'latency: column "latency_ms" is a number of ms, at least 0, ',
        ),
        (recorded().with_columns(outcome=pl.lit("fine")), 'outcome: column "outcome" is one of ok, error, timeout, in'),
    ],
    ids=["empty", "column", "nan", "negative", "outcome"],
)
def test_a_recording_that_cannot_be_replayed_is_refused_with_the_key_that_names_it(tmp_path, table, problem):
    table.write_csv(tmp_path / "recorded.csv")
    (found,) = problems(tmp_path, REPLAY)
    assert found.startswith(f"traffic.shape.file: recorded.csv: {problem}")


@pytest.mark.parametrize(
    ("start", "is_beyond"),
    [
        ("2026-11-22T23:30:00Z", False),
        ("2026-11-22T23:29:59Z", True),
        ("2026-11-23T12:00:00Z", False),
        ("2026-11-25T00:00:00Z", True),
        ("2013-01-01T00:00:00Z", True),
    ],
)
def test_a_run_beyond_the_recording_is_refused_with_the_days_it_has(tmp_path, start, is_beyond):
    document = changed(without(without(REPLAY, ("world",)), ("expect",)), ("run", "start"), start)
    if not is_beyond:
        assert load(write(tmp_path, document))
        return
    (problem,) = problems(tmp_path, document)
    assert problem.startswith("run.start: the recording has 2026-11-23T00:00:00Z to 2026-11-23T23:54:00Z; a run from ")
    assert problem.endswith("goes beyond it")


def test_a_world_beyond_the_recording_is_named(tmp_path):
    document = changed(REPLAY, ("world", 0, "start"), "2026-12-24T00:00:00Z")
    (problem,) = problems(tmp_path, document)
    assert problem.startswith("world[0].start: the recording has ")


# ------------------------------------------------------------------------------------------------------ the hash


def hash_of(folder, document):
    return load(write(folder, document)).hash


OTHER = {
    ("name",): "other",
    ("run", "start"): "2026-11-23T00:30:00Z",
    ("run", "duration"): "12h",
    ("run", "tick"): "15m",
    ("flag", "key"): "other",
    ("traffic", "scale"): 4,
    ("traffic", "shape", "rate"): 21.0,
    ("traffic", "shape", "swing"): 0.4,
    ("traffic", "shape", "peak"): "13h",
    ("baseline", "error_rate"): 0.004,
    ("baseline", "latency", "median_ms"): 130.0,
    ("baseline", "latency", "sigma"): 0.5,
    ("world", 0, "fault", 2, "factor"): 1.5,
    ("world", 0, "name"): "two!",
    ("world", 0, "start"): "2026-11-24T00:30:00Z",
    ("world", 0, "error_rate"): 0.001,
    ("fault", 0, "id"): "other",
    ("fault", 0, "arm"): "control",
    ("fault", 0, "at"): "5h",
    ("fault", 0, "for"): "3h",
    ("fault", 0, "add"): 0.04,
    ("fault", 0, "shape", "over"): "2h",
    ("fault", 0, "shape"): {"kind": "step"},
    ("world", 0, "fault", 1, "shape", "period"): "1h",
    ("world", 0, "fault", 1, "shape", "duty"): 0.5,
    ("policy", 0, "name"): "other",
    ("policy", 0, "plan"): "raw.toml",
    ("approver", "median"): "30m",
    ("approver", "sigma"): 0.4,
    ("approver", "reject_p"): 0.2,
    ("world", 1, "population", "users"): 2004,
    ("world", 1, "population", "activity"): {"dist": "equal"},
    ("world", 1, "population", "activity", "alpha"): 2.0,
    ("world", 1, "population", "classes", 0, "error_rate_factor"): 0.25,
    ("world", 1, "population", "classes", 1, "error_rate"): 0.2,
    ("world", 1, "population", "classes"): [{"name": "few", "share": 1.0}],
    ("world", 1, "fault", 0, "class"): "most",
    ("world",): COUNTS["world"][::-1],
}
SAME = {
    ("covers",): "something else",
    ("world", 0, "about"): "something else",
    ("policy", 0, "about"): "something else",
    ("run", "seed"): 8,
    ("sweep", "replicates"): 9,
}


@pytest.mark.parametrize("path", OTHER, ids=written)
def test_whatever_decides_a_run_changes_the_hash(tmp_path, counts, path):
    assert hash_of(tmp_path, changed(WITHOUT_EXPECT, path, OTHER[path])) != counts.hash


@pytest.mark.parametrize("path", SAME, ids=written)
def test_texts_seed_and_number_of_runs_leave_the_hash_alone(tmp_path, counts, path):
    assert hash_of(tmp_path, changed(COUNTS, path, SAME[path])) == counts.hash


def test_what_is_expected_leaves_the_hash_alone(tmp_path, counts):
    assert hash_of(tmp_path, WITHOUT_EXPECT) == counts.hash


def test_every_key_either_changes_the_hash_or_leaves_it_alone_on_purpose():
    leaves = {path for path, value in paths_of(COUNTS) if not isinstance(value, dict | list)}
    decided = {path for path in (*OTHER, *SAME) if path in leaves}
    known = {("schema",), ("world", 1, "name"), ("traffic", "shape", "kind")}
    known |= {("world", 1, "population", "activity", "dist"), ("baseline", "latency", "dist")}
    known |= {("world", 1, "population", "classes", place, key) for place in (0, 1) for key in ("name", "share")}
    once_more = {path for path in leaves if path[:2] in {("world", 0), ("world", 1), ("fault", 0)} and "fault" in path}
    assert {path for path in leaves if path[0] != "expect"} - decided - known - once_more == set()


def test_comments_order_and_layout_leave_the_hash_alone(tmp_path, counts):
    path = write(tmp_path, dict(reversed(COUNTS.items())))
    path.write_text(f"# a comment\n\n{path.read_text()}")
    assert load(path).hash == counts.hash


def test_the_place_of_the_file_leaves_the_hash_alone(tmp_path, counts):
    assert hash_of(tmp_path / "a" / "folder", COUNTS) == counts.hash


def test_a_recording_counts_by_its_bytes_and_not_by_its_name(tmp_path, replay):
    shutil.copy(SCENARIOS / "recorded.csv", tmp_path / "other.csv")
    document = changed(REPLAY, ("traffic", "shape", "file"), "other.csv")
    assert hash_of(tmp_path, document) == replay.hash


def test_one_changed_row_changes_the_hash(tmp_path, replay):
    text = (SCENARIOS / "recorded.csv").read_text()
    (tmp_path / "recorded.csv").write_text(text.replace("user-00,ok", "user-01,ok", 1))
    assert hash_of(tmp_path, REPLAY) != replay.hash


def test_a_recording_that_was_changed_is_replayed_as_it_is_under_its_new_hash(tmp_path):
    path = write(tmp_path, REPLAY)
    before = load(path)
    rows = recording_of(before.worlds[0])
    (tmp_path / "recorded.csv").write_text((SCENARIOS / "recorded.csv").read_text().replace(",ok,", ",timeout,"))
    after = load(path)
    assert after.hash != before.hash
    assert (recording_of(after.worlds[0]).outcome != rows.outcome).any()


def test_a_comment_in_a_plan_leaves_the_hash_alone_and_a_limit_does_not(tmp_path, counts):
    text = (SCENARIOS / "plan.toml").read_text()
    hashes = []
    for name, changed_text in (("a", f"# more\n{text}"), ("b", text.replace("0.01", "0.011"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "plan.toml").write_text(changed_text)
        hashes.append(hash_of(tmp_path / name, COUNTS))
    assert hashes[0] == counts.hash
    assert hashes[1] != counts.hash


def test_the_seed_of_a_scenario_is_no_part_of_what_it_rehearses(counts):
    assert replace(counts, seed=8).hash == counts.hash


def test_a_moment_may_be_written_without_quotes(tmp_path, counts):
    document = changed(COUNTS, ("run", "start"), datetime(2026, 11, 23, tzinfo=UTC))
    assert hash_of(tmp_path, document) == counts.hash
