"""Rules of the settings that hold for every value and every set of layers."""

from hypothesis import assume, given
from hypothesis import strategies as st

from phase4.config.parsing import parse, show
from phase4.config.profiles import PRESETS, PROFILES
from phase4.config.resolution import resolve
from phase4.config.saved import to_save
from phase4.config.setting import Kind
from phase4.config.settings import PRESET, SETTINGS, Layer
from phase4.errors import SettingInvalid

HOME = {"HOME": "/home/ada"}
NAMES = sorted(set(SETTINGS) - {"PHASE4_HOME", "PHASE4_ENVIRONMENT"})
PRINTABLE = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=12)


def values(row):
    """Return a strategy of values in the range of a row."""
    match row.kind:
        case Kind.BOOLEAN:
            return st.booleans()
        case Kind.INTEGER:
            return st.integers(row.low, row.high)
        case Kind.PERCENTAGE:
            return st.integers(0, 10_000).map(lambda hundredths: hundredths / 100)
        case Kind.RATE:
            return st.floats(0, row.high).map(lambda rate: abs(round(rate, 12)))
        case Kind.CHOICE:
            return st.sampled_from(row.options)
        case Kind.TEXT:
            return PRINTABLE
        case Kind.URL:
            return st.integers(1, 65_535).map("https://example.org:{}/hook".format)
        case _:
            return st.integers(0, 9).map("/srv/{}".format)


named_values = st.sampled_from(NAMES).flatmap(lambda name: st.tuples(st.just(name), values(SETTINGS[name])))
layers = st.fixed_dictionaries(
    {},
    optional={
        "environment": st.sampled_from(sorted(PROFILES)),
        "preset": st.sampled_from(sorted(PRESETS)),
        Layer.SAVED: st.integers(0, 9),
        Layer.VARIABLE: st.integers(0, 9),
        Layer.COMMAND_LINE: st.integers(0, 9),
    },
)


@given(named_values)
def test_a_value_that_is_shown_can_be_read_back(named):
    name, value = named
    assert show(parse(SETTINGS[name], show(value))) == show(value)


@given(st.sampled_from(NAMES), layers, st.data())
def test_the_highest_layer_that_sets_a_value_wins(name, said, data):
    expected, origin = SETTINGS[name].default, "default"
    environment = said.get("environment", "development")
    given_below = [("profile", environment, PROFILES[environment])]
    if "preset" in said:
        given_below.append(("preset", said["preset"], PRESETS[said["preset"]]))
    for kind, title, table in given_below:
        if name in table:
            expected, origin = table[name], f"{kind} {title}"
    texts = {layer: {} for layer in (Layer.SAVED, Layer.VARIABLE, Layer.COMMAND_LINE)}
    for layer, layer_texts in texts.items():
        if layer in said:
            expected, origin = data.draw(values(SETTINGS[name])), layer.value
            layer_texts[name] = show(expected)
    texts[Layer.SAVED] |= {PRESET: said["preset"]} if "preset" in said else {}
    texts[Layer.VARIABLE] |= {"PHASE4_ENVIRONMENT": environment, **HOME}
    settings = resolve(texts[Layer.VARIABLE], texts[Layer.SAVED], texts[Layer.COMMAND_LINE])
    assert (show(settings.value(name)), str(settings.origin(name))) == (show(expected), origin)


@given(st.lists(named_values, max_size=4), st.lists(named_values, max_size=4))
def test_nothing_of_the_environment_is_saved(saved, variables):
    typed = {name: show(value) for name, value in saved}
    environment = HOME | {name: show(value) for name, value in variables}
    first = to_save("test", "testing", typed)
    resolve(environment, first, {})
    assert to_save(None, None, {}, before=first) == first
    assert first == {"PHASE4_ENVIRONMENT": "test", PRESET: "testing", **typed}


@given(st.sampled_from(NAMES), st.text(min_size=1, max_size=20))
def test_any_text_is_a_value_or_a_refusal_that_names_its_setting(name, text):
    try:
        settings = resolve(HOME | {name: text}, {}, {})
    except SettingInvalid as error:
        assert [line.split(":")[0] for line in error.problems] == [name]  # noqa: PT017  both ends are the property
    else:
        assert settings.origin(name).layer is Layer.VARIABLE


@given(st.dictionaries(st.from_regex(r"PHASE4_[A-Z_]{1,20}", fullmatch=True), st.text(max_size=5), max_size=4))
def test_unknown_names_never_stop_a_command(environment):
    assume(not set(environment) & set(SETTINGS))
    assert len(resolve(HOME | environment, {}, {}).warnings) <= len(environment)
