"""One POST to one receiver: one deadline for all of it, no proxy, no redirect, and of the answer only its status."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException
from typing import NamedTuple, Self
from urllib.parse import SplitResult, urlsplit

from phase4 import clock

PORTS = {"http": 80, "https": 443}


class Answer(NamedTuple):
    """What the receiver said."""

    status: int | None
    """None = nothing that could be understood, or nothing in time: it may have the request all the same."""
    retry_after: str | None = None
    """The header of that name."""


class Line:
    """A connection to a receiver for one request. `http.client` knows no proxy and follows no redirect."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        """Connect, for https with the certificate checked.

        Args:
            url: Of the receiver, https or http.
            timeout_s: For everything up to the answer. Only a resolver of names may take longer.

        Raises:
            OSError: nobody was reached, and nothing was sent.
        """
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._until = clock.monotonic() + timeout_s
        self._socket = _connected(host, port, self._until)
        # a socket's own timeout is for each piece: a receiver that drips could hold the line for hours
        self._cutter = threading.Timer(self._left(), self._cut)
        self._cutter.daemon = True
        self._cutter.start()
        try:
            self._secure(parts)
        except BaseException:
            self.close()
            raise
        # with a socket of its own it opens none
        self._connection = HTTPConnection(host, port)
        self._connection.default_port = PORTS[parts.scheme]
        self._connection.sock = self._socket

    def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send the one request and return what was answered."""
        try:
            self._connection.request("POST", self._target, body, dict(headers))
            with self._connection.getresponse() as response:
                return Answer(response.status, response.getheader("Retry-After"))
        except (OSError, HTTPException):
            return Answer(None)

    def close(self) -> None:
        """Hang up."""
        self._cutter.cancel()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _secure(self, parts: SplitResult) -> None:
        if parts.scheme != "https":
            return
        import ssl

        context = ssl.create_default_context()
        self._socket = context.wrap_socket(self._socket, server_hostname=parts.hostname, do_handshake_on_connect=False)
        self._socket.do_handshake()

    def _left(self) -> float:
        return max(self._until - clock.monotonic(), 0.001)

    def _cut(self) -> None:
        with contextlib.suppress(OSError):
            # the plain socket's: TLS would say good-bye first
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def retry_after_ms(text: str | None, now_ms: int, *, most_ms: int) -> int:
    """Return how long the header Retry-After asks to wait, at most `most_ms`; 0 where it says nothing.

    Source: RFC 9110, 10.2.3: seconds, or a date.

    >>> retry_after_ms("7", 0, most_ms=60_000), retry_after_ms("3600", 0, most_ms=60_000)
    (7000, 60000)
    >>> retry_after_ms("Thu, 01 Jan 1970 00:00:30 GMT", 10_000, most_ms=60_000)
    20000
    >>> retry_after_ms("soon", 0, most_ms=60_000)
    0
    """
    if not text:
        return 0
    if text.isascii() and text.isdigit():
        return min(int(text[:9]) * 1000, most_ms)
    try:
        asked_ms = int(parsedate_to_datetime(text).timestamp() * 1000)
    except (ValueError, TypeError, OverflowError):
        return 0
    return min(max(asked_ms - now_ms, 0), most_ms)


def _connected(host: str, port: int, until: float) -> socket.socket:
    """Return a socket that is connected to the first address that answers."""
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise OSError(None, "the host's name is none") from None
    refused: OSError = TimeoutError()
    for family, kind, protocol, _, address in addresses:
        left = until - clock.monotonic()
        if left <= 0:
            break
        made = socket.socket(family, kind, protocol)
        made.settimeout(left)
        try:
            made.connect(address)
        except OSError as error:
            made.close()
            refused = error
        else:
            return made
    raise refused
