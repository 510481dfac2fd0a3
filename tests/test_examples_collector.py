"""The example log collector, with senders of several kinds.

The rules are those of tests/support/examples.py.  It stands on names that fastchat alone has.
"""

from __future__ import annotations

import logging
import logging.handlers
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.channels import posix_only
from tests.support.examples import EXAMPLES, TIMEOUT, Client, Server, installed, run, running
from tests.support.implementations import FASTCHAT
from tests.support.needed import needed
from tests.support.servers import linux_only
from tests.support.servers import running as server_running

pytestmark = posix_only


class Collector:
    """The program, its file, and where it is scraped."""

    def __init__(self, server: Server, path: Path) -> None:
        self.server = server
        self.path = path
        words = server.output.readline().decode().split()
        assert words[:2] == ["metrics", "at"]
        self.url = words[2]

    def has(self, count: int) -> list[str]:
        """The lines of the file, when there are so many."""
        self.until(lambda: self.path.read_bytes().count(b"\n") >= count)
        return self.path.read_text().splitlines()

    def until(self, done: Callable[[], bool]) -> None:
        """Scrape until *done*, which takes passes of its loop."""
        end = time.monotonic() + TIMEOUT
        while not done():
            assert time.monotonic() < end
            with urllib.request.urlopen(self.url, timeout=TIMEOUT) as answer:
                answer.read()

    def metrics(self) -> dict[str, float]:
        """What curl scrapes."""
        text = run(installed("curl"), "-sS", "--fail", self.url).decode()
        pairs = [line.rpartition(" ") for line in text.splitlines() if line[0] != "#"]
        return {name: float(value) for name, _, value in pairs}


@pytest.fixture(params=FASTCHAT)
def collector(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Collector]:
    """One for each test, which ends as it should."""
    needed("prometheus_client", "PROMETHEUS")
    path = tmp_path / "all.log"
    with running(request.param, "log_collector.py", tmp_path, str(path), plain=True) as server:
        yield Collector(server, path)


@pytest.fixture
def sender(collector: Collector) -> Iterator[Client]:
    client = Client(collector.server.port)
    yield client
    client.close()


def test_lines_are_kept_and_counted(collector: Collector, sender: Client) -> None:
    sender.send(b"<11>app: failed\n<14>app: hello\r\nno priority\n<191>x\n<999>y\n")
    assert collector.has(5) == [
        "127.0.0.1 app: failed",
        "127.0.0.1 app: hello",
        "127.0.0.1 no priority",
        "127.0.0.1 x",
        "127.0.0.1 y",
    ]
    found = collector.metrics()
    for severity, count in {"err": 1, "info": 1, "notice": 1, "debug": 2, "emerg": 0}.items():
        assert found[f'collector_lines_total{{severity="{severity}"}}'] == count
    assert found["collector_written_bytes_total"] == collector.path.stat().st_size
    of_server = 'channel="__main__.Collector",server="127.0.0.1:0"'
    assert found[f"fastchat_lines_total{{{of_server}}}"] == 5
    assert found[f"fastchat_connections{{{of_server}}}"] == 1
    assert found["process_open_fds"] > 0 or sys.platform != "linux"


def test_nobody_forges_a_line(collector: Collector, sender: Client) -> None:
    sender.send(b"a\r127.0.0.9 forged\x1b[2J\0\x7f\tb\n")
    # And by U+009B, U+0085 and U+2028, also where what is left out was between their bytes.
    sender.send(b"\xc2\x9b2J \xc2\0\x85 \xc2\xc2\x9b\x9b \xe2\x80\xa8127.0.0.9 \xc3\xa9\n")
    collector.until(lambda: collector.path.read_bytes().count(b"\n") == 2)
    assert collector.path.read_bytes().splitlines() == [
        b"127.0.0.1 a127.0.0.9 forged[2J\tb",
        b"127.0.0.1 ?2J ? \xc2?\x9b ?127.0.0.9 \xc3\xa9",
    ]


def test_a_client_of_a_unix_socket_gives_itself_no_name(place: Path) -> None:
    needed("prometheus_client", "PROMETHEUS")
    path, there = place / "all.log", place / "socket"
    command = [sys.executable, str(EXAMPLES / "log_collector.py"), str(path)]
    command += ["--bind", f"unix:{there}"]
    with server_running(command, "python") as server, socket.socket(socket.AF_UNIX) as client:
        assert server.line() == f"listening on unix:{there}"
        client.settimeout(TIMEOUT)
        client.bind(str(place / "client"))
        client.connect(str(there))
        client.sendall(b"hello\n")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
        server.signal()
        assert server.status() == 0
    assert path.read_text() == "local hello\n"


def test_a_long_line_is_cut(collector: Collector, sender: Client) -> None:
    sender.send(b"<12>" + b"x" * 100_000 + b"\nshort\n")
    long, short = collector.has(2)
    assert re.fullmatch(r"127\.0\.0\.1 x{1000,8192}", long)
    assert short == "127.0.0.1 short"
    assert collector.metrics()["collector_cut_lines_total"] == 1


def test_the_last_message_may_have_no_end(collector: Collector, sender: Client) -> None:
    sender.send(b"whole\npart")
    sender.end_input()
    assert sender.rest() == b""
    assert collector.has(2)[1] == "127.0.0.1 part"


def test_many_senders_lose_nothing(collector: Collector) -> None:
    senders = [Client(collector.server.port) for _ in range(50)]
    for number in range(20):
        for index, client in enumerate(senders):
            client.send(b"<14>%d of %d\n" % (number, index))
    lines = collector.has(1000)
    for index in range(50):
        own = [line for line in lines if line.endswith(f" of {index}")]
        assert own == [f"127.0.0.1 {number} of {index}" for number in range(20)]
    for client in senders:
        client.close()
    assert collector.metrics()['collector_lines_total{severity="info"}'] == 1000


def test_a_stop_keeps_what_was_received(collector: Collector, sender: Client) -> None:
    sender.send(b"x\n" * 10_000)
    collector.server.process.send_signal(signal.SIGTERM)
    assert sender.rest() == b""
    collector.server.process.wait(TIMEOUT)
    assert collector.path.read_text() == "127.0.0.1 x\n" * 10_000


def test_a_file_that_was_moved_is_opened_anew(collector: Collector, sender: Client) -> None:
    sender.send(b"one\n")
    collector.has(1)
    moved = collector.path.rename(collector.path.with_suffix(".1"))
    collector.server.process.send_signal(signal.SIGHUP)
    collector.until(collector.path.exists)
    sender.send(b"two\n")
    assert collector.has(1) == ["127.0.0.1 two"]
    assert moved.read_text() == "127.0.0.1 one\n"


def test_the_handler_of_logging_as_a_sender(collector: Collector) -> None:
    class Lines(logging.handlers.SysLogHandler):
        append_nul = False

        def format(self, record: logging.LogRecord) -> str:
            return super().format(record) + "\n"

    handler = Lines(("127.0.0.1", collector.server.port), socktype=socket.SOCK_STREAM)
    logger = logging.Logger("tests")
    logger.addHandler(handler)
    logger.error("it has failed")
    handler.close()
    assert collector.has(1) == ["127.0.0.1 it has failed"]
    assert collector.metrics()['collector_lines_total{severity="err"}'] == 1


def test_logger_as_a_sender(collector: Collector) -> None:
    logger = installed("logger")
    port = str(collector.server.port)
    run(logger, "--tcp", "--server", "127.0.0.1", "--port", port, "hello")
    assert collector.has(1)[0].endswith("hello")


@linux_only
def test_what_cannot_be_written_ends_the_connection(tmp_path: Path) -> None:
    needed("prometheus_client", "PROMETHEUS")
    errors = tmp_path / "errors"
    server = Server("python", "log_collector.py", errors, "/dev/full", plain=True)
    try:
        collector = Collector(server, Path("/dev/full"))
        sender = Client(server.port)
        sender.send(b"hello\n")
        assert sender.rest() == b""
        sender.close()
        found = collector.metrics()
        of_channel = 'channel="__main__.Collector",server="127.0.0.1:0"'
        assert found[f"fastchat_hook_errors_total{{{of_channel}}}"] == 1
        assert found['collector_lines_total{severity="notice"}'] == 0
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(TIMEOUT) == 0
        assert errors.read_text().endswith("OSError: [Errno 28] No space left on device\n")
    finally:
        server.kill()


@pytest.mark.parametrize(
    "words", [["--bind", "192.0.2.1:0"], ["--metrics", "192.0.2.1:0"], ["--bind", "nowhere"]]
)
def test_an_address_that_cannot_be_had(tmp_path: Path, words: list[str]) -> None:
    needed("prometheus_client", "PROMETHEUS")
    done = subprocess.run(
        [sys.executable, EXAMPLES / "log_collector.py", tmp_path / "all.log", *words],
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, b"")
    assert re.fullmatch(rb"cannot collect: .*\n", done.stderr)
