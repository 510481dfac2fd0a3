"""A small HTTP/1.1 server on asynchat: one terminator for each part of a request.

The request handler of the Python 2.6 asynchat documentation, made into a whole program:
`python -m fastchat run examples/http_server.py`, then `curl -d hello http://127.0.0.1:PORT/any`.
GET, HEAD and POST are answered with what arrived, as JSON: method, path, length and SHA-256 of the
body. Rules kept here:
- the terminator of a head is CR LF CR LF, that of a body its length (but 0 would collect for
  ever, so an empty body is complete at once), and None drops what follows the last answer;
- head, body and waiting answers are bounded in size; nothing is bounded in time.
"""

import json
import re
from email.utils import formatdate
from hashlib import sha256
from http.client import responses
from typing import Any

import serving
from connection import Channel

MAX_HEAD, MAX_BODY = 16 << 10, 16 << 20
ANSWERED = ("GET", "HEAD", "POST")
NOT_ALLOWED = ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT")
TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
REQUEST_LINE = re.compile(f"({TOKEN}) ([!-~]+) HTTP/1[.]([0-9])")
FIELD = re.compile(f"({TOKEN}):([^\r\n\0]*)")


class Refused(Exception):
    """A request answered with an error status, after which the connection ends."""


def parse_head(head: bytes) -> tuple[str, str, int, dict[str, str]]:
    """Split a request head into method, path, the x of HTTP/1.x, and headers."""
    first, *lines = head.decode("latin-1").split("\r\n")
    request = REQUEST_LINE.fullmatch(first)
    if not request:
        raise Refused(400)
    method, path, minor = request.groups()
    headers: dict[str, list[str]] = {}
    for line in lines:
        field = FIELD.fullmatch(line)
        if not field:
            raise Refused(400)
        headers.setdefault(field.group(1).lower(), []).append(field.group(2).strip(" \t"))
    if minor != "0" and "host" not in headers:
        raise Refused(400)
    return method, path, int(minor), {name: ", ".join(values) for name, values in headers.items()}


def body_length(method: str, headers: dict[str, str]) -> int:
    """How many bytes of body follow the head."""
    if method not in (*ANSWERED, *NOT_ALLOWED) or "transfer-encoding" in headers:
        raise Refused(501)
    if method in NOT_ALLOWED:
        raise Refused(405)
    length = headers.get("content-length", "" if method == "POST" else "0")
    if not re.fullmatch("[0-9]{1,18}", length):
        raise Refused(400 if length else 411)
    if int(length) > MAX_BODY:
        raise Refused(413)
    return int(length)


class RequestHandler(Channel):
    """One connection: reads a head while `digest` is None, a body while it is not."""

    digest: Any
    report: dict[str, object]

    def begin(self) -> None:
        self.head, self.digest, self.is_head, self.is_last = b"", None, False, True
        self.set_terminator(b"\r\n\r\n")

    def collect_incoming_data(self, data: bytes) -> None:
        if self.is_finished:
            self.drop(data)
        elif self.digest:
            self.digest.update(data)
        else:
            self.head += data
            if len(self.head) > MAX_HEAD:
                self.answer(431)

    def found_terminator(self) -> None:
        if self.digest and not self.is_finished:
            self.answer(200)
        elif self.head.strip() and not self.is_finished:  # a request may follow empty lines
            try:
                self.begin_request(self.head.lstrip(b"\r\n"))
            except Refused as refused:
                self.answer(refused.args[0])

    def begin_request(self, head: bytes) -> None:
        self.is_head = head.startswith(b"HEAD ")
        method, path, minor, headers = parse_head(head)
        length = body_length(method, headers)
        method = method.replace("HEAD", "GET")  # its answer is GET's without the body
        self.is_last = minor == 0 or "close" in headers.get("connection", "").lower()
        self.report, self.digest = {"method": method, "path": path, "length": length}, sha256()
        self.set_terminator(length)
        if length == 0:
            self.answer(200)
        elif minor > 0 and headers.get("expect", "").lower() == "100-continue":
            self.push(b"HTTP/1.1 100 Continue\r\n\r\n")

    def answer(self, status: int) -> None:
        report: dict[str, object] = {"error": responses[status]}
        if status == 200:
            report = dict(self.report, sha256=self.digest.hexdigest())
        body = json.dumps(report) + "\n"
        head = f"HTTP/1.1 {status} {responses[status]}\r\nDate: {formatdate(usegmt=True)}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        head += "Allow: GET, HEAD, POST\r\n" if status == 405 else ""
        head += "Connection: close\r\n\r\n" if self.is_last else "\r\n"
        self.push((head if self.is_head else head + body).encode("ascii"))
        if self.is_last:
            self.finish()
        else:
            self.begin()


if __name__ == "__main__":
    options = serving.argument_parser("HTTP server that reports what it received").parse_args()
    serving.serve(options, RequestHandler)
