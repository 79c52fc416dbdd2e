"""The page's server: Python's own, for one person on this machine.

It answers requests that name this machine as their host and come from its own page, and no others: a foreign page that
is open in the same browser can neither ask it for anything (Origin) nor reach it under another name (Host).
"""

import io
import json
import tempfile
import threading
import urllib.parse
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from flowzoo.demo.job import Request, Worker
from flowzoo.demo.options import Choice
from flowzoo.demo.upload import Body, receive, stated_files
from flowzoo.errors import InputError
from flowzoo.visualise import colour_wheel

PAGES = {"/": "index.html", "/app.js": "app.js", "/view.js": "view.js", "/style.css": "style.css"}
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
WHEEL = 160
"""Pixels of the colour wheel's diameter."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class Settings:
    """What the server is told.

    Attributes:
        choices: networks that the page offers, the default first.
        precisions: likewise.
        largest: bytes that one request may have.
        hosts: names under which it may be asked, besides this machine's own; such pages are served over https.
    """

    choices: tuple[Choice, ...]
    precisions: tuple[str, ...] = ("float32", "bfloat16")
    largest: int = 100_000_000
    hosts: tuple[str, ...] = ()


class DemoServer(ThreadingHTTPServer):
    """Serves the page and computes.

    Args:
        address: host and port to listen at; port 0 is any free one.
        worker: computes.
        settings: see there.

    Raises:
        OSError: the port is taken.
    """

    daemon_threads = True
    # On other systems this would let two servers share a port.
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], worker: Worker, settings: Settings) -> None:
        self.worker, self.settings, self.turn = worker, settings, threading.Lock()
        super().__init__(address, Handler)
        port = self.server_port
        self.names = {f"127.0.0.1:{port}", f"localhost:{port}"}

    @property
    def url(self) -> str:
        """Where people open it."""
        return f"http://127.0.0.1:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away is no event."""


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: DemoServer
    protocol_version = "HTTP/1.1"
    timeout = 60
    server_version = "flowzoo"

    def do_GET(self) -> None:
        """The page, its parts, and what it offers."""
        path = urllib.parse.urlsplit(self.path).path
        if not self._allowed():
            return
        if path in PAGES:
            name = PAGES[path]
            content = resources.files("flowzoo.demo").joinpath("page", name).read_bytes()
            self._send(HTTPStatus.OK, content, TYPES[Path(name).suffix])
        elif path == "/wheel.png":
            self._send(HTTPStatus.OK, wheel(), "image/png")
        elif path == "/options":
            settings = self.server.settings
            offered = {
                "networks": [choice.title for choice in settings.choices],
                "precisions": settings.precisions,
                "largest": settings.largest,
            }
            self._send(HTTPStatus.OK, json.dumps(offered).encode(), "application/json")
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here")

    def do_POST(self) -> None:
        """`/flow`: the flow of a pair."""
        body = self._body()
        if body is None or not self._allowed(body):
            return
        if urllib.parse.urlsplit(self.path).path != "/flow":
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here", body)
            return
        turn, answer, fault = self.server.turn, b"", (HTTPStatus.OK, "")
        if not turn.acquire(blocking=False):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "another pair is being computed: try again in a moment", body)
            return
        try:
            answer = self._computed(body)
        except InputError as error:
            fault = HTTPStatus.BAD_REQUEST, " ".join(str(error).split())
        except (MemoryError, RuntimeError) as error:
            fault = HTTPStatus.INTERNAL_SERVER_ERROR, f"it could not be computed: {str(error)[:300]}"
        finally:
            turn.release()
        if fault[1]:
            self._refuse(*fault, body)
        else:
            self._send(HTTPStatus.OK, answer, "application/octet-stream")

    def handle_expect_100(self) -> bool:
        """What will be refused need not be sent."""
        return self._body() is not None and super().handle_expect_100()

    def _computed(self, body: Body) -> bytes:
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        settings = self.server.settings
        files = stated_files(self.headers.get("X-Files", ""), body.left)
        network, pair = query.get("network", "0"), query.get("pair", "0")
        if not (network.isdecimal() and int(network) < len(settings.choices)):
            raise InputError("choose one of the networks that are offered")
        if not (pair.isdecimal() and len(pair) < 9):
            raise InputError("the number of the pair is no number")
        precision = query.get("precision", settings.precisions[0])
        if precision not in settings.precisions:
            raise InputError(f"choose one of these precisions: {', '.join(settings.precisions)}")
        with tempfile.TemporaryDirectory(prefix="flowzoo-demo-") as folder:
            received = receive(body, files, Path(folder))
            request = Request(received, settings.choices[int(network)], precision, int(pair))
            return self.server.worker.run(request)

    def _body(self) -> Body | None:
        """The request's body; None where it was refused for its length."""
        stated, largest = self.headers.get("Content-Length", ""), self.server.settings.largest
        if not stated.isdecimal() or len(stated) > 15:
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "the request does not say how long it is")
            return None
        body = Body(self.rfile, int(stated))
        if body.left > largest:
            size, most = body.left / 1e6, largest / 1e6
            text = f"{size:.0f} MB are too many: at most {most:.0f} MB are taken; use `flowzoo infer` for large files"
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text, body)
            return None
        return body

    def _allowed(self, body: Body | None = None) -> bool:
        """Whether the request is for this machine's name, and from its own page; refused otherwise."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        own = {f"http://{host}"} if host in self.server.names else {f"https://{host}"}
        if host not in self.server.names and host not in self.server.settings.hosts:
            self._refuse(HTTPStatus.FORBIDDEN, "this page is for this machine alone: open it as 127.0.0.1", body)
        elif origin is not None and origin not in own:
            self._refuse(HTTPStatus.FORBIDDEN, "another page has asked for this, and may not", body)
        else:
            return True
        return False

    def _refuse(self, status: HTTPStatus, message: str, body: Body | None = None) -> None:
        """One line of JSON; the connection ends, because the body may not have been read."""
        self.close_connection = True
        self._send(status, json.dumps({"error": message}).encode(), "application/json")
        if body is not None and "100-continue" not in self.headers.get("Expect", ""):
            body.pass_over()

    def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind + ("; charset=utf-8" if kind.startswith("text/") else ""))
        self.send_header("Content-Length", str(len(content)))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: what people look at is theirs."""


def wheel() -> bytes:
    """The colour wheel as a PNG, transparent around the disc."""
    colours, inside = colour_wheel(WHEEL)
    picture = np.dstack([colours, inside.astype(np.uint8) * 255])
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()
