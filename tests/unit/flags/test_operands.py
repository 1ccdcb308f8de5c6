"""Versions, moments, numbers, networks and patterns: what can be read, how it compares, and what is refused."""

import itertools
import time

import pytest

from phase4.flags import operands

PRECEDENCE = [
    "0.0.1",
    "0.9.0",
    "0.10.0",
    "1.0.0-0",
    "1.0.0-1",
    "1.0.0-9",
    "1.0.0-10",
    "1.0.0--",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "1.0.1",
    "1.10.0",
    "2.0.0-rc.1",
    "2.0.0",
    f"{10**80}.0.0",
]
"""The examples of Semantic Versioning 2.0.0, 11, and some around them, in ascending order."""


@pytest.mark.parametrize(("lower", "higher"), list(itertools.pairwise(PRECEDENCE)))
def test_versions_have_the_precedence_of_semver(lower, higher):
    assert operands.version(lower) < operands.version(higher)


def test_precedence_is_a_total_order():
    assert sorted(map(operands.version, reversed(PRECEDENCE))) == [operands.version(text) for text in PRECEDENCE]


@pytest.mark.parametrize("same", ["v1.4.0", "1.4.0+build", "1.4.0+1.a.-", "v1.4.0+001"])
def test_the_build_and_a_leading_v_do_not_matter(same):
    assert operands.version(same) == operands.version("1.4.0")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1.4",
        "1.4.0.0",
        "01.4.0",
        "1.4.00",
        "1.4.0-",
        "1.4.0-01",
        "1.4.0-a..b",
        "1.4.0+",
        "1.4.0-\u00e4",
        "V1.4.0",
        "vv1.4.0",
        " 1.4.0",
        "1.4.0\n",
        "-1.4.0",
        "1.4.x",
        "\u0661.4.0",
        "1.4.0+" + "a" * 251,
    ],
)
def test_what_is_no_version_is_refused(text):
    with pytest.raises(ValueError, match="is a version with three parts"):
        operands.version(text)


def test_a_version_of_the_greatest_length_is_read():
    assert operands.version("1.4.0+" + "a" * 250) == operands.version("1.4.0")


@pytest.mark.parametrize(
    ("text", "moment_ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:00z", 0),
        ("1970-01-01 00:00:00-00:00", 0),
        ("1970-01-01T02:30:00+02:30", 0),
        ("2027-03-31T12:00:00.5Z", 1806494400500),
        ("2027-03-31T12:00:00.0019999999Z", 1806494400001),
        ("1969-12-31T23:59:59.999Z", -1),
        ("0001-01-01T00:00:00+23:59", -62135683140000),
        ("9999-12-31T23:59:59-23:59", 253402387139000),
    ],
)
def test_a_moment_is_ms_since_the_epoch(text, moment_ms):
    assert operands.moment_ms(text) == moment_ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2027-03-31",
        "2027-03-31T12:00:00",
        "2027-03-31T12:00Z",
        "2027-03-31T12Z",
        "20270331T120000Z",
        "2027-W13-3T12:00:00Z",
        "2027-02-30T12:00:00Z",
        "2027-03-31T24:00:00Z",
        "2016-12-31T23:59:60Z",
        "2027-03-31T12:00:00+24:00",
        "2027-03-31T12:00:00+0200",
        "2027-03-31T12:00:00,5Z",
        "2027-03-31T12:00:00.Z",
        " 2027-03-31T12:00:00Z",
        "2027-03-31T12:00:00Z\n",
        "\u0662027-03-31T12:00:00Z",
        "now",
    ],
)
def test_what_is_no_moment_with_an_offset_is_refused(text):
    with pytest.raises(ValueError, match="is a moment with an offset"):
        operands.moment_ms(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-0", 0),
        ("007", 7),
        ("-12.50", -12.5),
        ("1e3", 1000),
        ("1E-3", 0.001),
        ("9007199254740993", 2**53 + 1),
    ],
)
def test_a_text_spells_a_number(text, value):
    assert operands.number(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "+1", "1.", ".5", "1_0", " 1", "1\n", "0x10", "nan", "inf", "1e999", "-1e999", "ten", "\u0661", "1" * 101],
)
def test_what_spells_no_number_is_refused(text):
    with pytest.raises(ValueError, match="is a number"):
        operands.number(text)


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("0.0.0.0/0", (4, 0, 32)),
        ("10.0.0.0/8", (4, 10, 24)),
        ("10.1.2.3", (4, 0x0A010203, 0)),
        ("::/0", (6, 0, 128)),
        ("2001:db8::/32", (6, 0x20010DB8, 96)),
    ],
)
def test_a_network_is_its_leading_bits(text, network):
    assert operands.network(text) == network


@pytest.mark.parametrize("text", ["", "10.0.0.1/8", "10.0.0.0/33", "10.0.0", "010.0.0.0", "example.com", "::1/200"])
def test_what_is_no_network_is_refused(text):
    with pytest.raises(ValueError, match="is a network, for example"):
        operands.network(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0.0.0.0", ((4, 0),)),
        ("255.255.255.255", ((4, 2**32 - 1),)),
        ("::1", ((6, 1),)),
        ("fe80::1%eth0", ((6, 0xFE80 << 112 | 1),)),
        ("::ffff:10.0.0.1", ((6, 0xFFFF0A000001), (4, 0x0A000001))),
        ("::FFFF:a00:1", ((6, 0xFFFF0A000001), (4, 0x0A000001))),
    ],
)
def test_an_address_is_a_number_and_mapped_ones_are_two(text, found):
    assert operands.addresses(text) == found


@pytest.mark.parametrize(
    "text",
    ["", "256.0.0.1", "01.0.0.1", "1.2.3", "1.2.3.4.5", "1.2.3.4 ", "1.2.3.\u0664", "10.0.0.0/8", ":::", "1" * 65],
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match=r"IPv4|address"):
        operands.addresses(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a" * 256,
        r"@example\.com$",
        "^(?:US|DE|FR)$",
        r"^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$",
        r"^[^@]+@[a-z0-9-]+\.[a-z]+$",
        "Mozilla.*Chrome.*Safari",
        "(?P<name>ab)*",
        "(?:ab){2,5}",
        "a{500}",
        "^a{2}b{3}" * 20,
        r"\(a+\)+",
        "[(a|b)*]+",
        "[]a(]*",
        "[^](|]*",
        r"[\](|]+",
        r"\N{BULLET}+",
        "a{}b{x}{",
        "a|b|c",
        "^" + "a?" * 18,
    ],
)
def test_a_harmless_pattern_is_taken(text):
    assert operands.pattern(text).pattern == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a" * 257, "at most 256 characters: 257"),
        ("(", "is a regular expression"),
        ("a**", "is a regular expression"),
        ("a{99999999999}", "is a regular expression"),
        ("[[a]", "a set that a later Python reads in another way"),
        ("x[a--c]", "a set that a later Python reads in another way"),
        ("[a&&b]", "a set that a later Python reads in another way"),
        ("[[a", "is a regular expression"),
        (r"(a)\1", "back-reference"),
        ("(?P<n>a)(?P=n)", "back-reference"),
        ("(?=a)", "looks around"),
        ("(?!a)", "looks around"),
        ("(?<=a)b", "looks around"),
        ("(?<!a)b", "looks around"),
        ("(a+)+", "repeats a group that itself holds"),
        ("(a|b)*", "repeats a group that itself holds"),
        ("(?:a?){3}", "repeats a group that itself holds"),
        ("((a)*b)?", "repeats a group that itself holds"),
        ("((a|b))+", "repeats a group that itself holds"),
        ("(?P<n>a{2,})*", "repeats a group that itself holds"),
        ("(?i)a", "ignore_case is a key of its own"),
        ("(?i:a)", "a group begins with"),
        ("(?x)a", "a group begins with"),
        ("(?#a)", "a group begins with"),
        ("(?>a)", "a group begins with"),
        ("(a)(?(1)b|c)", "a group begins with"),
        ("a*a*a*", "can be tried in too many ways: begin with"),
        ("^a*a*a*a*", "can be tried in too many ways: begin with"),
        ("^a*b{2,}c+d{,}", "can be tried in too many ways: begin with"),
        ("^" + "a?" * 19, "can be tried in too many ways: begin with"),
        ("a*b|^a*b*c*|a*", "can be tried in too many ways: begin with"),
        ("^(a*)(b*)(c*|d*)", "can be tried in too many ways: begin with"),
    ],
)
def test_a_pattern_that_could_take_for_ever_is_refused(text, reason):
    with pytest.raises(ValueError, match=reason):
        operands.pattern(text)


@pytest.mark.parametrize("text", ["^a*a*a*b", "a*a*b", "^" + "a?" * 18 + "b", "^a{0,99}a{0,99}a{0,99}b", "a*b|a*c|a*d"])
def test_a_pattern_that_is_taken_is_done_with_any_text_in_a_moment(text):
    search = operands.pattern(text).search
    begin = time.process_time()
    assert search("a" * operands.SUBJECT_MAX) is None
    assert time.process_time() - begin < 5


def test_case_may_be_ignored():
    assert operands.pattern("ab", ignore_case=True).search("xABx")
    assert not operands.pattern("ab").search("xABx")
