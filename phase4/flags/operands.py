"""Operands of conditions: versions, moments, networks, numbers and patterns, as values that can be compared.

The same readers serve the operand, which a document names, and the attribute, which a context brings. What they cannot
read is a ValueError: an error in the document for the one, a condition that does not hold for the other.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import NamedTuple, TypeAlias

Version: TypeAlias = tuple[int, int, int, bool, tuple[tuple[bool, int | str], ...]]
"""Compares as SemVer's precedence: major, minor, patch, is a release, identifiers of the pre-release."""

VERSION_MAX = 256
"""Characters of a version."""
NUMBER_MAX = 100
"""Characters of a number that a text spells; Python refuses to read integers of more than 4,300 digits."""
ADDRESS_MAX = 64
"""Characters of an address; the longest IPv6 form has 45, before its zone."""
PATTERN_MAX = 256
"""Characters of a regular expression."""
SUBJECT_MAX = 1024
"""Characters of a text that a regular expression is tried on."""
WAYS_MAX = SUBJECT_MAX**3
"""Most ways in which a pattern may be tried: three unbounded repeats took 0.14 s on a text of 1,024 characters, four
would take half a minute. Where the pattern is not tied to the start, looking for the start counts as one."""

_OCTETS = {str(value): value for value in range(256)}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


# Compiled when first asked for: `flags enable` reads no version, and starts sooner without.
@cache
def _version_pattern() -> re.Pattern[str]:
    number, word = "(0|[1-9][0-9]*)", "(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
    part = "[0-9A-Za-z-]+"
    return re.compile(rf"v?{number}\.{number}\.{number}(?:-({word}(?:\.{word})*))?(?:\+{part}(?:\.{part})*)?")


@cache
def _number_pattern() -> re.Pattern[str]:
    return re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


@cache
def _moment_pattern() -> re.Pattern[str]:
    day, time = "[0-9]{4}-[0-9]{2}-[0-9]{2}", r"[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?"
    return re.compile(f"{day}[Tt ]{time}(?:[Zz]|[+-][0-9]{{2}}:[0-9]{{2}})")


def version(text: str) -> Version:
    """Return a version as it is compared: the build is ignored, a leading `v` allowed.

    Raises:
        ValueError: no version with three parts.

    Source: Semantic Versioning 2.0.0, 9 to 11.

    >>> version("1.0.0-rc.1") < version("1.0.0-rc.beta") < version("v1.0.0") == version("1.0.0+build.7")
    True
    """
    match = _version_pattern().fullmatch(text) if len(text) <= VERSION_MAX else None
    if match is None:
        raise ValueError(f'is a version with three parts, for example "1.4.0" or "2.0.0-rc.1": {text!r}')
    major, minor, patch, identifiers = match.groups()
    pre = () if identifiers is None else tuple(_identifier(each) for each in identifiers.split("."))
    return int(major), int(minor), int(patch), identifiers is None, pre


def _identifier(text: str) -> tuple[bool, int | str]:
    """Return an identifier so that it compares: numbers by size and below words, words in ASCII order."""
    return (False, int(text)) if text.isdecimal() else (True, text)


def moment_ms(text: str) -> int:
    """Return a moment in ms since the Unix epoch; what is shorter than a millisecond is cut off.

    Raises:
        ValueError: no date and time with an offset. A leap second is none: Python's calendar has no second 60.

    Source: RFC 3339, 5.6. `datetime.fromisoformat` alone would also read week dates, and times without an offset.

    >>> moment_ms("1970-01-01T01:00:00.0019+01:00")
    1
    """
    if _moment_pattern().fullmatch(text):
        try:
            return (datetime.fromisoformat(text.upper()) - _EPOCH) // _MILLISECOND
        except ValueError:  # the 30th of February
            pass
    raise ValueError(f'is a moment with an offset, for example "2027-03-31T00:00:00Z": {text!r}')


def number(text: str) -> int | float:
    """Return the number that a text spells as JSON does, leading zeros allowed.

    Raises:
        ValueError: it spells none, or one that is too large.

    >>> number("12"), number("-1.5e3")
    (12, -1500.0)
    """
    match = _number_pattern().fullmatch(text) if len(text) <= NUMBER_MAX else None
    if match is None:
        raise ValueError(f"is a number: {text!r}")
    value = int(text) if match.lastindex is None else float(text)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"is a number that a float can hold: {text!r}")
    return value


class Network(NamedTuple):
    """The addresses whose leading bits are the same."""

    family: int
    """4 or 6."""
    leading: int
    """The bits they share."""
    free: int
    """How many bits follow those."""


Address: TypeAlias = tuple[int, int]
"""Family and value."""


def network(text: str) -> Network:
    """Return a network, of one address if the text has no length.

    Raises:
        ValueError: it is none, or its address has bits after the network's.

    >>> network("10.0.0.0/8")
    Network(family=4, leading=10, free=24)
    """
    import ipaddress  # slower to load than all the rest here, and few flags need it

    try:
        read = ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f'is a network, for example "10.0.0.0/8" or "2001:db8::/32": {text!r} ({error})') from None
    free = read.max_prefixlen - read.prefixlen
    return Network(read.version, int(read.network_address) >> free, free)


def addresses(text: str) -> tuple[Address, ...]:
    """Return the address that a text spells; an IPv4 address written as IPv6 (`::ffff:10.0.0.1`) is both.

    A server on both families sees IPv4 clients in that form, and must not take them for others.

    Raises:
        ValueError: it is none.

    >>> addresses("10.0.0.1"), addresses("::1")
    (((4, 167772161),), ((6, 1),))
    """
    octets = text.split(".", 4)
    if len(octets) == 4:
        try:  # four times as fast as `ipaddress`, and of the same opinion
            first, second, third, fourth = (_OCTETS[octet] for octet in octets)
        except KeyError:
            pass
        else:
            return ((4, first << 24 | second << 16 | third << 8 | fourth),)
    import ipaddress

    if len(text) > ADDRESS_MAX:
        raise ValueError(f"is an address: {len(text)} characters")
    read = ipaddress.ip_address(text)
    mapped = read.ipv4_mapped if isinstance(read, ipaddress.IPv6Address) else None
    itself = (read.version, int(read))
    return (itself,) if mapped is None else (itself, (4, int(mapped)))


# ------------------------------------------------------------------------------------------- patterns


def pattern(text: str, *, ignore_case: bool = False) -> re.Pattern[str]:
    """Return a regular expression that no text of `SUBJECT_MAX` characters keeps busy for long.

    Python's `re` tries one way after the other, so what multiplies the ways is refused: back-references, look-around,
    a repeated group that holds a repeat or an alternation, more than `WAYS_MAX` ways in all.

    Raises:
        ValueError: why not.

    >>> pattern("(a+)+$")
    Traceback (most recent call last):
        ...
    ValueError: repeats a group that itself holds a repeat or an alternation, which can take for ever: '(a+)+$'
    """
    if len(text) > PATTERN_MAX:
        raise ValueError(f"is a regular expression of at most {PATTERN_MAX} characters: {len(text)}")
    for token in _token_pattern().finditer(text):
        if token["set"] is not None and _ambiguous_set_pattern().search(token[0]):
            raise ValueError(f"holds a set that a later Python reads in another way, {token[0]}: {text!r}")
    try:
        compiled = re.compile(text, re.IGNORECASE if ignore_case else 0)
    except (re.error, OverflowError, Warning) as error:  # a warning where those are errors: an open set, `[[a`
        raise ValueError(f"is a regular expression: {text!r} ({error})") from None
    reason = _Ways().refusal(text)
    if reason is not None:
        raise ValueError(f"{reason}: {text!r}")
    return compiled


@cache
def _ambiguous_set_pattern() -> re.Pattern[str]:
    """Return what `re.compile` would warn of: the syntax of Unicode Technical Standard 18, RL1.3."""
    return re.compile(r"\A\[\[|--|&&|~~|\|\|")


@cache
def _token_pattern() -> re.Pattern[str]:
    return re.compile(
        r"""
        (?P<escape> \\ (?: N\{[^}]*\} | . ) )
      | (?P<set>    \[ \^? \]? (?: \\. | [^\]\\] )* \] )
      | (?P<open>   \( (?: \? (?: P<[^>]*> | P= | <[=!] | . ) )? )
      | (?P<close>  \) )
      | (?P<bar>    \| )
      | (?P<repeat> (?: [*+?] | \{ (?: (?P<low>[0-9]+) (?P<to>,(?P<high>[0-9]*))? | ,(?P<most>[0-9]*) ) \} ) [?+]? )
      | (?P<other>  . )
        """,
        re.VERBOSE | re.DOTALL,
    )


class _Group:
    """A group being read, or the whole pattern."""

    def __init__(self) -> None:
        self.before = 0
        """Ways through the alternatives that are read."""
        self.ways = 1
        """Ways through the alternative being read."""
        self.is_branching = False
        """Whether it holds a repeat or an alternation, at any depth."""


class _Ways:
    """Counts, for a pattern that compiles, in how many ways it may be tried on the longest text."""

    def __init__(self) -> None:
        self._open = [_Group()]
        self._closed: _Group | None = None
        """The group that ended just before, and may be repeated."""
        self._is_start = True
        """Whether the next token begins an alternative of the whole pattern."""

    def refusal(self, text: str) -> str | None:
        """Return why a pattern is refused; None if it is not."""
        for token in _token_pattern().finditer(text):
            reason = self._read(token)
            if reason is not None:
                return reason
        (whole,) = self._open
        ways = whole.before + whole.ways
        if ways <= WAYS_MAX:
            return None
        return "can be tried in too many ways: begin with ^, or use fewer of * + ? {} |"

    def _read(self, token: re.Match[str]) -> str | None:
        """Take one token in; return why it is refused, if it is."""
        kind, text = token.lastgroup, token[0]
        if token["repeat"] is not None:
            return self._repeat(token)
        if kind == "bar":
            self._end_alternative()
            return None
        if self._is_start and text not in {"^", r"\A"}:
            self._open[0].ways *= SUBJECT_MAX
        self._is_start, self._closed = False, None
        if kind == "escape" and text[1] in "123456789":
            return "holds a back-reference"
        if kind == "open":
            return self._begin_group(text)
        if kind == "close":
            self._end_group()
        return None

    def _begin_group(self, text: str) -> str | None:
        if text == "(?P=":
            return "holds a back-reference"
        if text in {"(?=", "(?!", "(?<=", "(?<!"}:
            return "looks around"
        if text not in {"(", "(?:"} and not text.startswith("(?P<"):
            return f"holds {text!r}; a group begins with ( or (?: or (?P<name>, and ignore_case is a key of its own"
        self._open.append(_Group())
        return None

    def _end_alternative(self) -> None:
        group = self._open[-1]
        group.before, group.ways, group.is_branching = group.before + group.ways, 1, True
        self._is_start, self._closed = len(self._open) == 1, None

    def _end_group(self) -> None:
        group = self._open.pop()
        outer = self._open[-1]
        outer.ways *= group.before + group.ways
        outer.is_branching |= group.is_branching
        self._closed = group

    def _repeat(self, token: re.Match[str]) -> str | None:
        if self._closed is not None and self._closed.is_branching:
            return "repeats a group that itself holds a repeat or an alternation, which can take for ever"
        group = self._open[-1]
        group.ways *= _choices(token)
        group.is_branching = True
        return None


def _choices(token: re.Match[str]) -> int:
    """Return by how much a repeat multiplies the ways: each number of times, and one more where there is a choice.

    The one more keeps `?` honest: a run of 24 took 0.65 s and each further one twice as long, so that 2**30 ways of
    those are no match for 2**30 of unbounded repeats. With it a pattern has at most 18.
    """
    if token[0][0] != "{":
        return 3 if token[0][0] == "?" else SUBJECT_MAX
    low = int(token["low"] or 0)
    most = token["most"] if token["low"] is None else token["high"] if token["to"] else token["low"]
    if not most:
        return SUBJECT_MAX
    return 1 if int(most) == low else min(int(most) - low + 2, SUBJECT_MAX)
