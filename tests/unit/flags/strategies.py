"""Hypothesis strategies for flags: JSON of any kind, whole definitions, sets of flags, contexts that often match."""

from hypothesis import strategies as st

from phase4.flags.definition import (
    ALGORITHMS,
    Condition,
    FlagDefinition,
    FlagType,
    Kind,
    Operator,
    Prerequisite,
    Rollout,
    Rule,
    Split,
)
from phase4.flags.evaluation import Flag
from phase4.flags.schema import CASED, OPERANDS, WEIGHT_MAX, Operand

PERCENTAGES = st.floats(0, 100) | st.integers(0, 100) | st.sampled_from([0.01, 33.3, 50, 99.99])
ANY_TEXTS = st.text(st.characters(exclude_categories=()))
"""Lone surrogates too, as JSON can spell them."""
SALTS = st.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True)
KEYS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXTS
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXTS, inner, max_size=4), max_leaves=12
)
KEPT_TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SOME_TEXTS = KEPT_TEXTS.filter(bool)
NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
KEPT_SCALARS = st.none() | st.booleans() | NUMBERS | KEPT_TEXTS
KEPT_JSON = st.recursive(
    KEPT_SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEPT_TEXTS, inner, max_size=3)
)
VALUES = {
    FlagType.BOOLEAN: st.booleans(),
    FlagType.STRING: KEPT_TEXTS,
    FlagType.INTEGER: st.integers(-(2**53) + 1, 2**53 - 1),
    FlagType.FLOAT: NUMBERS,
    FlagType.OBJECT: st.dictionaries(KEPT_TEXTS, KEPT_JSON, max_size=3),
}
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)

UNITS = st.sampled_from([*(f"u{i}" for i in range(12)), "7"])
LISTED = st.sampled_from(["u0", "7", *(f"somebody{i}" for i in range(9))]) | SOME_TEXTS
"""For `deny` and `allow`: seldom one of the units, so that the later steps are reached."""
ATTRIBUTES = st.sampled_from(["a", "b", "a.b", "targetingKey"])
VERSIONS = st.sampled_from(["1.0.0-rc.1", "1.0.0", "v1.4.0", "2.0.0+7"])
MOMENTS = st.sampled_from(["2026-12-31T23:59:59Z", "2027-01-15T08:00:00Z", "2027-01-15T09:00:00+01:00"])
ADDRESSES = st.sampled_from(["10.0.0.1", "192.168.1.7", "::1", "::ffff:10.0.0.1"])
OPERAND_VALUES = {
    Operand.SCALARS: UNITS | st.booleans() | st.sampled_from([7, 0.5, 1]) | KEPT_TEXTS | NUMBERS,
    Operand.TEXTS: UNITS | SOME_TEXTS,
    Operand.PATTERN: st.sampled_from(["^u", "[0-9]$", "(?:ab)*c", "1|2", "a.*b"]),
    Operand.NUMBER: st.sampled_from([0, 7, 1.5]) | NUMBERS,
    Operand.VERSION: VERSIONS,
    Operand.MOMENT: MOMENTS,
    Operand.NETWORKS: st.sampled_from(["10.0.0.0/8", "192.168.1.7", "::/0"]),
}
NOWS = st.none() | st.sampled_from([1_700_000_000_000, 1_800_000_000_000, 1_800_000_000_001])


@st.composite
def conditions(draw):
    """Return any valid condition."""
    op = draw(st.sampled_from(Operator))
    operand = OPERANDS[op]
    attribute = draw(ATTRIBUTES | SOME_TEXTS.filter(lambda text: text != "now"))
    if operand is Operand.MOMENT:
        attribute = draw(st.just("now") | st.just(attribute))
    given = {}
    if operand in {Operand.SCALARS, Operand.TEXTS, Operand.NETWORKS}:
        given["values"] = tuple(draw(st.lists(OPERAND_VALUES[operand], min_size=1, max_size=3)))
    elif operand is not Operand.NOTHING:
        given["value"] = draw(OPERAND_VALUES[operand])
    return Condition(
        attribute=attribute,
        op=op,
        negate=draw(st.booleans()),
        ignore_case=operand in CASED and draw(st.booleans()),
        missing=op is not Operator.EXISTS and draw(st.booleans()),
        **given,
    )


@st.composite
def serves(draw, variants):
    """Return a variant, or a split of several with weights that sum to at least 1."""
    if draw(st.booleans()):
        return draw(st.sampled_from(variants))
    names = draw(st.lists(st.sampled_from(variants), min_size=1, unique=True))
    weights = [draw(st.integers(0, 3) | st.integers(0, WEIGHT_MAX // len(names))) for _ in names]
    weights[0] = max(weights[0], 0 if any(weights) else 1)
    return Split(weights=tuple(zip(names, weights, strict=True)))


COMMON_UNITS = st.sampled_from([*["targetingKey"] * 9, "a", "b"])
# a mapped strategy counts as another one, so that the common case comes three times out of four
BUCKET_BY = st.one_of(COMMON_UNITS, COMMON_UNITS.map(str), COMMON_UNITS.map(str.strip), SOME_TEXTS)


@st.composite
def rules(draw, variants):
    """Return a few valid rules."""
    ids = draw(st.lists(SALTS.filter(lambda text: text != "variant"), max_size=3, unique=True))
    return tuple(
        Rule(
            id=rule_id,
            when=tuple(draw(st.lists(conditions(), max_size=2))),
            serve=draw(serves(variants)),
            percentage=draw(st.none() | PERCENTAGES),
            bucket_by=draw(BUCKET_BY),
        )
        for rule_id in ids
    )


PREREQUISITES = st.lists(
    st.builds(Prerequisite, flag_key=NAMES, variants=st.lists(NAMES, min_size=1, max_size=2).map(tuple)),
    max_size=2,
    unique_by=lambda wanted: wanted.flag_key,
).map(tuple)


@st.composite
def decorations(draw):
    """Return the fields of a definition that decide nothing."""
    texts = st.none() | SOME_TEXTS
    return {
        "kind": draw(st.sampled_from(Kind)),
        "owner": draw(texts),
        "description": draw(texts),
        "expires": draw(st.none() | st.dates()),
        "metadata": draw(st.dictionaries(KEPT_TEXTS, st.booleans() | NUMBERS | KEPT_TEXTS, max_size=3)),
    }


@st.composite
def targeting(draw, variants):
    """Return the fields of a definition that decide who is served what, but for the prerequisites."""
    name = st.sampled_from(variants)
    rollout = draw(st.none() | st.builds(Rollout, percentage=PERCENTAGES, serve=serves(variants), bucket_by=BUCKET_BY))
    return {
        "off_variant": draw(name),
        "default_variant": draw(st.none() | name),
        "salt": draw(SALTS),
        "algorithm": draw(st.sampled_from(ALGORITHMS)),
        "deny": tuple(draw(st.lists(LISTED, max_size=2))),
        "allow": () if rollout is None else tuple(draw(st.lists(LISTED, max_size=2))),
        "eligible": tuple(draw(st.lists(conditions(), max_size=draw(st.sampled_from([0, 0, 1, 2]))))),
        "rules": draw(rules(variants)),
        "rollout": rollout,
    }


@st.composite
def definitions(draw, prerequisites=PREREQUISITES):
    """Return any valid definition."""
    flag_type = draw(st.sampled_from(FlagType))
    variants = draw(st.dictionaries(NAMES, VALUES[flag_type], min_size=1, max_size=4))
    return FlagDefinition(
        key=draw(KEYS),
        type=flag_type,
        enabled=draw(st.booleans()),
        variants=variants,
        prerequisites=draw(prerequisites),
        **draw(targeting(sorted(variants))),
        **draw(decorations()),
    )


LONE_DEFINITIONS = definitions(prerequisites=st.just(()))
"""Without prerequisites: a set of one."""


@st.composite
def flag_lists(draw):
    """Return up to three flags, `k0` to `k2`; each may have those before it as prerequisites."""
    variants = {"on": "1", "off": "0", "blue": "b"}
    flags = []
    for index in range(draw(st.integers(1, 3))):
        earlier = draw(st.lists(st.sampled_from(range(index)), max_size=2, unique=True)) if flags else []
        names = st.lists(st.sampled_from(sorted(variants)), min_size=1, max_size=2).map(tuple)
        definition = FlagDefinition(
            key=f"k{index}",
            type=FlagType.STRING,
            # mostly, so that the steps after the first are reached
            enabled=draw(st.sampled_from([True, True, True, False])),
            variants=variants,
            prerequisites=tuple(Prerequisite(flag_key=f"k{other}", variants=draw(names)) for other in earlier),
            **draw(targeting(sorted(variants))),
        )
        flags.append(Flag(definition=definition, version=3, entry=2))
    return flags


ABOUT_SOMEBODY = st.fixed_dictionaries(
    {"targetingKey": UNITS},
    optional={
        "a": UNITS
        | VERSIONS
        | MOMENTS
        | ADDRESSES
        | st.lists(UNITS)
        | st.fixed_dictionaries({"b": UNITS | JSON})
        | JSON,
        "b": st.sampled_from([0, 7, "7", True, None, 1.5]) | JSON,
        "a.b": UNITS | JSON,
        "now": MOMENTS | JSON,
    },
)
"""Contexts with a unit, that conditions on `ATTRIBUTES` are often about."""
UNUSUAL_UNITS = st.sampled_from([7, 7.0, "", None, True]) | JSON
ABOUT_ANYBODY = st.builds(lambda context, unit: {**context, "targetingKey": unit}, ABOUT_SOMEBODY, UNUSUAL_UNITS)
CONTEXTS = st.one_of(ABOUT_SOMEBODY, ABOUT_SOMEBODY.map(dict), ABOUT_ANYBODY, JSON)
