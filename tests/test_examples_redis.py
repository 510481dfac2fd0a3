"""The example Redis server, with redis-cli, redis-benchmark and bytes by hand.

tests/support/examples.py has the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.examples import Client, Connect, Server, installed, run, running, settle

REDIS_LINE_LIMIT = 64 * 1024


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
