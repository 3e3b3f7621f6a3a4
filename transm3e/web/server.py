"""The page's HTTP server: one HTML file, uploads, the state of jobs and their files; nothing else is served."""

from __future__ import annotations

import ipaddress
import json
import re
import socket
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qs, urlsplit

from transm3e.errors import UserError, one_line
from transm3e.web.jobs import VIDEO, Job, Jobs
from transm3e.web.scoring import BODY, OVERLAY, SCORES, WINDOWS

BLOCK = 1 << 20
MIB = 1 << 20
DRAINED = 64 * MIB  # of a refused upload
TIMEOUT = 60  # seconds without a byte
LONGEST_NAME = 120
# The only files that are served, whatever else is in a job's folder.
TYPES = {
    OVERLAY: "video/mp4",
    SCORES: "text/csv; charset=utf-8",
    WINDOWS: "text/csv; charset=utf-8",
    BODY: "image/svg+xml",
}
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; media-src 'self'; connect-src 'self'; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
JOB = re.compile(r"/jobs/([\w-]{1,64})(?:/([a-z_]+\.[a-z0-9]+))?")
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class Server(ThreadingHTTPServer):
    """Listens at once.

    Args:
        host, port: address; port 0 = any free one.
        jobs: the queue.
        most_bytes: of an upload.
        model: its name, for the page.

    Raises:
        UserError: the port is in use or not allowed, or the host is none of this machine.
    """

    daemon_threads, block_on_close = True, False

    def __init__(self, host: str, port: int, jobs: Jobs, most_bytes: int, model: str = "") -> None:
        self.jobs, self.most_bytes, self.host = jobs, most_bytes, host
        facts = json.dumps({"model": model, "most_mb": most_bytes // MIB}).replace("<", "\\u003c")
        self.page = (
            files("transm3e.web").joinpath("page.html").read_text("utf-8").replace("{/*facts*/}", facts).encode()
        )
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), Handler)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise UserError(
                f"cannot listen on {host} port {port}: {why}; name another one with --port (0 = any free one) or --host"
            ) from error

    @property
    def url(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{name}:{self.server_address[1]}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Browsers that go away are no error."""


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version, timeout = "HTTP/1.1", TIMEOUT
    server_version, sys_version = "transm3e", ""

    def do_GET(self) -> None:
        if not self._is_ours():
            return
        path = urlsplit(self.path).path
        if path == "/":
            self._send(HTTPStatus.OK, self.server.page, "text/html; charset=utf-8")
            return
        found = JOB.fullmatch(path)
        job = self.server.jobs.get(found[1]) if found else None
        if found is None or job is None:
            self._refuse(
                HTTPStatus.NOT_FOUND, "no such page; results are kept until the server stops or 20 newer ones exist"
            )
        elif found[2] is None:
            self._send_json(HTTPStatus.OK, self._state(job))
        elif found[2] in TYPES and found[2] in job.result.get("files", ()):
            self._send_file(job.folder / found[2], TYPES[found[2]])
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "no such file")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.close_connection = True  # what is left of a refused body is not a request
        if not self._is_ours():
            return
        address = urlsplit(self.path)
        if address.path != "/jobs":
            self._refuse(HTTPStatus.NOT_FOUND, "no such page")
            return
        length, most = self.headers.get("Content-Length", ""), self.server.most_bytes
        if not re.fullmatch(r"\d{1,18}", length):
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "the length of the upload is not given (Content-Length)")
        elif not int(length):
            self._refuse(HTTPStatus.BAD_REQUEST, "the file is empty; choose a video")
        elif int(length) > most:
            self._refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"{int(length) / MIB:.0f} MB are too large; allowed: {most // MIB} MB; cut the video, or start the page with --max-mb",
            )
        else:
            name = one_line(parse_qs(address.query).get("name", ["video"])[0])[:LONGEST_NAME]
            self._take(name, int(length))

    def _take(self, name: str, length: int) -> None:
        job = self.server.jobs.reserve(name)
        if job is None:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many videos wait; try again in a minute")
            return
        try:
            with (job.folder / VIDEO).open("xb") as file:
                while length and (block := self.rfile.read(min(BLOCK, length))):
                    file.write(block)
                    length -= len(block)
        except OSError as error:
            self.server.jobs.forget(job)
            self._refuse(HTTPStatus.INSUFFICIENT_STORAGE, f"the upload cannot be kept: {error.strerror or error}")
            return
        if length:
            self.server.jobs.forget(job)
            self._refuse(HTTPStatus.BAD_REQUEST, "the upload broke off; try again")
            return
        self.server.jobs.submit(job)
        self._send_json(HTTPStatus.ACCEPTED, self._state(job))

    def _is_ours(self) -> bool:
        """Whether the request names this server (a foreign name that points here is DNS rebinding) and, if it changes
        anything, comes from its own page or no page at all; else it is refused."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        if not _is_own_name(host, self.server.host):
            self._refuse(HTTPStatus.FORBIDDEN, f"not served under the name {host}; open {self.server.url}")
            return False
        if self.command == "POST" and origin is not None and urlsplit(origin).netloc != host:
            self._refuse(HTTPStatus.FORBIDDEN, f"requests of other pages are refused; open {self.server.url}")
            return False
        return True

    def _state(self, job: Job) -> dict[str, Any]:
        state = {key: getattr(job, key) for key in ("id", "name", "state", "stage", "done", "error", "result")}
        return {**state, "before": self.server.jobs.before(job)}

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self._send_json(status, {"error": one_line(why)})
        length = self.headers.get("Content-Length", "")
        if self.command == "POST" and re.fullmatch(r"\d{1,18}", length):
            # Clients read the answer only once they have sent their body.
            left = min(int(length), DRAINED)
            with suppress(OSError):
                while left and (block := self.rfile.read(min(BLOCK, left))):
                    left -= len(block)

    def _send_json(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        self._send(status, json.dumps(content).encode(), "application/json")

    def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self._begin(status, len(content), kind)
        if self.command != "HEAD":
            self.wfile.write(content)

    def _begin(self, status: HTTPStatus, length: int, kind: str, **more: str) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(length), **HEADERS}
        headers |= {name.replace("_", "-"): value for name, value in more.items()}
        if self.close_connection:
            headers["Connection"] = "close"
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _send_file(self, path: Path, kind: str) -> None:
        """All of a file, or the part that the request's Range asks for."""
        try:
            file = path.open("rb")
        except OSError:  # removed meanwhile
            self._refuse(HTTPStatus.NOT_FOUND, "no such file")
            return
        with file:
            size = path.stat().st_size
            found = RANGE.fullmatch(self.headers.get("Range", ""))
            if not found or found[0] == "bytes=-":
                self._begin(HTTPStatus.OK, size, kind, Accept_Ranges="bytes")
                self._copy(file, 0, size)
                return
            first = int(found[1]) if found[1] else max(0, size - int(found[2]))
            last = min(int(found[2]) if found[1] and found[2] else size - 1, size - 1)
            if first > last:
                self._begin(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, 0, kind, Content_Range=f"bytes */{size}")
                return
            length = last - first + 1
            self._begin(
                HTTPStatus.PARTIAL_CONTENT,
                length,
                kind,
                Content_Range=f"bytes {first}-{last}/{size}",
                Accept_Ranges="bytes",
            )
            self._copy(file, first, length)

    def _copy(self, file: BinaryIO, first: int, length: int) -> None:
        if self.command == "HEAD":
            return
        file.seek(first)
        with suppress(ConnectionError):  # players drop what they do not need
            while length and (block := file.read(min(BLOCK, length))):
                self.wfile.write(block)
                length -= len(block)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: the page asks for its job's state twice a second."""


def _is_own_name(host: str, bound: str) -> bool:
    """An address is nobody's to rebind; of names only localhost and that of --host are ours."""
    name = re.sub(r":\d{1,5}$", "", host).strip("[]").lower()
    if name in ("localhost", bound.lower()):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
