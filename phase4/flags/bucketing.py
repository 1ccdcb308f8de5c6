"""Bucketing: which units a percentage includes, and which of them are compared with which.

    h(salt, unit)  = murmur3_x86_32(utf8(salt + ":" + unit), seed 0)         0 .. 2**32 - 1
    T(p)           = round(p / 100 * 2**32)                                 0 .. 2**32
    treatment:       h < T(p)
    control:         h >= 2**32 - C,  C = min(T(p), 2**32 - T(p))           those who would be exposed last
    variant bucket = (h(salt + "#variant", unit) * total_weight) >> 32

That is `murmur3-32/ms1`. It is frozen: same salt and unit, same hash, on every machine and in every version. A better
one gets a new id. Cohorts are nested, 5 % inside 10 % inside 25 %, so raising a percentage never takes the feature
away. Integer arithmetic: no modulo bias, a resolution of 2.3e-8 %. It is not secure against people who choose their own
ids: where entry matters, `sha256/1` takes the first 4 bytes, big-endian, of SHA-256 over the same text as h.

Sources: MurmurHash3_x86_32 (Appleby 2011, public domain); FIPS 180-4. Frozen vectors in tests/data/bucketing-ms1.json
and flags-sha256.json. This module is for one unit; `phase4.flags.vector` has `murmur3-32/ms1` for a whole population.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import mmh3

if TYPE_CHECKING:
    from hashlib import _Hash

ALGORITHM = "murmur3-32/ms1"
SPACE = 2**32
"""How many values a hash can have."""
VARIANT_SUFFIX = "#variant"
"""Makes the salt of the variant's hash: with the rollout's own hash, exposure would decide the variant too."""


@cache
def _sha256() -> Callable[[bytes], _Hash]:
    from hashlib import sha256  # loads a library of its own, and few flags need it

    return sha256


def _sha256_digest(text: bytes) -> int:
    return int.from_bytes(_sha256()(text).digest()[:4], "big")


DIGESTS: Mapping[str, Callable[[bytes], int]] = MappingProxyType(
    {ALGORITHM: mmh3.mmh3_32_uintdigest, "sha256/1": _sha256_digest}
)
"""For each algorithm, the uint32 hash of the bytes of `salt + ":" + unit`."""


class Arm(IntEnum):
    """The two sides of a guarded rollout, numbered as events and observations have them; 0 is no arm."""

    CONTROL = 1
    TREATMENT = 2


class Cuts(NamedTuple):
    """Where a percentage cuts the hashes."""

    treatment_below: int
    """T: hashes below it are treatment. 0 .. 2**32."""
    control_from: int
    """2**32 - C: hashes from it on are control. 2**31 .. 2**32; 2**32 means that nobody is."""


class ArmShares(NamedTuple):
    """The proportion, 0-1, of each arm among the units that have an arm."""

    treatment: float
    control: float


def rule_salt(salt: str, rule_id: str) -> str:
    """Return the salt of a rule's percentage: not the flag's.

    With one salt, units that fell through a 20 % rule have h >= T(20) and never become treatment at 10 %.
    """
    return f"{salt}#{rule_id}"


def prefix(salt: str) -> bytes:
    """Return the bytes that stand before the unit in what is hashed.

    Raises:
        UnicodeEncodeError: the salt holds a lone surrogate.
    """
    return f"{salt}:".encode()


def hash_unit(salt: str, unit: str, *, algorithm: str = ALGORITHM) -> int:
    """Return the hash of a unit under a salt, 0 .. 2**32 - 1.

    Raises:
        UnicodeEncodeError: salt or unit holds a lone surrogate. The caller answers INVALID_CONTEXT.

    >>> hash_unit("checkout-v2", "42"), hash_unit("checkout-v2", "42", algorithm="sha256/1")
    (470917441, 3313698205)
    """
    # Encoded here, not by mmh3: `mmh3.hash(str)` of 5.3.1 ends the interpreter on a lone surrogate, and JSON can
    # spell one ("\ud800"), so that a remote caller could stop the server.
    return DIGESTS[algorithm](prefix(salt) + unit.encode())


def threshold(percentage: float) -> int:
    """Return T(p), the hash below which units are inside, 0 .. 2**32. At 100 % it is 2**32: everyone.

    Raises:
        ValueError: the percentage is outside 0 .. 100.

    >>> threshold(0.01), threshold(10), threshold(100) == SPACE
    (429497, 429496730, True)
    """
    if not 0 <= percentage <= 100:
        raise ValueError(f"a percentage lies in 0..100: {percentage}")
    return round(percentage / 100 * SPACE)


def cuts(percentage: float) -> Cuts:
    """Return where a percentage, 0-100, cuts the hashes into treatment, control and no arm.

    Control is a concurrent cohort of treatment's size, taken from the end of the order in which units are exposed. Up
    to 50 % nobody ever changes arm; above, control is what is left, and at 100 % there is none. Everyone outside as
    control would cost 19 control events for each treatment event at 5 %.

    >>> cuts(25)
    Cuts(treatment_below=1073741824, control_from=3221225472)
    >>> cuts(80).treatment_below == cuts(80).control_from
    True
    """
    below = threshold(percentage)
    return Cuts(below, SPACE - min(below, SPACE - below))


def inside(salt: str, unit: str, percentage: float) -> bool:
    """Return whether a percentage, 0-100, includes the unit.

    >>> inside("truth-based-validation", "user-123", 1), inside("truth-based-validation", "user-123", 0.5)
    (True, False)
    """
    return hash_unit(salt, unit) < threshold(percentage)


def arm_of(hashed: int, percentage: float) -> Arm | None:
    """Return the arm of a hash at a percentage, 0-100; None for units in neither.

    >>> arm_of(0, 5), arm_of(2**31, 5), arm_of(2**32 - 1, 5)
    (<Arm.TREATMENT: 2>, None, <Arm.CONTROL: 1>)
    """
    cut = cuts(percentage)
    if hashed < cut.treatment_below:
        return Arm.TREATMENT
    return Arm.CONTROL if hashed >= cut.control_from else None


def arm(salt: str, unit: str, percentage: float) -> Arm | None:
    """Return the arm of a unit at a percentage, 0-100; None for units in neither."""
    return arm_of(hash_unit(salt, unit), percentage)


def arm_shares(percentage: float) -> ArmShares:
    """Return the shares of the arms that the sample-ratio test expects: equal up to 50 %, then p : 100 - p.

    They sum to 1, but for 0 %, where nobody has an arm.

    >>> arm_shares(5), arm_shares(75)
    (ArmShares(treatment=0.5, control=0.5), ArmShares(treatment=0.75, control=0.25))
    """
    cut = cuts(percentage)
    control = SPACE - cut.control_from
    both = cut.treatment_below + control
    return ArmShares(cut.treatment_below / both, control / both) if both else ArmShares(0.0, 0.0)


def variant_bucket(salt: str, unit: str, total_weight: int, *, algorithm: str = ALGORITHM) -> int:
    """Return the unit's bucket, 0 .. total_weight - 1, to be looked up in the cumulative weights in document order.

    >>> variant_bucket("checkout-v2", "42", 1000)
    720
    """
    return hash_unit(salt + VARIANT_SUFFIX, unit, algorithm=algorithm) * total_weight >> 32


def unit_text(value: object) -> str | None:
    """Return the text of a unit as it is hashed; None where there is no unit (None, or an empty string).

    Integers are decimal, booleans `true` and `false`, integral floats as integers: JSON does not tell 7 from 7.0. There
    is no Unicode normalisation: bytes are identity. The text may still hold a lone surrogate, which `hash_unit` finds.

    Raises:
        ValueError: anything else, or an integer longer than Python writes out (4,300 digits).

    >>> unit_text(7), unit_text(7.0), unit_text(True), unit_text("")
    ('7', '7', 'true', None)
    """
    # The built-in types' own methods: a subclass (a StrEnum member, say) must not bring in code of its own.
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case str():
            return str.__str__(value) or None
        case int():
            return int.__repr__(value)
        case float() if float.is_integer(value):
            return int.__repr__(float.__int__(value))
        case _:
            raise ValueError(f"a unit is a text, a whole number or a boolean: {type(value).__name__}")
