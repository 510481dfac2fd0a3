"""The example programs on LineBuffer, with pipes, a pseudo-terminal, and sockets of theirs.

tests/support/examples.py has the rules.  What a program stands on skips its tests where it is
missing, unless FASTCHAT_REQUIRE_EXAMPLES, or FASTCHAT_REQUIRE_GREENLETS of gevent, is 1.
"""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.channels import counts_references, posix_only
from tests.support.examples import EXAMPLES, TIMEOUT, Client, Server, running
from tests.support.implementations import FASTCHAT
from tests.support.needed import needed, needs
from tests.support.programs import open_terminal

pytestmark = posix_only

Popen = subprocess.Popen[bytes]

PROGRAMS = (
    "big_log",
    "gevent_lines",
    "ndjson_client",
    "ndjson_server",
    "read_subprocess",
    "serial_device",
    "starttls",
    "trio_lines",
)


@pytest.fixture(params=FASTCHAT)
def name(request: pytest.FixtureRequest) -> str:
    """What the programs run on."""
    name: str = request.param
    return name


@contextmanager
def started(name: str, *arguments: str, patience: float = TIMEOUT) -> Iterator[Popen]:
    """``python`` and these words, its three streams on pipes, for *patience* seconds at most."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", *arguments],
        cwd=EXAMPLES,
        env=os.environ | {"FASTCHAT_IMPLEMENTATION": name},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        end = threading.Timer(patience, process.kill)
        end.start()
        try:
            yield process
        finally:
            end.cancel()
            process.kill()
            end.join()


def next_line(process: Popen) -> bytes:
    """The next that it prints."""
    assert process.stdout is not None
    return process.stdout.readline()


def output(process: Popen, given: bytes = b"", status: int = 0) -> bytes:
    """All that is still to come, where nothing is complained of."""
    printed, errors = process.communicate(given)
    assert (process.returncode, errors) == (status, b"")
    return printed


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_recipe_is_short_and_has_its_row(program: str) -> None:
    text = (EXAMPLES / f"{program}.py").read_text()
    assert len(text.splitlines()) < 60
    assert f"examples/{program}.py" in (EXAMPLES.parent / "docs" / "recipes.md").read_text()


# Pipes.


def test_ndjson_server(name: str) -> None:
    requests = [
        b'{"id": 1, "tool": "add", "arguments": {"a": 1, "b": 2}}',
        b'{"id": 2, "tool": "shout", "arguments": {"text": "a\\nb"}}',
        b'{"id": 3, "tool": "add", "arguments": {"c": 1}}',
        b'{"id": 4, "tool": "nothing", "arguments": {}}',
        b"[" * 10**5,
        b"\xff",
        b"x" * (5 * 2**20),
        b'{"id": 5, "tool": "add", "arguments": {"a": 1e999, "b": 0}}',
        b'{"id": NaN, "tool": "add", "arguments": {"a": 2, "b": 3}}',
        b'{"id": 6, "tool": "add", "arguments": {"a": 2, "b": 3}}',
        b'{"id": 7, "tool": "shout", "arguments": {"text": "no line end"}}',
    ]
    given = b"\n".join(requests)
    with started(name, "ndjson_server.py") as server:
        answers = [json.loads(line) for line in output(server, given).splitlines()]
    shown = [(answer["id"], answer.get("result")) for answer in answers]
    assert shown[:7] == [(1, 3), (2, "A\nB"), (3, None), (4, None), *[(None, None)] * 3]
    assert shown[7:] == [(5, None), (None, 5), (6, 5), (7, "NO LINE END")]
    assert "raise max_line" in answers[6]["error"]


def test_ndjson_client(name: str) -> None:
    with started(name, "ndjson_client.py", "300") as client:
        assert output(client) == b"598 400000\n"


CANCELS = """
import asyncio
from asyncio.subprocess import PIPE
from ndjson_client import COMMAND, Tools

async def main():
    process = await asyncio.create_subprocess_exec(*COMMAND, stdin=PIPE, stdout=PIPE)
    tools = Tools(process.stdout, process.stdin)
    serving = asyncio.create_task(tools.serve())
    cancelled = asyncio.create_task(tools.call("shout", text="x" * 10**6))
    while not tools.waiting:
        await asyncio.sleep(0)
    cancelled.cancel()
    print(await tools.call("add", a=1, b=1))
    try:
        await tools.call("nothing")
    except RuntimeError as failure:
        print(failure)
    process.kill()
    await serving
    try:
        await tools.call("add", a=1, b=1)
    except EOFError as failure:
        print(failure)
    await process.wait()

asyncio.run(main())
"""


def test_what_can_go_wrong_with_a_call(name: str) -> None:
    """One is cancelled, one fails, one comes when the server is gone: none hurts another."""
    with started(name, "-c", CANCELS) as client:
        assert output(client) == b"2\nnothing failed: KeyError('nothing')\nno more answers come\n"


SPEAKS = "import sys; print('one', flush=True); print(input() + 70_000 * 'x', end=''); sys.exit(3)"


def test_lines_of_a_subprocess(name: str) -> None:
    """They come at once; a line of any length does."""
    long = b"two" + b"x" * 70_000
    expected = b"     2  %b\n     3  %b\n" % (long[:65536], long[65536:])
    with started(name, "read_subprocess.py", sys.executable, "-c", SPEAKS) as reader:
        assert next_line(reader) == b"     1  one\n"
        assert output(reader, b"two\n", status=3) == expected


def test_a_subprocess_that_a_signal_ends(name: str) -> None:
    with started(name, "read_subprocess.py", "sh", "-c", "kill -TERM $$") as reader:
        assert output(reader, status=128 + signal.SIGTERM) == b""


@pytest.mark.parametrize(
    "words", [["big_log.py", "one"], ["read_subprocess.py", "cat"]], ids=lambda words: words[0]
)
def test_nobody_reads_what_is_printed(name: str, words: list[str]) -> None:
    with started(name, *words) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdout.close()
        with suppress(BrokenPipeError):
            program.stdin.write(b"one\n")
            program.stdin.close()
        assert program.stderr.read() == b""
        assert program.wait() == -signal.SIGPIPE


def test_a_word_that_is_not_text(name: str) -> None:
    word = b"\xff\xfe"
    with started(name, "big_log.py", os.fsdecode(word)) as reader:
        printed, errors = reader.communicate(b"one %b\ntwo\n" % word)
    assert (printed, errors) == (b"one %b\n" % word, b"2 lines looked at\n")


def test_a_serial_line(name: str) -> None:
    near, far = open_terminal()
    with (
        open(near, "wb", buffering=0) as device,
        open(far, "rb") as own,
        started(name, "serial_device.py", os.ttyname(own.fileno())) as reader,
    ):
        assert next_line(reader).startswith(b"reading ")
        device.write(b"21.5\r")
        device.write(b"\n-3\r\n4")
        assert next_line(reader) == b"21.5 degrees, 0 bytes dropped\n"
        assert next_line(reader) == b"-3.0 degrees, 0 bytes dropped\n"
        device.write(b"0.25\r\n" + b"\xff\x00\x7f\n" * 25 + b"\r")
        assert next_line(reader).startswith(b"40.2 degrees")
        device.write(b"\n1\r\n")
        assert next_line(reader) == b"1.0 degrees, 100 bytes dropped\n"
        device.write(b"2\xff.5\r\n\r\nnan\r\n2.5\r\n")
        for noise in (b"'2\\xff.5'", b"''", b"'nan'"):
            assert next_line(reader) == b"no measurement: b%b\n" % noise
        assert next_line(reader) == b"2.5 degrees, 100 bytes dropped\n"
        own.close()
        device.close()
        assert output(reader) in (b"", b"the device is gone: Input/output error\n")


WATCHED = """
import re, runpy, sys
path, *sys.argv[1:] = sys.argv[1:]
runpy.run_path(path, run_name="__main__")
with open("/proc/self/status") as status:
    print("most:", re.search(r"VmHWM:\\s+(\\d+) kB", status.read())[1], file=sys.stderr)
"""


def most_memory(name: str, megabytes: int) -> int:
    """How many KiB the log's reader had at most, for a log of so many megabytes."""
    lines = b"".join(b"%07d %b\n" % (number, b"x" * 4087) for number in range(256))
    words = ("-c", WATCHED, "big_log.py", "0000255 ")
    with started(name, *words, patience=10 * TIMEOUT) as reader:
        assert reader.stdin is not None
        log = reader.stdin

        def write() -> None:
            with log:
                for number in range(megabytes):
                    # Every fourth has no line end.
                    log.write(lines if number % 4 else bytes(len(lines)))

        writer = threading.Thread(target=write)
        writer.start()
        reader.stdin = None  # for communicate(), which would close it
        printed, errors = reader.communicate()
        writer.join()
    assert reader.returncode == 0, errors
    assert printed == lines[-4096:] * (megabytes * 3 // 4)
    said, most = errors.splitlines()
    # What has no end is longer than a line may be, and so it is two.
    assert said.decode() == f"{megabytes * 3 // 4 * 256 + megabytes // 4:,} lines looked at"
    return int(most.split()[1])


@counts_references
@pytest.mark.skipif(sys.platform != "linux", reason="/proc is of Linux")
def test_a_log_of_a_gigabyte(name: str) -> None:
    assert most_memory(name, 1000) <= most_memory(name, 8) + 2048


# Sockets.


@pytest.fixture(
    params=[
        pytest.param("trio_lines.py", marks=needs("trio", "EXAMPLES")),
        pytest.param("gevent_lines.py", marks=needs("gevent", "GREENLETS")),
    ]
)
def server(request: pytest.FixtureRequest, name: str, tmp_path: Path) -> Iterator[Server]:
    log = "max_line is 65536" if "long" in request.node.name else ""
    with running(name, request.param, tmp_path, log=log, plain=True) as server:
        yield server


@pytest.fixture
def clients(server: Server) -> Iterator[list[Client]]:
    clients = [Client(server.port) for _ in range(2)]
    yield clients
    server.check()
    for client in clients:
        client.close()


def test_lines_are_answered(clients: list[Client]) -> None:
    first, second = clients
    first.send(b"one\ntw")
    assert first.file.readline() == b"ONE\n"
    second.send(b"%b\n" % (b"x" * 65536) + b"line\n" * 100)
    assert second.file.readline() == b"%b\n" % (b"X" * 65536)
    assert second.exactly(500) == b"LINE\n" * 100
    first.send(b"o\n")
    assert first.file.readline() == b"TWO\n"
    first.end_input()
    assert first.rest() == b""


def test_a_long_line_ends_its_connection(clients: list[Client]) -> None:
    first, second = clients
    first.send(b"x" * 65537)
    assert first.rest() == b"a line is too long\n"
    second.send(b"one\n")
    assert second.file.readline() == b"ONE\n"


SHORTENED = """
import sys, {module}
{module}.MAX_LINE = 10
{run}
"""


@pytest.mark.parametrize(
    ("module", "run"),
    [
        pytest.param(
            "trio_lines", "trio_lines.trio.run(trio_lines.main)", marks=needs("trio", "EXAMPLES")
        ),
        pytest.param("gevent_lines", "gevent_lines.main()", marks=needs("gevent", "GREENLETS")),
    ],
)
def test_lines_before_a_long_one_are_answered(name: str, module: str, run: str) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(started(name, "-c", SHORTENED.format(module=module, run=run)))
        port = int(next_line(server).rpartition(b":")[2])
        client = stack.enter_context(closing(Client(port)))
        client.send(b"one\ntwo\n" + b"x" * 11)
        assert client.rest() == b"ONE\nTWO\na line is too long\n"


class TestStartTls:
    @pytest.fixture
    def context(self, tmp_path: Path) -> ssl.SSLContext:
        """Of a client that knows who signed the server's certificate."""
        trustme = needed("trustme", "EXAMPLES")
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        certificate.private_key_pem.write_to_path(str(tmp_path / "key"))
        certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "certificate"))
        context = ssl.create_default_context()
        authority.configure_trust(context)
        return context

    @pytest.fixture
    def client(self, name: str, context: ssl.SSLContext, tmp_path: Path) -> Iterator[Client]:
        files = (str(tmp_path / "certificate"), str(tmp_path / "key"))
        with running(name, "starttls.py", tmp_path, *files, plain=True) as server:
            client = Client(server.port)
            yield client
            server.check()
            client.close()

    def test_it_ends_while_a_client_stays(
        self, name: str, context: ssl.SSLContext, tmp_path: Path
    ) -> None:
        files = (str(tmp_path / "certificate"), str(tmp_path / "key"))
        server = Server(name, "starttls.py", tmp_path / "errors", *files, plain=True)
        client = Client(server.port)
        try:
            client.send(b"one\r\n")
            assert client.line() == b"ONE"
            server.process.terminate()
            assert server.process.wait(TIMEOUT) == 0
        finally:
            server.kill()
            client.close()

    def test_over_to_tls(self, client: Client, context: ssl.SSLContext) -> None:
        client.send(b"plain\r\nSTARTTLS\r\n")
        assert (client.line(), client.line()) == (b"PLAIN", b"go ahead")
        plain = client.socket
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as client.socket:
            client.file = client.socket.makefile("rb")
            client.send(b"secret\r\n" * 2)
            assert (client.line(), client.line()) == (b"SECRET", b"SECRET")
            client.close()

    @pytest.mark.parametrize("behind", [b"RESET\r\n", b"RES"])
    def test_what_stands_behind_it(self, client: Client, behind: bytes) -> None:
        client.send(b"plain\r\n")
        assert client.line() == b"PLAIN"
        client.send(b"STARTTLS\r\n" + behind)
        assert client.rest() == b""

    def test_no_handshake_follows(self, client: Client) -> None:
        client.send(b"STARTTLS\r\n")
        assert client.line() == b"go ahead"
        client.send(b"plain text\r\n")
        client.rest()  # what TLS has to say of it

    def test_it_comes_once(self, client: Client, context: ssl.SSLContext) -> None:
        client.send(b"STARTTLS\r\n")
        assert client.line() == b"go ahead"
        with context.wrap_socket(client.socket, server_hostname="127.0.0.1") as client.socket:
            client.file = client.socket.makefile("rb")
            client.send(b"STARTTLS\r\n")
            assert client.rest() == b""
