"""A Redis-protocol (RESP2) server on asynchat: lines end at CR LF, bulk strings after their length.

`python -m fastchat run examples/redis_server.py`, then `redis-cli -p PORT` or `redis-benchmark`;
`redis_commands.py` has the commands. Rules kept here:
- a bulk string is read together with its CR LF, so that its integer terminator is never 0;
- each command is answered by one push, in the order the commands came;
- a line, a command and its number of arguments are bounded; what breaks the protocol is answered
  with `-ERR Protocol error`, after which the connection ends.
"""

import re

import serving
from connection import Channel
from redis_commands import MANY, answer

MAX_LINE, MAX_COMMAND = 64 << 10, 64 << 20
CRLF = b"\r\n"


class Breach(Exception):
    """Input that is not the Redis protocol."""


def length(line: bytes, most: int, name: str) -> int:
    """The number in a line such as `*3` or `$5`."""
    if not re.fullmatch(rb"-?[0-9]{1,18}", line[1:]) or int(line[1:]) > most:
        raise Breach(f"invalid {name} length")
    return int(line[1:])


class RedisChannel(Channel):
    """A client. A command is a line, or `missing` more bulk strings, each after its `$` line."""

    command: list[bytes]
    pieces: list[bytes]

    def begin(self, missing: int = 0) -> None:
        self.missing, self.command, self.command_room = missing, [], MAX_COMMAND
        self.await_part(CRLF, MAX_LINE)

    def await_part(self, terminator: bytes | int, room: int) -> None:
        """Read a line (until CRLF) or a bulk string (a number of bytes) into `pieces`."""
        self.pieces, self.in_bulk, self.room = [], terminator != CRLF, room
        self.set_terminator(terminator)

    def collect_incoming_data(self, data: bytes) -> None:
        if self.is_finished:
            self.drop(data)
            return
        self.pieces.append(data)
        self.room -= len(data)
        if self.room < 0:
            self.refuse("too big inline request")

    def found_terminator(self) -> None:
        if self.is_finished:
            return
        part = b"".join(self.pieces)
        try:
            if self.in_bulk:
                self.bulk_came(part)
            elif self.missing:
                self.bulk_header_came(part)
            elif part.startswith(b"*"):
                self.begin(missing=max(0, length(part, MANY, "multibulk")))
            else:
                self.execute(part.split())
        except Breach as breach:
            self.refuse(str(breach))

    def bulk_header_came(self, line: bytes) -> None:
        if not line.startswith(b"$"):
            raise Breach("expected '$'")
        size = length(line, self.command_room, "bulk")
        if size < 0:
            raise Breach("invalid bulk length")
        self.command_room -= size
        self.await_part(size + len(CRLF), size + len(CRLF))

    def bulk_came(self, value: bytes) -> None:
        if not value.endswith(CRLF):
            raise Breach("no CRLF after a bulk string")
        self.command.append(value[: -len(CRLF)])
        self.missing -= 1
        if self.missing:
            self.await_part(CRLF, MAX_LINE)
        else:
            self.execute(self.command)

    def execute(self, command: list[bytes]) -> None:
        self.begin()
        if not command:  # an empty line
            return
        self.push(answer(*command))
        if command[0].upper() == b"QUIT":
            self.finish()

    def refuse(self, problem: str) -> None:
        self.push(b"-ERR Protocol error: %b\r\n" % problem.encode("ascii"))
        self.finish()


if __name__ == "__main__":
    options = serving.argument_parser("Redis-protocol server, in memory").parse_args()
    serving.serve(options, RedisChannel)
