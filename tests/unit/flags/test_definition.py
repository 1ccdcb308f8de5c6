"""The flag document: what it may say, and what a wrong one is told."""

import copy
import json
from dataclasses import replace
from datetime import date

import pytest

from phase4.errors import FlagInvalid
from phase4.flags import definition
from phase4.flags.definition import (
    GUIDE_FLAGS,
    FlagDefinition,
    FlagType,
    Kind,
    Rollout,
    command_percentage,
    guide_flag,
    read_definitions,
)

FULL = {
    "schema": "phase4.flag/1",
    "key": "truth-based-validation",
    "type": "boolean",
    "enabled": True,
    "variants": {"on": True, "off": False},
    "off_variant": "off",
    "default_variant": "off",
    "salt": "truth-based-validation",
    "algorithm": "murmur3-32/ms1",
    "rollout": {"percentage": 10, "bucket_by": "targetingKey", "serve": "on"},
    "kind": "release",
    "owner": "platform-team",
    "description": "Checks finished tasks before they count.",
    "expires": "2027-03-31",
    "metadata": {"area": "validation", "tier": 2, "load": 0.5, "public": True},
}
NEEDED = ("schema", "key", "type", "enabled", "variants", "off_variant", "default_variant")
MINIMAL = {name: FULL[name] for name in NEEDED}


def document(**changes):
    """Return the full document with some keys changed."""
    return copy.deepcopy(FULL) | changes


def rollout(**changes):
    """Return the full document with some keys of its rollout changed."""
    return document(rollout=FULL["rollout"] | changes)


def typed(flag_type, value):
    """Return a document of some type with one variant."""
    return document(type=flag_type, variants={"v": value}, off_variant="v", default_variant="v", rollout=None)


def nested(depth):
    """Return an object that is nested so deep."""
    value = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


def problems_of(wrong):
    """Return the problems that a document is refused for."""
    with pytest.raises(FlagInvalid) as refused:
        FlagDefinition.from_json(wrong)
    return refused.value.problems


def test_the_whole_document_is_read():
    assert FlagDefinition.from_json(FULL) == FlagDefinition(
        key="truth-based-validation",
        type=FlagType.BOOLEAN,
        enabled=True,
        variants={"on": True, "off": False},
        off_variant="off",
        default_variant="off",
        salt="truth-based-validation",
        rollout=Rollout(percentage=10, serve="on"),
        kind=Kind.RELEASE,
        owner="platform-team",
        description="Checks finished tasks before they count.",
        expires=date(2027, 3, 31),
        metadata={"area": "validation", "tier": 2, "load": 0.5, "public": True},
    )


def test_a_document_comes_out_as_it_went_in():
    assert json.dumps(FlagDefinition.from_json(FULL).to_json()) == json.dumps(FULL)


def test_what_a_short_document_leaves_out_has_its_default():
    definition = FlagDefinition.from_json(MINIMAL)
    assert definition.salt == definition.key
    assert definition.algorithm == "murmur3-32/ms1"
    assert definition.kind is Kind.RELEASE
    assert definition.rollout is definition.owner is definition.description is definition.expires is None
    assert definition.metadata == {}


def test_a_short_document_comes_out_with_the_salt_and_the_algorithm_it_was_given():
    added = {"salt": MINIMAL["key"], "algorithm": "murmur3-32/ms1", "kind": "release"}
    assert FlagDefinition.from_json(MINIMAL).to_json() == MINIMAL | added


@pytest.mark.parametrize(
    "key", ["salt", "algorithm", "rollout", "kind", "owner", "description", "expires", "metadata", "default_variant"]
)
def test_null_is_the_same_as_absent_where_a_key_may_be_absent(key):
    absent = {name: value for name, value in FULL.items() if name != key or key == "default_variant"}
    assert FlagDefinition.from_json(document(**{key: None})) == FlagDefinition.from_json(
        absent | ({"default_variant": None} if key == "default_variant" else {})
    )


def test_null_is_the_same_as_absent_in_a_rollout_too():
    assert FlagDefinition.from_json(rollout(bucket_by=None)).rollout.bucket_by == "targetingKey"


@pytest.mark.parametrize("key", NEEDED)
def test_a_key_that_is_needed_is_missed(key):
    (problem,) = problems_of({name: value for name, value in MINIMAL.items() if name != key})
    assert problem.startswith(f"{key}: is ")


def test_everything_that_is_wrong_is_said_at_once():
    wrong = document(
        schema="phase4.flag/2",
        key="a b",
        type="bool",
        enabled="yes",
        variants={"on": True, "of": float("nan")},
        off_variant="off",
        default_variant=0,
        salt="a:b",
        algorithm="crc32/1",
        rollout={"percentage": 101, "serve": "onn", "bucketby": "x"},
        kind="relase",
        owner="",
        expires="2027-02-30",
        metadata={"areas": ["validation"]},
        enabledd=True,
    )
    assert problems_of(wrong) == (
        "schema: unknown: 'phase4.flag/2'; did you mean \"phase4.flag/1\"?",
        "key: has 1 to 100 letters, digits and . _ -, and starts with a letter or a digit: 'a b'",
        "type: unknown: 'bool'; did you mean \"boolean\"?",
        "enabled: is true or false: 'yes'",
        "variants.of: a number is finite: nan",
        "off_variant: unknown: 'off'; did you mean \"of\"?",
        "default_variant: is a string: 0",
        "salt: has 1 to 100 letters, digits and . _ -: 'a:b'",
        "algorithm: unknown: 'crc32/1'; known here: murmur3-32/ms1, sha256/1",
        "kind: unknown: 'relase'; did you mean \"release\"?",
        "owner: must not be empty",
        "expires: is a date, for example \"2027-03-31\": '2027-02-30'",
        "metadata.areas: is a boolean, a string or a number: list",
        "rollout.percentage: is a percentage, 0 to 100: 101",
        "rollout.serve: unknown: 'onn'; did you mean \"on\"?",
        'rollout.bucketby: unknown key; did you mean "bucket_by"?',
        'enabledd: unknown key; did you mean "enabled"?',
    )


def test_the_message_names_the_file():
    with pytest.raises(FlagInvalid, match=r"^flags/checkout\.json: key: "):
        FlagDefinition.from_json(document(key=""), source="flags/checkout.json")


@pytest.mark.parametrize("wrong", [None, [], "flag", 7, [FULL]])
def test_a_document_is_an_object(wrong):
    assert problems_of(wrong) == (f"a flag document is a JSON object: {type(wrong).__name__}",)


@pytest.mark.parametrize("key", ["version", "logic", "layers", "segments"])
def test_a_key_that_is_not_known_is_refused(key):
    (problem,) = problems_of(document(**{key: []}))
    assert problem.startswith(f"{key}: unknown key; known here: algorithm, ")


@pytest.mark.parametrize("key", ["a", "7", "A.b_c-d", "a" * 100])
def test_a_key_in_the_grammar_is_taken(key):
    assert FlagDefinition.from_json(document(key=key)).key == key


@pytest.mark.parametrize("key", ["", "-a", ".a", "a/b", "a:b", "a#b", "ä", "a\n", "a" * 101])
def test_a_key_outside_the_grammar_is_refused(key):
    assert len(problems_of(document(key=key))) == 1


@pytest.mark.parametrize("salt", ["-", "_a", "checkout-v2", "s" * 100])
def test_a_salt_in_the_grammar_is_taken(salt):
    assert FlagDefinition.from_json(document(salt=salt)).salt == salt


@pytest.mark.parametrize("salt", ["", "a:b", "a#b", "a b", "s" * 101, "ä"])
def test_a_salt_outside_the_grammar_is_refused(salt):
    assert len(problems_of(document(salt=salt))) == 1


@pytest.mark.parametrize(
    ("flag_type", "value"),
    [
        ("boolean", False),
        ("string", ""),
        ("string", "\U0001f98a"),
        ("integer", -(2**53) + 1),
        ("float", 1),
        ("float", 1.5),
        ("object", {}),
        ("object", {"sizes": [1, 2.5, None, {"deep": True}]}),
        ("object", nested(32)),
    ],
)
def test_a_value_of_the_flags_type_is_taken(flag_type, value):
    assert FlagDefinition.from_json(typed(flag_type, value)).variants == {"v": value}


@pytest.mark.parametrize(
    ("flag_type", "value", "said"),
    [
        ("boolean", 1, "true or false: int"),
        ("boolean", "true", "true or false: str"),
        ("string", 1, "a string: int"),
        ("string", None, "a string: NoneType"),
        ("string", "\ud800", "lone surrogate"),
        ("integer", 1.0, "without a decimal point: float"),
        ("integer", True, "without a decimal point: bool"),
        ("integer", 2**53, "54 bits"),
        ("float", True, "a number: bool"),
        ("float", float("inf"), "a number is finite: inf"),
        ("float", 10**400, "1329 bits"),
        ("object", [], "an object: list"),
        ("object", {"a": [0, float("nan")]}, "variants.v.a[1]: a number is finite: nan"),
        ("object", {"a": {"\udfff": 0}}, "variants.v.a: holds a lone surrogate"),
        ("object", nested(33), "nested deeper than 32 levels"),
        ("object", nested(500), "nested deeper than 32 levels"),
        ("object", {"a": (1, 2)}, "no JSON value: tuple"),
    ],
)
def test_a_value_of_another_type_is_refused(flag_type, value, said):
    (problem,) = problems_of(typed(flag_type, value))
    assert problem.startswith("variants.v")
    assert said in problem


@pytest.mark.parametrize("variants", [None, {}, [], "on"])
def test_a_flag_has_a_variant(variants):
    assert [p.partition(":")[0] for p in problems_of(document(variants=variants))] == ["variants"]


@pytest.mark.parametrize("name", ["", "a\nb", "\x7f", "\ud800", "n" * 101])
def test_a_variant_has_a_name_that_can_be_written_down(name):
    (problem,) = problems_of(document(variants=FULL["variants"] | {name: True}))
    assert problem.startswith("variants: a name has 1 to 100 characters")


@pytest.mark.parametrize("key", ["off_variant", "default_variant"])
def test_a_variant_that_is_named_exists(key):
    assert problems_of(document(**{key: "Off"})) == (f"{key}: unknown: 'Off'; did you mean \"off\"?",)


def test_a_variant_that_resembles_none_is_told_which_there_are():
    assert problems_of(rollout(serve="blue")) == ("rollout.serve: unknown: 'blue'; variants: on, off",)


@pytest.mark.parametrize("percentage", [0, 0.01, 1e-9, 33.333333, 99.999999, 100])
def test_a_document_may_have_any_percentage(percentage):
    assert FlagDefinition.from_json(rollout(percentage=percentage)).rollout.percentage == percentage


@pytest.mark.parametrize("percentage", [-0.01, 100.01, float("nan"), float("inf"), 10**400, "10", True, None, [10]])
def test_what_is_no_percentage_is_refused(percentage):
    (problem,) = problems_of(rollout(percentage=percentage))
    assert problem.startswith("rollout.percentage: is a percentage, 0 to 100: ")


def test_a_rollout_needs_a_percentage_and_what_to_serve():
    assert problems_of(document(rollout={})) == (
        "rollout.percentage: is missing; it is a percentage, 0 to 100",
        "rollout.serve: is missing; it is a string",
    )


@pytest.mark.parametrize("bucket_by", ["", 7, "\ud800"])
def test_the_attribute_to_bucket_by_is_a_text(bucket_by):
    (problem,) = problems_of(rollout(bucket_by=bucket_by))
    assert problem.startswith("rollout.bucket_by: ")


@pytest.mark.parametrize("expires", ["20270331", "2027-W13-3", "2027-03-31T00:00:00Z", "2027-13-01", 2027, ""])
def test_the_date_of_expiry_is_a_date(expires):
    (problem,) = problems_of(document(expires=expires))
    assert problem.startswith("expires: is a date")


@pytest.mark.parametrize("metadata", [[], {"a": None}, {"a": {}}, {"a": float("nan")}, {"a": 2**60}, {"\ud800": 1}])
def test_metadata_is_what_ofrep_can_carry(metadata):
    (problem,) = problems_of(document(metadata=metadata))
    assert problem.startswith("metadata")


def test_a_definition_is_checked_when_it_is_made_without_a_document():
    with pytest.raises(FlagInvalid, match="percentage, 0 to 100: 101"):
        replace(FlagDefinition.from_json(FULL), rollout=Rollout(percentage=101, serve="on"))


def test_a_definition_does_not_change_with_the_document_it_was_read_from():
    given = typed("object", {"sizes": [1]})
    definition = FlagDefinition.from_json(given)
    given["variants"]["v"]["sizes"].append(2)
    definition.to_json()["variants"]["v"]["sizes"].append(3)
    assert definition.variants == {"v": {"sizes": [1]}}


def test_a_percentage_may_change_and_a_key_too():
    old = FlagDefinition.from_json(FULL)
    new = replace(old, key="validation", rollout=Rollout(percentage=25, serve="on"))
    assert old.replaced_by(new) is new


def test_an_algorithm_may_not_change():
    old = FlagDefinition.from_json(FULL)
    with pytest.raises(FlagInvalid, match="algorithm: is immutable, 'murmur3-32/ms1': 'sha256/1'"):
        old.replaced_by(replace(old, algorithm="sha256/1"))


def test_a_salt_may_not_change():
    old = FlagDefinition.from_json(FULL)
    with pytest.raises(FlagInvalid, match="salt: is immutable, 'truth-based-validation': 'other'") as refused:
        old.replaced_by(replace(old, salt="other"))
    assert refused.value.hint == "flags reshuffle truth-based-validation"


@pytest.mark.parametrize("algorithm", definition.ALGORITHMS)
def test_every_named_algorithm_is_taken(algorithm):
    assert FlagDefinition.from_json(document(algorithm=algorithm)).algorithm == algorithm


def test_documents_are_read_together():
    assert read_definitions([document(), document(key="b")]) == (
        FlagDefinition.from_json(FULL),
        FlagDefinition.from_json(document(key="b")),
    )
    assert read_definitions([]) == ()


def test_one_bad_document_refuses_them_all_and_says_which():
    with pytest.raises(FlagInvalid) as refused:
        read_definitions([document(), document(key="b", enabled="yes"), 7, document(key="", owner=""), {}])
    problems = refused.value.problems
    assert problems[0] == "b: enabled: is true or false: 'yes'"
    assert problems[1] == "[2]: a flag document is a JSON object: int"
    assert problems[2:4] == ("[3]: key: must not be empty", "[3]: owner: must not be empty")
    assert problems[4].startswith("[4]: schema: is missing")


def test_the_guides_flags_are_boolean_and_their_salt_is_their_key():
    assert list(GUIDE_FLAGS) == ["truth-based-validation", "byzantine-consensus", "hook-interception"]
    for key in GUIDE_FLAGS:
        flag = guide_flag(key, enabled=False, percentage=10)
        assert (flag.key, flag.salt, flag.type, flag.enabled) == (key, key, FlagType.BOOLEAN, False)
        assert flag.variants == {"on": True, "off": False}
        assert (flag.off_variant, flag.default_variant) == ("off", "off")
        assert flag.rollout == Rollout(percentage=10, serve="on")


def test_a_guides_flag_may_be_created_on_and_at_another_percentage():
    flag = guide_flag("hook-interception", enabled=True, percentage=2.5)
    assert (flag.enabled, flag.rollout.percentage) == (True, 2.5)
    with pytest.raises(FlagInvalid, match="percentage, 0 to 100: 101"):
        guide_flag("hook-interception", enabled=True, percentage=101)


def test_the_guide_has_no_other_flags():
    with pytest.raises(FlagInvalid, match='did you mean "hook-interception"'):
        guide_flag("hook-interceptions", enabled=False, percentage=10)


@pytest.mark.parametrize(
    ("text", "percentage"),
    [("0", 0), ("0.01", 0.01), ("10", 10), ("12.5", 12.5), ("33.33", 33.33), ("99.99", 99.99), ("100", 100)],
)
def test_a_command_names_a_percentage(text, percentage):
    assert command_percentage(text) == percentage
    assert command_percentage(f"{percentage:.2f}") == percentage


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "10abc",
        "1e1",
        "nan",
        "inf",
        "101",
        "100.01",
        "-1",
        "-0",
        "+5",
        "0.001",
        "10.",
        ".5",
        "010",
        "10%",
        "1_0",
        "10,5",
        " 10",
        "10\n",
        "\u0661\u0660",
    ],
)
def test_a_slip_is_no_percentage(text):
    with pytest.raises(ValueError, match="from 0 to 100 with at most 2 decimals") as refused:
        command_percentage(text)
    assert str(refused.value).endswith(f"for example 12.5: {text!r}")
