"""The HTTP server of the stand-in: faults first, then the APIs; and the tests' own routes.

Tests steer it under `/stand-in`: faults, the ledger, the requests that came, the token,
whether jobs are taken, and forgetting all jobs.
"""

from __future__ import annotations

import gzip
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from qpu_executor.testing.vendor_stand_in import felis, ibm, iqm, pasqal_cloud, warden
from qpu_executor.testing.vendor_stand_in.exchange import Answer, Api, Request, Site
from qpu_executor.testing.vendor_stand_in.faults import Fault, Faults

APIS: tuple[Api, ...] = (pasqal_cloud.answer, warden.answer, ibm.answer, iqm.answer, felis.answer)
_PAGE = "<!doctype html><title>502</title><h1>Bad gateway</h1>"


class StandInServer(ThreadingHTTPServer):
    """`site`: what the APIs are about. Listens once it is made."""

    daemon_threads = True

    def __init__(self, port: int, site: Site) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.site = site
        self.faults = Faults()
        self.requests: list[str] = []
        self._lock = threading.Lock()
        site.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that went away are part of the tests."""

    def came(self, request: Request) -> None:
        """Note a request."""
        with self._lock:
            self.requests.append(f"{request.method} {request.path}")

    def steer(self, request: Request) -> Answer:
        """A test's own request."""
        machine, given = self.site.machine, request.json()
        match request.path.removeprefix("/stand-in"):
            case "/faults" if request.method == "POST":
                self.faults.add(given)
            case "/faults":
                self.faults.clear()
            case "/ledger":
                return Answer(machine.executions())
            case "/requests":
                return Answer(list(self.requests))
            case "/token":
                self.site.token = str(given)
            case "/accessible":
                self.site.accessible = bool(given)
            case "/session":
                self.site.sessions.add(str(given))
            case "/sessions":
                self.site.sessions.clear()
            case "/fail-next":
                machine.fail_next = str(given)
            case "/forget":
                machine.forget()
            case _:
                return Answer({"message": f"no route {request.path}"}, 404)
        return Answer({})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""

    def _do(self) -> None:
        server = self.server
        assert isinstance(server, StandInServer)
        request = self._request()
        if request.path.startswith("/stand-in/"):
            self._send(server.steer(request))
            return
        server.came(request)
        fault = server.faults.next(request.method, request.path)
        if fault is not None and fault.when == "before" and self._happens(fault):
            return
        found = next((one for api in APIS if (one := api(server.site, request))), None)
        if fault is not None and fault.when == "after" and self._happens(fault):
            return
        self._send(found or Answer({"message": f"no route {request.path}"}, 404))

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _do  # noqa: N815  # the base's names

    def _happens(self, fault: Fault) -> bool:
        """Let it happen. False: the answer is given as if nothing had been."""
        match fault.do:
            case "hang":
                time.sleep(fault.seconds)
                return False
            case "drop":
                self.close_connection = True
            case "status":
                self._send(Answer({"message": "a fault was asked for"}, fault.status))
            case "html":
                self._send(Answer(_PAGE, kind="text/html"))
            case "lie":
                self._send(Answer({"data": 17, "status": "PURPLE"}))
        return True

    def _request(self) -> Request:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        url = urlsplit(self.path)
        return Request(
            self.command,
            url.path,
            dict(parse_qsl(url.query)),
            {key.lower(): value for key, value in self.headers.items()},
            body,
        )

    def _send(self, answer: Answer) -> None:
        body = answer.body()
        # Head and body at once: apart, the kernel delays the second by 40 ms.
        head = (
            f"HTTP/1.1 {answer.status} -\r\ncontent-type: {answer.kind}\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        self.wfile.write(head.encode() + body)
