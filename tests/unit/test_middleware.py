"""ASGI and WSGI: every request is measured once, from its first byte to its last, whatever becomes of it."""

import asyncio
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import numpy as np
import pytest

from phase4.clock import ManualClock
from phase4.middleware import KEY, MeasureASGI, MeasureWSGI
from phase4.store.intake import Known, Spool, rows_of
from phase4.store.record import Outcome
from phase4.system import Phase4System
from tests.data.homes.make import SEARCH, START, create

EXPOSURE, OK, ERROR, TIMEOUT, INVALID = Outcome
ARM_2 = 2


@pytest.fixture
def system(home):
    """Search is on for everybody."""
    store = create(home, ManualClock(START))
    made = Phase4System(str(home))
    yield made
    made.close()
    store.close()


def outcomes(home):
    """Return what is in the spool but for the exposures."""
    found = [rows_of(batch, 1, Known({1: 1, 2: 1}, 2**62))[0] for batch in Spool(str(home)).read()]
    rows = np.concatenate(found) if found else []
    assert {row["arm"] for row in rows} <= {ARM_2}
    return [Outcome(row["outcome"]) for row in rows if row["outcome"] != EXPOSURE]


# --------------------------------------------------------------------------------------------- ASGI
SCOPE = {"type": "http", "path": "/", "headers": [(b"x-user", b"user-123")]}


def asgi_user(scope):
    return next((value.decode() for name, value in scope["headers"] if name == b"x-user"), None)


async def nothing():
    return {"type": "http.request", "body": b"", "more_body": False}


def call(system, app, scope=None, *, receive=nothing, send=None):
    """Serve one request; return the messages that were sent."""
    sent = []

    async def keep(message):
        sent.append(message)

    wrapped = MeasureASGI(app, system=system, flag_key=SEARCH, user=asgi_user)
    asyncio.run(wrapped(dict(SCOPE if scope is None else scope), receive, send or keep))
    return sent


def answers(status, *, then=None, said=None, parts=(b"a", b"b")):
    """Return an application that answers with a status, in parts; `then` is raised in between."""

    async def app(scope, receive, send):
        if said is not None:
            getattr(scope[KEY], said)()
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": parts[0], "more_body": True})
        if then is not None:
            raise then
        await send({"type": "http.response.body", "body": parts[1]})

    return app


@pytest.mark.parametrize(
    ("status", "outcome"), [(200, OK), (302, OK), (404, OK), (499, OK), (500, ERROR), (503, ERROR), (599, ERROR)]
)
def test_the_status_of_an_asgi_response_is_its_outcome(home, system, status, outcome):
    sent = call(system, answers(status))
    assert [message.get("body", message.get("status")) for message in sent] == [status, b"a", b"b"]
    assert outcomes(home) == [outcome]


@pytest.mark.parametrize(
    ("error", "outcome"), [(ValueError("no"), ERROR), (TimeoutError(), TIMEOUT), (asyncio.CancelledError(), TIMEOUT)]
)
def test_an_asgi_body_that_fails_half_way_is_recorded_and_raised_on(home, system, error, outcome):
    with pytest.raises(type(error)):
        call(system, answers(200, then=error))
    assert outcomes(home) == [outcome]


def test_an_asgi_application_that_fails_before_it_answers_is_an_error(home, system):
    async def app(scope, receive, send):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        call(system, app)
    assert outcomes(home) == [ERROR]


@pytest.mark.parametrize(("said", "outcome"), [("invalid", INVALID), ("timed_out", TIMEOUT)])
def test_the_asgi_handlers_own_word_wins_over_the_status(home, system, said, outcome):
    call(system, answers(500, said=said))
    assert outcomes(home) == [outcome]


def test_the_asgi_handlers_own_word_wins_when_it_comes_after_the_status(home, system):
    async def app(scope, receive, send):
        await answers(503)(scope, receive, send)
        scope[KEY].timed_out()

    call(system, app)
    assert outcomes(home) == [TIMEOUT]


def test_the_asgi_handler_sees_the_decision_that_is_recorded(home, system):
    seen = []

    async def app(scope, receive, send):
        seen.append(scope[KEY].enabled)
        await answers(200)(scope, receive, send)

    call(system, app)
    assert seen == [True]
    assert outcomes(home) == [OK]


def test_an_anonymous_asgi_request_is_served_and_not_recorded(home, system):
    sent = call(system, answers(200), {**SCOPE, "headers": []})
    assert len(sent) == 3
    assert outcomes(home) == []


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
def test_what_is_no_http_request_is_passed_through_as_it_is(home, system, kind):
    seen = []

    async def app(scope, receive, send):
        seen.append((scope, receive, send))

    async def receive():
        return {}

    async def send(message):
        raise AssertionError

    scope = {"type": kind}
    asyncio.run(MeasureASGI(app, system=system, flag_key=SEARCH, user=asgi_user)(scope, receive, send))
    assert seen == [(scope, receive, send)]
    assert seen[0][0] is scope
    assert KEY not in scope
    assert outcomes(home) == []


def test_an_asgi_application_that_sees_its_client_go_and_ends_is_ok(home, system):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        assert (await receive())["type"] == "http.disconnect"

    async def receive():
        return {"type": "http.disconnect"}

    call(system, app, receive=receive)
    assert outcomes(home) == [OK]


def test_a_server_that_raises_for_a_client_that_is_gone_gets_its_exception_back(home, system):
    async def send(message):
        raise OSError("client is gone")

    with pytest.raises(OSError, match="client is gone"):
        call(system, answers(200), send=send)
    assert outcomes(home) == [ERROR]


# --------------------------------------------------------------------------------------------- WSGI
class Body:
    """The iterator of a response: some parts, then perhaps an exception; it counts how often it is closed."""

    def __init__(self, *parts, error=None):
        self.parts, self.error, self.closed = list(parts), error, 0

    def __iter__(self):
        return self

    def __next__(self):
        if self.parts:
            return self.parts.pop(0)
        if self.error is not None:
            raise self.error
        raise StopIteration

    def close(self):
        self.closed += 1


def wsgi(system, body, status="200 OK", *, said=None, error=None):
    """Return a measured application that answers with a body."""

    def app(environ, start_response):
        if said is not None:
            getattr(environ[KEY], said)()
        if error is not None:
            raise error
        start_response(status, [("Content-Type", "text/plain")])
        return body

    return MeasureWSGI(app, system=system, flag_key=SEARCH, user=lambda environ: environ.get("REMOTE_USER"))


def environ(**more):
    made = {"REMOTE_USER": "user-123", **more}
    setup_testing_defaults(made)
    return made


class Server:
    """What a server has of a request: the status, and the response."""

    def __init__(self, app, **more):
        self.started = []
        self.response = app(environ(**more), self.start)

    def start(self, status, _headers, *more):
        self.started.append((status, *more))
        return lambda _data: None

    def read(self):
        """Take the whole body, and close the response, as servers do."""
        try:
            return list(self.response)
        finally:
            self.close()

    def close(self):
        if hasattr(self.response, "close"):
            self.response.close()


@pytest.mark.parametrize(
    ("status", "outcome"), [("200 OK", OK), ("404 Not Found", OK), ("500", ERROR), ("599 x", ERROR)]
)
def test_the_status_of_a_wsgi_response_is_its_outcome(home, system, status, outcome):
    body = Body(b"a", b"b")
    server = Server(wsgi(system, body, status))
    assert server.read() == [b"a", b"b"]
    assert server.started == [(status,)]
    assert outcomes(home) == [outcome]
    assert body.closed == 1


def test_a_wsgi_request_is_not_over_before_its_last_byte(home, system):
    server = Server(wsgi(system, Body(b"a", b"b")))
    assert next(server.response) == b"a"
    assert outcomes(home) == []
    server.read()
    assert outcomes(home) == [OK]


@pytest.mark.parametrize(("error", "outcome"), [(ValueError("no"), ERROR), (TimeoutError("no"), TIMEOUT)])
def test_a_wsgi_body_that_fails_half_way_is_recorded_closed_and_raised_on(home, system, error, outcome):
    body = Body(b"a", error=error)
    with pytest.raises(type(error), match="no"):
        Server(wsgi(system, body)).read()
    assert outcomes(home) == [outcome]
    assert body.closed == 1


def test_a_wsgi_application_that_fails_before_it_answers_is_an_error(home, system):
    with pytest.raises(ValueError, match="no"):
        Server(wsgi(system, Body(), error=ValueError("no"))).read()
    assert outcomes(home) == [ERROR]


@pytest.mark.parametrize(("said", "outcome"), [("invalid", INVALID), ("timed_out", TIMEOUT)])
def test_the_wsgi_handlers_own_word_wins_over_the_status(home, system, said, outcome):
    Server(wsgi(system, Body(b"a"), "500 no", said=said)).read()
    assert outcomes(home) == [outcome]


def test_an_answer_that_is_taken_back_for_an_error_is_an_error(home, system):
    info = (ValueError, ValueError("no"), None)

    def app(environ, start_response):
        start_response("200 OK", [])
        start_response("500 no", [], info)
        return [b"a"]

    server = Server(MeasureWSGI(app, system=system, flag_key=SEARCH, user=lambda environ: environ["REMOTE_USER"]))
    server.read()
    assert server.started == [("200 OK",), ("500 no", info)]
    assert outcomes(home) == [ERROR]


def test_a_client_that_goes_half_way_says_nothing_about_the_feature(home, system):
    server = Server(wsgi(system, Body(b"a", b"b")))
    next(server.response)
    server.close()
    assert outcomes(home) == []


def test_a_body_is_closed_once_when_its_client_goes_half_way(system):
    body = Body(b"a", b"b")
    server = Server(wsgi(system, body))
    next(server.response)
    server.close()
    assert body.closed == 1


def test_a_request_whose_response_nobody_reads_is_served_all_the_same(home, system):
    """Where the client is gone a server may close a response without reading it: the work is done by then."""
    body = Body(b"a")
    server = Server(wsgi(system, body))
    server.close()
    assert server.started == [("200 OK",)]
    assert body.closed == 1


def test_a_body_without_a_close_and_one_that_is_a_list_are_served(home, system):
    assert Server(wsgi(system, [b"a", b"b"])).read() == [b"a", b"b"]
    assert Server(wsgi(system, (part for part in [b"c"]))).read() == [b"c"]
    assert outcomes(home) == [OK, OK]


def test_an_anonymous_wsgi_request_is_served_and_not_recorded(home, system):
    assert Server(wsgi(system, [b"a"]), REMOTE_USER=None).read() == [b"a"]
    assert outcomes(home) == []


def test_the_wsgi_middleware_is_one_by_the_words_of_pep_3333(home, system):
    app = validator(wsgi(system, [b"a", b"b"]))
    wrapped = MeasureWSGI(validator(app), system=system, flag_key=SEARCH, user=lambda environ: environ["REMOTE_USER"])
    made = environ(REQUEST_METHOD="GET", QUERY_STRING="")
    response = validator(wrapped)(made, lambda _status, _headers, _info=None: lambda _data: None)
    assert b"".join(response) == b"ab"
    response.close()
    assert outcomes(home) == [OK, OK]  # it is wrapped twice
