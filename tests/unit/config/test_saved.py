"""What `init` saves."""

import pytest

from phase4.config.resolution import resolve
from phase4.config.saved import to_save
from phase4.config.settings import PRESET
from phase4.errors import SettingInvalid


def refused(*args, **kwargs):
    with pytest.raises(SettingInvalid) as caught:
        to_save(*args, **kwargs)
    return caught.value.problems


def test_environment_preset_and_values_are_saved():
    assert to_save("staging", "conservative", {"DASHBOARD_PORT": "3005"}) == {
        "PHASE4_ENVIRONMENT": "staging",
        PRESET: "conservative",
        "DASHBOARD_PORT": "3005",
    }


def test_what_was_not_said_is_not_saved():
    assert to_save(None, None, {}) == {}


def test_what_is_saved_comes_back_by_resolving():
    settings = resolve({"HOME": "/home/ada"}, to_save("staging", "conservative", {"DASHBOARD_PORT": "3005"}), {})
    assert (settings.phase4_environment, settings.preset, settings.dashboard_port) == ("staging", "conservative", 3005)
    assert str(settings.origin("DASHBOARD_PORT")) == "saved by init"


def test_values_of_the_environment_are_never_saved(monkeypatch):
    monkeypatch.setenv("DASHBOARD_PORT", "3999")
    monkeypatch.setenv("PHASE4_ENVIRONMENT", "production")
    monkeypatch.setenv("PHASE4_USER", "ada")
    assert to_save(None, "testing", {"STALE_FLAG_DAYS": "7"}) == {PRESET: "testing", "STALE_FLAG_DAYS": "7"}


def test_saving_again_keeps_what_is_not_said_again():
    before = to_save("staging", "conservative", {"DASHBOARD_PORT": "3005"})
    after = to_save(None, None, {"STALE_FLAG_DAYS": "7"}, before=before)
    assert after == {**before, "STALE_FLAG_DAYS": "7"}


def test_saving_again_replaces_what_is_said_again():
    before = to_save("staging", "conservative", {"DASHBOARD_PORT": "3005"})
    assert to_save("test", "testing", {"DASHBOARD_PORT": "3006"}, before=before) == {
        "PHASE4_ENVIRONMENT": "test",
        PRESET: "testing",
        "DASHBOARD_PORT": "3006",
    }


def test_an_empty_value_takes_back_what_was_saved():
    assert to_save(None, None, {"DASHBOARD_PORT": ""}, before={"DASHBOARD_PORT": "3005"}) == {}


def test_everything_that_is_wrong_is_named_at_once():
    problems = refused("prod", "agressive", {"DASHBOARD_PORT": "abc", "DASHBORD_PORT": "1", "PHASE4_HOME": "/srv"})
    assert [line.split(":")[0] for line in problems] == [
        "PHASE4_HOME",
        "DASHBORD_PORT",
        "PHASE4_ENVIRONMENT",
        "DASHBOARD_PORT",
        "preset",
    ]


@pytest.mark.parametrize(("name", "way"), [("PHASE4_HOME", "--home"), ("PHASE4_ENVIRONMENT", "--environment")])
def test_what_has_an_option_of_its_own_is_not_set_by_name(name, way):
    (problem,) = refused(None, None, {name: "test"})
    assert way in problem


def test_the_preset_is_no_setting():
    (problem,) = refused(None, None, {PRESET: "testing"})
    assert problem.startswith("preset: unknown setting")
