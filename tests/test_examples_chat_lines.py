"""The example chat room on LineChannel, with guests of several kinds.

tests/support/examples.py has the rules.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.channels import posix_only
from tests.support.examples import EXAMPLES, TIMEOUT, Client, Connect, Server, running
from tests.support.implementations import FASTCHAT

pytestmark = posix_only

PROGRAM = "chat_lines.py"
BIND = ("--bind", "127.0.0.1:0")
ASKED = b"* what is your name?"
MAX_LINE = 1000
MAX_OUTPUT = 256 * 1024

Enter = Callable[[str], Client]


@pytest.fixture(params=FASTCHAT)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A room of its own for each test: in a shared one, guests of the last may still leave."""
    with running(request.param, PROGRAM, tmp_path, *BIND, plain=True) as server:
        yield server


@pytest.fixture
def enter(connect: Connect) -> Enter:
    """Connects a guest and gives its name; it has then heard its own welcome."""

    def enter(name: str) -> Client:
        guest = connect()
        assert guest.line() == ASKED
        guest.send(f"{name}\r\n".encode())
        assert guest.line() == f"* welcome, {name}".encode()
        return guest

    return enter


def said(guest: Client, count: int) -> list[str]:
    """The next lines that somebody said, without the room's own in between."""
    lines: list[str] = []
    while len(lines) < count:
        line = guest.line().decode()
        if line.startswith("<"):
            lines.append(line)
    return lines


def test_it_is_short() -> None:
    assert len((EXAMPLES / PROGRAM).read_text().splitlines()) < 120


def test_all_hear_the_same_order(enter: Enter) -> None:
    listener = enter("listener")
    speakers = [enter(f"u{number}") for number in range(20)]
    for turn in range(10):
        for number, speaker in enumerate(speakers):
            speaker.send(f"line {turn} of u{number}\n".encode())
    heard = said(listener, 200)
    for number, speaker in enumerate(speakers):
        own = [f"<u{number}> line {turn} of u{number}" for turn in range(10)]
        assert [line for line in heard if line in own] == own
        assert said(speaker, 190) == [line for line in heard if line not in own]


def test_names(enter: Enter, connect: Connect) -> None:
    ann, bob = enter("ann"), connect()
    bob.send(b"ann\r\nb b\r\n\r\nbob\r\nhallo\r\n/who\r\n\r\n/what\r\n")
    assert bob.line() == ASKED
    assert bob.line() == b"* that name is taken"
    assert bob.line() == b"* a name has 1 to 20 letters, digits and _"
    assert bob.line() == b"* a name has 1 to 20 letters, digits and _"
    assert bob.line() == b"* welcome, bob"
    assert bob.line() == b"* here: ann bob"
    assert ann.line() == b"* bob came"
    assert ann.line() == b"<bob> hallo"
    assert ann.line() == b"<bob> /what"


def test_who_names_so_many(enter: Enter) -> None:
    guests = [enter(f"guest{number}") for number in range(52)]
    guests[-1].send(b"/who\r\n")
    names = " ".join([f"guest{number}" for number in range(50)])
    assert guests[-1].line().decode() == f"* here: {names} and 2 more"


def test_quit(enter: Enter) -> None:
    """The name is free at once, however long the other end stays connected."""
    ann, bob = enter("ann"), enter("bob")
    bob.send(b"last\n/quit\nunheard\n")
    assert bob.rest() == b"* goodbye\r\n"
    assert [ann.line() for _ in range(3)] == [b"* bob came", b"<bob> last", b"* bob left"]
    enter("bob")
    assert ann.line() == b"* bob came"


@pytest.mark.parametrize("go", [Client.close, Client.reset, Client.end_input])
def test_guests_that_go_leave(enter: Enter, go: Callable[[Client], None]) -> None:
    ann, bob = enter("ann"), enter("bob")
    bob.send(b"cut off")
    go(bob)
    assert (ann.line(), ann.line()) == (b"* bob came", b"* bob left")


def test_who_has_no_name_hears_nothing(enter: Enter, connect: Connect) -> None:
    nobody, ann, bob = connect(), enter("ann"), enter("bob")
    nobody.end_input()
    assert nobody.rest() == ASKED + b"\r\n"
    bob.send(b"hello\n")
    assert (ann.line(), ann.line()) == (b"* bob came", b"<bob> hello")


def test_long_line_costs_itself(enter: Enter) -> None:
    ann, bob = enter("ann"), enter("bob")
    longest = b"x" * MAX_LINE
    bob.send(longest + b"\n" + longest + b"y\nstill here\n")
    assert bob.line() == b"* a line has 1000 bytes at most"
    assert [ann.line() for _ in range(3)] == [
        b"* bob came",
        b"<bob> " + longest,
        b"<bob> still here",
    ]


def test_what_is_not_printable_is_dropped(enter: Enter) -> None:
    ann, bob = enter("ann"), enter("bob")
    bob.send(b"\x1b[31mred\x00\x7f\a\xc2\x9b \xc3\xa9\xff\r.\r\n\x08\r\n/quit\r\n")
    heard = [ann.line().decode() for _ in range(3)]
    assert heard == ["* bob came", "<bob> [31mred \u00e9\ufffd.", "* bob left"]


@pytest.mark.parametrize("name", FASTCHAT)
def test_guest_that_does_not_read_hurts_nobody(name: str, tmp_path: Path) -> None:
    """It is ended, with a warning, and those who read have got each line."""
    server = Server(name, PROGRAM, tmp_path / "errors", *BIND, plain=True)
    guests = [Client(server.port) for _ in range(3)]
    ann, bob, eve = guests
    try:
        for guest, called in zip(guests, (b"ann", b"bob", b"eve"), strict=True):
            guest.send(called + b"\n")
            assert (guest.line(), guest.line()) == (ASKED, b"* welcome, " + called)
        eve.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        assert bob.line() == b"* eve came"
        count = 0
        while True:
            assert count < 50_000, "the server keeps everything for a client that does not read"
            ann.send(b"".join(b"%0999d\n" % number for number in range(count, count + 50)))
            heard = [bob.line() for _ in range(50)]
            left = b"* eve left" in heard
            if left:
                heard.remove(b"* eve left")
                heard.append(bob.line())
            assert heard == [b"<ann> %0999d" % number for number in range(count, count + 50)]
            if left:
                break
            count += 50
        bob.send(b"/who\n")
        assert bob.line() == b"* here: ann bob"
        for guest in guests:
            guest.close()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(TIMEOUT) == 0
        assert "max_output is 262144: aborted" in server.errors.read_text()
    finally:
        server.kill()
        for guest in guests:
            guest.close()


@pytest.mark.parametrize("name", FASTCHAT)
def test_stop(name: str, tmp_path: Path) -> None:
    server = Server(name, PROGRAM, tmp_path / "errors", *BIND, plain=True)
    guest, nobody = Client(server.port), Client(server.port)
    try:
        guest.send(b"ann\n")
        assert (guest.line(), guest.line(), nobody.line()) == (ASKED, b"* welcome, ann", ASKED)
        server.process.send_signal(signal.SIGTERM)
        for client in (guest, nobody):
            assert client.rest() == b"* the room closes\r\n"
            client.close()  # for which the server waits
        assert server.process.wait(TIMEOUT) == 0
        assert server.errors.read_text() == ""
    finally:
        server.kill()
        guest.close()
        nobody.close()
