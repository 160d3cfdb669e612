"""`/healthz`, `/readyz` and `/metrics` over HTTP, from threads of their own: they answer when the event loop does not.

Plain HTTP without passwords, for supervisors and Prometheus; nothing of customers is in it. Listen on an address that
only those reach.
"""

import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIEnvironment

import orjson
from prometheus_client import CollectorRegistry, make_wsgi_app

REQUEST_TIMEOUT_S: Final = 5.0
"""A client that is slower is dropped."""
MOST_REQUESTS: Final = 8
"""Requests at once; a further one is closed unanswered."""
MAX_REASON: Final = 500


class CannotListen(Exception):
    """The address of the endpoints cannot be had; says what to do."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What was checked, and what is wrong with it."""

    check: str
    found: str


Ask = Callable[[], list[Trouble]]
"""What is wrong now; nothing if all is well. Called from other threads: quick, and without waiting."""


class Endpoints:
    """Bound when made, so that a wrong address is told at once; served from `start` to `stop`."""

    def __init__(self, address: tuple[str, int], registry: CollectorRegistry, healthy: Ask, ready: Ask) -> None:
        """Raises CannotListen."""
        self._metrics = make_wsgi_app(registry)
        self._checks = {"/healthz": healthy, "/readyz": ready}
        try:
            self._server = _Server(address)
        except OSError as error:
            raise CannotListen(
                f"{address[0]}:{address[1]} cannot be listened on ({error.strerror or error}): give each process an "
                "address of its own with MICRO_INTENTS_HTTP, or none"
            ) from error
        self._server.set_app(self._answer)

    def start(self) -> None:
        """Answer from now on."""
        threading.Thread(target=self._server.serve_forever, name="endpoints", daemon=True).start()

    def stop(self) -> None:
        """Answer no more; only after `start`."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            answer: Iterable[bytes] = self._metrics(environ, start_response)
            return answer
        status, body = "404 Not Found", b'{"paths":["/healthz","/readyz","/metrics"]}'
        if environ.get("REQUEST_METHOD") not in ("GET", "HEAD"):
            status, body = "405 Method Not Allowed", b"{}"
        elif (ask := self._checks.get(path)) is not None:
            troubles = ask()
            status = "503 Service Unavailable" if troubles else "200 OK"
            reasons = [{"check": each.check, "found": each.found[:MAX_REASON]} for each in troubles]
            body = orjson.dumps({"ok": not troubles, "reasons": reasons})
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [] if environ.get("REQUEST_METHOD") == "HEAD" else [body]


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_TIMEOUT_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name that http.server has
        """Nothing: probes would fill the log."""


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._free = threading.BoundedSemaphore(MOST_REQUESTS)
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind, without asking the name service who this machine is."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]  # of any family
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, while not too many do."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and make room for the next."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""
