"""A chat room on LineChannel: what one guest says, all others hear.

`python examples/chat_lines.py`, then `nc 127.0.0.1 8023` from several terminals.  A guest's first
line is its name; then /who and /quit are commands, and any other line is said to all others.
Rules kept here:
- all guests hear the others in the same order; what came in one read leaves in one send to each;
- a guest that does not read is ended when `max_output` bytes wait for it, and nobody waits for it;
- what one guest makes others see is printable: it moves no cursor.
"""

import argparse
import itertools
import re

import fastchat
from fastchat import Reply

ROOM: dict[str, "Guest"] = {}  # all guests, by their names
SHOWN = 50  # how many of them /who names, so that a few bytes ask for no megabytes


class Guest(fastchat.LineChannel):
    """A guest, who is in the room while it has a name."""

    delimiter = (b"\r\n", b"\n")  # telnet sends the first, and nc the second
    max_line = 1000
    max_output = 256 * 1024
    idle_timeout = 3600
    name = ""

    def connection_made(self) -> Reply:
        return b"* what is your name?"

    def lines_received(self, lines: list[bytes]) -> Reply:
        replies: list[str] = []
        said: list[str] = []
        is_leaving = False
        for line in lines:
            text = "".join(filter(str.isprintable, line.decode(errors="replace")))
            if not self.name:
                replies.append(self.enter(text))
            elif text == "/who":
                more = f" and {len(ROOM) - SHOWN} more" if len(ROOM) > SHOWN else ""
                replies.append("* here: " + " ".join(itertools.islice(ROOM, SHOWN)) + more)
            elif text == "/quit":
                is_leaving = True
                break
            elif text:
                said.append(f"<{self.name}> {text}")
        self.tell(said)
        if is_leaving:
            self.leave()
            self.close()
            replies.append("* goodbye")
        return [reply.encode() for reply in replies]

    def enter(self, name: str) -> str:
        if not re.fullmatch(r"\w{1,20}", name):
            return "* a name has 1 to 20 letters, digits and _"
        if name in ROOM:
            return "* that name is taken"
        self.name, ROOM[name] = name, self
        self.tell([f"* {name} came"])
        return f"* welcome, {name}"

    def leave(self) -> None:
        if self.name:
            self.tell([f"* {self.name} left"])
            del ROOM[self.name]
            self.name = ""

    def tell(self, lines: list[str]) -> None:
        """Send *lines* to all others."""
        data = [line.encode() for line in lines]
        for guest in ROOM.values():  # which stays as it is: to send calls no hook of others
            if guest is not self and data:
                guest.send_lines(data)

    def line_too_long(self, prefix: bytes, size: int) -> Reply:
        return b"* a line has %d bytes at most" % self.max_line

    def shutting_down(self) -> Reply:
        return b"* the room closes"

    def connection_lost(self, exc: BaseException | None) -> None:
        self.leave()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A chat room for nc and telnet")
    parser.add_argument("--bind", default="127.0.0.1:8023", help="where to listen")
    fastchat.serve(
        Guest,
        parser.parse_args().bind,
        on_start=lambda server: print("listening on", *server.addresses, flush=True),
    )
