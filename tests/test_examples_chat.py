"""The example chat room, with guests of several kinds; tests/support/examples.py has the rules."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.examples import Client, Connect, Server, running

CHAT_LINE_LIMIT = 1000

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
