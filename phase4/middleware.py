"""ASGI and WSGI middleware: every request is measured against one flag, without a change of the application.

    app = MeasureASGI(app, flag_key="new-checkout", user=lambda scope: scope["headers"] ...)

The decision is in the request's scope or environ under `phase4.measurement`, so that a handler asks `m.enabled` and the
answer is the one that was recorded. A response of 500 and above is an error, unless the handler said what it is; an
exception is an error, a `TimeoutError` a timeout.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from contextlib import ExitStack
from typing import Any

from phase4.measuring import Measurement
from phase4.system import Phase4System

KEY = "phase4.measurement"
"""Where the measurement is: in the scope (ASGI) or the environ (WSGI)."""
SERVER_ERROR = 500
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
StartResponse = Callable[..., Any]
WSGIApp = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


class MeasureASGI:
    """Measures the HTTP requests of an ASGI application."""

    def __init__(
        self, app: ASGIApp, *, system: Phase4System, flag_key: str, user: Callable[[Scope], str | None]
    ) -> None:
        """Wrap an application.

        Args:
            app: The application.
            system: Of this process: `get_phase4_system()`.
            flag_key: The flag.
            user: Returns the user of a request from its scope; None = anonymous, which is not recorded.
        """
        self._app, self._system, self._flag_key, self._user = app, system, flag_key, user

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with self._system.measure(self._flag_key, self._user(scope)) as measurement:
            scope[KEY] = measurement

            async def sent(message: Any) -> None:
                if message["type"] == "http.response.start":
                    _note(measurement, message["status"])
                await send(message)

            await self._app(scope, receive, sent)


class MeasureWSGI:
    """Measures the requests of a WSGI application, until the last byte of the response is handed out."""

    def __init__(
        self, app: WSGIApp, *, system: Phase4System, flag_key: str, user: Callable[[dict[str, Any]], str | None]
    ) -> None:
        """Wrap an application; arguments as for `MeasureASGI`, the user from the environ."""
        self._app, self._system, self._flag_key, self._user = app, system, flag_key, user

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
        """Serve one request; what fails while the body is made is this request's error too."""
        measurement = self._system.measure(self._flag_key, self._user(environ))
        environ[KEY] = measurement
        with ExitStack() as stack:
            stack.enter_context(measurement)
            body = self._app(environ, _watching(start_response, measurement))
            stack.callback(getattr(body, "close", _nothing))
            return _Response(body, stack.pop_all())


class _Response:
    """The body of a response, measured to its end. No generator: one that nobody reads never runs at all."""

    def __init__(self, body: Iterable[bytes], stack: ExitStack) -> None:
        self._body, self._stack = body, stack
        self._parts: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            if self._parts is None:
                self._parts = iter(self._body)
            return next(self._parts)
        except StopIteration:
            self._stack.close()
            raise
        except BaseException as error:
            self._stack.__exit__(type(error), error, error.__traceback__)
            raise

    def close(self) -> None:
        """Close the body, once; one that was not handed out whole says nothing about the feature."""
        self._stack.__exit__(GeneratorExit, GeneratorExit(), None)


def _nothing() -> None:
    """Close what needs no closing."""


def _watching(start_response: StartResponse, measurement: Measurement) -> StartResponse:
    def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        _note(measurement, int(status.split(" ", 1)[0]))
        return start_response(status, headers, *more)

    return start


def _note(measurement: Measurement, status: int) -> None:
    if status >= SERVER_ERROR and not measurement.is_said:
        measurement.failed()
