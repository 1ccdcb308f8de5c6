"""Units: who a context is about, as text for the lists and as bytes for the hash."""

from __future__ import annotations

from enum import Enum
from typing import Any

from phase4.flags.bucketing import unit_text
from phase4.flags.schema import TARGETING_KEY


class Trouble(Enum):
    """Why a context has no unit; the value says it in words."""

    MISSING = "has no {name}"
    NOT_A_UNIT = "has a {name} that is neither a text nor a whole number nor a boolean"
    NOT_UNICODE = "has a {name} with a lone surrogate"
    NOT_A_CONTEXT = "is neither an object nor a targeting key"


_NO_ATTRIBUTES: dict[str, Any] = {}
_NOT_A_CONTEXT: dict[str, Any] = {}
"""Stands for what is no context: it has no attributes, and its units are in their own trouble."""


def attributes(context: object) -> dict[str, Any]:
    """Return a context as a dict: a text is short for one with this targeting key."""
    if isinstance(context, dict):
        return context
    if isinstance(context, str):
        return {TARGETING_KEY: context}
    return _NO_ATTRIBUTES if context is None else _NOT_A_CONTEXT


def unit_bytes(context: object, bucket_by: str) -> bytes | Trouble:
    """Return the bytes of the unit that a context names, or why there are none."""
    if isinstance(context, dict):
        value = dict.get(context, bucket_by)  # not the `get` of a subclass, which may do anything
    elif context is None or isinstance(context, str):
        value = context if bucket_by == TARGETING_KEY else None
    else:
        return Trouble.NOT_A_CONTEXT
    try:
        unit = value if type(value) is str else unit_text(value)
        if unit:
            return unit.encode()
    except UnicodeEncodeError:
        return Trouble.NOT_UNICODE
    except ValueError:
        return Trouble.NOT_A_UNIT
    return Trouble.NOT_A_CONTEXT if context is _NOT_A_CONTEXT else Trouble.MISSING


def targeting_text(context: dict[str, Any]) -> str | None:
    """Return the targeting key as `deny` and `allow` name it; None if there is none that can be a unit.

    Units that hash alike are one unit: the number 7 is denied where "7" is.
    """
    value = dict.get(context, TARGETING_KEY)
    if type(value) is str:
        return value
    try:
        return unit_text(value)
    except ValueError:
        return None
