"""Text to value and back: strict, so that a slip of the finger is never taken for a value."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from phase4.config.setting import Kind, Setting, Value
from phase4.errors import nearest

_BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
_DIGITS_MAX = 20
"""Longer numbers are out of every range; Python refuses to read very long ones."""


def parse(setting: Setting[Any], text: str) -> Value:
    """Return the value of the text; paths keep their `~`.

    Args:
        setting: The row of the table that the text is for.
        text: Not empty: an empty text means that the setting is not set.

    Raises:
        ValueError: the text is no such value; the message says what would be right, and repeats the text.

    >>> from phase4.config.settings import Settings
    >>> parse(Settings.hook_interception_enabled, "OFF"), parse(Settings.rollout_error_threshold, "0.01")
    (False, 0.01)
    """
    match setting.kind:
        case Kind.BOOLEAN:
            return _boolean(text)
        case Kind.INTEGER:
            return _integer(setting, text)
        case Kind.PERCENTAGE:
            return _percentage(setting, text)
        case Kind.RATE:
            return _rate(setting, text)
        case Kind.CHOICE:
            return _choice(setting, text)
        case Kind.URL:
            return _url(text)
        case Kind.TEXT | Kind.PATH | Kind.SECRET_FILE:
            return _text(setting, text)


def show(value: Value) -> str:
    """Return the value as `parse` reads it; `-` if it is not set.

    >>> show(True), show(0.00001), show(25.0), show(None)
    ('true', '0.00001', '25', '-')
    """
    match value:
        case None:
            return "-"
        case bool():
            return "true" if value else "false"
        case float() if "e" in repr(value):
            from decimal import Decimal

            return format(Decimal(repr(value)), "f")
        case float():
            return repr(value).removesuffix(".0")
        case _:
            return str(value)


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that was probably meant, or None: one that begins with `name`, else the nearest.

    >>> closest("prod", ["development", "production"])
    'production'
    """
    known = tuple(known)
    # letters in common would take PHASE4_ENV for PHASE4_USER, and prod for nothing
    return next((option for option in known if option.startswith(name)), None) or nearest(name, known)


def quoted(text: str) -> str:
    """Return the text for a message: in quotes, shortened, without the password that a URL may carry.

    >>> quoted("https://ada:secret@example.org/")
    "'https://***@example.org/'"
    """
    head, slashes, rest = text.partition("//")
    before, at, after = rest.rpartition("@")
    shown = f"{head}//***@{after}" if slashes and at and before else text
    return repr(shown if len(shown) <= 80 else shown[:77] + "...")


def _boolean(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ValueError(f"is true or false (or 1, 0, yes, no, on, off): {quoted(text)}")
    return _BOOLEANS[text.lower()]


def _integer(setting: Setting[Any], text: str) -> int:
    digits = text.lstrip("0") or "0"
    if not _is_digits(text) or len(digits) > _DIGITS_MAX or not setting.low <= int(digits) <= setting.high:
        raise ValueError(f"is a {setting.range}, in digits only: {quoted(text)}")
    return int(digits)


def _percentage(setting: Setting[Any], text: str) -> float:
    value = _decimal(text, decimals_max=2)
    if value is None or value > setting.high:
        number = text.removesuffix("%")
        meant = _decimal(number, decimals_max=2)
        hint = f"; write {number}" if number != text and meant is not None and meant <= setting.high else ""
        raise ValueError(f"is a {setting.range}: {quoted(text)}{hint}")
    return value


def _rate(setting: Setting[Any], text: str) -> float:
    value = _decimal(text)
    if value is None or value > setting.high:
        percent = _decimal(text.removesuffix("%").rstrip())
        hint = ""
        if percent is not None and percent <= 100 and (text.endswith("%") or percent > 1):
            hint = f"; {show(percent)} % is {show(round(percent / 100, 12))}"
        raise ValueError(f"is a {setting.range}, a plain decimal number: {quoted(text)}{hint}")
    return value


def _choice(setting: Setting[Any], text: str) -> str:
    if text not in setting.options:
        close = closest(text.lower(), setting.options)
        hint = f'; did you mean "{close}"?' if close else ""
        raise ValueError(f"is {setting.range}: {quoted(text)}{hint}")
    return text


def _text(setting: Setting[Any], text: str) -> Value:
    if setting.kind is Kind.TEXT:
        if not text.strip() or not text.isprintable():
            raise ValueError(f"is a text of printable characters: {quoted(text)}")
        return text
    if setting.kind is Kind.SECRET_FILE and not text.startswith(("/", "~")):
        # who reads it runs in another folder than who wrote it
        raise ValueError(f"is an {setting.range}: {quoted(text)}")
    return Path(text)


def _url(text: str) -> str:
    from ipaddress import ip_address
    from urllib.parse import urlsplit

    what = "is an https URL, or http on loopback"
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
        is_port = parts.port is None or parts.port > 0
    except ValueError:
        raise ValueError(f"{what}: {quoted(text)}") from None
    if "@" in parts.netloc:
        raise ValueError(f"has no user name or password in it, a secret comes in a file: {quoted(text)}")
    try:
        is_loopback = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    is_plain = text.isascii() and text.isprintable() and " " not in text and not parts.fragment
    if not (is_plain and host and is_port and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback))):
        raise ValueError(f"{what}: {quoted(text)}")
    return text


def _decimal(text: str, *, decimals_max: int = 40) -> float | None:
    """Return the number, or None if the text is not digits, with at most so many decimals."""
    whole, dot, decimals = text.partition(".")
    if not _is_digits(whole) or (dot and not _is_digits(decimals)) or len(decimals) > decimals_max:
        return None
    return float(text)


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()
