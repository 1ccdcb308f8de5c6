"""The parts of a flag document that decide who is served what: what they may say, and what a wrong one is told."""

import json
from dataclasses import replace

import pytest

from phase4.errors import FlagInvalid
from phase4.flags.definition import (
    Condition,
    FlagDefinition,
    Operator,
    Prerequisite,
    Rollout,
    Rule,
    Split,
)

FULL = {
    "schema": "phase4.flag/1",
    "key": "checkout-v2",
    "type": "string",
    "enabled": True,
    "variants": {"blue": "b", "green": "g", "off": ""},
    "off_variant": "off",
    "default_variant": "off",
    "salt": "checkout-v2",
    "algorithm": "murmur3-32/ms1",
    "prerequisites": [{"flag_key": "byzantine-consensus", "variants": ["on"]}],
    "deny": ["user-blocked"],
    "allow": ["qa-1", "qa-2"],
    "eligible": [
        {"attribute": "version", "op": "semver_gte", "value": "1.4.0"},
        {"attribute": "email", "op": "matches", "value": "@example", "negate": True, "ignore_case": True},
    ],
    "rules": [
        {
            "id": "beta-group",
            "when": [{"attribute": "groups", "op": "in", "values": ["beta", 7, True]}],
            "serve": "blue",
        },
        {
            "id": "eu-companies",
            "when": [{"attribute": "country", "op": "not_in", "values": ["DE"], "missing": True}],
            "percentage": 20,
            "bucket_by": "company_id",
            "serve": {"split": {"green": 1, "blue": 3}},
        },
        {"id": "everyone", "when": [], "percentage": 0.5, "serve": "green"},
    ],
    "rollout": {"percentage": 10, "bucket_by": "targetingKey", "serve": {"split": {"blue": 50, "green": 50}}},
    "kind": "release",
}
GOOD_OPERANDS = [
    ("in", "values", ["x", 1, 0.5, True]),
    ("not_in", "values", [""]),
    ("starts_with", "values", ["a"]),
    ("ends_with", "values", ["a", "b"]),
    ("contains", "values", ["a"]),
    ("matches", "value", "a+$"),
    ("eq", "value", 0),
    ("gt", "value", -1.5),
    ("gte", "value", 1e300),
    ("lt", "value", 2**53 - 1),
    ("lte", "value", 1),
    ("semver_eq", "value", "1.4.0"),
    ("semver_gt", "value", "v1.4.0"),
    ("semver_gte", "value", "1.4.0-rc.1"),
    ("semver_lt", "value", "1.4.0+7"),
    ("semver_lte", "value", "1.4.0"),
    ("before", "value", "2027-03-31T00:00:00Z"),
    ("after", "value", "2027-03-31T00:00:00.5+02:00"),
    ("in_cidr", "values", ["10.0.0.0/8", "::1", "192.168.0.1"]),
    ("exists", None, None),
]


def document(**changes):
    """Return the full document with some keys changed, and some left out where the change is None."""
    return {key: value for key, value in (json.loads(json.dumps(FULL)) | changes).items() if value is not None}


def problems_of(**changes):
    """Return the problems that the document with some keys changed is refused for."""
    with pytest.raises(FlagInvalid) as refused:
        FlagDefinition.from_json(document(**changes))
    return refused.value.problems


def rule(**changes):
    """Return a rule's document."""
    return {"id": "r", "when": [], "serve": "blue"} | changes


def condition(op="exists", **changes):
    """Return a condition's document."""
    return {"attribute": "a", "op": op} | changes


def condition_problems(**changes):
    """Return the problems of one condition, without its place."""
    return [each.removeprefix("eligible[0].") for each in problems_of(eligible=[condition(**changes)])]


def test_the_whole_document_is_read():
    definition = FlagDefinition.from_json(FULL)
    assert definition.prerequisites == (Prerequisite(flag_key="byzantine-consensus", variants=("on",)),)
    assert definition.deny == ("user-blocked",)
    assert definition.allow == ("qa-1", "qa-2")
    assert definition.eligible == (
        Condition(attribute="version", op=Operator.SEMVER_GTE, value="1.4.0"),
        Condition(attribute="email", op=Operator.MATCHES, value="@example", negate=True, ignore_case=True),
    )
    assert definition.rules == (
        Rule(
            id="beta-group",
            when=(Condition(attribute="groups", op=Operator.IN, values=("beta", 7, True)),),
            serve="blue",
        ),
        Rule(
            id="eu-companies",
            when=(Condition(attribute="country", op=Operator.NOT_IN, values=("DE",), missing=True),),
            percentage=20,
            bucket_by="company_id",
            serve=Split(weights=(("green", 1), ("blue", 3))),
        ),
        Rule(id="everyone", percentage=0.5, serve="green"),
    )
    assert definition.rollout == Rollout(percentage=10, serve=Split(weights=(("blue", 50), ("green", 50))))


def test_a_document_comes_out_as_it_went_in():
    assert json.dumps(FlagDefinition.from_json(FULL).to_json()) == json.dumps(FULL)


@pytest.mark.parametrize("key", ["prerequisites", "deny", "allow", "eligible", "rules"])
def test_null_and_an_empty_list_are_the_same_as_absent(key):
    without = FlagDefinition.from_json(document(**{key: None}))
    assert FlagDefinition.from_json(document() | {key: None}) == without
    assert FlagDefinition.from_json(document(**{key: []})) == without
    assert key not in without.to_json()


def test_null_is_the_same_as_absent_in_rules_and_conditions_too():
    empty = {"when": None, "percentage": None, "bucket_by": None}
    marks = {"value": None, "values": None, "negate": None, "ignore_case": None, "missing": None}
    read = FlagDefinition.from_json(document(rules=[rule(**empty)], eligible=[condition(**marks)]))
    assert read.rules == (Rule(id="r", serve="blue"),)
    assert read.eligible == (Condition(attribute="a", op=Operator.EXISTS),)


def test_everything_that_is_wrong_is_said_at_once():
    assert problems_of(
        prerequisites=[{"flag_key": "", "variants": []}, {"flag": "a", "variants": ["on"]}, 7],
        deny="user-7",
        allow=["qa-1", "", 7, None],
        eligible=[condition("semver_gt", value="1.4"), condition("semver_gtt", value="1.4.0"), "beta"],
        rules=[
            rule(id="a b", when={}, percentage="20", serve="blu"),
            rule(id="variant", when=[condition("in", value="x")], bucket_by=""),
            rule(serve={"split": {"blue": 0, "gren": 1.5}, "by": 1}, weight=1),
            rule(),
            [],
        ],
        rollout={"percentage": -1, "serve": {"splits": {}}},
    ) == (
        "prerequisites[0].flag_key: must not be empty",
        "prerequisites[0].variants: is a list of at least one variant of that flag",
        'prerequisites[1].flag: unknown key; did you mean "flag_key"?',
        "prerequisites[2]: is an object with flag_key and variants: int",
        "deny: is a list of strings that are targeting keys: str",
        "allow[1]: must not be empty",
        "allow[2]: is a string: int",
        "allow[3]: is a string: NoneType",
        'eligible[0].value: is a version with three parts, for example "1.4.0" or "2.0.0-rc.1": \'1.4\'',
        "eligible[1].op: unknown: 'semver_gtt'; did you mean \"semver_gt\"?",
        "eligible[2]: is an object with attribute and op: str",
        "rules[0].id: has 1 to 100 letters, digits and . _ -: 'a b'",
        "rules[0].when: is a list of objects with attribute and op: dict",
        "rules[0].percentage: is a percentage, 0 to 100: '20'",
        "rules[0].serve: unknown: 'blu'; did you mean \"blue\"?",
        "rules[1].id: cannot be 'variant': the salt of a split ends so",
        'rules[1].when[0].value: in compares with strings, numbers and booleans, in "values"',
        "rules[1].when[0].values: is a list of at least one: strings, numbers and booleans",
        "rules[1].bucket_by: must not be empty",
        "rules[2].serve.by: unknown key; known here: split",
        "rules[2].serve.split.gren: unknown: 'gren'; did you mean \"green\"?",
        "rules[2].serve.split.gren: is a weight, a whole number from 0: 1.5",
        "rules[2].weight: unknown key; known here: bucket_by, id, percentage, serve, when",
        "rules[3].id: is there twice: 'r'",
        "rules[4]: is an object with id, when and serve: list",
        "rollout.percentage: is a percentage, 0 to 100: -1",
        'rollout.serve.splits: unknown key; did you mean "split"?',
    )


# ------------------------------------------------------------------------------------------- conditions


def test_every_operator_has_an_operand_that_is_right():
    assert {op for op, *_ in GOOD_OPERANDS} == set(Operator)


@pytest.mark.parametrize(("op", "key", "operand"), GOOD_OPERANDS, ids=[op for op, *_ in GOOD_OPERANDS])
def test_an_operand_that_is_right_is_taken(op, key, operand):
    given = condition(op) if key is None else condition(op, **{key: operand})
    (read,) = FlagDefinition.from_json(document(eligible=[given])).eligible
    assert read.to_json() == given


@pytest.mark.parametrize(("op", "key", "operand"), GOOD_OPERANDS, ids=[op for op, *_ in GOOD_OPERANDS])
def test_an_operand_is_needed_and_in_the_right_key(op, key, operand):
    if key is not None:
        (missing,) = condition_problems(op=op)
        assert missing.startswith(f"{key}: is ")
    other = "values" if key == "value" else "value"
    problems = condition_problems(op=op, **{other: operand or 7}, **({key: operand} if key else {}))
    assert len(problems) == 1
    assert problems[0].startswith(f"{other}: {op} compares with ")


def test_exists_compares_with_nothing():
    assert condition_problems(value=1, values=[1]) == [
        "value: exists compares with nothing",
        "values: exists compares with nothing",
    ]


@pytest.mark.parametrize(
    ("op", "operand", "said"),
    [
        ("in", [], "values: is a list of at least one"),
        ("in", "beta", "values: is a list of at least one"),
        ("in", [{}], "values[0]: is one of strings, numbers and booleans: dict"),
        ("in", ["a", None], "values[1]: is one of strings, numbers and booleans: NoneType"),
        ("in", [float("nan")], "values[0]: a number is finite: nan"),
        ("in", [2**53], "values[0]: an integer lies within"),
        ("in", ["\ud800"], "values[0]: holds a lone surrogate"),
        ("contains", [7], "values[0]: is one of strings: int"),
        ("starts_with", ["a", ""], "values[1]: must not be empty"),
        ("matches", 7, "value: is one regular expression: int"),
        ("matches", "(a+)+", "value: repeats a group that itself holds"),
        ("matches", "\ud800", "value: holds a lone surrogate"),
        ("eq", "5", "value: is one number: str"),
        ("eq", True, "value: is one number: bool"),
        ("gt", float("inf"), "value: a number is finite: inf"),
        ("semver_eq", 1.4, "value: is one version: float"),
        ("before", "2027-03-31", "value: is a moment with an offset"),
        ("after", 1800000000000, "value: is one moment: int"),
        ("in_cidr", ["10.0.0.1/8"], "values[0]: is a network, for example"),
        ("in_cidr", [10], "values[0]: is one of networks: int"),
    ],
)
def test_an_operand_that_is_wrong_is_refused(op, operand, said):
    key = said.partition(":")[0].partition("[")[0]
    (problem,) = condition_problems(op=op, **{key: operand})
    assert problem.startswith(said)


@pytest.mark.parametrize("mark", ["negate", "ignore_case", "missing"])
@pytest.mark.parametrize("value", [1, "true", []])
def test_a_mark_is_true_or_false(mark, value):
    assert condition_problems(op="in", values=["a"], **{mark: value}) == [f"{mark}: is true or false: {value!r}"]


@pytest.mark.parametrize("op", ["in", "not_in", "starts_with", "ends_with", "contains", "matches"])
def test_operators_on_texts_may_ignore_case(op):
    operand = {"value": "a"} if op == "matches" else {"values": ["a"]}
    FlagDefinition.from_json(document(eligible=[condition(op, ignore_case=True, **operand)]))


def test_the_others_know_no_case():
    assert condition_problems(op="gt", value=1, ignore_case=True) == ["ignore_case: gt knows no case"]
    assert condition_problems(ignore_case=True) == ["ignore_case: exists knows no case"]


def test_exists_is_never_missing():
    assert condition_problems(missing=True) == ["missing: exists asks just that: use negate"]


def test_now_goes_with_before_and_after():
    for op in ("before", "after"):
        given = condition(op, value="2027-03-31T00:00:00Z", attribute="now")
        FlagDefinition.from_json(document(eligible=[given]))
    assert condition_problems(op="gt", value=1, attribute="now") == ["attribute: now goes with before and after: gt"]
    assert condition_problems(attribute="now") == ["attribute: now goes with before and after: exists"]


@pytest.mark.parametrize("attribute", [None, "", 7, "\ud800"])
def test_an_attribute_is_a_text(attribute):
    (problem,) = condition_problems(attribute=attribute)
    assert problem.startswith("attribute: ")


def test_an_operator_is_needed():
    (problem,) = problems_of(eligible=[{"attribute": "a"}])
    assert problem == "eligible[0].op: is missing; it is a string"


def test_an_unknown_operator_says_nothing_of_its_operand():
    assert condition_problems(op="regex", value="a", values=[]) == [
        "op: unknown: 'regex'; known here: " + ", ".join(Operator)
    ]


# ------------------------------------------------------------------------------------------- rules, splits, lists


@pytest.mark.parametrize("rule_id", ["-", "a", "A.b_c-d", "7", "a" * 100, "Variant"])
def test_the_id_of_a_rule_follows_the_grammar_of_a_salt(rule_id):
    assert FlagDefinition.from_json(document(rules=[rule(id=rule_id)])).rules[0].id == rule_id


@pytest.mark.parametrize("rule_id", ["", "a#b", "a:b", "a b", "a" * 101, "\u00e4", None, 7, "variant"])
def test_an_id_outside_the_grammar_is_refused(rule_id):
    (problem,) = problems_of(rules=[rule(id=rule_id)])
    assert problem.startswith("rules[0].id: ")


@pytest.mark.parametrize("percentage", [0, 0.01, 33.333, 100])
def test_a_rule_may_have_any_percentage(percentage):
    assert FlagDefinition.from_json(document(rules=[rule(percentage=percentage)])).rules[0].percentage == percentage


@pytest.mark.parametrize("split", [{"blue": 1}, {"blue": 0, "green": 2**31 - 1}, {"off": 3, "blue": 2, "green": 1}])
def test_a_split_has_integer_weights_in_the_documents_order(split):
    definition = FlagDefinition.from_json(document(rollout={"percentage": 5, "serve": {"split": split}}))
    assert definition.rollout.serve == Split(weights=tuple(split.items()))
    assert list(definition.to_json()["rollout"]["serve"]["split"]) == list(split)


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ({}, "split: has weights that sum to 1 .. 2^31 - 1"),
        ({"blue": 0}, "split: has weights that sum to 1 .. 2^31 - 1"),
        ({"blue": 2**30, "green": 2**30}, "split: has weights that sum to 1 .. 2^31 - 1: 32 bits"),
        ({"blue": 10**5000}, "split: has weights that sum to 1 .. 2^31 - 1: 16610 bits"),
        ({"blue": -1}, "split.blue: is a weight, a whole number from 0: -1"),
        ({"blue": True}, "split.blue: is a weight, a whole number from 0: True"),
        ({"blue": 0.5}, "split.blue: is a weight, a whole number from 0: 0.5"),
        ({"red": 1}, "split.red: unknown: 'red'; "),
        (["blue"], "split: is an object of integer weights by variant: list"),
        (None, "split: is an object of integer weights by variant: NoneType"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, str) else None,
)
def test_a_split_that_is_wrong_is_refused(split, said):
    (problem,) = problems_of(rollout={"percentage": 5, "serve": {"split": split}})
    assert problem.startswith(f"rollout.serve.{said}")


def test_what_is_served_is_a_variant_or_a_split():
    for serve, said in ((7, "is a string: 7"), (None, "is a string: None"), ({}, "split: is missing; it is an object")):
        (problem,) = problems_of(rollout={"percentage": 5, "serve": serve})
        assert problem.startswith("rollout.serve")
        assert said in problem


def test_a_split_names_no_variant_twice():
    with pytest.raises(FlagInvalid, match="names a variant twice: a, b, a"):
        Split(weights=(("a", 1), ("b", 1), ("a", 2)))


def test_who_is_allowed_is_served_what_the_rollout_serves_so_there_must_be_one():
    assert problems_of(rollout=None) == ("allow: needs a rollout, as its units are served what the rollout serves",)
    FlagDefinition.from_json(document(rollout=None, allow=None))


def test_a_prerequisite_is_there_once():
    wanted = {"flag_key": "a", "variants": ["on"]}
    assert problems_of(prerequisites=[wanted, wanted]) == ("prerequisites[1].flag_key: is there twice: 'a'",)


def test_a_prerequisite_may_be_an_imported_flag():
    wanted = {"flag_key": "Neue Kasse / \u00df:1", "variants": ["on"]}
    assert FlagDefinition.from_json(document(prerequisites=[wanted])).prerequisites[0].flag_key == wanted["flag_key"]
    for key in ("a\nb", "a" * 201, "\ud800"):
        (problem,) = problems_of(prerequisites=[wanted | {"flag_key": key}])
        assert problem.startswith("prerequisites[0].flag_key: ")


def test_where_the_variants_cannot_be_read_any_name_may_be_right():
    assert problems_of(variants=None)[0].startswith("variants: ")
    assert len(problems_of(variants=None)) == 1


def test_a_targeted_flag_is_one_whose_answer_depends_on_more_than_the_rollout():
    bare = dict.fromkeys(("prerequisites", "deny", "allow", "eligible", "rules"))
    assert not FlagDefinition.from_json(document(**bare)).is_targeted
    for key in bare:
        assert FlagDefinition.from_json(document(**bare | {key: FULL[key]})).is_targeted


# ------------------------------------------------------------------------------------------- changes


def test_rules_and_conditions_may_change():
    old = FlagDefinition.from_json(FULL)
    new = replace(old, rules=(replace(old.rules[1], percentage=50), old.rules[0]), eligible=(), deny=())
    assert old.replaced_by(new) is new
    assert old.replaced_by(replace(old, rules=())).rules == ()


def test_the_id_of_a_rule_that_hashes_may_not_change():
    old = FlagDefinition.from_json(FULL)
    renamed = replace(old, rules=(old.rules[0], replace(old.rules[1], id="europe"), old.rules[2]))
    with pytest.raises(
        FlagInvalid, match=r"rules\.eu-companies\.id: is immutable, 'eu-companies': 'europe'"
    ) as refused:
        old.replaced_by(renamed)
    assert refused.value.hint == "flags reshuffle checkout-v2"


def test_the_id_of_a_rule_that_does_not_hash_may():
    old = FlagDefinition.from_json(FULL)
    renamed = replace(old, rules=(replace(old.rules[0], id="testers"), *old.rules[1:]))
    assert old.replaced_by(renamed) is renamed
