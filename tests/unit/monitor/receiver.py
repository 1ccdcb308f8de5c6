"""A receiver of notices on loopback: it keeps what came, and answers as it is told."""

import hashlib
import hmac
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Receiver:
    """A real HTTP server on a free port; `answers` are used up one a request, then it is 204."""

    def __init__(self, *answers, port=0):
        self.answers = list(answers)
        self.requests = []
        """(path, headers, body) of each request."""
        self.released = threading.Event()
        """A request whose answer is `None` stands until this is set."""
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/notices?of=phase4"

    @property
    def deliveries(self):
        return [headers["Phase4-Delivery"] for _, headers, _ in self.requests]

    def close(self):
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def answer(self):
        """Return (code, headers) of the next answer."""
        said = self.answers.pop(0) if self.answers else 204
        return said if isinstance(said, tuple) else (said, {})

    def _handler(self):
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append((self.path, dict(self.headers), body))
                code, headers = receiver.answer()
                if code is None:
                    receiver.released.wait(10)
                    return
                self.send_response(code)
                for name, value in {"Content-Length": "0", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()

            def do_GET(self):
                receiver.requests.append((self.path, dict(self.headers), b"GET"))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format, *arguments):  # noqa: A002
                pass

        return Handler


def is_signed(headers, body, secret):
    """Return whether a request is signed, as a receiver finds out that knows the secret and nothing of phase4."""
    message = headers["Phase4-Timestamp"].encode() + b"." + body
    expected = "v1=" + hmac.new(secret, message, hashlib.sha256).hexdigest()
    return hmac.compare_digest(headers["Phase4-Signature"], expected)
