"""Each kind of setting: what it takes, what it refuses, and what it says then."""

from pathlib import Path

import pytest

from phase4.config.parsing import parse, quoted, show
from phase4.config.setting import Kind
from phase4.config.settings import SETTINGS

BY_KIND = {kind: [name for name, row in SETTINGS.items() if row.kind is kind] for kind in Kind}
BAD_NUMBERS = ["", "abc", "10abc", " 10 ", "10 ", "+10", "-1", "1_000", "0x10", "1e1", "nan", "NaN", "inf", "٣", "１０"]


def read(name, text):
    return parse(SETTINGS[name], text)


def refusal(name, text):
    with pytest.raises(ValueError, match=r"^(is|has) ") as caught:
        read(name, text)
    return str(caught.value)


@pytest.mark.parametrize("name", BY_KIND[Kind.BOOLEAN])
@pytest.mark.parametrize("text", ["true", "1", "yes", "on", "TRUE", "Yes", "oN"])
def test_yes_in_any_of_its_words_and_cases_is_true(name, text):
    assert read(name, text) is True


@pytest.mark.parametrize("name", BY_KIND[Kind.BOOLEAN])
@pytest.mark.parametrize("text", ["false", "0", "no", "off", "FALSE", "No", "oFF"])
def test_the_text_false_is_false(name, text):
    assert read(name, text) is False


@pytest.mark.parametrize("name", BY_KIND[Kind.BOOLEAN])
@pytest.mark.parametrize("text", ["truthy", "2", "01", "y", "t", " true", "enabled", "none"])
def test_anything_else_is_no_boolean(name, text):
    assert "true or false" in refusal(name, text)


@pytest.mark.parametrize("name", BY_KIND[Kind.INTEGER])
def test_both_ends_of_a_whole_numbers_range_belong_to_it(name):
    row = SETTINGS[name]
    assert (read(name, str(row.low)), read(name, str(row.high))) == (row.low, row.high)


@pytest.mark.parametrize("name", BY_KIND[Kind.INTEGER])
@pytest.mark.parametrize("text", [*BAD_NUMBERS, "10.5", "10.0", "9" * 25, "9" * 5000])
def test_a_whole_number_has_digits_only(name, text):
    assert "whole number" in refusal(name, text)


@pytest.mark.parametrize("name", BY_KIND[Kind.INTEGER])
def test_a_whole_number_beyond_its_range_is_refused(name):
    row = SETTINGS[name]
    assert row.range in refusal(name, str(row.high + 1))
    if row.low > 0:
        assert row.range in refusal(name, str(row.low - 1))


def test_leading_zeros_change_nothing():
    assert read("DASHBOARD_PORT", "0080") == 80


@pytest.mark.parametrize("name", BY_KIND[Kind.PERCENTAGE])
@pytest.mark.parametrize(
    ("text", "value"), [("0", 0.0), ("10", 10.0), ("0.01", 0.01), ("99.99", 99.99), ("100", 100.0)]
)
def test_a_percentage_runs_from_0_to_100_with_two_decimals(name, text, value):
    assert read(name, text) == value


@pytest.mark.parametrize("name", BY_KIND[Kind.PERCENTAGE])
@pytest.mark.parametrize("text", [*BAD_NUMBERS, "100.01", "101", "0.125", "10.", ".5"])
def test_what_is_no_percentage_is_refused(name, text):
    assert "percentage, 0 to 100, at most 2 decimals" in refusal(name, text)


def test_a_percent_sign_after_a_percentage_is_refused_and_the_number_without_it_shown():
    assert refusal("HOOK_ROLLOUT_PERCENTAGE", "10%").endswith("'10%'; write 10")
    assert refusal("HOOK_ROLLOUT_PERCENTAGE", "0%").endswith("'0%'; write 0")


@pytest.mark.parametrize("text", ["110%", "%", "x%"])
def test_nothing_is_suggested_where_the_number_without_the_sign_is_wrong_too(text):
    assert refusal("HOOK_ROLLOUT_PERCENTAGE", text).endswith(f"'{text}'")


@pytest.mark.parametrize("name", BY_KIND[Kind.RATE])
@pytest.mark.parametrize(("text", "value"), [("0", 0.0), ("0.0", 0.0), ("0.01", 0.01), ("0.005", 0.005), ("0.9", 0.9)])
def test_a_rate_is_a_plain_decimal_number(name, text, value):
    assert read(name, text) == value


@pytest.mark.parametrize("name", BY_KIND[Kind.RATE])
@pytest.mark.parametrize("text", [*BAD_NUMBERS, "1%", "1.01", "-0.1", ".5", "0.5.5", "1e-3"])
def test_what_is_no_rate_is_refused(name, text):
    assert "rate, 0 to " in refusal(name, text)


def test_one_is_the_highest_rate():
    assert read("ROLLOUT_ERROR_THRESHOLD", "1") == 1.0


def test_a_consensus_threshold_above_nine_tenths_is_refused():
    assert "rate, 0 to 0.9" in refusal("CONSENSUS_THRESHOLD", "0.91")


@pytest.mark.parametrize(
    ("text", "hint"),
    [("1%", "1 % is 0.01"), ("0.7%", "0.7 % is 0.007"), ("5", "5 % is 0.05"), ("95 %", "95 % is 0.95")],
)
def test_a_percentage_in_the_place_of_a_rate_is_told_as_a_rate(text, hint):
    assert refusal("ROLLOUT_ERROR_THRESHOLD", text).endswith(f"; {hint}")


@pytest.mark.parametrize("name", BY_KIND[Kind.CHOICE])
def test_every_option_of_a_choice_is_taken(name):
    assert [read(name, option) for option in SETTINGS[name].options] == list(SETTINGS[name].options)


@pytest.mark.parametrize(
    ("name", "text", "hint"),
    [
        ("PHASE4_ENVIRONMENT", "prod", "production"),
        ("PHASE4_ENVIRONMENT", "Production", "production"),
        ("HOOK_MODE", "observer", "observe"),
    ],
)
def test_a_choice_that_is_none_is_told_the_nearest_option(name, text, hint):
    assert refusal(name, text).endswith(f'{text!r}; did you mean "{hint}"?')


@pytest.mark.parametrize("text", ["ada", "user 7", "zoë"])
def test_a_text_is_taken_as_it_is(text):
    assert read("PHASE4_USER", text) == text


@pytest.mark.parametrize("text", ["  ", "a\nb", "\x00", "a\x1b[31m"])
def test_a_text_that_cannot_be_seen_is_refused(text):
    assert "printable" in refusal("PHASE4_USER", text)


@pytest.mark.parametrize("text", ["/srv/phase4", "state", "~/state", "."])
def test_a_path_is_any_path(text):
    assert read("PHASE4_HOME", text) == Path(text)


@pytest.mark.parametrize("text", ["/run/secrets/webhook", "~/webhook.key"])
def test_a_secret_comes_by_its_path(text):
    assert read("ALERT_WEBHOOK_SECRET_FILE", text) == Path(text)


@pytest.mark.parametrize("text", ["webhook.key", "./webhook.key", "hunter2"])
def test_a_secret_file_without_its_whole_path_is_refused(text):
    assert "absolute path" in refusal("ALERT_WEBHOOK_SECRET_FILE", text)


@pytest.mark.parametrize(
    "text",
    [
        "https://example.org",
        "https://example.org:8443/services/T0/B0?x=1",
        "http://localhost:9000/hook",
        "http://127.0.0.1/hook",
        "http://127.8.8.8/hook",
        "http://[::1]:9000/hook",
    ],
)
def test_a_url_is_https_or_on_loopback(text):
    assert read("ALERT_WEBHOOK_URL", text) == text


@pytest.mark.parametrize(
    "text",
    [
        "example.org",
        "ftp://example.org/",
        "http://example.org/",
        "http://10.0.0.1/",
        "http://localhost.example.org/",
        "https://",
        "https:///path",
        "https://exa mple.org/",
        "https://example.org/\n",
        "https://example.org:0/",
        "https://example.org:99999/",
        "https://example.org:port/",
        "https://[::1/",
        "https://example.org/#part",
        "https://exämple.org/",
        "file:///etc/passwd",
    ],
)
def test_any_other_url_is_refused(text):
    assert "https URL, or http on loopback" in refusal("ALERT_WEBHOOK_URL", text)


@pytest.mark.parametrize("text", ["https://ada:s3cret@example.org/", "https://s3cret@example.org/", "ftp://a:s3cret@h"])
def test_a_password_inside_a_url_is_refused_and_not_repeated(text):
    message = refusal("ALERT_WEBHOOK_URL", text)
    assert "s3cret" not in message
    assert "secret comes in a file" in message


def test_a_long_value_is_shortened_in_a_message():
    assert len(refusal("DASHBOARD_PORT", "9" * 5000)) < 200


def test_an_at_sign_without_a_password_is_left_alone():
    assert quoted("https://@example.org/a@b") == "'https://***@b'"
    assert quoted("ada@example.org") == "'ada@example.org'"
    assert quoted("https://example.org/") == "'https://example.org/'"


@pytest.mark.parametrize("text", ["", "maybe", "x" * 200])
def test_a_message_says_the_value(text):
    assert quoted(text) in refusal("MONITORING_ENABLED", text)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (3001, "3001"),
        (10.0, "10"),
        (0.1, "0.1"),
        (1e-05, "0.00001"),
        ("production", "production"),
        (Path("/srv"), "/srv"),
    ],
)
def test_a_value_is_shown_as_it_is_written(value, shown):
    assert show(value) == shown
