"""The programs of docs/moving.md: each pair gives the same peer the same answers.

Those for Twisted are skipped where it is not installed, unless FASTCHAT_REQUIRE_TWISTED is 1.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.documents import read, split
from tests.support.examples import Client, Server
from tests.support.implementations import FASTCHAT
from tests.support.needed import needs

PROGRAMS = {
    found[1]: block.code
    for block in split(read("docs/moving.md"))[0]
    if (found := re.match(r"# ([a-z_]+)\.py\n", block.code))
}
MOVES = ("asynchat", "twisted", "streams")
needs_twisted = needs("twisted", "TWISTED")

# What is asked, and what is to be answered.
QUESTIONS = [
    (b"hello\r\n", b"HELLO\r\n"),
    (b"\r\n", b"\r\n"),
    (b"PUT 5\r\nab\r\nc", b"stored 5\r\n"),
    (b"ASK tea\r\n", b"2\r\n"),
    (b"PUT 1\r\n\r", b"stored 1\r\n"),
    (b"ASK milk\r\n", b"unknown\r\n"),
    (b"one\ntwo\r\n", b"ONE\nTWO\r\n"),
    (b"PUT 3000\r\n" + b"\r\n" * 1500, b"stored 3000\r\n"),
    (b"x" * 3000 + b"\r\n", b"X" * 3000 + b"\r\n"),
    (b"QUIT\r\n", b"bye\r\n"),
]
QUESTION = b"".join(question for question, _ in QUESTIONS)
ANSWER = b"".join(answer for _, answer in QUESTIONS)


@pytest.fixture(scope="module", params=FASTCHAT)
def ours(request: pytest.FixtureRequest) -> str:
    """What the programs run on."""
    name: str = request.param
    return name


@contextmanager
def running(name: str, engine: str, directory: Path) -> Iterator[Server]:
    """The program *name*, as it stands in the page."""
    program = directory / f"{name}.py"
    program.write_text(PROGRAMS[name])
    started = Server(engine, str(program), directory / "errors", plain=True)
    try:
        yield started
        started.check()
    finally:
        started.kill()


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=needs_twisted if name == "twisted_before" else ())
        for name in PROGRAMS
    ],
)
def server(
    request: pytest.FixtureRequest, ours: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Each program."""
    with running(request.param, ours, tmp_path_factory.mktemp("moving")) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    made = Client(server.port)
    yield made
    made.close()


def test_every_move_has_two_programs() -> None:
    assert list(PROGRAMS) == [f"{move}_{when}" for move in MOVES for when in ("before", "after")]


def in_one_piece(client: Client) -> None:
    client.send(QUESTION)


def byte_by_byte(client: Client) -> None:
    for index in range(len(QUESTION)):
        client.send(QUESTION[index : index + 1])


def at_random(client: Client) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    at = random.Random(seed)
    rest = QUESTION
    while rest:
        size = at.randrange(1, 50)
        client.send(rest[:size])
        rest = rest[size:]


@pytest.mark.parametrize("ask", [in_one_piece, byte_by_byte, at_random])
def test_same_answers(client: Client, ask: Callable[[Client], None]) -> None:
    ask(client)
    assert client.rest() == ANSWER


def test_one_question_after_the_other(client: Client) -> None:
    for question, answer in QUESTIONS:
        client.send(question)
        assert client.exactly(len(answer)) == answer
    assert client.rest() == b""


@pytest.mark.parametrize("move", MOVES)
def test_peer_that_ends_its_input_gets_all_answers(ours: str, move: str, tmp_path: Path) -> None:
    """Also that to a question which was the last, and to a body of no bytes."""
    with running(f"{move}_after", ours, tmp_path) as server:
        client = Client(server.port)
        client.send(b"hello\r\n" * 5000 + b"PUT 0\r\nASK tea\r\nhel")
        client.end_input()
        assert client.rest() == b"HELLO\r\n" * 5000 + b"stored 0\r\n2\r\n"
        client.close()


def test_peer_that_leaves(server: Server) -> None:
    """In the middle of a line, of a body, and with a reset; the next one is served."""
    for question in (b"hel", b"PUT 100\r\nabc", b"ASK tea\r\nhel"):
        client = Client(server.port)
        client.send(question)
        client.end_input()
        client.rest()
        client.close()
    leaving = Client(server.port)
    leaving.send(b"hello\r\n")
    leaving.reset()
    other = Client(server.port)
    other.send(QUESTION)
    assert other.rest() == ANSWER
    other.close()


@pytest.mark.parametrize("move", MOVES)
def test_size_that_is_none_ends_one_connection(ours: str, move: str, tmp_path: Path) -> None:
    with running(f"{move}_after", ours, tmp_path) as server:
        client = Client(server.port)
        client.send(b"PUT many\r\n")
        assert client.rest() == b""
        client.close()
        assert "invalid literal" in server.errors.read_text()
        server.errors.write_text("")
