"""The example HTTP server, with curl and with bytes by hand.

tests/support/examples.py has the rules.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.examples import Client, Connect, Server, installed, run, running, settle

HTTP_HEAD_LIMIT = 16 * 1024

HTTP_BODY_LIMIT = 16 * 1024 * 1024


def http_answer(client: Client) -> tuple[int, dict[str, str], bytes]:
    """The next answer: status, headers and body."""
    version, status, _ = client.line().decode().split(" ", 2)
    assert version == "HTTP/1.1"
    headers = {}
    while line := client.line().decode():
        name, _, value = line.partition(": ")
        headers[name.lower()] = value
    length = int(headers.get("content-length", 0))
    return int(status), headers, client.exactly(length)


def http_get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode()


def http_post(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def report(method: str, path: str, body: bytes = b"") -> dict[str, object]:
    """What the server should say of a request."""
    digest = hashlib.sha256(body).hexdigest()
    return {"method": method, "path": path, "length": len(body), "sha256": digest}


def expect_report(client: Client, method: str, path: str, body: bytes = b"") -> None:
    status, _, answer = http_answer(client)
    assert (status, json.loads(answer)) == (200, report(method, path, body))


@pytest.fixture(scope="module")
def http_server(engine: str, directory: Path) -> Iterator[Server]:
    with running(engine, "http_server.py", directory) as server:
        yield server


class TestHTTPServer:
    @pytest.fixture
    def server(self, http_server: Server) -> Server:
        return http_server

    @pytest.fixture
    def url(self, connect: Connect, server: Server) -> str:
        return f"http://127.0.0.1:{server.port}"

    def test_curl_gets(self, url: str) -> None:
        answer = run(installed("curl"), "-sS", f"{url}/some/path?a=b")
        assert json.loads(answer) == report("GET", "/some/path?a=b")

    def test_curl_posts_a_file(self, url: str, tmp_path: Path) -> None:
        body = tmp_path / "body"
        body.write_bytes(os.urandom(300_001))
        answer = run(installed("curl"), "-sS", "--data-binary", f"@{body}", f"{url}/file")
        assert json.loads(answer) == report("POST", "/file", body.read_bytes())

    def test_curl_posts_nothing(self, url: str) -> None:
        answer = run(installed("curl"), "-sS", "--data-binary", "", f"{url}/empty")
        assert json.loads(answer) == report("POST", "/empty")

    def test_curl_does_not_wait_for_100_continue(self, url: str, tmp_path: Path) -> None:
        body = tmp_path / "body"
        body.write_bytes(os.urandom(3_000_000))
        options = ["-sS", "-i", "-H", "Expect: 100-continue", "--expect100-timeout", "60"]
        bounded = [*options, "--max-time", "10", "--data-binary", f"@{body}"]
        answer = run(installed("curl"), *bounded, f"{url}/big")
        assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
        assert json.loads(answer.rpartition(b"\r\n\r\n")[2]) == report(
            "POST", "/big", body.read_bytes()
        )

    def test_curl_uses_one_connection_for_two_requests(self, url: str) -> None:
        options = ["-sS", "-o", os.devnull, "-o", os.devnull, "-w", "%{num_connects} "]
        answer = run(installed("curl"), *options, f"{url}/1", f"{url}/2")
        assert answer == b"1 0 "

    def test_curl_asks_for_the_head_only(self, url: str, client: Client) -> None:
        head = run(installed("curl"), "-sS", "-I", f"{url}/head").decode()
        client.send(http_get("/head"))
        _, headers, _ = http_answer(client)
        assert head.startswith("HTTP/1.1 200 OK\r\n")
        assert f"Content-Length: {headers['content-length']}\r\n" in head

    def test_answer_to_head_has_no_body(self, client: Client) -> None:
        client.send(http_get("/head").replace(b"GET", b"HEAD") + http_get("/next"))
        assert client.line() == b"HTTP/1.1 200 OK"
        while client.line():
            pass
        expect_report(client, "GET", "/next")

    def test_every_split_of_two_requests(self, client: Client, connect: Connect) -> None:
        bystander = connect()
        requests = http_post("/post", b"\r\n\r\nb") + http_get("/get")
        for cut in range(1, len(requests)):
            client.send(requests[:cut])
            settle(bystander, http_get("/"), http_answer)
            client.send(requests[cut:])
            expect_report(client, "POST", "/post", b"\r\n\r\nb")
            expect_report(client, "GET", "/get")

    def test_bytes_one_by_one(self, client: Client, connect: Connect) -> None:
        bystander = connect()
        body = b"one\r\n\r\nby one"
        for byte in http_post("/slow", body):
            client.send(bytes([byte]))
            settle(bystander, http_get("/"), http_answer)
        expect_report(client, "POST", "/slow", body)

    def test_many_requests_at_once(self, client: Client) -> None:
        bodies = [b"x" * (n % 7) for n in range(300)]
        client.send(b"".join(http_post(f"/{n}", body) for n, body in enumerate(bodies)))
        for n, body in enumerate(bodies):
            expect_report(client, "POST", f"/{n}", body)

    def test_empty_lines_before_a_request(self, client: Client) -> None:
        client.send(b"\r\n" + http_get("/1") + b"\r\n\r\n\r\n" + http_get("/2"))
        expect_report(client, "GET", "/1")
        expect_report(client, "GET", "/2")

    def test_body_of_a_get(self, client: Client) -> None:
        client.send(http_post("/body", b"kept").replace(b"POST", b"GET") + http_get("/next"))
        expect_report(client, "GET", "/body", b"kept")
        expect_report(client, "GET", "/next")

    def test_http_1_0_ends_after_one_answer(self, client: Client) -> None:
        client.send(b"GET /old HTTP/1.0\r\n\r\n" + http_get("/ignored"))
        expect_report(client, "GET", "/old")
        assert client.rest() == b""

    def test_nothing_is_answered_after_connection_close(self, client: Client) -> None:
        last = http_post("/last", b"body").replace(b"Host", b"Connection: close\r\nHost")
        client.send(last + http_get("/ignored") * 3)
        expect_report(client, "POST", "/last", b"body")
        assert client.rest() == b""

    def test_client_that_stops_sending_is_answered(self, client: Client) -> None:
        client.send(http_get("/a") + http_get("/b"))
        client.end_input()
        expect_report(client, "GET", "/a")
        expect_report(client, "GET", "/b")
        assert client.rest() == b""

    @pytest.mark.parametrize(
        ("status", "request_head"),
        [
            pytest.param(400, b"nonsense", id="400-no-request-line"),
            pytest.param(400, b"GET  / HTTP/1.1\r\nHost: t", id="400-two-spaces"),
            pytest.param(400, b"GET / HTTP/2.0\r\nHost: t", id="400-version"),
            pytest.param(400, b"GET / HTTP/1.1", id="400-no-host"),
            pytest.param(400, b"GET / HTTP/1.1\r\nHost : t", id="400-space-before-colon"),
            pytest.param(400, b"GET / HTTP/1.1\r\nHost: t\r\n folded: x", id="400-folded"),
            pytest.param(400, b"GET / HTTP/1.1\r\nHost: a\nb: c", id="400-bare-newline"),
            pytest.param(400, b"POST / HTTP/1.0\r\nContent-Length: -1", id="400-negative-length"),
            pytest.param(
                400, b"POST / HTTP/1.0\r\nContent-Length: 3\r\nContent-Length: 4", id="400-lengths"
            ),
            pytest.param(405, b"PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 9", id="405"),
            pytest.param(411, b"POST / HTTP/1.1\r\nHost: t", id="411"),
            pytest.param(
                413, b"POST / HTTP/1.0\r\nContent-Length: %d" % (HTTP_BODY_LIMIT + 1), id="413"
            ),
            pytest.param(501, b"BREW / HTTP/1.1\r\nHost: t", id="501-method"),
            pytest.param(
                501, b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked", id="501-transfer-encoding"
            ),
        ],
    )
    def test_refusal_ends_the_connection(
        self, client: Client, status: int, request_head: bytes
    ) -> None:
        client.send(request_head + b"\r\n\r\n" + http_get("/ignored"))
        answered, headers, body = http_answer(client)
        assert (answered, headers["connection"]) == (status, "close")
        assert list(json.loads(body)) == ["error"]
        assert ("allow" in headers) == (status == 405)
        assert client.rest() == b""

    @pytest.mark.parametrize(("excess", "status"), [(0, 200), (1, 431)])
    def test_longest_head(self, client: Client, excess: int, status: int) -> None:
        start = b"GET / HTTP/1.1\r\nHost: test\r\nPadding: "
        padding = b"x" * (HTTP_HEAD_LIMIT - len(start) + excess)
        client.send(start + padding + b"\r\n\r\n")
        assert http_answer(client)[0] == status

    def test_head_without_end(self, client: Client) -> None:
        client.send(b"GET / HTTP/1.1\r\n" + b"x" * HTTP_HEAD_LIMIT)
        assert http_answer(client)[0] == 431
        assert client.rest() == b""

    def test_longest_body(self, client: Client) -> None:
        body = bytes(HTTP_BODY_LIMIT)
        client.send(http_post("/", body))
        expect_report(client, "POST", "/", body)

    def test_refused_body_does_not_hide_the_refusal(self, client: Client) -> None:
        client.send(http_post("/", bytes(HTTP_BODY_LIMIT + 1)))
        assert http_answer(client)[0] == 413
        assert client.rest() == b""

    def test_client_goes_away_within_a_body(self, client: Client, connect: Connect) -> None:
        client.send(http_post("/", b"body")[:-1])
        client.reset()
        bystander = connect()
        bystander.send(http_get("/"))
        expect_report(bystander, "GET", "/")
