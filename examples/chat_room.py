"""A chat room on asynchat: what one client says, every other client hears.

`python -m fastchat run examples/chat_room.py`, then `telnet 127.0.0.1 PORT` from several terminals.
A line is said to all others; /nick NAME, /who and /quit are commands. Rules kept here:
- everybody hears what the others say in the same order, after a welcome;
- a line is bounded and without control characters; what waits for a client that does not read is
  bounded too, and the client then left behind.
"""

import collections
import itertools
import re

import serving
from connection import Channel

MAX_LINE, MAX_UNREAD, CONTROL = 1000, 1000, bytes([*range(32), 127])


class Room:
    """The clients that are present, in the order in which they came."""

    def __init__(self) -> None:
        self.members: list[ChatChannel] = []
        self.lines: collections.deque[tuple[bytes, ChatChannel]] = collections.deque()
        self.guests = itertools.count(1)

    def nicks(self) -> list[bytes]:
        return [member.nick for member in self.members]

    def tell(self, line: bytes, speaker: "ChatChannel") -> None:
        """Send a line to all but the one it comes from, after any line that is being sent."""
        self.lines.append((line, speaker))
        if len(self.lines) > 1:
            return
        while self.lines:
            line, speaker = self.lines[0]
            for member in list(self.members):
                if member is not speaker:
                    member.hear(line)
            self.lines.popleft()

    def enter(self, member: "ChatChannel") -> None:
        self.tell(b"* " + member.nick + b" came", member)
        self.members.append(member)

    def leave(self, member: "ChatChannel") -> None:
        if member in self.members:
            self.members.remove(member)
            self.tell(b"* " + member.nick + b" left", member)


ROOM = Room()


class ChatChannel(Channel):
    """One client of the room."""

    def begin(self) -> None:
        self.line = b""
        self.set_terminator(b"\n")
        self.nick = b"guest%d" % next(ROOM.guests)
        self.hear(b"* welcome, " + self.nick)
        ROOM.enter(self)

    def hear(self, line: bytes) -> None:
        if len(self.producer_fifo) < MAX_UNREAD:
            self.push(line + b"\r\n")
        else:
            self.close()

    def close(self) -> None:
        Channel.close(self)
        ROOM.leave(self)

    def collect_incoming_data(self, data: bytes) -> None:
        if self.is_finished:
            self.drop(data)
            return
        self.line += data
        if len(self.line) > MAX_LINE:
            self.part_with(b"* that line is too long")

    def found_terminator(self) -> None:
        if self.is_finished:
            return
        line, self.line = self.line.translate(None, CONTROL), b""
        command, _, argument = line.partition(b" ")
        if command == b"/nick":
            self.rename(argument)
        elif command == b"/who":
            self.hear(b"* here: " + b" ".join(ROOM.nicks()))
        elif command == b"/quit":
            self.part_with(b"* goodbye")
        elif line.startswith(b"/"):
            self.hear(b"* commands: /nick NAME, /who, /quit")
        elif line:
            ROOM.tell(b"<" + self.nick + b"> " + line, self)

    def rename(self, nick: bytes) -> None:
        if not re.fullmatch(rb"[A-Za-z0-9_-]{1,20}", nick):
            self.hear(b"* a nick is 1 to 20 letters, digits, _ or -")
        elif nick in ROOM.nicks():
            self.hear(b"* that nick is taken")
        else:
            old, self.nick = self.nick, nick
            self.hear(b"* you are " + nick)
            ROOM.tell(b"* " + old + b" is " + nick, self)

    def part_with(self, line: bytes) -> None:
        """A last line; the room hears of it at once, not when the connection is gone."""
        self.hear(line)
        self.finish()
        ROOM.leave(self)


if __name__ == "__main__":
    options = serving.argument_parser("Chat room for line-based clients").parse_args()
    serving.serve(options, ChatChannel)
