"""The example programs, unmodified, with real clients over real sockets.

Each test runs on every engine: fastchat compiled, fastchat in Python, and the standard library
where this interpreter still has it, so that a test which demands too much is seen.  Rules kept
here:

- a server is started once for each program and engine; after every test it must still run, and
  at the end it must leave with status 0, having written nothing but where it listens;
- no sleeping: a test that needs the server to have read something asks it twice for something
  else on another connection (``settle``), which takes two passes of its loop;
- a missing client program skips its tests, or fails them if FASTCHAT_REQUIRE_CLIENTS is 1.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.implementations import FASTCHAT, STDLIB

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
TIMEOUT = 20.0  # seconds; for what should happen at once

HTTP_HEAD_LIMIT = 16 * 1024
HTTP_BODY_LIMIT = 16 * 1024 * 1024
REDIS_LINE_LIMIT = 64 * 1024
CHAT_LINE_LIMIT = 1000
DOWNLOAD_SIZE = 50 * 1000 * 1000

Connect = Callable[[], "Client"]


class Client:
    """One blocking connection; every wait of it ends after ``TIMEOUT``."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def line(self) -> bytes:
        """The next line, which must be complete, without its CR LF."""
        line = self.file.readline()
        assert line.endswith(b"\r\n"), f"no complete line, but {line!r}"
        return line[:-2]

    def exactly(self, size: int) -> bytes:
        data = self.file.read(size)
        assert len(data) == size
        return data

    def rest(self) -> bytes:
        """All that comes until the server ends the connection."""
        return self.file.read()

    def end_input(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    def reset(self) -> None:
        """Go away without a word: the server gets a reset, not an end."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()


class Server:
    """An example program in a child process, listening."""

    def __init__(self, engine: str, program: str, errors: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "fastchat", "run"]
        if engine == "stdlib":
            command = [sys.executable, "-W", "ignore::DeprecationWarning"]
        # A channel or a file that the program forgets to close is then told on stderr.
        settings = {"FASTCHAT_IMPLEMENTATION": engine, "PYTHONWARNINGS": "default::ResourceWarning"}
        self.errors = errors
        with errors.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*command, str(EXAMPLES / program), *arguments],
                env=os.environ | settings,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
        assert self.process.stdout is not None
        self.output = self.process.stdout
        words = self.output.readline().decode().split()
        assert words[:2] == ["listening", "on"], f"{words}, {errors.read_text()}"
        self.port = int(words[2].rpartition(":")[2])

    def check(self) -> None:
        """It runs, and had nothing to complain about."""
        assert self.errors.read_text() == ""
        assert self.process.poll() is None

    def stop(self, ending: int = signal.SIGTERM) -> str:
        """End it by a signal, as one should; returns all it printed after its first line."""
        self.process.send_signal(ending)
        printed, _ = self.process.communicate(timeout=TIMEOUT)
        assert self.errors.read_text() == ""
        assert self.process.returncode == 0
        return printed.decode()

    def kill(self) -> None:
        """Whatever a test did to it, leave no process behind."""
        self.process.kill()
        self.process.wait()
        self.output.close()


@contextmanager
def running(
    engine: str, program: str, directory: Path, *arguments: str, log: str = ""
) -> Iterator[Server]:
    """A server that must end well, having logged one line with ``log`` in it, or nothing."""
    server = Server(engine, program, directory / f"{program}.{engine}.errors", *arguments)
    try:
        yield server
        printed = server.stop()
        assert log in printed
        assert len(printed.splitlines()) == (1 if log else 0), printed
    finally:
        server.kill()


def installed(client: str) -> str:
    """The path of a client program."""
    path = shutil.which(client)
    if path is None and os.environ.get("FASTCHAT_REQUIRE_CLIENTS") == "1":
        pytest.fail(f"{client} is not installed")
    if path is None:
        pytest.skip(f"{client} is not installed")
    return path


def run(*command: str | Path, stdin: bytes = b"") -> bytes:
    """The output of a client program, which must succeed and complain of nothing."""
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=TIMEOUT, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def settle(
    bystander: Client, question: bytes, answer: Callable[[Client], object] = Client.line
) -> None:
    """Let the server read whatever was sent to it before.

    What was sent is waiting when the first question is read, so it is read in the same pass of
    the loop at the latest; the second question is read in a later one.
    """
    for _ in range(2):
        bystander.send(question)
        answer(bystander)


@pytest.fixture(scope="module", params=[*FASTCHAT, *STDLIB])
def engine(request: pytest.FixtureRequest) -> str:
    """What the program runs on."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("examples")


@pytest.fixture
def connect(server: Server) -> Iterator[Connect]:
    """Opens connections to the server that the class of the test names, which must survive."""
    with ExitStack() as stack:

        def connect() -> Client:
            client = Client(server.port)
            stack.callback(client.close)
            return client

        yield connect
    server.check()


@pytest.fixture
def client(connect: Connect) -> Client:
    return connect()


# HTTP


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


# Redis


def redis_answer(client: Client) -> object:
    """The next answer: a str for a status or an error, else an int, bytes, None or a list."""
    line = client.line()
    kind, text = line[:1], line[1:]
    if kind == b":":
        return int(text)
    if kind == b"*":
        return [redis_answer(client) for _ in range(int(text))]
    if kind == b"$":
        return None if text == b"-1" else client.exactly(int(text) + 2)[:-2]
    assert kind in (b"+", b"-")
    return line.decode()


def redis_command(*words: bytes) -> bytes:
    header = b"*%d\r\n" % len(words)
    return header + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


@pytest.fixture(scope="module")
def redis_server(engine: str, directory: Path) -> Iterator[Server]:
    with running(engine, "redis_server.py", directory) as server:
        yield server


class TestRedisServer:
    @pytest.fixture
    def server(self, redis_server: Server) -> Server:
        return redis_server

    @pytest.fixture
    def cli(self, connect: Connect, server: Server) -> Callable[..., bytes]:
        """Runs redis-cli, on a server without keys."""
        path = installed("redis-cli")
        run(path, "-p", str(server.port), "FLUSHALL")
        return lambda *words, stdin=b"": run(path, "-p", str(server.port), *words, stdin=stdin)

    @pytest.fixture
    def client(self, connect: Connect) -> Client:
        """Connected to a server without keys."""
        client = connect()
        client.send(b"FLUSHALL\r\n")
        assert client.line() == b"+OK"
        return client

    @pytest.mark.parametrize(
        "value",
        [b"", b"\r\n", b"\r", bytes(range(256)) * 3, b"\r\n$5\r\nhello\r\n" * 9000],
        ids=["empty", "crlf", "cr", "all-bytes", "long"],
    )
    def test_cli_stores_bytes(self, cli: Callable[..., bytes], value: bytes) -> None:
        assert cli("-x", "SET", "key", stdin=value) == b"OK\n"
        assert cli("GET", "key") == value + b"\n"

    def test_cli_commands(self, cli: Callable[..., bytes]) -> None:
        script = [
            ("PING", "PONG"),
            ("ECHO hello", "hello"),
            ("GET nothing", ""),
            ("INCR n", "1"),
            ("INCR n", "2"),
            ("MSET a 1 b 2", "OK"),
            ("DBSIZE", "3"),
            ("EXISTS a b c", "2"),
            ("DEL a b c", "2"),
            ("RPUSH l 2 3", "2"),
            ("LPUSH l 1 0", "4"),
            ("LRANGE l 1 -1", "1\n2\n3"),
            ("LPOP l", "0"),
            ("GET l", "WRONGTYPE Operation against a key holding the wrong kind of value\n"),
            ("INCR l", "WRONGTYPE Operation against a key holding the wrong kind of value\n"),
            ("MSET a", "ERR wrong number of arguments for 'MSET' command\n"),
            ("BREW tea", "ERR unknown command 'BREW'\n"),
            ("CONFIG GET save", "save\n"),
            ("FLUSHALL", "OK"),
            ("DBSIZE", "0"),
        ]
        commands = "\n".join(command for command, _ in script)
        answers = "".join(f"{answer}\n" for _, answer in script)
        assert cli(stdin=commands.encode()).decode() == answers

    def test_benchmark(self, connect: Connect, server: Server) -> None:
        options = ["-t", "ping,set,get", "-P", "16", "-n", "2000", "-c", "20", "--csv"]
        answer = run(installed("redis-benchmark"), "-p", str(server.port), *options).decode()
        measured = [line.split(",")[0] for line in answer.splitlines()]
        assert measured == ['"test"', '"PING_INLINE"', '"PING_MBULK"', '"SET"', '"GET"']

    def test_every_split_of_two_commands(self, client: Client, connect: Connect) -> None:
        bystander = connect()
        commands = redis_command(b"ECHO", b"\r\n1\r\n") + b"ECHO inline\r\n"
        for cut in range(1, len(commands)):
            client.send(commands[:cut])
            settle(bystander, b"PING\r\n")
            client.send(commands[cut:])
            assert redis_answer(client) == b"\r\n1\r\n"
            assert redis_answer(client) == b"inline"

    def test_answers_come_in_order(self, client: Client) -> None:
        client.send(redis_command(b"INCR", b"counter") * 1000)
        assert [redis_answer(client) for _ in range(1000)] == list(range(1, 1001))

    def test_empty_commands_are_not_answered(self, client: Client) -> None:
        client.send(b"\r\n*0\r\n*-1\r\n   \r\n" + redis_command(b"PING", b""))
        assert redis_answer(client) == b""

    def test_wrong_command_leaves_the_connection(self, client: Client) -> None:
        client.send(redis_command(b"GET") + redis_command(b"no\r\nsuch") + b"PING\r\n")
        assert redis_answer(client) == "-ERR wrong number of arguments for 'GET' command"
        assert redis_answer(client) == r"-ERR unknown command 'no\r\nsuch'"
        assert redis_answer(client) == "+PONG"

    @pytest.mark.parametrize(
        ("sent", "problem"),
        [
            (b"*x\r\n", "invalid multibulk length"),
            (b"*1048577\r\n", "invalid multibulk length"),
            (b"*2\r\n$3\r\nGET\r\n$-1\r\n", "invalid bulk length"),
            (b"*2\r\n$3\r\nGET\r\n$1x\r\n", "invalid bulk length"),
            (b"*2\r\n$3\r\nGET\r\n$67108864\r\n", "invalid bulk length"),
            (b"*1\r\n+PING\r\n", "expected '$'"),
            (b"*1\r\n$4\r\nPINGPING\r\n", "no CRLF after a bulk string"),
            (b"x" * (REDIS_LINE_LIMIT + 1), "too big inline request"),
        ],
        ids=lambda value: None if isinstance(value, bytes) else value.replace(" ", "-"),
    )
    def test_breach_of_the_protocol_ends_the_connection(
        self, client: Client, sent: bytes, problem: str
    ) -> None:
        client.send(b"PING\r\n" + sent + b"PING\r\n")
        assert redis_answer(client) == "+PONG"
        assert redis_answer(client) == f"-ERR Protocol error: {problem}"
        assert client.rest() == b""

    def test_longest_line(self, client: Client) -> None:
        word = b"x" * (REDIS_LINE_LIMIT - len(b"ECHO "))
        client.send(b"ECHO " + word + b"\r\n")
        assert redis_answer(client) == word

    def test_nothing_is_done_after_quit(self, client: Client, connect: Connect) -> None:
        client.send(b"QUIT\r\nSET key value\r\n")
        assert client.rest() == b"+OK\r\n"
        bystander = connect()
        bystander.send(b"DBSIZE\r\n")
        assert redis_answer(bystander) == 0


# Chat

Enter = Callable[[str], Client]


def said(client: Client, count: int) -> list[str]:
    """The next lines that somebody said, without the room's own in between."""
    lines: list[str] = []
    while len(lines) < count:
        line = client.line().decode()
        if line.startswith("<"):
            lines.append(line)
    return lines


def said_of(client: Client, nick: str) -> list[str]:
    """What somebody hears of another one, from the time that has its nick until it leaves."""
    heard: list[str] = []
    while not heard or heard[-1] != f"* {nick} left":
        heard.append(client.line().decode())
    assert heard[1].endswith(f" is {nick}")
    return heard[2:]


class TestChatRoom:
    @pytest.fixture
    def server(self, engine: str, tmp_path: Path) -> Iterator[Server]:
        """A room of its own for each test: in a shared one, guests of the last may still leave."""
        with running(engine, "chat_room.py", tmp_path) as server:
            yield server

    @pytest.fixture
    def enter(self, connect: Connect) -> Enter:
        """Connects a client and gives it a nick; it has then heard its own welcome."""

        def enter(nick: str) -> Client:
            client = connect()
            assert client.line().startswith(b"* welcome, guest")
            client.send(f"/nick {nick}\r\n".encode())
            assert client.line() == f"* you are {nick}".encode()
            return client

        return enter

    def test_everybody_hears_the_same_order(self, enter: Enter) -> None:
        listener = enter("listener")
        speakers = [enter(f"u{number}") for number in range(30)]
        for turn in range(10):
            for number, speaker in enumerate(speakers):
                speaker.send(f"line {turn} of u{number}\n".encode())
        heard = said(listener, 300)
        for number, speaker in enumerate(speakers):
            own = [f"<u{number}> line {turn} of u{number}" for turn in range(10)]
            assert [line for line in heard if line in own] == own
            assert said(speaker, 290) == [line for line in heard if line not in own]

    def test_nicks(self, enter: Enter, connect: Connect) -> None:
        ann, bob = enter("ann"), connect()
        guest = bob.line().decode().removeprefix("* welcome, ")
        bob.send(b"/nick ann\r\n/nick b b\r\n/nick bob\r\n/who\r\n/help\r\nhello\r\n")
        assert bob.line() == b"* that nick is taken"
        assert bob.line() == b"* a nick is 1 to 20 letters, digits, _ or -"
        assert bob.line() == b"* you are bob"
        assert bob.line() == b"* here: ann bob"
        assert bob.line() == b"* commands: /nick NAME, /who, /quit"
        assert ann.line().decode() == f"* {guest} came"
        assert ann.line().decode() == f"* {guest} is bob"
        assert ann.line() == b"<bob> hello"

    def test_quit(self, enter: Enter) -> None:
        ann, bob = enter("ann"), enter("bob")
        bob.send(b"/quit\nunheard\n")
        assert said_of(ann, "bob") == ["* bob left"]
        assert bob.rest() == b"* goodbye\r\n"
        ann.send(b"/who\n")
        assert ann.line() == b"* here: ann"

    @pytest.mark.parametrize("go", [Client.close, Client.reset, Client.end_input])
    def test_disconnected_clients_leave(self, enter: Enter, go: Callable[[Client], None]) -> None:
        ann, bob = enter("ann"), enter("bob")
        bob.send(b"cut off")
        go(bob)
        assert said_of(ann, "bob") == ["* bob left"]

    def test_client_that_does_not_read_is_left_behind(self, enter: Enter) -> None:
        ann, bob, eve = enter("ann"), enter("bob"), enter("eve")
        eve.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(200):  # 20 MB at most; the kernel takes some before the server waits
            ann.send((b"x" * CHAT_LINE_LIMIT + b"\n") * 100)
            if b"* eve left" in [bob.line() for _ in range(100)]:
                break
        else:
            pytest.fail("the server keeps everything for a client that does not read")

    def test_long_line_ends_the_connection(self, enter: Enter) -> None:
        ann, bob = enter("ann"), enter("bob")
        bob.send(b"x" * CHAT_LINE_LIMIT + b"\n" + b"y" * (CHAT_LINE_LIMIT + 1) + b"\nunheard\n")
        assert bob.rest() == b"* that line is too long\r\n"
        assert said_of(ann, "bob") == [f"<bob> {'x' * CHAT_LINE_LIMIT}", "* bob left"]

    def test_control_characters_are_dropped(self, enter: Enter) -> None:
        ann, bob = enter("ann"), enter("bob")
        bob.send(b"\x1b[31mred\x00\x7f\a \xc3\xa9\r\n\x08\r\n/quit\r\n")
        assert said_of(ann, "bob") == ["<bob> [31mred \u00e9", "* bob left"]


# Files


class Files:
    """What the file server serves, and what lies beside it."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        self.root.mkdir()
        self.contents = {"small": b"a few bytes\r\n", "empty": b"", "sub/inner": b"inside"}
        self.contents["big"] = os.urandom(1_000_000) * (DOWNLOAD_SIZE // 1_000_000)
        (self.root / "sub").mkdir()
        for name, content in self.contents.items():
            (self.root / name).write_bytes(content)
        (directory / "secret").write_bytes(b"secret")
        (directory / "root-2").mkdir()
        (directory / "root-2" / "secret").write_bytes(b"secret")
        (self.root / "out").symlink_to(directory / "secret")
        (self.root / "up").symlink_to(directory)
        (self.root / "in").symlink_to(self.root / "small")
        (self.root / "loop").symlink_to(self.root / "loop")

    def digest(self, name: str) -> str:
        return hashlib.sha256(self.contents[name]).hexdigest()


def open_files(server: Server, path: Path) -> int:
    """How many descriptors the server holds of a file."""
    descriptors = Path(f"/proc/{server.process.pid}/fd")
    if not descriptors.exists():
        pytest.skip("this system does not show the open files of a process")
    names = []
    for descriptor in descriptors.iterdir():
        with suppress(FileNotFoundError):  # closed after it was listed
            names.append(os.readlink(descriptor))
    return names.count(str(path))


def wait_until_closed(server: Server, path: Path, bystander: Client) -> None:
    """Nothing tells when the server notices that a client is gone, so ask it to look."""
    deadline = time.monotonic() + TIMEOUT
    while open_files(server, path):
        assert time.monotonic() < deadline, f"{path} is still open"
        settle(bystander, b"GET missing\r\n")


@pytest.fixture(scope="module")
def files(directory: Path) -> Files:
    return Files(directory)


@pytest.fixture(scope="module")
def file_server(engine: str, directory: Path, files: Files) -> Iterator[Server]:
    with running(engine, "file_server.py", directory, "--root", str(files.root)) as server:
        yield server


class TestFileServer:
    @pytest.fixture
    def server(self, file_server: Server) -> Server:
        return file_server

    def test_big_download(self, client: Client, files: Files) -> None:
        client.send(b"SHA256 big\r\nGET big\r\nQUIT\r\n")
        assert client.line().decode() == f"OK {files.digest('big')}"
        assert client.line().decode() == f"OK {DOWNLOAD_SIZE}"
        assert hashlib.sha256(client.exactly(DOWNLOAD_SIZE)).hexdigest() == files.digest("big")
        assert client.rest() == b"OK\r\n"

    def test_client_that_stops_sending_gets_its_file(self, client: Client, files: Files) -> None:
        client.send(b"GET big\r\n")
        client.end_input()
        assert client.line().decode() == f"OK {DOWNLOAD_SIZE}"
        assert len(client.rest()) == DOWNLOAD_SIZE

    def test_answers_come_in_order(self, client: Client, files: Files) -> None:
        for name in ("small", "empty", "sub/inner", "in"):
            client.send(f"GET {name}\r\n".encode())
        client.send(b"LIST\r\nBREW\r\nGET missing\r\nSHA256 missing\r\nGET sub\r\nQUIT\r\nLIST\r\n")
        small = files.contents["small"]
        assert client.rest() == (
            b"OK 13\r\n"
            + small
            + b"OK 0\r\n"
            + b"OK 6\r\ninside"
            + b"OK 13\r\n"
            + small
            + b"OK 3\r\nbig\r\nempty\r\nsmall\r\n"
            + b"ERR no such command\r\n"
            + b"ERR no such file\r\n" * 3
            + b"OK\r\n"
        )

    @pytest.mark.parametrize(
        "name",
        [
            "../secret",
            "sub/../../secret",
            "out",
            "up/secret",
            "{up}/secret",
            "../root-2/secret",
            "loop",
            "",
            ".",
            "/",
            "/etc/passwd",
            "small\0",
            "\udcff",
        ],
    )
    def test_no_name_leads_out(self, client: Client, files: Files, name: str) -> None:
        path = name.replace("{up}", str(files.root.parent)).encode("utf-8", "surrogateescape")
        client.send(b"GET " + path + b"\r\nSHA256 " + path + b"\r\n")
        assert client.line().startswith(b"ERR ")
        assert client.line().startswith(b"ERR ")

    def test_others_are_served_during_a_download(self, client: Client, connect: Connect) -> None:
        client.send(b"GET big\r\n")
        assert client.line().startswith(b"OK ")
        bystander = connect()
        bystander.send(b"GET small\r\n")
        assert bystander.line() == b"OK 13"

    def test_one_open_file_for_a_client(
        self, client: Client, connect: Connect, server: Server, files: Files
    ) -> None:
        bystander = connect()
        wait_until_closed(server, files.root / "big", bystander)
        client.send(b"GET big\r\n" * 500)
        assert client.line().startswith(b"OK ")
        settle(bystander, b"GET missing\r\n")
        assert open_files(server, files.root / "big") == 1

    @pytest.mark.parametrize("go", [Client.close, Client.reset])
    def test_file_is_closed_when_its_client_goes_away(
        self,
        client: Client,
        connect: Connect,
        server: Server,
        files: Files,
        go: Callable[[Client], None],
    ) -> None:
        bystander = connect()
        wait_until_closed(server, files.root / "big", bystander)
        client.send(b"GET big\r\n" * 3)
        assert client.line().startswith(b"OK ")
        assert open_files(server, files.root / "big") == 1
        go(client)
        wait_until_closed(server, files.root / "big", bystander)

    def test_long_line_ends_the_connection(self, client: Client) -> None:
        client.send(b"GET " + b"x" * 4096 + b"\r\nLIST\r\n")
        assert client.rest() == b"ERR line too long\r\n"

    def test_file_that_becomes_shorter_breaks_the_connection(
        self, engine: str, tmp_path: Path
    ) -> None:
        shrinking = tmp_path / "shrinking"
        shrinking.write_bytes(bytes(DOWNLOAD_SIZE))
        with running(
            engine, "file_server.py", tmp_path, "--root", str(tmp_path), log="EOFError"
        ) as server:
            client = Client(server.port)
            client.send(b"GET shrinking\r\nLIST\r\n")
            assert client.line().decode() == f"OK {DOWNLOAD_SIZE}"
            os.truncate(shrinking, 10)
            assert not client.rest().strip(b"\0")
            client.close()


# All of them


@pytest.mark.parametrize(
    "program", ["http_server.py", "redis_server.py", "chat_room.py", "file_server.py"]
)
def test_interrupt_closes_every_connection(engine: str, program: str, tmp_path: Path) -> None:
    arguments = ["--root", str(tmp_path)] if program == "file_server.py" else []
    server = Server(engine, program, tmp_path / "errors", *arguments)
    with ExitStack() as stack:
        stack.callback(server.kill)
        for _ in range(3):
            client = Client(server.port)
            stack.callback(client.close)
            client.send(b"\r\nunfinished")
        # What is left open is told on stderr, which must be empty.
        assert server.stop(signal.SIGINT) == ""
